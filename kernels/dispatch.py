"""The choice of a backend: an ordered list of rules for "auto", what each backend lacks, and one override for tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import torch

from kernels.cell import Cell
from kernels.dtypes import autocast_is_on, emulated
from kernels.processor import onednn_has, onednn_is_on
from kernels.scripted import script
from kernels.triton import available, plan

Backend = Literal["auto", "reference", "torchscript", "native", "triton"]

TABLE_BATCH = 256  # from this batch size on, saving the input GEMM gains more than oneDNN's faster loop
UNROLLED = "torch.compile sees one node; it would unroll torch's own operator"

_override: Backend | None = None


class Case(NamedTuple):
    """What a choice depends on."""

    cell: Cell
    tokens: bool  # whether the input is tokens
    ragged: bool  # whether rows have lengths of their own
    learning: bool  # whether there will be a backward pass
    recompute: bool  # whether the backward pass computes the gates again
    B: int
    H: int
    dtype: torch.dtype  # of the products
    device: str  # of the weights, such as "cpu" or "cuda:0"
    resets: bool = False  # whether rows start anew inside the sequence

    @property
    def cuda(self) -> bool:
        """Whether the weights are on a CUDA device."""
        return self.device.startswith("cuda")


class Choice(NamedTuple):
    """The backend that will run, and why."""

    backend: str
    reason: str


class Rule(NamedTuple):
    """A rule of "auto": where the condition holds and the backend can run, it does, for the reason."""

    applies: Callable[[Case], bool]
    backend: str
    reason: str


# Read from top to bottom: the first rule that applies, with a backend that can run the case, decides. The order is that
# of benchmarks/recurrent.py on CPUs and of benchmarks/recurrent_gpu.py on CUDA devices. There cuDNN keeps the layers
# whose weights the kernels would read in every step: these have not been compared.
RULES = (
    Rule(lambda case: _transformed(), "reference", "only it supports torch.func's transforms"),
    Rule(lambda case: _onnx_lack("torchscript", case) is not None, "reference", "it becomes a Scan, ONNX's loop"),
    Rule(lambda case: _stays_on_chip(case), "triton", "its kernels keep the weights on the chip"),
    Rule(lambda case: case.cell.scripted is None, "reference", "this cell has only its equations"),
    Rule(lambda case: _loops_lack(case) is not None, "reference", "the loops of this cell do not support resets"),
    Rule(lambda case: case.device != "cpu" and _native_fits(case), "native", "cuDNN has these equations"),
    Rule(lambda case: _kernels_have_run(case), "triton", "the fastest here that has these equations or can recompute"),
    Rule(lambda case: case.recompute, "torchscript", "the fastest that can recompute the gates"),
    Rule(lambda case: case.cell.native is None, "torchscript", "the fastest that has these equations"),
    Rule(lambda case: case.resets, "torchscript", "the fastest that has resets inside a sequence"),
    Rule(lambda case: torch.compiler.is_compiling(), "torchscript", UNROLLED),
    Rule(lambda case: _onednn_is_faster(case), "native", "oneDNN's LSTM is the fastest here"),
    Rule(lambda case: True, "torchscript", "the fastest here"),
)


def choose(backend: Backend, case: Case) -> Choice:
    """Return the backend for a layer that asks for `backend`.

    "auto" takes the first rule that applies. A backend asked for by name runs or raises.

    Raises:
        ValueError: if the backend asked for is unknown, or cannot compute the case.
        NotImplementedError: if it has no rules for the torch.func transform (vmap, grad, jvp) that is under way.
    """
    asked = _override or backend
    check_backend(asked, case.cell, case.recompute and _override is None)
    if asked == "auto":
        rule = next(rule for rule in RULES if rule.applies(case) and not _lack(rule.backend, case))
        return Choice(rule.backend, rule.reason + _remarks(rule.backend, case))
    if asked != "reference" and _transformed():
        raise NotImplementedError(
            f"backend={asked!r} has no rules for torch.func's transforms; use backend='reference'"
        )
    if lack := _lack(asked, case):
        others = "'auto'" if asked == "torchscript" else "'auto' or 'torchscript'"
        raise ValueError(f"backend={asked!r} cannot run here: {lack}; use {others}")
    return Choice(asked, "asked for by name" if _override is None else "forced by dispatch.forced()")


def check_backend(backend: str, cell: Cell | None = None, recompute: bool = False) -> None:
    """Raise if a backend does not exist, or lacks a cell or `recompute`, whatever the machine and the sizes."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if cell is not None and cell.native is None and backend == "native":
        raise ValueError("backend='native': neither cuDNN nor oneDNN has these equations; use 'auto' or 'torchscript'")
    if cell is not None and cell.scripted is None and (backend == "torchscript" or recompute):
        raise ValueError(f"{cell.name} has only its equations and no scripted loops; use backend='auto' or 'reference'")
    if backend in ("native", "reference") and recompute:
        raise ValueError(f"backend={backend!r} cannot recompute; use 'auto', 'torchscript' or 'triton'")


def _lack(backend: str, case: Case) -> str | None:
    """Return why a backend cannot run a case on this machine, None if it can."""
    if lack := _onnx_lack(backend, case):
        return lack
    if backend == "triton" and case.cell.triton is None:
        return "it has no kernels of this cell"
    if backend == "triton":
        return available.refusal(case.dtype, case.device) or plan.refusal(*_planned(case))
    if backend == "torchscript":
        return _loops_lack(case)
    if backend == "native" and case.resets:
        return "neither cuDNN nor oneDNN has resets inside a sequence"
    # Under autocast torch.lstm passes sequences of equal lengths to oneDNN without checking that it has their dtype.
    # With weights in 16 bits torch checks, and runs its own loops if oneDNN lacks the dtype.
    if backend == "native" and not case.ragged and autocast_is_on(torch.device(case.device)):
        return _onednn_lack(case)
    return None


def _remarks(backend: str, case: Case) -> str:
    """Return why a faster backend cannot run, or why the loops are not scripted; "" if neither applies."""
    if backend != "torchscript":
        return ""
    lack = None if case.recompute else _onednn_lack(case)
    remark = "" if lack is None else f": {lack}"
    if emulated(case.dtype, case.device):
        remark += f"; products are in float32, since this CPU has no instructions for {case.dtype}"
    if case.cuda and case.cell.triton is not None:
        lacking = "with resets" if case.cell.triton_checked else f"for this cell, {case.cell.name}"
        remark = f"; the Triton kernels have not run on a GPU {lacking}; backend='triton' asks for them"
        if triton_lack := _lack("triton", case):
            remark = f"; backend='triton' cannot run here: {triton_lack}"
    return remark + (f", though unscripted: {refusal}" if (refusal := script.refusal()) else "")


def _loops_lack(case: Case) -> str | None:
    """Return what the scripted loops of a cell lack for a case, None if nothing."""
    if case.resets and case.cell.scripted is not None and not case.cell.scripted.has_resets:
        return "the loops of this cell do not support resets"
    return None


def _onnx_lack(backend: str, case: Case) -> str | None:
    """Return why a backend cannot be exported to ONNX, None if it can or nothing is being exported."""
    if backend == "reference" or not exporting_to_onnx():
        return None
    if not case.cell.onnx:
        return "ONNX has no operator of this cell"
    if case.resets:
        return "ONNX's operators have no resets inside a sequence"
    return None if backend == "torchscript" else "kernels/onnx.py translates the operators of 'torchscript'"


def _onednn_lack(case: Case) -> str | None:
    """Return what oneDNN lacks for an LSTM in 16 bits on this CPU, None if nothing."""
    low = case.dtype in (torch.bfloat16, torch.float16)
    if not (case.cell.onednn and case.device == "cpu" and low and onednn_is_on()) or onednn_has(case.dtype):
        return None
    return f"oneDNN has no LSTM in {case.dtype} on this CPU"


def _onednn_is_faster(case: Case) -> bool:
    """Return whether to take oneDNN's LSTM: it has float32, bfloat16 on some CPUs, and equal lengths."""
    low = case.dtype == torch.bfloat16 and onednn_has(torch.bfloat16)
    has = case.cell.onednn and onednn_is_on() and (case.dtype == torch.float32 or low) and not case.ragged
    return has and not (case.tokens and case.learning and case.B >= TABLE_BATCH)


def _native_fits(case: Case) -> bool:
    """Return whether torch's own operator has the equations and nothing asks for more than it can do."""
    return case.cell.native is not None and not case.recompute and not torch.compiler.is_compiling()


def _kernels_have_run(case: Case) -> bool:
    """Return whether the Triton kernels have run on a GPU with what a case asks for; "auto" does not take them else."""
    return case.cuda and case.cell.triton_checked and not case.resets


def _stays_on_chip(case: Case) -> bool:
    """Return whether the Triton kernels can run a case and keep its recurrent weights on the chip for all steps."""
    runs = _kernels_have_run(case) and _lack("triton", case) is None
    return runs and not plan.streams(*_planned(case))


def _planned(case: Case) -> tuple[int, int, torch.dtype, str, bool]:
    """Return what `plan` asks to know of a case."""
    return case.cell.serial_gates, case.H, case.dtype, case.device, case.cell.whole_rows


def exporting_to_onnx() -> bool:
    """Return whether `torch.onnx.export` is at work."""
    return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()


def values_can_be_read() -> bool:
    """Return whether a tensor's values can be looked at: not while compiling, nor in a torch.func transform."""
    return not torch.compiler.is_compiling() and not _transformed()


def _transformed() -> bool:
    """Return whether a torch.func transform (vmap, grad, jvp) is under way."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


@contextmanager
def forced(backend: Backend) -> Iterator[None]:
    """Make every layer use a backend, whatever it asks for. `recompute` is ignored by backends that lack it."""
    global _override
    check_backend(backend)
    previous, _override = _override, backend
    try:
        yield
    finally:
        _override = previous


@contextmanager
def unscripted() -> Iterator[None]:
    """Run the loops of the TorchScript backend as plain Python, as on a Python without TorchScript."""
    previous, script.unscripted = script.unscripted, True
    try:
        yield
    finally:
        script.unscripted = previous
