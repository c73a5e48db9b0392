"""Parameters of constructors are found in the bases, too."""

from jsonargparse import Namespace

from kernels import LSTM
from lightning_modules.cli.constructors import parameters
from lightning_modules.networks.distmult import DistMult


def test_parameters_that_a_class_passes_on() -> None:
    found = parameters(DistMult)
    assert found["dropout"].annotation is not str
    assert 0 <= found["dropout"].default < 1
    assert "nosuch" not in found
    assert {"hidden_size", "backend"} <= parameters(LSTM).keys()


def test_what_has_no_signature_has_no_parameters() -> None:
    assert "nosuch" not in parameters(Namespace)
    assert parameters(3) == {}
