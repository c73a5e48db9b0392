"""The choice of backend, and its overrides."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kernels
from kernels import LSTM, PeepholeLSTM, choose, dispatch, forced, unscripted
from kernels.dispatch import Case
from kernels.torchscript import script

CASE = Case(
    cell="lstm", plain=True, tokens=False, ragged=False, learning=True, recompute=False,
    T=41, B=256, I=64, H=256, dtype=torch.float32, device="cpu",
)  # fmt: skip


def test_auto_says_why() -> None:
    assert choose("auto", CASE) == ("native", "oneDNN's LSTM is the fastest here")
    assert choose("auto", CASE._replace(dtype=torch.bfloat16)).backend == "native"
    for change in ({"tokens": True}, {"ragged": True}, {"dtype": torch.float64}, {"cell": "gru"}):
        assert choose("auto", CASE._replace(**change)) == ("torchscript", "the fastest here")
    for change in ({"B": 64}, {"learning": False}):
        assert choose("auto", CASE._replace(tokens=True, **change)).backend == "native"
    assert choose("auto", CASE._replace(plain=False)) == ("torchscript", "the fastest that has these equations")
    assert choose("auto", CASE._replace(recompute=True)).backend == "torchscript"
    assert choose("auto", CASE._replace(device="cuda")) == ("native", "cuDNN has these equations")


def test_a_named_backend_is_taken() -> None:
    assert choose("reference", CASE) == ("reference", "asked for by name")


def test_unknown_backends_are_listed() -> None:
    with pytest.raises(ValueError, match="must be one of auto, reference, torchscript, native, triton, got 'cudnn'"):
        choose("cudnn", CASE)
    with pytest.raises(ValueError, match="must be one of"), forced("oneDNN"):
        pass


def test_forced_overrides_and_gives_back() -> None:
    with forced("reference"):
        assert choose("torchscript", CASE) == ("reference", "forced by dispatch.forced()")
    assert choose("torchscript", CASE).backend == "torchscript"


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    LSTM(3, 5).explain(41, 8)
    PeepholeLSTM(3, 5).explain(41, 8, tokens=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "LSTM, 41 steps of 8 rows, vectors, torch.float32 on cpu: native, oneDNN's LSTM is the fastest here",
        "PeepholeLSTM, 41 steps of 8 rows, tokens, torch.float32 on cpu: torchscript, the fastest that has these"
        " equations",
    ]


def test_forced_reaches_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the reference ran")

    monkeypatch.setitem(dispatch.IMPLEMENTATIONS, ("lstm", "reference"), fail)
    layer, x = LSTM(2, 3), torch.zeros(2, 1, 2)
    layer(x)
    with pytest.raises(AssertionError, match="the reference ran"), forced("reference"):
        layer(x)


def test_where_scripting_is_refused_loops_run_unscripted(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = PeepholeLSTM(2, 3), torch.randn(4, 1, 2)
    expected = layer(x)
    monkeypatch.setattr(script.sys, "version_info", (3, 14))
    monkeypatch.setattr(script, "_scripted", None)  # calling it would fail
    assert "Python 3.14" in choose("auto", CASE._replace(plain=False)).reason
    assert choose("auto", CASE._replace(tokens=True)).backend == "native"
    torch.testing.assert_close(layer(x), expected)
    with unscripted():
        torch.testing.assert_close(layer(x), expected)


def test_importing_scripts_nothing_and_needs_no_lightning() -> None:
    code = """
import sys
import kernels
from kernels.torchscript import script
print(script._scripted.cache_info().currsize, "pytorch_lightning" in sys.modules)
"""
    root = Path(kernels.__path__[0]).parent
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.stdout.split() == ["0", "False"], result.stderr
