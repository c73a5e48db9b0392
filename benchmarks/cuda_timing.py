"""Measuring recurrent layers on a GPU: the GPU's own time, a lower bound of it, and FlashRNN as a peer.

The lower bound of a pass is the sum of latency and arithmetic: 0.5 µs for each step, if weights and states stay on the
chip, and all products at the peak of an H100 or H200, 790 TFLOP/s in 16 bits and half of that in TF32. A backward pass
has as many steps and twice as many products. The bound is an estimate from data sheets and published kernels, not a
measurement.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

STEP_SECONDS = 0.5e-6
PEAK = {"float32": 67e12, "tf32": 395e12, "bf16": 790e12, "fp16": 790e12}
WAIT_CYCLES = (5_000_000, 50_000_000)  # a few milliseconds, or many


def time_on_gpu(work: Callable[[], object]) -> float:
    """Return the seconds that the GPU takes for some work, measured by CUDA events.

    The GPU waits until all work is enqueued, so the time does not include launches on the CPU. The queue holds about a
    thousand launches. Loops of small operators have more, and their time includes launches.
    """
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for cycles in WAIT_CYCLES:
        torch.cuda.synchronize()
        torch.cuda._sleep(cycles)
        start.record()
        work()
        waiting = not start.query()
        end.record()
        torch.cuda.synchronize()
        if waiting:
            break
    return start.elapsed_time(end) / 1000


def wall_time(work: Callable[[], object]) -> float:
    """Return the seconds until some work is done, including its launches on the CPU."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def works(device: str) -> bool:
    """Return whether a device can still be used. Some errors, such as a wrong address, end that for the process."""
    try:
        return bool(torch.ones(1, device=device).item())
    except (RuntimeError, AssertionError):  # the latter where torch has no CUDA
        return False


def floor_ms(shape: Any, gates: tuple[int, int], precision: str, backward: bool) -> float:
    """Return the lower bound of a pass in milliseconds.

    Args:
        shape: B, T, I, H and whether the input is tokens, which need no product.
        gates: number of gates of the input weight and of the recurrent weight.
        precision: a key of PEAK.
        backward: whether a backward pass is included.
    """
    B, T, I, H, tokens = shape
    products = 2 * B * T * H * (gates[0] * I * (not tokens) + gates[1] * H)
    return 1000 * (T * STEP_SECONDS * (1 + backward) + products * (1 + 2 * backward) / PEAK[precision])


def flash_rnn(cell: str, layer: nn.Module) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Return FlashRNN's pass over vectors [T, B, I] and its weights.

    It has one head here. The input projection is computed beforehand, as its authors do.

    Args:
        cell: "lstm" or "rnn"; its GRU has a fourth bias.
        layer: the layer whose weights it gets.
    """
    function = {"lstm": "lstm", "rnn": "elman"}[cell]
    own: dict[str, Any] = {name: value.detach().clone().requires_grad_() for name, value in layer.named_parameters()}
    weight = own["weight_hh_l0"]
    G, H = len(weight) // weight.shape[1], weight.shape[1]

    def run(vectors: Tensor) -> Tensor:
        from flashrnn import flashrnn  # here, so that the row reports its failure

        T, B, _ = vectors.shape
        projected = nn.functional.linear(vectors, own["weight_ih_l0"]).transpose(0, 1).reshape(B, T, G, 1, H)
        bias, start = own["bias_ih_l0"] + own["bias_hh_l0"], projected.new_zeros(1 + (cell == "lstm"), B, 1, 1, H)
        states, _ = flashrnn(
            projected,
            weight.view(G, 1, H, H),
            bias.view(G, 1, H),
            states=start,
            function=function,
            backend="cuda_fused",
        )
        return states[0][:, :, 0].transpose(0, 1)

    return run, list(own.values())
