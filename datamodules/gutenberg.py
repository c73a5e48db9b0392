"""Extraction of the book from a file of Project Gutenberg: the text between the markers, without header and licence.

A book stands between a START marker and the next END marker. In files from before 2003 it starts after "The Small
Print!" and ends at the last line "End of the Project Gutenberg Etext of …". A file may hold several books. The text
before, between and after them is header and licence, and is removed. If it is too long for that, or has a marker
without its counterpart, the whole file is kept, and a message gives the reason. So no text is lost silently.
"""

import itertools
import re
from collections.abc import Iterator

_LINE = r"^[ \t]*\*{2,}[ \t]*%s OF (?:(?:THIS|THE) )?(?:COPYRIGHTED )?PROJECT GUTENBERG(?:['’]S)? E-?(?:BOOK|TEXT)"
# A marker ends at its closing asterisks, on its line or, with a long title, up to two lines on; else with its line.
START = re.compile(_LINE % "START" + r"(?:[^*\n]*(?:\n[^*\n]*[^*\s][^*\n]*){0,2}?\*{2,}[ \t]*|.*)", re.MULTILINE | re.I)
END = re.compile(_LINE % "END" + ".*", re.MULTILINE | re.I)
SMALL_PRINT = re.compile(r"^[ \t]*\*+ ?END[ *]*THE SMALL PRINT.*", re.MULTILINE | re.I)  # its end
CLOSING = re.compile(r"^[ \t]*End of (?:the )?Project Gutenberg.*", re.MULTILINE | re.I)
CLOSING_REACH = 500  # characters above END in which a closing line may stand
OUTSIDE = 30_000  # characters that a licence and the next header take at most; today's licence has 19,000


def strip_licence(text: str, name: str = "the text") -> str:
    """Return the books of a text without Project Gutenberg's header and licence; a text without markers as it is.

    Args:
        text: with line feeds at the ends of its lines.
        name: what to call it where something is unclear.
    """
    books = list(_books(text))
    most = OUTSIDE if books else len(text)
    parts, unclear, place = [], [], 0
    for header, first, last, licence in [*books, (len(text),) * 4]:
        outside = text[place:header]
        why, where = _unclear(outside, most)
        if why:
            line = 1 + text.count("\n", 0, place + where)
            unclear.append(f"line {line}: {why}")
            parts.append(outside)
        parts.append(text[first:last])
        place = licence
    if unclear:
        found = "; ".join(unclear)
        print(f"{name}: Project Gutenberg's markers are unclear ({found}), so the text there is kept", flush=True)
    if not books:
        return text
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _books(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield where each book's opening marker begins and ends, and where its closing marker begins and ends."""
    kinds = {"start": START, "end": END, "small print": SMALL_PRINT}
    markers = sorted(
        (found.start(), found.end(), kind) for kind, mark in kinds.items() for found in mark.finditer(text)
    )
    markers.append((len(text), len(text), "nothing"))
    for (header, first, kind), (last, licence, following) in itertools.pairwise(markers):
        closings = list(CLOSING.finditer(text, first, last))
        if kind != "end" and following == "end":
            near = [closing for closing in closings if closing.start() >= last - CLOSING_REACH]
            yield header, first, near[-1].start() if near else last, licence
        elif kind == "small print" and closings:
            yield header, first, closings[-1].start(), closings[-1].end()


def _unclear(outside: str, most: int) -> tuple[str, int]:
    """Return why a text outside of the books may be more than header and licence, and where it seems so; or ""."""
    for mark, what in ((START, "START without END"), (END, "END without START"), (SMALL_PRINT, "header without end")):
        if found := mark.search(outside):
            return what, found.start()
    return (f"{len(outside)} characters outside of the markers" if len(outside) > most else ""), 0
