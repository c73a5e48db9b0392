"""Tables 2 to 4, and the measures of repetition."""

import json
import re
from pathlib import Path

import pytest
import torch

from kernels.decode import Sampling
from lightning_modules.networks.language_model import CharacterModel
from studies.book_run import read_book_run
from studies.book_tables import DECODINGS, PROMPT, first_letters, main, shown, texts_of
from tests.studies.book_folder import book_folder


def greedy(network: CharacterModel, start: str, length: int) -> str:
    text = start
    while len(text) < length:
        logits = network(network.encode(text)[None])[0][0, -1]
        text += network.vocabulary[int(logits.argmax())]
    return text


def cells(table: str) -> list[list[str]]:
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in table.splitlines()[2:]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, float], Path]:
    """Return the tables by their titles, the numbers, and the run of an analysis of three networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("book"))
        run = book_folder({10: 1, 20: 2, 30: 3})
        assert main(["--out", "out", "--runs", str(run), "--length", "60"]) == 0
        parts = Path("out/book_tables.md").read_text().strip().split("\n\n")
        titles = [part.split("**")[1] for part in parts[::2]]
        numbers = json.loads(Path("out/summary.json").read_text())
    return dict(zip(titles, parts[1::2], strict=True)), numbers, folder


def test_table_2_has_greedy_text_at_thirds(tables: tuple[dict[str, str], dict, Path], own_folder: Path) -> None:
    rows = cells(tables[0]["Table 2."])
    assert [row[0] for row in rows] == ["10"] * 5 + ["20"] * 5 + ["30"] * 5
    assert len({row[k][3] for row in rows for k in (1, 2, 3)}) == 15, "each from another first character"
    network = read_book_run([book_folder({20: 2})]).network(20)
    letters = first_letters(network)
    for column, (first, length) in enumerate(((5, 20), (10, 30), (15, 60)), start=1):
        assert rows[5][column] == shown(greedy(network, letters[first - 5], length))


def test_table_3_has_three_samples_of_100_characters_for_each_tau(tables: tuple[dict[str, str], dict, Path]) -> None:
    rows = cells(tables[0]["Table 3."])
    assert [row[0] for row in rows] == ["0.5"] * 3 + ["1"] * 3 + ["2"] * 3
    assert all(len(row[1]) == 100 + len(shown("")) for row in rows)
    assert len({row[1] for row in rows}) == 9


def test_table_4_completes_the_prompt(tables: tuple[dict[str, str], dict, Path], own_folder: Path) -> None:
    rows = cells(tables[0]["Table 4."])
    assert [row[0] for row in rows] == ["greedy", "τ = 2", "τ = 1", "τ = 0.5"]
    assert all(row[1].startswith(f"`` {PROMPT}") and len(row[1]) == 100 + len(shown("")) for row in rows)
    assert rows[0][1] == shown(greedy(read_book_run([book_folder({30: 3})]).network(30), PROMPT, 100))


def test_repetition_has_a_row_for_each_decoding_and_the_book(tables: tuple[dict[str, str], dict, Path]) -> None:
    rows, numbers = cells(tables[0]["Repetition."]), tables[1]
    assert [row[0] for row in rows] == ["greedy", "τ = 2", "τ = 1", "τ = 0.5", "held-out text"]
    names = [*DECODINGS, "book"]
    for row, name in zip(rows, names, strict=True):
        repeated, known = (f"{100 * numbers[f'{measure}_{name}']:.1f}" for measure in ("repetition", "known_words"))
        assert row[1:] == [repeated, *(f"{numbers[f'distinct_{n}_{name}']:.3f}" for n in (1, 2, 3)), known]
    assert numbers["known_words_book"] == 1, "the held-out part of this text says nothing new"
    assert {f"repetition_greedy_third_{k}" for k in (1, 2, 3)} <= numbers.keys()
    assert {f"completion_words_{name}" for name in DECODINGS} <= numbers.keys()


def test_tau_multiplies_the_logits() -> None:
    torch.manual_seed(0)
    network = CharacterModel("abcdefgh", embedding_size=4, hidden_size=6).eval()
    cold = texts_of(network, ["a"], 50, Sampling(1e5))
    assert cold == texts_of(network, ["a"], 50, DECODINGS["greedy"]), "a large τ is greedy"
    flat = texts_of(network, ["a"], 2000, Sampling(1e-5))[0]
    assert all(flat.count(letter) == pytest.approx(250, abs=75) for letter in "abcdefgh"), "a small τ is uniform"


def test_text_in_a_cell_keeps_its_line_ends_and_bars() -> None:
    assert shown("a\nb|c`d") == r"`` a⏎b\|c`d ``"


def test_a_model_that_knows_no_letter_of_the_prompt(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = book_folder({1: 0})
    checkpoint = torch.load(folder / "step_1.ckpt", weights_only=True)
    vocabulary = checkpoint["language_model"]["vocabulary"]
    checkpoint["language_model"]["vocabulary"] = "".join(chr(0x4E00 + k) for k in range(len(vocabulary)))
    torch.save(checkpoint, folder / "step_1.ckpt")
    assert main(["--out", "out", "--runs", str(folder)]) == 2
    assert capsys.readouterr().err.endswith("error: the model knows no character of 'Secretary of States'\n")
