"""The layers against torch.nn's, with copied weights, and what they refuse."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kernels import LSTM, RNN, PeepholeLSTM
from kernels.layers import RecurrentLayer

TWINS = [
    (LSTM, nn.LSTM, {}),
    (RNN, nn.RNN, {}),
    (RNN, nn.RNN, {"nonlinearity": "relu"}),
    (LSTM, nn.LSTM, {"bias": False}),
    (RNN, nn.RNN, {"batch_first": True}),
    (LSTM, nn.LSTM, {"batch_first": True, "dtype": torch.float64}),
]
backends = pytest.mark.parametrize("backend", ["reference", "torchscript"])


@backends
@pytest.mark.parametrize(("ours", "theirs", "options"), TWINS)
def test_equals_torch_nn(ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict, backend: str) -> None:
    torch.manual_seed(0)
    twin = theirs(3, 5, **options)
    layer = ours(3, 5, backend=backend, **options)
    layer.load_state_dict(twin.state_dict())
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(4, 4, 3, dtype=options.get("dtype"))
    state = torch.randn(1, 4, 5, dtype=options.get("dtype"))
    hx = (state, -state) if ours is LSTM else state
    results = []
    for module in (layer, twin):
        leaf = x.clone().requires_grad_()
        out, final = module(leaf, hx)
        (out.sum() + sum(value.pow(2).sum() for value in (final if ours is LSTM else [final]))).backward()
        results.append((out, final, leaf.grad, [parameter.grad for parameter in module.parameters()]))
    torch.testing.assert_close(*results)


@backends
def test_one_sequence_without_a_batch_axis(backend: str) -> None:
    twin, layer = nn.LSTM(3, 5), LSTM(3, 5, backend=backend)
    layer.load_state_dict(twin.state_dict())
    x, state = torch.randn(6, 3), torch.randn(1, 5)
    torch.testing.assert_close(layer(x, (state, state)), twin(x, (state, state)))


@backends
def test_lengths_equal_packing(backend: str) -> None:
    torch.manual_seed(0)
    twin, layer = nn.LSTM(3, 5), LSTM(3, 5, backend=backend)
    layer.load_state_dict(twin.state_dict())
    x, lengths = torch.randn(6, 4, 3), torch.tensor([2, 6, 1, 4])
    packed, expected_final = twin(pack_padded_sequence(x, lengths, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed)
    out, final = layer(x, lengths=lengths)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(final, expected_final)
    last, _ = layer(x, lengths=lengths, output="last")
    torch.testing.assert_close(last, expected_final[0][0])


@backends
@pytest.mark.parametrize("kind", [LSTM, RNN, PeepholeLSTM])
def test_ids_equal_embedded_vectors(kind: type[RecurrentLayer], backend: str) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, batch_first=True, backend=backend)
    embedding = nn.Embedding(7, 3)
    ids = torch.randint(0, 7, (2, 9))
    torch.testing.assert_close(layer.forward_ids(ids, embedding.weight), layer(embedding(ids)))
    torch.testing.assert_close(
        layer.forward_ids(ids[0], embedding.weight, output="last")[0], layer(embedding(ids[0]), output="last")[0]
    )


def test_non_contiguous_input() -> None:
    layer = PeepholeLSTM(3, 5)
    x = torch.randn(3, 2, 6).permute(2, 1, 0)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (LSTM, {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}),
        (PeepholeLSTM, {"weight_ih_l0": (20, 3), "weight_ch_l0": (15, 5), "bias_l0": (20,)}),
    ],
)
def test_parameters(kind: type[RecurrentLayer], shapes: dict) -> None:
    layer = kind(3, 5)
    assert {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()} == shapes
    largest = max(parameter.abs().max().item() for parameter in layer.parameters())
    assert 0.8 / 5**0.5 < largest <= 1 / 5**0.5


def test_full_peephole_ignores_h_0() -> None:
    layer = PeepholeLSTM(3, 5)
    x, c_0 = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    torch.testing.assert_close(layer(x, (torch.randn(1, 2, 5), c_0)), layer(x, (torch.zeros(1, 2, 5), c_0)))


@pytest.mark.parametrize("kind", [LSTM, RNN, PeepholeLSTM])
def test_copies_and_pickles(kind: type[RecurrentLayer]) -> None:
    layer, x = kind(3, 5), torch.randn(4, 2, 3)
    expected = layer(x)
    layer.flatten_parameters()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), expected)


@pytest.mark.parametrize(("ours", "theirs", "options"), TWINS[:2])
def test_autocast_returns_torch_nns_dtypes(ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict) -> None:
    x = torch.randn(4, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("reference", "torchscript"):
            out, final = ours(3, 5, backend=backend)(x)
            expected, expected_final = theirs(3, 5)(x)
            assert out.dtype == expected.dtype
            assert [v.dtype for v in final] == [v.dtype for v in expected_final]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LSTM(3, 5, num_layers=2), NotImplementedError, "num_layers must be 1, got 2"),
        (lambda: LSTM(3, 5, bidirectional=True), NotImplementedError, "bidirectional must be False"),
        (lambda: LSTM(3, 5, dropout=0.5), NotImplementedError, "dropout must be 0.0"),
        (lambda: LSTM(3, 0), ValueError, "hidden_size must be positive, got 0"),
        (lambda: LSTM(3, 5, backend="cudnn"), ValueError, "one of auto, reference, torchscript, got 'cudnn'"),
        (lambda: RNN(3, 5, nonlinearity="gelu"), ValueError, "'tanh' or 'relu', got 'gelu'"),
        (lambda: PeepholeLSTM(3, 5, peephole="half"), ValueError, "'full' or 'diagonal', got 'half'"),
        (lambda: PeepholeLSTM(3, 5, candidate="relu"), ValueError, "'sigmoid' or 'tanh', got 'relu'"),
        (lambda: LSTM(3, 5)(torch.zeros(3)), ValueError, r"\[T, I\] or \[T, B, I\], got 1-D"),
        (lambda: LSTM(3, 5)(torch.zeros(0, 2, 3)), ValueError, "empty axis"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 7)), ValueError, "3 features, got 7"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3).double()), ValueError, "float64 and the weights are torch.float32"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)), ValueError, "hx must be 2 of"),
        (
            lambda: RNN(3, 5)(torch.zeros(4, 2, 3), torch.zeros(1, 3, 5)),
            ValueError,
            r"\[1, 2, 5\], got \[\[1, 3, 5\]\]",
        ),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), output="first"), ValueError, "'sequence' or 'last', got 'first'"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([0, 4])), ValueError, r"1\.\.4, got 0\.\.4"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([1, 5])), ValueError, r"1\.\.4, got 1\.\.5"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([1])), ValueError, "2 whole numbers"),
        (
            lambda: LSTM(3, 5).forward_ids(torch.tensor([[0, 9]]), torch.zeros(7, 3)),
            ValueError,
            r"ids must be in 0\.\.6, got 9",
        ),
        (lambda: LSTM(3, 5).forward_ids(torch.tensor([[0.0]]), torch.zeros(7, 3)), ValueError, "int64 or int32"),
        (lambda: LSTM(3, 5).forward_ids(torch.tensor([[0]]), torch.zeros(7, 4)), ValueError, r"\[V, 3\], got \[7, 4\]"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3, device="meta")), ValueError, "input is on meta"),
        (
            lambda: LSTM(3, 5)(pack_padded_sequence(torch.zeros(4, 2, 3), [4, 2])),
            TypeError,
            "PackedSequence is not built yet",
        ),
    ],
)
def test_errors_name_what_is_wrong(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
