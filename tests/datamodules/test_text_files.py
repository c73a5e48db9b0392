"""Files of texts: TextGCN's sets, a table of one's own, what is refused."""

import gzip
import os
import re
import unicodedata
from pathlib import Path

import pytest

from datamodules import text_files
from datamodules.errors import DataError
from datamodules.text_files import PUBLISHED, Text, read_published, read_table, torch_texts, words_of


def test_a_table_of_ones_own(own_folder: Path) -> None:
    path = own_folder / "texts.tsv"
    path.write_bytes("\ufefftrain\tgood\tA film, by all\tmeans!\r\n\n test \tbad\tIt is\x85 not\n\n \n".encode())
    assert read_table(path) == [
        Text("train", "good", ["a", "film", ",", "by", "all", "means", "!"]),
        Text("test", "bad", ["it", "is", "not"]),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.tsv",
            b"train\tgood\tA film\n\nvalid\tbad\tIt is\n",
            r"t\.tsv, line 3: expected train or test, a class and a text",
        ),
        ("t.tsv", b"train\tgood\n", r"line 1: .* got 'train\\tgood'"),
        ("t.tsv", b"train\t \tA film\n", r"line 1: "),
        ("t.tsv", b"train\tgood\tcaf\xe9\n", r"t\.tsv is not UTF-8: the byte at offset 14 is 0xe9"),
        ("t.tsv.gz", b"train\tgood\tA film\n", r"cannot read .*t\.tsv\.gz: Not a gzipped file"),
        ("t.tsv.gz", gzip.compress(b"train\tgood\tA film\n" * 1000)[:-9], r"cannot read .*t\.tsv\.gz"),
        ("t.tsv", "train\tgood\tA film\n".encode("utf-16"), r"t\.tsv is UTF-16 or UTF-32; save it as UTF-8"),
        ("t.tsv", b"split\tlabel\ttext\ntrain\tgood\tA film\n", r"line 1: expected train or test, a class and a text"),
        ("t.tsv", None, r"t\.tsv is missing"),
    ],
)
def test_tables_that_are_refused(own_folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (own_folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(own_folder / name)


def test_texts_that_are_trained_on_and_tested_are_told(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_folder / "t.tsv"
    path.write_text("train\tgood\tA film\ntest\tgood\ta  Film\ntest\tbad\tA play\ntrain\tgood\tA film\n")
    assert len(read_table(path)) == 4
    assert "t.tsv: 1 of the texts to test are also among those to train on\n" in capsys.readouterr().out


@pytest.fixture
def small_set(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let R8 be three texts."""
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    monkeypatch.setitem(text_files.PUBLISHED, "R8", (2, 1))
    folder = own_folder / "data" / "TextGCN"
    (folder / "corpus").mkdir(parents=True)
    (folder / "R8.txt").write_text("0\ttraining\tearn\n1\ttrain\tacq\n2\ttest\tearn\n")
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_a_published_set(small_set: Path, packed: bool) -> None:
    content = b"one two\nthree\x85four \xe9\nfive\n"
    path = small_set / "corpus" / ("R8.clean.txt.gz" if packed else "R8.clean.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    texts = read_published("R8")
    assert [text[:2] for text in texts] == [("train", "earn"), ("train", "acq"), ("test", "earn")]
    assert [len(text.words) for text in texts] == [2, 3, 1]


def test_published_sets_that_are_refused(small_set: Path) -> None:
    with pytest.raises(DataError, match=r"R52 is not in data/TextGCN; add --data\.download true to fetch it \(4\.4 MB"):
        read_published("R52")
    with pytest.raises(DataError, match=r"data/TextGCN lacks corpus/R8\.clean\.txt of R8; add"):
        read_published("R8")
    (small_set / "corpus" / "R8.clean.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"cut short or not R8"):
        read_published("R8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files(name: str) -> None:
    try:
        texts = read_published(name)
    except DataError as error:
        pytest.skip(str(error))
    assert all(text.words for text in texts)
    assert len({text.label for text in texts}) == {"R8": 8, "R52": 52, "MR": 2, "Ohsumed": 23}[name]


def test_texts_that_are_always_there() -> None:
    texts = torch_texts()
    assert texts == torch_texts()
    assert len(texts) > 200
    for split in ("train", "test"):
        assert len({text.label for text in texts if text.split == split}) > 4
    assert all(text.label not in text.words for text in texts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में लिखो।", ["हिन्दी", "में", "लिखो", "।"]),
        ("ภาษาไทย ที่นี่", ["ภาษาไทย", "ที่นี่"]),
        ("Кра\u0301сный", ["кра\u0301сный"]),
        (
            "Ame\u0301lie d\u2019Orle\u0301ans",
            ["am\u00e9lie", "d", "\u2019", "orl\u00e9ans"],
        ),  # composed, as others write them
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("ක්\u200dරම", ["ක්\u200dරම"]),
        ("שָׁלוֹם", ["ש\u05c1\u05b8לו\u05b9ם"]),
        ("我们 学习，好", ["我们", "学习", "，", "好"]),
        ("İzmir", ["i\u0307zmir"]),
        ("I \u2764\ufe0fParis", ["i", "\u2764\ufe0f", "paris"]),
        ("\u0301 x", ["\u0301", "x"]),
        ("x² ½ h_t", ["x²", "½", "h", "t"]),
        ("", []),
    ],
)
def test_words_of_many_languages(text: str, words: list[str]) -> None:
    assert words_of(text) == [unicodedata.normalize("NFC", word) for word in words]


@pytest.mark.parametrize("name", ["R8", "mr"])
def test_words_of_english_corpora_are_what_they_were(name: str) -> None:
    path = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TextGCN" / "corpus" / f"{name}.txt.gz"
    if not path.is_file():
        pytest.skip(f"{name}'s files are not here")
    text = gzip.decompress(path.read_bytes()).decode("latin-1")
    assert words_of(text) == re.findall(r"[^\W_]+|[^\w\s]", text.lower())


def test_words() -> None:
    assert words_of("It's_a café; 2.5%") == ["it", "'", "s", "a", "café", ";", "2", ".", "5", "%"]
