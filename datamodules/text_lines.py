"""Reading of text files and their lines, for tables, edge lists, triples and books.

Files are UTF-8, with or without a byte order mark, and compressed by gzip if the name ends in .gz. A line ends in LF,
CRLF or CR. Other characters, such as U+0085, U+2028 and a form feed, do not end a line.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from datamodules.errors import DataError

UTF_16_AND_32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")  # their byte order marks
COLUMN_NAMES = {  # usual names of the columns of edge lists, triples and labelled texts
    *("source", "target", "src", "dst", "from", "to", "node", "node1", "node2", "id1", "id2", "user1", "user2"),
    *("sourceid", "targetid", "fromnodeid", "tonodeid", "fromnode", "tonode", "u", "v", "a", "b"),
    *("head", "relation", "tail", "h", "r", "t", "subject", "predicate", "object", "s", "p", "o", "rel"),
    *("split", "label", "class", "text"),
}
SINGLE = {name for name in COLUMN_NAMES if len(name) == 1}


def file_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, with LF at the ends of lines.

    Args:
        path: the file; .gz is decompressed.
        encoding: encoding of the file.

    Raises:
        DataError: if the file cannot be read, or is not text in this encoding.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # reading it could block or never end
            raise DataError(f"{path} is a pipe or a device; data are read more than once, so it must be a file")
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if content.startswith(UTF_16_AND_32):
        raise DataError(f"{path} is UTF-16 or UTF-32; save it as UTF-8: iconv -f UTF-16 -t UTF-8")
    if b"\0" in content:
        raise DataError(f"{path} is not text: it has a zero byte at offset {content.index(0)}")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f"the byte at offset {error.start} is {content[error.start]:#04x}"
        raise DataError(f"{path} is not UTF-8: {byte}") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def file_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Return the lines of a file, as `file_text` reads it.

    Raises:
        DataError: as `file_text` does.
    """
    lines = file_text(path, encoding).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def is_header(names: Sequence[str]) -> bool:
    """Return whether a row is a header: all its names are usual names of columns, and not all are single letters."""
    plain = ["".join(character for character in name.casefold() if character.isalnum()) for name in names]
    return set(plain) <= COLUMN_NAMES and not set(plain) <= SINGLE
