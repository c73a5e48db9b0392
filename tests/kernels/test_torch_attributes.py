"""The layers in the place of torch.nn's: attributes, weight normalisation, pruning, tracing, pickles, error types."""

import copy
import io
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, rnn

import kernels
from kernels import GRU, LSTM, RNN, PeepholeLSTM
from kernels.layer import RecurrentLayer
from tests.kernels.all_cells import KINDS

TWINS = [(LSTM, nn.LSTM), (GRU, nn.GRU), (RNN, nn.RNN)]
twins = pytest.mark.parametrize(("ours", "theirs"), TWINS)
zeros = torch.zeros
PAIR = (zeros(1, 2, 5), zeros(1, 2, 5))


@twins
def test_attributes_are_torch_nns(ours: type[RecurrentLayer], theirs: type[nn.RNNBase]) -> None:
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.25, "batch_first": True}
    twin, layer = theirs(3, 5, **options), ours(3, 5, **options)
    layer.load_state_dict(twin.state_dict())
    names = ["mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    for name in [*names, "proj_size", "_flat_weights_names"]:
        assert getattr(layer, name) == getattr(twin, name), name
    torch.testing.assert_close(layer.all_weights, twin.all_weights)
    torch.testing.assert_close(layer._flat_weights, twin._flat_weights)
    assert [id(weight) for weight in layer.parameters()] == [
        id(weight) for group in layer.all_weights for weight in group
    ]
    assert RNN(3, 5, nonlinearity="relu").mode == nn.RNN(3, 5, nonlinearity="relu").mode


@twins
def test_arguments_stand_where_torch_nn_has_them(ours: type[RecurrentLayer], theirs: type[nn.RNNBase]) -> None:
    nonlinearity = ["tanh"] if ours is RNN else []
    positional: list[Any] = [3, 5, 2, *nonlinearity, False, True, 0.0, True, 0, "cpu", torch.float64]
    layer, twin = ours(*positional), theirs(*positional)
    layer.load_state_dict(twin.state_dict())
    assert layer.weight_ih_l0.dtype == twin.weight_ih_l0.dtype == torch.float64
    assert layer.batch_first == twin.batch_first is True


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.LSTM(3, 5)(zeros(0, 2, 3)),
        lambda m: m.GRU(3, 5, batch_first=True)(zeros(2, 0, 3)),
        lambda m: m.LSTM(3, 5)(zeros(1, 2, 3, 4)),
        lambda m: m.GRU(3, 5)(zeros(3)),
        lambda m: m.RNN(3, 5)(zeros(4, 2, 7)),
        lambda m: m.RNN(3, 5)(zeros(4, 2, 3).long()),
        lambda m: m.LSTM(3, 5)(zeros(4, 2, 3).double()),
        lambda m: m.LSTM(3, 5)(zeros(4, 2, 3, device="meta")),
        lambda m: m.GRU(3, 5)(zeros(4, 2, 3), zeros(1, 5)),
        lambda m: m.GRU(3, 5)(zeros(4, 3), zeros(1, 1, 5)),
        lambda m: m.GRU(3, 5)(zeros(4, 2, 3), zeros(1, 2, 5).double()),
        lambda m: m.LSTM(3, 5)(zeros(4, 2, 3), (zeros(1, 2, 5), zeros(1, 2, 6))),
        lambda m: m.LSTM(3, 5)(zeros(4, 2, 3), (*PAIR, PAIR[0])),
        lambda m: m.LSTM(3, 5)(zeros(4, 2, 3), tuple(state.double() for state in PAIR)),
        lambda m: m.LSTM(3, 5)(rnn.pack_padded_sequence(zeros(4, 2, 7), [4, 2])),
        lambda m: m.GRU(3, 5)(rnn.pack_padded_sequence(zeros(4, 2, 3), [4, 2]), zeros(1, 3, 5)),
        lambda m: m.LSTM(3, 5.0),
        lambda m: m.LSTM(3, 0),
        lambda m: m.LSTM(3, 5, 0),
        lambda m: m.LSTM(3, 5, dropout=2),
        lambda m: m.LSTM(3, 5, proj_size=-1),
        lambda m: m.LSTM(3, 5, proj_size=5),
        lambda m: m.GRU(3, 5, proj_size=2),
        lambda m: m.RNN(3, 5, proj_size=2),
        lambda m: m.LSTM(3, 5, proj_size=2)(zeros(4, 2, 3), PAIR),
        lambda m: m.RNN(3, 5, nonlinearity="gelu"),
    ],
)
def test_errors_are_of_torch_nns_types(call: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as expected:  # noqa: PT011
        call(nn)
    with pytest.raises(expected.type) as raised:
        call(kernels)
    assert raised.type is expected.type


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_computed_from_others(kind: type[RecurrentLayer]) -> None:
    x, layer = torch.randn(4, 2, 3), kind(3, 5)
    expected, names = layer(x), [name for name, _ in layer.named_parameters()]
    parametrizations.weight_norm(layer, "weight_ih_l0")
    torch.testing.assert_close(layer(x), expected)
    assert sum(isinstance(weight, nn.Parameter) for weight in layer._flat_weights) == len(names) - 1
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight_ih_l0")
    torch.testing.assert_close(layer(x), expected)
    assert {name for name, _ in layer.named_parameters()} == set(names)
    prune.l1_unstructured(layer, "weight_ih_l0", 0.5)
    pruned = layer(x)
    prune.remove(layer, "weight_ih_l0")
    torch.testing.assert_close(layer(x), pruned)
    assert (layer.weight_ih_l0 == 0).sum() == round(layer.weight_ih_l0.numel() / 2)
    del layer.weight_ih_l0
    assert layer._flat_weights[0] is None


@pytest.mark.parametrize("kind", KINDS)
def test_weights_given_from_outside_are_used(kind: type[RecurrentLayer]) -> None:
    layer, other, x = kind(3, 5, 2), kind(3, 5, 2), torch.randn(4, 2, 3)
    torch.testing.assert_close(torch.func.functional_call(layer, dict(other.named_parameters()), x), other(x))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="TorchScript does not support Python 3.14 and later")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("backend", ["auto", "reference", "torchscript"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_is_checked_differentiated_and_saved(kind: type[RecurrentLayer], backend: str) -> None:
    layer = kind(3, 5, num_layers=2, backend=backend)
    traced = torch.jit.trace(layer, torch.randn(4, 2, 3))  # with its own check
    x = torch.randn(4 if backend == "reference" else 7, 3, 3)  # the reference's loop is unrolled
    results = []
    for module in (traced, layer):
        leaf = x.clone().requires_grad_()
        out, final = module(leaf)
        out.pow(2).sum().backward()
        results.append([out, final, leaf.grad])
    torch.testing.assert_close(*results)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_module_loads_as_torch_nns_does(kind: type[RecurrentLayer]) -> None:
    layer, x, file = kind(3, 5), torch.randn(4, 2, 3), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(x), layer(x))
    file.seek(0)
    with torch.serialization.safe_globals([kind]):
        torch.testing.assert_close(torch.load(file)(x), layer(x))
    state = copy.copy(layer.__dict__)
    del state["proj_size"], state["zoneout"]  # as pickled before there were such attributes
    older = kind(3, 5)
    older.__setstate__(state)
    assert older.proj_size == 0
    assert repr(older) == repr(layer)
    torch.testing.assert_close(older(x), layer(x))


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_dynamic_quantization_takes_the_layers_as_torch_nns(kind: type[RecurrentLayer]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({"first": kind(3, 8, batch_first=True), "other": PeepholeLSTM(3, 5)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers["first"](x)[0]

    net, x = Net().eval(), torch.randn(2, 4, 3)
    twin = kernels.as_torch(net)
    first = twin.get_submodule("layers.first")
    assert type(first) is getattr(nn, kind.__name__)
    assert not first.training
    assert isinstance(twin.get_submodule("layers.other"), PeepholeLSTM)
    assert isinstance(net.layers["first"], kind)  # a copy was changed
    torch.testing.assert_close(twin(x), net(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.ao.quantization, which is deprecated
        small = torch.ao.quantization.quantize_dynamic(twin)
        assert "quantized" in type(small.get_submodule("layers.first")).__module__
        torch.testing.assert_close(small(x), net(x), atol=0.02, rtol=0)


def test_a_layer_alone_becomes_torch_nns() -> None:
    layer, x = RNN(3, 5, 2, "relu", bidirectional=True, dtype=torch.float64), torch.randn(4, 2, 3).double()
    twin = kernels.as_torch(layer)
    assert type(twin) is nn.RNN
    torch.testing.assert_close(twin(x), layer(x))


def test_a_layer_with_two_names_becomes_one_layer() -> None:
    net = nn.Sequential(nn.ModuleDict({"first": LSTM(3, 3)}))
    net.append(net[0]["first"])
    net[0]["again"] = net[0]["first"]
    twin = kernels.as_torch(net)
    assert type(twin[1]) is nn.LSTM
    assert twin[0]["first"] is twin[0]["again"] is twin[1]


@pytest.mark.parametrize(
    "compute",
    [
        lambda layer: prune.random_unstructured(layer, "weight_hh_l0", 0.3),
        lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    ],
    ids=["pruned", "weight_norm"],
)
def test_weights_that_are_computed_become_none_of_torch_nns(compute: Callable[[nn.Module], Any]) -> None:
    net = nn.Sequential(RNN(3, 5))
    compute(net[0])
    with pytest.raises(ValueError, match=r"^RNN: weights that are computed from others must be made permanent first"):
        kernels.as_torch(net)
