"""Tables that benchmarks print, stored for the pages."""

import io
import json
import sys
from pathlib import Path

import pytest

from benchmarks import store
from studies import tables

PRINTED = """float32:

| what | 1 sample | |
| --- | --- | --- |
| `decode` | 7,200 to 7,600 | |

bfloat16:

| what | ms |
|---|---|
| `decode` | 4 |
"""


def test_tables_in_what_was_printed() -> None:
    first, second = store.tables_in(PRINTED)
    assert first == [["what", "1 sample", ""], ["`decode`", "7,200 to 7,600", ""]]
    assert second == [["what", "ms"], ["`decode`", "4"]]


def test_tables_are_stored_with_where_they_were_made(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "PUBLISHED_FOLDER", own_folder)
    monkeypatch.setattr(tables, "BENCHMARKS", own_folder / "benchmarks")
    monkeypatch.setattr(sys, "stdin", io.StringIO(PRINTED))
    (own_folder / "a.png").write_bytes(b"\x89PNG")
    words = ["store", "one", "two", "--command", "python -m benchmarks.decoding", "--picture", "a.png"]
    monkeypatch.setattr(sys, "argv", words)
    assert store.main() == 0
    facts = json.loads((own_folder / "benchmarks" / "one.json").read_text())
    assert (facts["command"], facts["environment"]["device"]) == ("python -m benchmarks.decoding", "cpu")
    assert (own_folder / "benchmarks" / "one.png").is_file()
    assert "picture" not in json.loads((own_folder / "benchmarks" / "two.json").read_text())
    assert tables.read_benchmark("one") == [["what", "1 sample", ""], ["`decode`", "7,200 to 7,600", ""]]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert store.main() == 2
    assert capsys.readouterr().err == "benchmarks.store: error: 2 names are given for 0 tables\n"
