"""A fast cell in a folder outside the package: what the tests that run with all cells do not cover."""

import pytest
import torch

from kernels import unscripted
from tests.kernels.all_cells import Leaky


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
    with pytest.raises(ValueError, match="has its equations alone and no scripted loops"):
        Leaky(2, 5, backend="torchscript")
