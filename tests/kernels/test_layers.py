"""The layers against torch.nn's, with copied weights, and what they refuse."""

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kernels import GRU, LSTM, RNN, PeepholeLSTM
from kernels.layer import RecurrentLayer
from kernels.processor import onednn_has
from tests.kernels.all_cells import KINDS, NO_TRITON, Leaky

TWINS = [
    (LSTM, nn.LSTM, {}),
    (GRU, nn.GRU, {}),
    (RNN, nn.RNN, {}),
    (RNN, nn.RNN, {"nonlinearity": "relu"}),
    (LSTM, nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}),
    (LSTM, nn.LSTM, {"bias": False}),
    (GRU, nn.GRU, {"bias": False, "num_layers": 2}),
    (RNN, nn.RNN, {"batch_first": True, "bidirectional": True}),
    (LSTM, nn.LSTM, {"batch_first": True, "dtype": torch.float64, "num_layers": 2, "bidirectional": True}),
]


class Own(RecurrentLayer):
    """A cell with nothing but its equations: the last input."""

    def shapes(self, input_size: int) -> dict:
        return {"weight_ih": (self.hidden_size, input_size)}

    def step(self, weights: dict, projected: torch.Tensor, state: tuple) -> tuple:
        return (projected,)


ON_META, META = LSTM(3, 5, device="meta"), torch.zeros(4, 2, 3, device="meta")
triton = pytest.param("triton", marks=pytest.mark.skipif(NO_TRITON is not None, reason=str(NO_TRITON)))
backends = pytest.mark.parametrize("backend", ["reference", "torchscript", "native", triton])
twins = pytest.mark.parametrize(("ours", "theirs", "options"), TWINS)


def pair(ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict, backend: str) -> tuple:
    """Return a layer and torch.nn's, with the same weights, loaded strictly from one to the other and back."""
    if backend == "triton" and options.get("dtype") == torch.float64:
        pytest.skip("the Triton backend has no float64")
    torch.manual_seed(0)
    twin, layer = theirs(3, 5, **options), ours(3, 5, backend=backend, **options)
    layer.load_state_dict(twin.state_dict())
    twin.load_state_dict(layer.state_dict())
    return layer, twin


def initial(layer: RecurrentLayer, B: int) -> Any:
    count, dtype = layer.num_layers * (2 if layer.bidirectional else 1), layer.weight_ih_l0.dtype
    states = tuple(torch.randn(count, B, width, dtype=dtype) for width in layer.state_widths)
    return states if layer.num_states == 2 else states[0]


def gradients(module: nn.Module, leaf: torch.Tensor, out: torch.Tensor, final: Any) -> list:
    finals = final if isinstance(final, tuple) else (final,)
    (out.pow(2).sum() + sum(value.pow(2).sum() for value in finals)).backward()
    return [out, final, leaf.grad, [parameter.grad for parameter in module.parameters()]]


@backends
@twins
def test_equals_torch_nn(ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict, backend: str) -> None:
    layer, twin = pair(ours, theirs, options, backend)
    x, hx = torch.randn(4, 4, 3, dtype=options.get("dtype")), initial(layer, 4)
    results = []
    for module in (layer, twin):
        leaf = x.clone().requires_grad_()
        results.append(gradients(module, leaf, *module(leaf, hx)))
    torch.testing.assert_close(*results)


@backends
@twins
@pytest.mark.parametrize("lengths", [[6, 4, 2, 1], [2, 6, 1, 6]], ids=["sorted", "unsorted"])
def test_packed_equals_torch_nn(
    ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict, lengths: list[int], backend: str
) -> None:
    layer, twin = pair(ours, theirs, options, backend)
    x, hx = torch.randn(6, 4, 3, dtype=options.get("dtype")), initial(layer, 4)
    results = []
    for module in (layer, twin):
        leaf = x.clone().requires_grad_()
        packed = pack_padded_sequence(leaf, lengths, enforce_sorted=lengths == sorted(lengths, reverse=True))
        out, final = module(packed, hx)
        assert isinstance(out, PackedSequence)
        results.append([*gradients(module, leaf, out.data, final), *(value for value in out if value is not None)])
        assert (out.sorted_indices is None) == (packed.sorted_indices is None)
    torch.testing.assert_close(*results)
    last, final = layer(packed, hx, output="last")
    expected = final[0] if layer.num_states == 2 else final
    torch.testing.assert_close(last, torch.cat([*expected[-2:]], 1) if layer.bidirectional else expected[-1])


@backends
@twins
def test_lengths_equal_packing(
    ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict, backend: str
) -> None:
    layer, twin = pair(ours, theirs, options, backend)
    x, lengths = torch.randn(6, 4, 3, dtype=options.get("dtype")), torch.tensor([2, 6, 1, 4])
    packed, expected_final = twin(pack_padded_sequence(x, lengths, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed)
    torch.nan_to_num_(x)
    x[torch.arange(6)[:, None] >= lengths] = torch.nan  # what is after a row's end is not looked at
    given = x.transpose(0, 1) if layer.batch_first else x
    out, final = layer(given, lengths=lengths)
    torch.testing.assert_close(out.transpose(0, 1) if layer.batch_first else out, expected)
    torch.testing.assert_close(final, expected_final)


@backends
def test_one_sequence_without_a_batch_axis(backend: str) -> None:
    layer, twin = pair(LSTM, nn.LSTM, {"num_layers": 2}, backend)
    x, state = torch.randn(6, 3), torch.randn(2, 5)
    torch.testing.assert_close(layer(x, (state, state)), twin(x, (state, state)))


def test_dropout_acts_between_layers_in_training() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5, num_layers=2, dropout=0.5), torch.randn(4, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)
    layer.train()
    layer.dropout = 1.0
    below, _ = layer(x)
    upper = LSTM(5, 5)
    upper.load_state_dict({name: getattr(layer, name.replace("l0", "l1")) for name in upper.state_dict()})
    torch.testing.assert_close(below, upper(torch.zeros(4, 2, 5))[0])


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        (kind, backend)
        for kind in KINDS
        for backend in ("reference", "torchscript", "native")
        if kind in (RNN, GRU, LSTM) or backend != "native"
    ],
)
def test_ids_equal_embedded_vectors(kind: type[RecurrentLayer], backend: str) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, batch_first=True, backend=backend)
    embedding = nn.Embedding(7, 3)
    ids = torch.randint(0, 7, (2, 9))
    torch.testing.assert_close(layer.forward_ids(ids, embedding.weight), layer(embedding(ids)))
    torch.testing.assert_close(
        layer.forward_ids(ids[0], embedding.weight, output="last")[0], layer(embedding(ids[0]), output="last")[0]
    )


@pytest.mark.parametrize("backend", ["auto", triton])
def test_non_contiguous_input(backend: str) -> None:
    layer = PeepholeLSTM(3, 5, backend=backend)
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


def test_repr_names_what_differs() -> None:
    assert repr(LSTM(3, 5)) == "LSTM(3, 5)"
    assert repr(GRU(3, 5, num_layers=2, dropout=0.1)) == "GRU(3, 5, num_layers=2, dropout=0.1)"
    assert repr(RNN(3, 5, nonlinearity="relu", bias=False)) == "RNN(3, 5, bias=False, nonlinearity='relu')"
    assert repr(PeepholeLSTM(3, 5)) == "PeepholeLSTM(3, 5, peephole='full', candidate='sigmoid')"


def test_full_peephole_ignores_h_0() -> None:
    layer = PeepholeLSTM(3, 5)
    x, c_0 = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    torch.testing.assert_close(layer(x, (torch.randn(1, 2, 5), c_0)), layer(x, (torch.zeros(1, 2, 5), c_0)))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles(kind: type[RecurrentLayer]) -> None:
    layer, x = kind(3, 5), torch.randn(4, 2, 3)
    expected = layer(x)
    layer.flatten_parameters()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), expected)


@pytest.mark.parametrize(("ours", "theirs", "options"), TWINS[:3])
def test_autocast_returns_torch_nns_dtypes(ours: type[RecurrentLayer], theirs: type[nn.RNNBase], options: dict) -> None:
    backends = ("reference", "torchscript", *(("triton",) if NO_TRITON is None else ()))
    for backend, dtype in itertools.product(backends, (torch.float32, torch.bfloat16)):
        x = torch.randn(4, 2, 3, dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16):
            out, final = ours(3, 5, backend=backend)(x)
            if theirs is nn.LSTM and not onednn_has(torch.bfloat16):  # it fails on float32 vectors there
                x = x.bfloat16()
            expected, expected_final = theirs(3, 5)(x)
            assert out.dtype == expected.dtype
            assert [v.dtype for v in final] == [v.dtype for v in expected_final]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LSTM(3, 5, num_layers=0), ValueError, "num_layers must be positive, got 0"),
        (lambda: LSTM(3, 5, dropout=1.5), ValueError, "dropout must be a probability, got 1.5"),
        (lambda: LSTM(3, 5, proj_size=5), ValueError, "proj_size must be 0, or below hidden_size, got 5"),
        (lambda: LSTM(3, 5, proj_size=2.0), TypeError, r"proj_size must be a whole number, got 2\.0"),
        (lambda: PeepholeLSTM(3, 5, proj_size=2), ValueError, "only supported for LSTM"),
        (
            lambda: LSTM(3, 5, proj_size=2)(torch.zeros(4, 2, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))),
            RuntimeError,
            r"of hx to be \[1, 2, 2\], \[1, 2, 5\], got \[1, 2, 5\], \[1, 2, 5\]",
        ),
        (lambda: LSTM(3, 0), ValueError, "hidden_size must be positive, got 0"),
        (
            lambda: LSTM(3, 5, backend="cudnn"),
            ValueError,
            "one of auto, reference, torchscript, native, triton, got 'cu",
        ),
        (lambda: PeepholeLSTM(3, 5, backend="native"), ValueError, "nor oneDNN has these"),
        (lambda: LSTM(3, 5, backend="native", recompute=True), ValueError, "cannot recompute"),
        (
            lambda: RNN(3, 5, nonlinearity="gelu"),
            ValueError,
            "Unknown nonlinearity 'gelu'; it must be 'tanh' or 'relu'",
        ),
        (lambda: PeepholeLSTM(3, 5, peephole="half"), ValueError, "'full' or 'diagonal', got 'half'"),
        (lambda: PeepholeLSTM(3, 5, candidate="relu"), ValueError, "'sigmoid' or 'tanh', got 'relu'"),
        (lambda: LSTM(3, 5)(torch.zeros(3)), ValueError, r"\[T, I\] or \[T, B, I\], got 1-D"),
        (lambda: LSTM(3, 5.0), TypeError, "LSTM: hidden_size must be a whole number, got 5.0"),
        (lambda: LSTM(3, 5, dropout=True), ValueError, "dropout must be a probability, got True"),
        (lambda: LSTM(3, 5)(torch.zeros(0, 2, 3)), RuntimeError, "sequence length to be larger than 0"),
        (
            lambda: LSTM(3, 5, batch_first=True)(torch.zeros(2, 0, 3)),
            RuntimeError,
            "sequence length to be larger than 0",
        ),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 7)), RuntimeError, r"LSTM: input must be \[..., 3\], got \[4, 2, 7\]"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3).double()), ValueError, "float64 and the weights are torch.float32"),
        (
            lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)),
            RuntimeError,
            r"of hx to be a pair of \[1, 2, 5\]",
        ),
        (
            lambda: RNN(3, 5)(torch.zeros(4, 2, 3), torch.zeros(1, 3, 5)),
            RuntimeError,
            r"\[1, 2, 5\], got \[1, 3, 5\]",
        ),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), output="first"), ValueError, "'sequence' or 'last', got 'first'"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([0, 4])), ValueError, r"1\.\.4, got 0\.\.4"),
        (lambda: ON_META(META, lengths=torch.tensor([0, 4])), ValueError, r"1\.\.4, got 0\.\.4"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([1, 5])), ValueError, r"1\.\.4, got 1\.\.5"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), lengths=torch.tensor([1])), ValueError, "2 whole numbers"),
        (
            lambda: LSTM(3, 5).forward_ids(torch.tensor([[0, 9]]), torch.zeros(7, 3)),
            ValueError,
            r"ids must be in 0\.\.6, got 9",
        ),
        (lambda: LSTM(3, 5).forward_ids(torch.tensor([[0.0]]), torch.zeros(7, 3)), ValueError, "int64 or int32"),
        (lambda: LSTM(3, 5).forward_ids(torch.tensor([[0]]), torch.zeros(7, 4)), ValueError, r"\[V, 3\], got \[7, 4\]"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3, device="meta")), RuntimeError, "input is on meta"),
        (
            lambda: LSTM(3, 5).forward_ids(torch.tensor([[0]]), torch.zeros(7, 3, device="meta")),
            RuntimeError,
            "embedding_weight is on meta and the ids are on cpu",
        ),
        (lambda: LSTM(3, 5).forward_ids(torch.tensor([[0]]), nn.Embedding(7, 3)), ValueError, "got Embedding"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), 5), ValueError, "hx must be a pair of tensors"),
        (lambda: GRU(3, 5)(torch.zeros(4, 2, 3), (None,)), ValueError, "hx must be a tensor, got tuple"),
        (lambda: LSTM(3, 5)(torch.zeros(4, 2, 3, dtype=torch.int64)), ValueError, "input must be floating-point"),
        (lambda: Own(3, 5, backend="torchscript"), ValueError, "Own has only its equations"),
        (lambda: Own(3, 5, recompute=True), ValueError, "Own has only its equations"),
        (
            lambda: LSTM(3, 5)(torch.zeros(4, 2, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5).double())),
            RuntimeError,
            "hx is torch.float64",
        ),
        (
            lambda: LSTM(3, 5)(pack_padded_sequence(torch.zeros(4, 2, 7), [4, 2])),
            RuntimeError,
            r"must be \[..., 3\], got \[6, 7\]",
        ),
        (
            lambda: LSTM(3, 5)(pack_padded_sequence(torch.zeros(4, 2, 3), [4, 2]), lengths=torch.tensor([4, 2])),
            ValueError,
            "has its own lengths",
        ),
    ],
)
def test_errors_name_what_is_wrong(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_of_one_dtype_and_on_one_device(kind: type[RecurrentLayer]) -> None:
    layer = kind(3, 5)
    name = "weight_ch_l0" if kind is PeepholeLSTM else "weight_hh_l0"
    setattr(layer, name, nn.Parameter(layer.get_parameter(name).detach().double()))
    with pytest.raises(ValueError, match=f"{name} is torch.float64 and weight_ih_l0 is torch.float32"):
        layer(torch.zeros(4, 2, 3))
    setattr(layer, name, nn.Parameter(torch.empty(layer.get_parameter(name).shape, device="meta")))
    with pytest.raises(RuntimeError, match=f"{name} is on meta, the input on cpu"):
        layer(torch.zeros(4, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["auto", "reference", "torchscript", "native", triton])
def test_a_batch_of_no_rows(kind: type[RecurrentLayer], backend: str) -> None:
    if (backend == "native" and kind not in (RNN, GRU, LSTM)) or (backend == "triton" and kind is Leaky):
        pytest.skip("there is no such implementation")
    layer = kind(3, 5, 2, bidirectional=True, backend=backend)
    x = torch.zeros(4, 0, 3, requires_grad=True)
    out, final = layer(x)
    assert out.shape == (4, 0, 10)
    assert (final if isinstance(final, torch.Tensor) else final[0]).shape == (4, 0, 5)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert layer(x, output="last")[0].shape == (0, 10)
    assert layer.forward_ids(torch.zeros(4, 0, dtype=torch.int64), torch.zeros(7, 3))[0].shape == (4, 0, 10)
    assert layer(x, lengths=torch.zeros(0, dtype=torch.int64))[0].shape == (4, 0, 10)


def test_tokens_meet_the_hooks_of_the_layer() -> None:
    layer, seen = GRU(3, 5), []
    layer.register_forward_hook(lambda *_: seen.append(1))
    prune.random_unstructured(layer, "weight_hh_l0", 0.3)
    ids, embedding = torch.tensor([[0, 1], [2, 0]]), torch.randn(3, 3)
    with torch.no_grad():
        layer.weight_hh_l0_orig.mul_(2)
    out, _ = layer.forward_ids(ids, embedding)
    torch.testing.assert_close(out, layer(embedding[ids])[0])
    assert len(seen) == 2


def test_a_step_that_returns_no_tuple_is_told() -> None:
    class Bare(Own):
        def step(self, weights: dict, projected: torch.Tensor, state: tuple) -> tuple:
            return torch.tanh(projected + state[0])

    with pytest.raises(TypeError, match=r"Bare\.step must return a tuple of 1 state\(s\), got Tensor"):
        Bare(3, 5)(torch.zeros(4, 2, 3))

    class NoInput(Own):
        def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
            return {"weight_x": (5, input_size)}

    with pytest.raises(ValueError, match=r"NoInput\.shapes must have a weight_ih"):
        NoInput(3, 5)


def test_the_last_output_is_no_view_of_the_state() -> None:
    last, h_n = GRU(3, 5)(torch.randn(4, 2, 3), output="last")
    before = h_n.clone()
    last.detach().zero_()
    assert torch.equal(h_n, before)
