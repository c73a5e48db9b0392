"""Handling of Ctrl-C and SIGTERM: they end the program at once, or wait until it is safe. Imports nothing slow."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """Raised to end the program on a signal, with the shell's exit status for it: 130 or 143.

    Attributes:
        line: what to print, set where it is known what was stopped and what is saved.
    """

    line: str | None = None

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Signals:
    """Handler of both signals. A signal raises `Stopped` where it arrives, unless something has asked it to wait.

    Attributes:
        received: the first signal that arrived.
    """

    received: int | None = None
    _stepping = False
    _depth = 0

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals, and restore the previous handlers at the end."""
        self.received, self._stepping, self._depth = None, False, 0
        previous = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.take_over()
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def take_over(self) -> None:
        """Install this handler. Lightning's trainer installs its own, so this is called again after that."""
        for signum in SIGNALS:
            signal.signal(signum, self._receive)

    def wait_for_step(self) -> None:
        """From now on the first signal waits until a step is done; the training loop checks `received`."""
        self._stepping = True

    def wait_no_more(self) -> None:
        """From now on signals end the program at once again.

        Raises:
            Stopped: if a signal is waiting.
        """
        self._stepping = False
        if self.received is not None:
            raise Stopped(self.received)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let all signals wait, while files are written or removed.

        Raises:
            Stopped: afterwards, if a signal arrived and does not have to wait for a step.
        """
        before = self.received
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self.received != before and not self._stepping and not self._depth:
            raise Stopped(self.received or 0)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        waits = self._depth > 0 or (self._stepping and self.received is None)
        self.received = self.received or signum
        if not waits:
            raise Stopped(signum)


signals = Signals()  # one for the whole program, as signal handlers are


def leave_on_signals() -> None:
    """Let both signals end the program with one line. Used during imports, when there is nothing to clean up."""
    for signum in SIGNALS:
        signal.signal(signum, _leave)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line, even if several processes train together
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n")
    os._exit(128 + signum)
