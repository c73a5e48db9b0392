"""The Triton backend: when it can run, how it divides a layer. test_backends.py compares its results."""

import copy
import importlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import kernels
from kernels import GRU, LSTM, RNN, LayerNormLSTM, PeepholeLSTM, choose, forced
from kernels.cells.layer_norm_lstm.layer import LAYER_NORM_CELL
from kernels.cells.lstm.layer import LSTM_CELL
from kernels.cells.peephole_lstm.layer import DIAGONAL_CELL
from kernels.dispatch import Case
from kernels.layer import RecurrentLayer
from kernels.triton import available, bulk, launch, plan

CASE = Case(
    cell=LSTM_CELL, tokens=False, ragged=False, learning=True, recompute=False,
    B=256, H=256, dtype=torch.float32, device="cuda",
)  # fmt: skip
H100 = plan.Device(processors=132, memory=227 << 10)
CHECKED_ON_GPUS = ["lstm", "gru", "rnn", "peephole_full", "peephole_diagonal", "layer_norm_lstm", "slstm"]
CHECKED_ON_GPUS += ["lstm_projected", "lstm_zoneout", "gru_zoneout", "rnn_zoneout", "layer_norm_lstm_zoneout"]
needs_triton = pytest.mark.skipif(available.refusal(torch.float32, "cpu") is not None, reason="triton cannot run here")


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the backend can run anywhere."""
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    monkeypatch.setattr(plan, "device_limits", lambda device: H100)


@pytest.fixture
def tf32() -> Iterator[None]:
    """Set torch's matmul precision to TF32."""
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(previous)


def test_a_layer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASE._replace(cell=DIAGONAL_CELL, H=2048)
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    monkeypatch.setattr(plan, "device_limits", lambda device: plan.Device(28, 99 << 10))
    with pytest.raises(ValueError, match="H=2048 is too large for a device with 28 processors of 99 KiB"):
        choose("triton", case)
    monkeypatch.setattr(plan, "device_limits", lambda device: H100)
    assert choose("triton", case).backend == "triton"


@pytest.mark.usefixtures("fit")
def test_auto_chooses_it_on_cuda_devices() -> None:
    for change in ({}, {"cell": DIAGONAL_CELL}, {"recompute": True}, {"ragged": True}, {"tokens": True}):
        assert choose("auto", CASE._replace(**change)) == ("triton", "its kernels keep the weights on the chip")
        backend, reason = choose("auto", CASE._replace(**change, device="cpu"))
        assert backend != "triton"
        assert "triton" not in reason


@pytest.mark.usefixtures("fit")
def test_cudnn_keeps_layers_whose_weights_do_not_stay_on_the_chip() -> None:
    large = CASE._replace(H=1024)
    assert choose("auto", large) == ("native", "cuDNN has these equations")
    assert choose("triton", large).backend == "triton"
    for change in ({"cell": DIAGONAL_CELL}, {"recompute": True}, {"dtype": torch.bfloat16, "H": 512}):
        assert choose("auto", large._replace(**change)).backend == "triton"


def test_without_it_auto_takes_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "refusal", lambda dtype, device: "triton needs a C compiler")
    assert choose("auto", CASE) == ("native", "cuDNN has these equations")
    backend, reason = choose("auto", CASE._replace(cell=DIAGONAL_CELL))
    assert backend == "torchscript"
    assert "backend='triton' cannot run here: triton needs a C compiler" in reason


def test_where_it_cannot_run_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="cannot run here: it has no kernels in float64"):
        LSTM(2, 3, backend="triton", dtype=torch.float64)(torch.zeros(1, 1, 2, dtype=torch.float64))
    monkeypatch.setattr(available, "INTERPRETING", False)
    monkeypatch.setattr(available, "MISSING", None)
    with pytest.raises(ValueError, match="it runs on CUDA devices, and the weights are on cpu"):
        PeepholeLSTM(2, 3, backend="triton")(torch.zeros(1, 1, 2))
    monkeypatch.setattr(available, "MISSING", "the package triton is not installed")
    with pytest.raises(ValueError, match="backend='triton' cannot run here: the package triton is not installed"):
        PeepholeLSTM(2, 3, backend="triton")(torch.zeros(1, 1, 2))
    assert choose("auto", CASE._replace(cell=DIAGONAL_CELL)).backend == "torchscript"


def test_the_device_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INTERPRETING": False, "MISSING": None}.items():
        monkeypatch.setattr(available, name, value)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(available, "COMPILER", "cc")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(plan, "device_limits", lambda device: H100)
    monkeypatch.setattr(torch.cuda, "get_device_capability", {"cuda:0": (9, 0), "cuda:1": (7, 5)}.get)
    assert choose("triton", CASE._replace(device="cuda:0")).backend == "triton"
    with pytest.raises(ValueError, match="cannot run here"):
        choose("triton", CASE._replace(device="cuda:1"))
    monkeypatch.setattr(available, "COMPILER", None)
    assert available.refusal(torch.float32, "cuda:0") == "triton needs a C compiler, and there is no gcc or clang"


def test_the_device_is_asked_also_while_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INTERPRETING": False, "MISSING": None}.items():
        monkeypatch.setattr(available, name, value)
    monkeypatch.setattr(torch.version, "hip", "6.4")

    def add_if_it_can_run(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if available.refusal(torch.float32, "cuda") is None else x

    torch.compiler.reset()
    assert not torch.compile(add_if_it_can_run, fullgraph=True, backend="eager")(torch.zeros(1)).any()


def test_triton_has_several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> str:
        if name == "pytorch-triton":
            return "3.6.0+git1234"
        raise available.PackageNotFoundError

    monkeypatch.setattr(available, "version", find)
    monkeypatch.setattr(available, "INTERPRETING", False)
    assert available._missing() is None


def test_importing_kernels_imports_no_triton() -> None:
    code = """
import sys
import torch
before = "triton" in sys.modules  # some versions of torch import triton
import kernels
print(before or "triton" not in sys.modules, "kernels.cells.lstm.triton" in sys.modules)
"""
    root = Path(kernels.__path__[0]).parent
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.stdout.split() == ["True", "False"], result.stderr


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("gates", [1, 2, 3, 4])
def test_plans_fit_the_device(gates: int, size: int, reverse: bool) -> None:
    small = plan.Device(28, 99 << 10)
    for device in (H100, plan.Device(108, 163 << 10), small):
        for H in (1, 5, 16, 37, 128, 256, 300, 512, 768, 1024, 2048):
            for B in (1, 16, 256, 100_000):
                if device == small and H == 2048 and size == 8 and gates > 2:
                    with pytest.raises(ValueError, match="H=2048 is too large"):
                        plan.make_plan(gates, H, B, size, reverse, device)
                    continue
                own = plan.make_plan(gates, H, B, size, reverse, device)
                assert own.programs <= device.processors
                assert own.programs * own.BLOCK_H >= H > (own.programs - 1) * own.BLOCK_H
                blocks = own.resident_blocks
                assert blocks == 0 or blocks * own.BLOCK_K >= H > (blocks - 1) * own.BLOCK_K
                assert blocks == 1 or own.programs > 1
                sizes = (own.BLOCK_B, own.BLOCK_H, own.BLOCK_K, blocks)
                assert plan.shared_bytes(gates, size, reverse, *sizes) <= device.memory
                assert gates * own.BLOCK_H * own.BLOCK_K * blocks * size <= plan.RESIDENT_BYTES


def test_weights_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="H=30000 is too large"):
        plan.make_plan(4, 30_000, 16, 2, False, H100)


def test_a_plan_is_one_program_for_small_layers_and_a_group_for_large_ones() -> None:
    small = plan.make_plan(4, 128, 256, 2, False, H100)
    assert (small.programs, small.BLOCK_H) == (1, 128)
    large = plan.make_plan(4, 256, 4096, 2, False, H100)
    assert (large.programs, large.BLOCK_H, large.BLOCK_B) == (4, 64, 32)
    for B, programs in ((256, 8), (64, 16), (1, 16)):  # smaller programs instead of idle processors
        own = plan.make_plan(4, 256, B, 2, False, H100)
        assert (own.programs, own.BLOCK_H, own.BLOCK_B) == (programs, 256 // programs, 16)
    assert plan.make_plan(4, 128, 1, 2, False, H100) == small._replace(BLOCK_B=16)  # one program waits for nobody
    blocks = plan.make_plan(4, 512, 64, 4, True, H100)
    assert (blocks.BLOCK_K, blocks.resident_blocks) == (256, 2)
    assert plan.make_plan(4, 1024, 16, 4, False, H100).resident_blocks == 0


@pytest.mark.parametrize(
    ("H", "B", "reverse", "parts"),
    [(256, 256, False, 4), (256, 4096, False, 1), (256, 4096, True, 8), (128, 1, False, 1), (128, 1, True, 8)],
)
def test_few_sums_are_split_among_the_warps(H: int, B: int, reverse: bool, parts: int) -> None:
    assert plan.make_plan(4, H, B, 2, reverse, H100).split_k == parts


def test_kernels_get_tensors_that_begin_at_multiples_of_16_bytes() -> None:
    """Otherwise the state of a second layer, with an odd H and some batch sizes, would compile them again."""
    whole = torch.arange(9.0)
    (given,), same, _ = launch.readable(((whole[1:],), whole, None))
    assert given.data_ptr() % 16 == 0
    assert torch.equal(given, whole[1:])
    assert same is whole


@pytest.mark.parametrize("token", [-100, -1, 3])
def test_tokens_beyond_the_table_are_refused(token: int) -> None:
    """By the operator itself, because a layer checks tokens only on a CPU."""
    named = {"inputs": torch.tensor([[0, token]]), "embedding": torch.zeros(3, 4), "weight_ih": torch.zeros(8, 4)}
    with pytest.raises(IndexError):
        bulk.project({**named, "bias": None})


def share(arguments: Any) -> None:
    """Move all tensors among the arguments of a kernel to shared memory."""
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            argument.share_memory_()
        elif isinstance(argument, tuple):
            share(argument)


class AtOnce:
    """A kernel whose programs run at the same time, each in its own process, with tensors in shared memory."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def run(*arguments: Any, **options: Any) -> None:
            share(arguments)
            programs = []
            try:
                for program in range(*grid):
                    if (child := os.fork()) == 0:
                        self.run_alone(program, *arguments, **options)
                    programs.append(child)
                end = time.monotonic() + 100
                while programs and time.monotonic() < end:  # programs that never meet never end
                    for child in list(programs):
                        ended, status = os.waitpid(child, os.WNOHANG)
                        if ended:
                            programs.remove(child)
                            assert status == 0
                    time.sleep(0.001)
                assert not programs
            finally:
                for child in programs:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)

        return run

    def run_alone(self, program: int, *arguments: Any, **options: Any) -> None:
        from triton.runtime.interpreter import interpreter_builder as builder

        status = 1
        try:
            builder.set_grid_idx = lambda *place: setattr(builder, "grid_idx", (program, 0, 0))
            self.kernel[(1,)](*arguments, **options)
            status = 0
        finally:
            os._exit(status)


@needs_triton
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the process has threads; the children start none
@pytest.mark.parametrize(
    "cell", ["lstm", *(pytest.param(cell, marks=pytest.mark.slow) for cell in ("gru", "rnn", "peephole_lstm"))]
)
def test_programs_that_run_at_the_same_time_meet(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps in one launch, as on a GPU, so that programs do wait for each other."""
    module = importlib.import_module("kernels.triton.cell")
    for kernel in ("forward_kernel", "backward_kernel"):
        monkeypatch.setattr(module, kernel, AtOnce(getattr(module, kernel)))
    monkeypatch.setattr(available, "INTERPRETING", False)
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    monkeypatch.setattr(plan, "INTERPRETED", plan.Device(processors=6, memory=227 << 10))
    monkeypatch.setattr(plan, "RESIDENT_BYTES", (32 if cell == "lstm" else 24) << 10)
    plans, make_plan = [], plan.make_plan
    monkeypatch.setattr(module, "make_plan", lambda *sizes: plans.append(make_plan(*sizes)) or plans[-1])
    torch.manual_seed(0)
    layers = {"lstm": LSTM, "gru": GRU, "rnn": RNN, "peephole_lstm": PeepholeLSTM}
    layer, x = layers[cell](2, 37), torch.randn(3, 20, 2)
    found = {}
    for backend in ("reference", "triton"):
        with forced(backend):
            output, _ = layer(x)
            found[backend] = [output, *torch.autograd.grad(output.square().sum(), list(layer.parameters()))]
    assert min(own.programs for own in plans) > 1
    for values in zip(found["reference"], found["triton"], strict=True):
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)


@needs_triton
@pytest.mark.parametrize("held", [128, 24, 4], ids=["alone", "group", "streamed"])
@pytest.mark.usefixtures("tf32")
def test_factors_are_rounded_to_tf32(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hardware would cut them: twice the error, and always toward zero."""
    monkeypatch.setattr(plan, "RESIDENT_BYTES", held << 10)
    torch.manual_seed(0)
    layer, x = RNN(2, 70, bias=False, backend="triton"), torch.randn(4, 3, 2)
    state = torch.randn(3, 70)
    states, _ = layer(x, state[None])
    for t in range(4):
        product = launch.round_to_tf32(state) @ launch.round_to_tf32(layer.weight_hh_l0).T
        state = torch.tanh(x[t] @ layer.weight_ih_l0.T + product)
        assert (states[t] - state).norm() < 3e-5 * state.norm()  # 1e-4 without rounding; ties may round differently
        state = states[t]


@needs_triton
@pytest.mark.filterwarnings("ignore:invalid value encountered in:RuntimeWarning")  # the interpreter's
@pytest.mark.parametrize("layer", [LSTM, LayerNormLSTM, RNN])
def test_an_infinite_state_stays_alone(layer: Callable[..., RecurrentLayer]) -> None:
    """A program also has units beyond H, whose values must not reach those below H."""
    torch.manual_seed(0)
    cell = layer(2, 33)
    state = torch.zeros(1, 2, 33)
    state[0, 0, 3] = torch.inf
    given = state if layer is RNN else (state, torch.zeros_like(state))
    found = {}
    for backend in ("reference", "triton"):
        with forced(backend):
            output, _ = cell(torch.zeros(3, 2, 2), given)
            found[backend] = output.isnan()
    assert torch.equal(found["reference"], found["triton"])


@needs_triton
@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0x7FC00000, -1])
@pytest.mark.usefixtures("tf32")
def test_rounding_to_tf32_keeps_what_is_no_number(bits: int) -> None:
    h_0 = torch.zeros(1, 2, 5)
    h_0[0, 0, 3] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    states, _ = RNN(2, 5, backend="triton")(torch.zeros(1, 2, 2), h_0)
    assert states[0].isnan().all(1).tolist() == [True, False]


@needs_triton
def test_gradients_are_the_same_every_time() -> None:
    torch.manual_seed(0)
    layer, embedding = PeepholeLSTM(4, 37, backend="triton"), torch.randn(3, 4, requires_grad=True)
    ids, found = torch.randint(0, 3, (4, 20)), []
    for _ in range(2):
        leaves = [embedding, *layer.parameters()]
        found.append(torch.autograd.grad(layer.forward_ids(ids, embedding)[0].sum(), leaves))
    assert all(torch.equal(once, again) for once, again in zip(*found, strict=True))


@pytest.mark.parametrize("size", [2, 4, 8])
def test_one_program_computes_whole_rows_of_a_layer_with_norms(size: int) -> None:
    for device, reverse in itertools.product((H100, plan.Device(82, 99 << 10)), (False, True)):
        for H in (1, 16, 37, 128, 256, *([300, 512] if device == H100 else [])):
            own = plan.make_plan(4, H, 10_000, size, reverse, device, 1, whole_rows=True)
            assert (own.programs, own.BLOCK_B) == (1, 16)
            assert own.BLOCK_H >= H
            assert own.resident_blocks == 0 or own.BLOCK_K == own.BLOCK_H
            gates = 4 if own.resident_blocks else 1  # multiplied together
            sizes = (own.BLOCK_B, own.BLOCK_H, own.BLOCK_K, own.resident_blocks)
            assert plan.shared_bytes(gates, size, reverse, *sizes) <= device.memory


def test_rows_that_are_too_wide_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    message = "H=513 is too large: one program computes whole rows of this cell, of at most 512 units"
    layer = LayerNormLSTM(2, 513, backend="triton")
    with pytest.raises(ValueError, match=f"cannot run here: {message}; use 'auto' or 'torchscript'"):
        layer(torch.zeros(1, 1, 2))
    monkeypatch.setattr(plan, "device_limits", lambda device: H100)
    backend, reason = choose("auto", CASE._replace(cell=LAYER_NORM_CELL, H=513))
    assert backend == "torchscript"
    assert reason.endswith(f"backend='triton' cannot run here: {message}")
    layer.backend = "auto"
    layer.explain(1, 1)
    assert "torchscript" in capsys.readouterr().out


@needs_triton
@pytest.mark.parametrize(("held", "T", "B", "H"), [(128, 3, 20, 50), (0, 2, 3, 130)], ids=["resident", "streamed"])
def test_norms_are_as_exact_as_torchs(held: int, T: int, B: int, H: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the mean of a row is many standard deviations, so that its variance could be lost."""
    monkeypatch.setattr(plan, "RESIDENT_BYTES", held << 10)
    torch.manual_seed(0)
    layer, x = LayerNormLSTM(2, H), torch.randn(T, B, 2)
    layer.weight_hh_l0.data += 1
    states, found = (torch.rand(1, B, H), torch.randn(1, B, H) + 100), []
    for backend, dtype in (("reference", torch.float64), ("reference", torch.float32), ("triton", torch.float32)):
        own, leaf = copy.deepcopy(layer).to(dtype), x.to(dtype).requires_grad_()
        with forced(backend):
            out, _ = own(leaf, tuple(state.to(dtype) for state in states))
        found.append([out, *torch.autograd.grad(out.pow(2).sum(), [leaf, *own.parameters()])])
    for exact, theirs, ours in zip(*found, strict=True):
        assert (ours - exact).norm() <= 2 * (theirs - exact).norm()


@needs_triton
@pytest.mark.usefixtures("tf32")
def test_states_in_memory_are_rounded_to_tf32_like_those_on_the_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x, state = LayerNormLSTM(2, 50, backend="triton"), torch.randn(1, 3, 2), torch.randn(1, 3, 50)
    on_chip, _ = layer(x, (state, state))
    plan.make_plan.cache_clear()
    monkeypatch.setattr(plan, "RESIDENT_BYTES", 0)
    in_memory, _ = layer(x, (state, state))
    torch.testing.assert_close(in_memory, on_chip, rtol=1e-6, atol=1e-6)  # 4e-4 without rounding


@needs_triton
@pytest.mark.parametrize("resets", [[], pytest.param(["--resets"], marks=pytest.mark.slow)], ids=["plain", "resets"])
def test_a_layer_compiles(resets: list[str]) -> None:
    """The compiler may refuse what the interpreter accepts, such as an integer of 1, which it takes for a constant."""
    words = ["-m", "benchmarks.triton_resources", "--layers", "lstm", "--dtypes", "tf32", "--sizes", "512"]
    root = Path(kernels.__path__[0]).parent
    result = subprocess.run([sys.executable, *words, "--batch", "1", *resets], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("resets", [[], ["--resets"]], ids=["plain", "resets"])
@pytest.mark.parametrize(("capability", "B"), [(80, 256), (86, 256), (90, 16), (90, 256), (90, 4096)])
def test_kernels_compile_and_fit_a_device(capability: int, B: int, resets: list[str]) -> None:
    """Ahead of time and without a GPU, at some sizes and in every dtype."""
    root = Path(kernels.__path__[0]).parent
    words = ["-m", "benchmarks.triton_resources", "--capability", str(capability), "--batch", str(B)]
    words += ["--sizes", "37", "256", "768", "--dtypes", "fp32", "tf32", "bf16", "fp16"]
    result = subprocess.run([sys.executable, *words, *resets], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stdout + result.stderr
    # The full peephole has two more for its output gate; layer norm is not for 768 units.
    assert len(result.stdout.splitlines()) == 2 + ((10 * 2 + 2) * 3 + 2 * 2 * 2) * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("cell", CHECKED_ON_GPUS)
def test_equals_float64_on_a_gpu(cell: str, precision: str) -> None:
    """In a process with a time limit, because programs that fail to meet wait forever."""
    root = Path(kernels.__path__[0]).parent
    words = ["-m", "benchmarks.recurrent_check", cell, precision]
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    result = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=root, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
