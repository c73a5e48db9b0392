"""A run that another process has started stops when that process ends, however it ends."""

import contextlib
import os
import signal
import threading

# Set to 1 where standard input is a pipe that the parent holds open and never writes to. The system closes it when the
# parent ends, also by SIGKILL; the processes of a run on several devices inherit both.
VARIABLE = "STOP_WHEN_STDIN_CLOSES"


def stop_with_parent() -> None:
    """Watch over the parent, if it asks for it by VARIABLE; its end counts as SIGTERM: the run saves and stops."""
    if os.environ.get(VARIABLE) == "1":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    with contextlib.suppress(OSError):  # a closed or missing pipe is one whose parent has ended
        while os.read(0, 1):
            pass
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:  # breaks into a call in which the main thread waits
        signal.pthread_kill(main, signal.SIGTERM)
    else:  # on Windows os.kill would end the process without its handlers
        signal.raise_signal(signal.SIGTERM)
