"""Stops a run when the process that started it ends, however it ends."""

import contextlib
import os
import signal
import threading

# The parent sets it to 1 and gives the run a pipe as standard input, to which it never writes. The system closes the
# pipe when the parent ends, even by SIGKILL. Further processes of a run on several devices inherit both.
STOP_WITH_PARENT = "STOP_WHEN_STDIN_CLOSES"


def stop_with_parent() -> None:
    """If `STOP_WITH_PARENT` is set, treat the end of the parent as SIGTERM: the run saves and stops."""
    if os.environ.get(STOP_WITH_PARENT) == "1":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    with contextlib.suppress(OSError):  # the pipe is closed or missing: the parent has ended
        while os.read(0, 1):
            pass
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:  # interrupts a call in which the main thread waits
        signal.pthread_kill(main, signal.SIGTERM)
    else:  # on Windows, where os.kill would end the process without running its handlers
        signal.raise_signal(signal.SIGTERM)
