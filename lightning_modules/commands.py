"""Command lines that a user can copy from the terminal. They work in the current folder, whatever PATH is."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def again(arguments: list[str], **options: str) -> str:
    """Return the command that runs this script again with other values of some options.

    Args:
        arguments: the words of this command line.
        options: new values by the names of options, with `__` for dots.
    """
    names = [f"--{name.replace('__', '.')}" for name in options]
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in names:
            next(rest, None)
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    for name, value in zip(names, options.values(), strict=True):
        kept += [name, value]
    return command_line(program("python"), sys.argv[0], *kept)


def command_line(*words: str) -> str:
    """Return the words of a command as one line, quoted for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def program(name: str) -> str:
    """Return how to call a program of this Python environment: its name if the shell would find it, else its path.

    The shell does not find it if the environment is not activated, as under `make train`.
    """
    python = Path(sys.executable)
    own = python if name == "python" else Path(shutil.which(name, path=python.parent) or name)
    found = Path(shutil.which(name) or "")
    if found.parent.resolve() == own.parent.resolve() and found.resolve() == own.resolve():
        return name
    here = os.path.relpath(own) if own.drive == Path.cwd().drive else str(own)
    return str(own) if here.startswith("..") else here
