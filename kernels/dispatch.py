"""Which implementation of a cell runs: chosen in one place, with its reason, and one override for tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

from kernels import reference
from kernels.torchscript import lstm, peephole, rnn, script

Backend = Literal["auto", "reference", "torchscript"]

IMPLEMENTATIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("rnn", "reference"): reference.rnn,
    ("rnn", "torchscript"): rnn.rnn,
    ("lstm", "reference"): reference.lstm,
    ("lstm", "torchscript"): lstm.lstm,
    ("peephole_lstm", "reference"): reference.peephole_lstm,
    ("peephole_lstm", "torchscript"): peephole.peephole_lstm,
}

_override: Backend | None = None


class Choice(NamedTuple):
    """The backend that will run, and why."""

    backend: str
    reason: str


def check_backend(backend: str) -> None:
    """See that a backend exists.

    Raises:
        ValueError: if it does not; the message lists those that do.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")


def choose(backend: Backend) -> Choice:
    """Return the backend for a layer that asks for `backend`.

    "auto" takes the fastest that can run. A backend asked for by name is taken or refused, never replaced.
    """
    asked = _override or backend
    check_backend(asked)
    if asked != "auto":
        return Choice(asked, "asked for by name" if _override is None else "forced by dispatch.forced()")
    refusal = script.refusal()
    return Choice("torchscript", "the fastest here" + (f", though unscripted: {refusal}" if refusal else ""))


def implementation(cell: str, backend: Backend) -> Callable[..., Any]:
    """Return the function that computes a cell: "rnn", "lstm" or "peephole_lstm"."""
    return IMPLEMENTATIONS[cell, choose(backend).backend]


@contextmanager
def forced(backend: Backend) -> Iterator[None]:
    """Make every layer use a backend, whatever it asks for."""
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
