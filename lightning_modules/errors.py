"""User errors: one line on the terminal instead of a traceback."""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of the user. The message is one line: what was wrong and what would be right.

    Args:
        message: the line, without a full stop.
        status: the exit status: 2 if nothing had been done yet, 1 if a run was under way.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(one_line(message))
        self.status = status


def print_error(script: str, error: Exception | str) -> int:
    """Print a user's mistake as one line on stderr, and return the exit status for it: that of a UserError, else 2."""
    print(f"{script}: error: {error}", file=sys.stderr)
    return error.status if isinstance(error, UserError) else 2


def one_line(message: str) -> str:
    """Return a message as one printable line; words of 200 characters or more are cut in the middle."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in message)
    return re.sub(r"\S{200,}", lambda word: f"{word[0][:60]}…{word[0][-20:]}", shown)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name nearest to `name`; an empty string if none is near."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
