"""Names of files and folders that are made from settings."""

import hashlib
import re

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
