"""The benchmarks on named data: one line names the option that fetches them, and the option does."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import checkpoint_rules, graphs, link_ranking
from benchmarks.named_data import make_parser, run


@pytest.mark.parametrize(
    ("main", "words", "name"),
    [
        (checkpoint_rules.main, ["--data", "CiteSeer"], "CiteSeer"),
        (graphs.main, ["epoch"], "Cora"),
        (link_ranking.main, ["--data", "UMLS"], "UMLS"),
    ],
)
def test_missing_data_are_one_line(
    main: Callable[[], int],
    words: list[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words])
    assert run(main) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"benchmark: error: {name} is not in data/")
    assert "; add --data.download true to fetch it (" in line
    assert line.count("\n") == 1


def test_the_option_fetches(
    mirror: dict[str, bytes], published: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    published("Nations")
    monkeypatch.setattr(sys, "argv", ["b.py", *["--data", "Nations", "--hidden_size", "4", "--data.download", "true"]])
    assert run(link_ranking.main) == 0
    assert sorted(path.name for path in Path("data/KG/nations").iterdir()) == ["test.txt", "train.txt", "valid.txt"]


def test_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser(None).parse_args(["--data.download", "yes"])
    assert "expected true or false, got 'yes'" in capsys.readouterr().err
