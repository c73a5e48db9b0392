"""Which implementation of a cell runs: chosen in one place, with its reason, and one override for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import torch

from kernels.cell import Cell
from kernels.dtypes import autocast_is_on
from kernels.processor import onednn_has, onednn_is_on
from kernels.scripted import script
from kernels.triton import available, plan

Backend = Literal["auto", "reference", "torchscript", "native", "triton"]


TABLE_BATCH = 256  # from so many rows on, doing without an input GEMM is worth more than oneDNN's faster loop

_override: Backend | None = None


class Case(NamedTuple):
    """What a choice depends on.

    Args:
        cell: what is to run.
        tokens: whether the input is tokens.
        ragged: whether rows have lengths of their own.
        learning: whether there will be a backward pass.
        recompute: whether gates are to be computed anew in the backward pass.
        T: steps.
        B: batch.
        I: input width.
        H: hidden width.
        dtype: of the products.
        device: of the weights, such as "cpu" or "cuda:0".
    """

    cell: Cell
    tokens: bool
    ragged: bool
    learning: bool
    recompute: bool
    T: int
    B: int
    I: int
    H: int
    dtype: torch.dtype
    device: str


class Choice(NamedTuple):
    """The backend that will run, and why."""

    backend: str
    reason: str


def check_backend(backend: str, cell: Cell | None = None, recompute: bool = False) -> None:
    """See that a backend exists and can do what is asked of it.

    Args:
        backend: its name.
        cell: what it is to run, if that is known.
        recompute: whether gates are to be computed anew in the backward pass.

    Raises:
        ValueError: if it does not, and what to ask for instead.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if cell is not None and backend == "native" and cell.native is None:
        raise ValueError("backend='native': neither cuDNN nor oneDNN has these equations; use 'auto' or 'torchscript'")
    if cell is not None and backend == "torchscript" and cell.scripted is None:
        raise ValueError(f"backend='torchscript': {cell.name} has no scripted loops; use 'auto' or 'reference'")
    if backend in ("native", "reference") and recompute:
        raise ValueError(f"backend={backend!r} cannot recompute; use 'auto', 'torchscript' or 'triton'")


def choose(backend: Backend, case: Case) -> Choice:
    """Return the backend for a layer that asks for `backend`.

    "auto" takes the fastest that can run, by measurement. A backend asked for by name is taken or refused, never
    replaced.

    Raises:
        ValueError: if the backend asked for is unknown, or cannot compute the case.
        NotImplementedError: if it has no rules for the torch.func transform (vmap, grad, jvp) that is under way.
    """
    asked = _override or backend
    check_backend(asked, case.cell, case.recompute and _override is None)
    if _transformed():
        if asked in ("auto", "reference"):
            return Choice("reference", "it alone has the rules of torch.func's transforms")
        raise NotImplementedError(
            f"backend={asked!r} has no rules for torch.func's transforms; use backend='reference'"
        )
    if asked == "auto":
        return _fastest(case)
    if asked == "triton" and (reason := _triton_refusal(case)):
        raise ValueError(f"backend='triton' cannot run here: {reason}")
    if asked == "native" and (reason := _native_refusal(case)):
        raise ValueError(f"backend='native' cannot run here: {reason}; use 'auto' or 'torchscript'")
    return Choice(asked, "asked for by name" if _override is None else "forced by dispatch.forced()")


def _fastest(case: Case) -> Choice:
    """Return the fastest backend, as benchmarks/recurrent.py found it; on CUDA devices that is still to be measured."""
    if case.cell.scripted is None:
        return Choice("reference", "this cell has its equations alone")
    refusal = script.refusal()
    special = case.recompute or case.cell.native is None or torch.compiler.is_compiling()
    unrolled = "one node for torch.compile, which would unroll torch's own"
    without = ""
    if case.device.startswith("cuda") and special:
        if (reason := _triton_refusal(case)) is not None:
            without = f" but for triton: {reason}"
        elif case.cell.native is None:
            return Choice("triton", "its loops are kernels, and cuDNN has not these equations")
        else:
            return Choice("triton", "it keeps the states alone" if case.recompute else unrolled)
    if case.recompute:
        return Choice("torchscript", "the fastest that can recompute the gates" + without)
    if case.cell.native is None:
        reason = "the fastest that has these equations" + without
    elif torch.compiler.is_compiling():
        reason = unrolled + without
    elif case.device != "cpu":
        return Choice("native", "cuDNN has these equations")
    elif case.cell.name == "lstm" and _onednn_is_faster(case):
        return Choice("native", "oneDNN's LSTM is the fastest here")
    elif case.cell.name == "lstm" and (lack := _onednn_lack(case)):
        reason = f"the fastest here: {lack}"
    else:
        reason = "the fastest here"
    return Choice("torchscript", reason + (f", though unscripted: {refusal}" if refusal else ""))


def _triton_refusal(case: Case) -> str | None:
    """Say why the Triton backend cannot run a case, None if it can."""
    if case.cell.triton is None:
        return "it has no kernels of this cell"
    return available.refusal(case.dtype, case.device) or plan.refusal(
        case.cell.serial_gates, case.H, case.dtype, case.device
    )


def _native_refusal(case: Case) -> str | None:
    """Say why torch's own operator cannot run a case, None if it can.

    Under autocast torch.lstm hands sequences of equal lengths to oneDNN before it looks at their dtype. With weights in
    16 bits it looks, and runs loops of its own.
    """
    device = torch.device(case.device)
    if case.cell.name != "lstm" or device.type != "cpu" or case.ragged or not autocast_is_on(device):
        return None
    return _onednn_lack(case)


def _onednn_lack(case: Case) -> str | None:
    """Say what oneDNN lacks for an LSTM in 16 bits on this CPU, None if nothing."""
    if case.device != "cpu" or case.dtype not in (torch.bfloat16, torch.float16) or not onednn_is_on():
        return None
    return None if onednn_has(case.dtype) else f"oneDNN has no LSTM in {case.dtype} on this CPU"


def _onednn_is_faster(case: Case) -> bool:
    """Tell whether to take oneDNN's LSTM: it has float32, bfloat16 on some CPUs, and equal lengths."""
    low = case.dtype == torch.bfloat16 and onednn_has(torch.bfloat16)
    has = onednn_is_on() and (case.dtype == torch.float32 or low) and not case.ragged
    return has and not (case.tokens and case.learning and case.B >= TABLE_BATCH)


def values_can_be_read() -> bool:
    """Tell whether a tensor's values can be looked at: not while compiling, nor in a torch.func transform."""
    return not torch.compiler.is_compiling() and not _transformed()


def _transformed() -> bool:
    """Tell whether a torch.func transform (vmap, grad, jvp) is under way."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


@contextmanager
def forced(backend: Backend) -> Iterator[None]:
    """Make every layer use a backend, whatever it asks for; recompute counts for nothing where it is not offered."""
    global _override
    check_backend(backend)
    previous, _override = _override, backend
    try:
        yield
    finally:
        _override = previous


@contextmanager
def unscripted() -> Iterator[None]:
    """Run the TorchScript backend's loops as plain Python, as on a Python that TorchScript does not support."""
    previous, script.unscripted = script.unscripted, True
    try:
        yield
    finally:
        script.unscripted = previous
