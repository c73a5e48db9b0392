"""Names of files, folders for them, and small files written in one piece."""

import hashlib
import re
import tempfile
from pathlib import Path

from lightning_modules.errors import UserError

# Bytes in a name. Encrypted home folders allow 143, most file systems 255; an extension may be added.
LONGEST = 120


def file_name(text: str) -> str:
    """Return `text` as a file name that is valid on every system. Different texts give different names.

    If the text is too long or contains characters that some system forbids, the name ends in a part of its SHA-256.
    """
    whole = text.encode(errors="replace").decode()  # replaces bytes of a command line that are not UTF-8
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "-", whole).rstrip(". ")
    content = name.encode()
    if name == text and 0 < len(content) <= LONGEST:
        return name
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{content[: LONGEST - len(mark) - 1].decode(errors='ignore')}-{mark}"


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, and make sure that files can be written there.

    Raises:
        UserError: if it cannot be made, or no file can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"cannot write in the folder {folder}: {error.strerror}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its target and rename it, so that a reader sees either the old content or the new.

    Raises:
        UserError: if the file cannot be written, for example because the disk is full.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", status=1) from error
    finally:
        beside.unlink(missing_ok=True)
