"""Files that the program writes: their names, and small ones written whole."""

import hashlib
import re
from pathlib import Path

from lightning_modules.errors import UserError

LONGEST = (
    120  # bytes: below the 143 of an encrypted home folder and the 255 of most file systems, with room for an ending
)


def file_name(text: str) -> str:
    """Return a name for a file, as near to `text` as every file system takes it; two texts have two names.

    If the text is too long or has characters that some system refuses, the name ends in a part of its SHA-256.
    """
    whole = text.encode(errors="replace").decode()  # without half a character, of a command line that is not UTF-8
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "-", whole).rstrip(". ")
    content = name.encode()
    if name == text and 0 < len(content) <= LONGEST:
        return name
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{content[: LONGEST - len(mark) - 1].decode(errors='ignore')}-{mark}"


def write_whole(path: Path, text: str) -> None:
    """Write a small file beside its target and rename it: a reader sees the old content or the new, whole.

    Raises:
        UserError: if the disk refuses, as when it is full.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", status=1) from error
    finally:
        beside.unlink(missing_ok=True)
