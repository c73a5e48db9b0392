"""Ctrl-C and SIGTERM: when they end the program at once, and when they wait. Imports nothing slow."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """The program ends on a signal; the exit status is the shell's for that signal, 130 or 143.

    Attributes:
        line: what to tell, set by whoever knows what was stopped and what is saved.
    """

    line: str | None = None

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Signals:
    """Handles both signals: a signal raises `Stopped` where it arrives, unless something asks it to wait.

    Attributes:
        received: the first signal that came.
    """

    received: int | None = None
    _stepping = False
    _depth = 0

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals, and leave them afterwards as they were."""
        self.received, self._stepping, self._depth = None, False, 0
        previous = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.take_over()
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def take_over(self) -> None:
        """Become the handler of both signals; a trainer installs its own, so this is called again behind it."""
        for signum in SIGNALS:
            signal.signal(signum, self._receive)

    def wait_for_step(self) -> None:
        """From now on let the first signal wait until a step is done; who trains looks at `received`."""
        self._stepping = True

    def wait_no_more(self) -> None:
        """From now on end at once, as before.

        Raises:
            Stopped: if a signal has waited.
        """
        self._stepping = False
        if self.received is not None:
            raise Stopped(self.received)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let all signals wait while files are written or removed.

        Raises:
            Stopped: if one came that may end the program now.
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


signals = Signals()  # one for the program, as handlers are


def leave_on_signals() -> None:
    """Let both signals end the program in one line, for as long as it has nothing to clean up, as while it imports."""
    for signum in SIGNALS:
        signal.signal(signum, _leave)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line, however many processes train together
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n")
    os._exit(128 + signum)
