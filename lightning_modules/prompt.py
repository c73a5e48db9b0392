"""Text for a character language model: read from a file, and checked against the characters the model knows."""

import contextlib
import sys
import unicodedata

from lightning_modules.errors import UserError

MOST_BYTES = 100_000_000
PLAIN = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": ".", "\t": " ", "\r": "\n", "\u00a0": " "}


def read_prompt_file(name: str) -> str:
    """Return the text of a UTF-8 file; "-" is standard input. Line ends become line feeds, as in training texts.

    Raises:
        UserError: if the file cannot be read, is too large or is not UTF-8.
    """
    if "\0" in name:
        raise UserError(f"--prompt-file: a file name cannot contain a null character: {name!r}")
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"--prompt-file: {name} has more than {MOST_BYTES:,} bytes")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UserError(f"--prompt-file: cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--prompt-file: {name} is not UTF-8 at byte {error.start}") from error


def known_part(text: str, vocabulary: str, skip: bool, what: str) -> str:
    """Return a text without the characters that are not in the vocabulary; a line on stderr names them.

    Args:
        text: the text.
        vocabulary: the known characters.
        skip: whether unknown characters are allowed.
        what: the text's name in messages.

    Raises:
        UserError: if there are unknown characters and they are not allowed.
    """
    unknown: dict[str, list[int]] = {}
    for position, character in enumerate(text):
        if character not in vocabulary:
            unknown.setdefault(character, []).append(position)
    if not unknown:
        return text
    if not skip:
        listed = _describe(unknown, vocabulary)
        raise UserError(f"the model does not know these characters of {what}: {listed}; --unknown skip drops them")
    print(f"skipped in {what}: {' '.join(map(repr, unknown))}", file=sys.stderr)
    return "".join(character for character in text if character not in unknown)


def _describe(unknown: dict[str, list[int]], vocabulary: str) -> str:
    """Return the first unknown characters with their positions and the most similar known characters, in one line."""
    described = []
    for character, positions in list(unknown.items())[:5]:
        similar = similar_character(character, vocabulary)
        where = ", ".join(map(str, positions[:5])) + (" …" if len(positions) > 5 else "")
        described.append(f"{character!r} at {where}" + (f" (similar: {similar!r})" if similar else ""))
    return ", ".join(described) + (" …" if len(unknown) > 5 else "")


def similar_character(character: str, vocabulary: str) -> str:
    """Return a known character in place of an unknown one, or "".

    It is tried without its accent, in the other case, and as the plain quote or dash.
    """
    base = unicodedata.normalize("NFKD", character)[0]
    for candidate in (PLAIN.get(character, ""), base, base.swapcase(), character.swapcase()):
        if candidate and candidate in vocabulary:
            return candidate
    return ""
