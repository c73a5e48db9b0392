"""Command lines to copy from the terminal. They work in the folder where they are printed, whatever PATH says."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def again(arguments: list[str], **options: str) -> str:
    """Return the line that runs this script again with the same words but these options, whose dots are `__`."""
    names = [f"--{name.replace('__', '.')}" for name in options]
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in names:
            next(rest, None)
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    for name, value in zip(names, options.values(), strict=True):
        kept += [name, value]
    return line(program("python"), sys.argv[0], *kept)


def line(*words: str) -> str:
    """Return words as one line, quoted for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def program(name: str) -> str:
    """Return how to call a program of this Python's environment: by its name if the shell finds it, else by its path.

    `make train` runs in an environment that the shell has not activated.
    """
    own = (
        Path(sys.executable) if name == "python" else Path(shutil.which(name, path=Path(sys.executable).parent) or name)
    )
    found = Path(shutil.which(name) or "")
    if found.parent.resolve() == own.parent.resolve() and found.resolve() == own.resolve():
        return name
    here = os.path.relpath(own) if own.drive == Path.cwd().drive else str(own)
    return str(own) if here.startswith("..") else here
