"""Edge lists: what is the same graph, what is printed, what is refused."""

from pathlib import Path

import pytest

from datamodules.edge_list import read_pairs
from datamodules.errors import DataError

EDGES = [("0", "1"), ("1", "2"), ("2", "0"), ("2", "3")]
PAIRS = [[0, 1], [0, 2], [1, 2], [2, 3]]
TEXT = "".join(f"{one} {other}\n" for one, other in EDGES)


def read(folder: Path, content: str | bytes) -> tuple[list[list[int]], int]:
    path = folder / "edges.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    pairs, nodes = read_pairs(path)
    return pairs.tolist(), nodes


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace(" ", ","),
        TEXT.replace(" ", ", "),
        TEXT.replace(" ", "\t"),
        TEXT.replace(" ", "\t \t"),
        TEXT.replace(" ", "   "),
        TEXT.replace("\n", "  \r\n"),
        TEXT.replace("\n", "\r"),
        f"\ufeff{TEXT}",
        f"\ufeff# a comment\n% another, one\n\n{TEXT}\n\n \n",
        TEXT.rstrip(),
        TEXT + "1 0\n0 1\n2 1\n",
        TEXT.replace("0", "Ada\u2028L\x85\x0c")
        .replace("1", "B")
        .replace("2", "C")
        .replace("3", "D")
        .replace(" ", "\t"),
    ],
)
def test_the_same_graph(own_folder: Path, content: str, capsys: pytest.CaptureFixture) -> None:
    assert read(own_folder, content) == (PAIRS, 4)
    assert not capsys.readouterr().out


def test_names_with_spaces_between_tabs(own_folder: Path) -> None:
    assert read(own_folder, "Anna Lee\tBob, Ray\nBob, Ray\tCy\n") == ([[0, 1], [1, 2]], 3)


def test_loops_are_told_and_left_out(own_folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert read(own_folder, f"# loops\n{TEXT}9 9\n2 2\n") == (PAIRS, 4)
    assert "edges.txt: left out line 6 and 1 more, which join a name to itself\n" in capsys.readouterr().out


@pytest.mark.parametrize("header", ["source target", "id_1,id_2", "FromNodeId\tToNodeId", "node1, node2", "who whom"])
def test_a_header_is_refused(own_folder: Path, header: str) -> None:
    separator = next(each for each in ("\t", ",", " ") if each in header)
    with pytest.raises(DataError, match=r"edges\.txt, line 2 is a header, .*: remove it, or put # before it"):
        read(own_folder, f"\n{header}\n{TEXT.replace(' ', separator)}")
    read(own_folder, f"#{header}\n{TEXT}")


def test_names_that_are_no_header(own_folder: Path) -> None:
    assert read(own_folder, "a b\nb c\n") == ([[0, 1], [1, 2]], 3)
    assert read(own_folder, "x1 1\n2 3\n4 x1\n") == ([[0, 4], [1, 2], [3, 4]], 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "0 1\n1 2 0.5\n",
            r"line 2: expected two names, got '1 2 0\.5'; the first pair is separated by spaces",
        ),
        ("0,1\n1 2\n", r"line 2: expected two names, got '1 2'; the first pair is separated by a comma"),
        ("0\t1\n1 2\n", r"line 2: expected two names, got '1 2'; the first pair is separated by a tab"),
        ("0 1\n1\t2\n3,4\n", r"line 3: expected two names, got '3,4'; the first pair is separated by spaces"),
        ("Smith,J Doe\n", r"line 1: expected two names, got 'Smith,J Doe'; the first pair is separated by a comma"),
        ("0,\n", r"line 1: expected two names"),
        ("0;1\n", r"line 1: expected two names, got '0;1'; the first pair is separated by spaces"),
        ("# nothing\n", r"edges\.txt has no friendships"),
        (TEXT.encode("utf-16"), r"edges\.txt is UTF-16 or UTF-32; save it as UTF-8"),
        (TEXT.encode("utf-16-le"), r"edges\.txt is not text: it has a zero byte at offset 1"),
        (b"caf\xe9 b\n", r"edges\.txt is not UTF-8: the byte at offset 3 is 0xe9"),
    ],
)
def test_files_that_are_refused(own_folder: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(own_folder, content)
