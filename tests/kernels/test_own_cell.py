"""A fast cell in a folder outside the package: what the tests that run with all cells do not cover."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import unscripted
from lightning_modules.networks.language_model import CharacterModel
from tests.conftest import save_language_model
from tests.kernels.all_cells import FOLDER, Leaky


def test_it_has_all_that_layers_have(capsys: pytest.CaptureFixture[str]) -> None:
    layer, x = Leaky(2, 5), torch.randn(7, 3, 2)
    layer.explain(7, 3)
    assert capsys.readouterr().out.endswith("torchscript, the fastest that has these equations\n")
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x)[0], rtol=0.05, atol=0.05)
    for backend, message in (("native", "neither cuDNN nor oneDNN"), ("triton", "it has no kernels of this cell")):
        with pytest.raises(ValueError, match=message):
            Leaky(2, 5, backend=backend)(x)
    with unscripted():
        torch.testing.assert_close(layer(x), layer(x))


def test_without_loops_its_equations_run(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Leaky(2, 5), torch.randn(7, 3, 2)
    expected = layer(x)
    monkeypatch.setattr(Leaky, "cell", Leaky.cell._replace(scripted=None))
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match="has only its equations and no scripted loops"):
        Leaky(2, 5, backend="torchscript")


def test_widths_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = type(Leaky.cell.scripted)
    monkeypatch.setattr(scripted, "gates", (3,))
    with pytest.raises(ValueError, match=r"ScriptedLeaky\.gates must begin with 1, the gates that weight_ih has"):
        Leaky(2, 5)(torch.zeros(1, 1, 2))
    monkeypatch.setattr(scripted, "states", ("h_0", "c_0"))
    with pytest.raises(TypeError, match=r"low_states must have one value for each of \('h_0', 'c_0'\)"):
        scripted()


def test_generate_py_samples_from_it(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    checkpoint = save_language_model(CharacterModel("ab c\n", Leaky, embedding_size=4, hidden_size=6))
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(root), str(FOLDER))))
    command = [
        sys.executable,
        root / "generate.py",
        "--ckpt",
        checkpoint,
        "--prompt",
        "ab",
        "--length",
        "9",
        "--seed",
        "1",
    ]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "if the cell is your own, name its class: --layer" in refused.stderr
    result = subprocess.run([*command, "--layer", "leaky_cell.Leaky"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.removesuffix("\n")) == 11
