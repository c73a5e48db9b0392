"""Checkpoints of language models: which are refused, and cells of one's own."""

from pathlib import Path

import pytest
import torch

import kernels
from lightning_modules.errors import UserError
from lightning_modules.saved_language_model import CELLS, load_language_model
from tests.conftest import ALPHABET


def test_the_cells_are_those_of_kernels() -> None:
    assert set(CELLS) >= {"RNN", "LSTM", "GRU", "PeepholeLSTM", "LayerNormLSTM", "SLSTM"}
    assert all(CELLS[name] is getattr(kernels, name) for name in CELLS)


def test_checkpoints_that_will_not_do(language_model: Path) -> None:
    good = torch.load(language_model)
    description = good["language_model"]
    for change, message in (
        ({"language_model": None}, "it has no vocabulary"),
        ({"language_model": {**description, "cell": "os.system"}}, "has the cell 'os.system'"),
        ({"language_model": {**description, "hidden_size": 7}}, "is damaged: its model cannot be made"),
        ({"language_model": {**description, "hidden_size": 1 << 40}}, "is damaged: its hidden_size is 1099511627776"),
        ({"language_model": {**description, "num_layers": "2"}}, "is damaged: its num_layers is '2'"),
        ({"language_model": {**description, "cell_options": 3}}, "is damaged: its cell_options are 3"),
        ({"language_model": {**description, "vocabulary": "a" * len(ALPHABET)}}, "has a character twice"),
        ({"language_model": {**description, "vocabulary": ALPHABET[1:] + "\ud800"}}, "has half a character"),
        ({"state_dict": {}}, "is damaged: its model cannot be made"),
        ({"state_dict": {3: 4}}, "is damaged: its model cannot be made"),
    ):
        torch.save({**good, **change}, language_model)
        with pytest.raises(UserError, match=message) as error:
            load_language_model(language_model)
        assert str(error.value).startswith("last.ckpt ")


def test_options_of_all_layers_are_not_taken_from_a_file(language_model: Path) -> None:
    good = torch.load(language_model)
    good["language_model"]["cell_options"] |= {"backend": "nothing", "device": "nowhere", "other": 1}
    torch.save(good, language_model)
    assert load_language_model(language_model).layer.backend == "auto"


OWN_CELL = """
from kernels import LSTM

class Own(LSTM):
    def __init__(self, *arguments, slope=1.0, **options):
        super().__init__(*arguments, **options)
        self.slope = slope
"""


def test_a_cell_of_ones_own_is_named_by_the_person(language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(".")
    Path("own_cell_to_load.py").write_text(OWN_CELL)
    good = torch.load(language_model)
    good["language_model"] |= {"cell": "Own", "cell_options": {"bias": True, "slope": 0.5}}
    torch.save(good, language_model)
    layer = load_language_model(language_model, "own_cell_to_load.Own").layer
    assert (type(layer).__name__, layer.slope) == ("Own", 0.5)
    for path, message in (
        (
            None,
            "has the cell 'Own', which is not one of .*LSTM.*; if the cell is your own, name its class: --layer my_c",
        ),
        ("own_cell_to_load.LSTM", "--layer: last.ckpt has the cell 'Own', not LSTM"),
        ("own_cell_to_load.Other", "--layer: cannot import own_cell_to_load.Other"),
        ("Own", "--layer: cannot import Own: its module is missing"),
        ("nowhere.Own", "--layer: cannot import nowhere.Own"),
        ("json.dumps", "--layer: json.dumps is not a subclass of kernels.RecurrentLayer"),
    ):
        with pytest.raises(UserError, match=message):
            load_language_model(language_model, path)
