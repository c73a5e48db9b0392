"""Registers, spills and shared memory of the Triton kernels. It compiles them and needs no GPU.

    python -m benchmarks.triton_resources                                # for an H100
    python -m benchmarks.triton_resources --capability 80 --sizes 256    # for an A100
    python -m benchmarks.triton_resources --resets                       # with resets inside the sequence

A row is a kernel at a size and dtype, with its plan from `kernels/triton/plan.py`. `spilled` is the bytes of a thread
that do not fit into registers. A kernel that needs more shared memory than the device has is marked TOO LARGE, and the
command returns 1.
"""

import os

os.environ["TRITON_INTERPRET"] = "0"  # compile

import argparse
import functools
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget

from kernels import GRU, LSTM, RNN, SLSTM, LayerNormLSTM, PeepholeLSTM
from kernels.layer import RecurrentLayer
from kernels.triton import available, plan

LAYERS: dict[str, Callable[..., RecurrentLayer]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "peephole": PeepholeLSTM,
    "layer_norm_lstm": LayerNormLSTM,
    "slstm": SLSTM,
    "slstm_exp": functools.partial(SLSTM, forget_gate="exp"),
    "lstm_zoneout": functools.partial(LSTM, zoneout=0.1),
    "gru_zoneout": functools.partial(GRU, zoneout=0.1),
    "rnn_zoneout": functools.partial(RNN, zoneout=0.1),
    "layer_norm_lstm_zoneout": functools.partial(LayerNormLSTM, zoneout=0.1),
    "diagonal": functools.partial(PeepholeLSTM, peephole="diagonal"),
}
DEVICES = {80: plan.Device(108, 163 << 10), 86: plan.Device(82, 99 << 10), 90: plan.Device(132, 227 << 10)}
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Row(NamedTuple):
    """What one kernel needs.

    Args:
        kernel: the cell and the pass.
        dtype: dtype of the weights.
        H: units.
        B: rows of the batch.
        registers: registers of a thread.
        spilled: spilled bytes of a thread.
        shared: bytes of shared memory of a program.
        fits: whether the device has that much.
    """

    kernel: str
    dtype: str
    H: int
    B: int
    registers: int
    spilled: int
    shared: int
    fits: bool


class _Driver:
    """Stands in for the driver of a device that is not there."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def rows(
    capability: int, layers: list[str], dtypes: list[str], sizes: list[int], B: int, resets: bool
) -> Iterator[Row]:
    """Yield the needs of the kernels of both passes of each layer, at the sizes that it has."""
    compiled: list[tuple[str, Any]] = []

    def compile_only(kernel: Any, grid: tuple[int, ...]) -> Any:
        def run(*arguments: Any, **options: Any) -> None:
            compiled.append((kernel.__name__, kernel.run(*arguments, grid=grid, warmup=True, **options)))

        return run

    triton.runtime.driver.set_active(_Driver(capability))
    triton.runtime.jit.JITFunction.__getitem__ = compile_only
    plan.INTERPRETED = DEVICES[capability]  # the tensors are on a CPU
    available.refusal = lambda dtype, device: None
    for name in layers:
        for dtype in dtypes:
            torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
            for H in sizes:
                layer: RecurrentLayer = LAYERS[name](8, H, dtype=DTYPES[dtype], backend="triton")
                if H > plan.MAX_ROW and isinstance(layer, LayerNormLSTM):
                    continue
                marks = torch.zeros(1, B, dtype=torch.bool) if resets else None
                layer(torch.zeros(1, B, 8, dtype=DTYPES[dtype]), resets=marks)[0].sum().backward()
                for kernel, result in dict(compiled).items():
                    registers, spilled = _usage(result.asm["cubin"])
                    shared = result.metadata.shared
                    fits = shared <= DEVICES[capability].memory
                    words = kernel.removesuffix("_kernel").replace("_", " ")
                    yield Row(f"{name} {words}", dtype, H, B, registers, spilled, shared, fits)
                compiled.clear()


def _usage(program: bytes) -> tuple[int, int]:
    """Return the registers and the spilled bytes of a thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(program)
        file.flush()
        words = [str(_tool()), "-res-usage", file.name]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump printed no usage: {text}")
    return int(found[1]), int(found[2])


@functools.cache
def _tool() -> Path:
    return Path(str(triton.__file__)).parent / "backends/nvidia/bin/cuobjdump"


def main() -> int:
    """Print one row per kernel; return 1 if one does not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--capability", type=int, choices=DEVICES, default=90, help="compute capability of the device, without the dot"
    )
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32", "tf32", "bf16"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256, 512, 768], help="H")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--resets", action="store_true", help="rows start anew inside the sequence")
    options = parser.parse_args()
    print("| kernel | dtype | H | B | registers | spilled | shared memory |\n|" + " --- |" * 7)
    good = True
    sizes = (options.sizes, options.batch, options.resets)
    for row in rows(options.capability, options.layers, options.dtypes, *sizes):
        good &= row.fits
        print(f"| {' | '.join(map(str, row[:-1]))}{'' if row.fits else ' TOO LARGE'} |", flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
