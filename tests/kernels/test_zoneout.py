"""Zoneout: torch.nn's cells in a loop as its oracle, and every backend against the reference."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kernels import GRU, LSTM, RNN, LayerNormLSTM, PeepholeLSTM, as_torch, choose, forced
from kernels.decode import Decoder
from kernels.layer import RecurrentLayer
from kernels.scripted import chunks
from kernels.triton import available, plan
from kernels.zoneout import draw
from tests.kernels.all_cells import CELLS
from tests.kernels.test_backends import DTYPES, assert_equal, loops_and_cells, results, triton
from tests.kernels.test_dispatch import CASE

ZONEOUT = {"rnn_tanh": 0.3, "rnn_relu": 0.3, "gru": 0.3, "lstm": (0.2, 0.4), "layer_norm_lstm": (0.4, 0.2)}
every_cell = pytest.mark.parametrize("cell", ZONEOUT)
every_backend = partial(loops_and_cells, quick_cells=("rnn_tanh", "gru", "lstm"), cells=ZONEOUT)
one_quick = partial(every_backend, quick_cells=("lstm",))
COMBINATIONS = list(product([True, False], repeat=3))


def make(cell: str, *sizes: int, **options: object) -> RecurrentLayer:
    torch.manual_seed(0)
    return CELLS[cell](*sizes, **{"dtype": torch.float64, "zoneout": ZONEOUT[cell], **options})


def compare(
    backend: str, cell: str, T: int, H: int, training: bool, resets: bool, tokens: bool, **options: object
) -> None:
    """Compare results and gradients with the reference's, with equal random numbers."""
    dtype, found = DTYPES[backend], []
    layer = make(cell, 2, H, dtype=dtype, **options).train(training)
    states = [torch.randn(len(layer._suffixes), 3, H, dtype=dtype) for _ in range(layer.num_states)]
    inputs = torch.randint(0, 5, (T, 3)) if tokens else torch.randn(T, 3, 2, dtype=dtype)
    embedding = torch.randn(5, 2, dtype=dtype) if tokens else None
    lengths, marks = torch.tensor([T, 2, T - 1]), torch.rand(T, 3) < 0.4 if resets else None
    for each in (backend, "reference"):
        torch.manual_seed(1)
        with forced(each):
            found.append(results(layer, inputs, embedding, states, lengths, resets=marks))
    assert_equal(*found, 1e-11 if dtype == torch.float64 else 2e-4)


@every_backend(
    "training, resets, tokens",
    COMBINATIONS,
    quick=[(True, True, True), (False, True, True)],
    slow=[values for values in COMBINATIONS if values[1:] != (True, True)],
)
def test_equals_reference(
    backend: str, cell: str, training: bool, resets: bool, tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 7)  # two steps of three rows
    for recompute in (False, True) if backend == "torchscript" else (True,):
        options = {"num_layers": 2, "bidirectional": True, "recompute": recompute}
        compare(backend, cell, 5, 4, training, resets, tokens, **options)


# Groups of an LSTM, of an RNN; streamed. With layer norm all are streamed.
@one_quick("held", [], quick=[(32 << 10,)], slow=[(8 << 10,), (0,)], quick_cells=("lstm", "layer_norm_lstm"))
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_groups_of_programs_and_streamed_weights(
    backend: str, cell: str, held: int, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RESIDENT_BYTES": held, "STREAMED_BLOCK_H": 16, "STREAMED_BLOCK_K": 16}.items():
        monkeypatch.setattr(plan, name, value)
    compare(backend, cell, 3, 37, training, resets=True, tokens=True)


@pytest.mark.parametrize(
    ("kind", "twin"),
    [(LSTM, nn.LSTMCell), (GRU, nn.GRUCell), (RNN, nn.RNNCell), (partial(RNN, nonlinearity="relu"), None)],
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["reference", "torchscript"])
def test_a_part_of_each_state_stays(
    kind: type[RecurrentLayer], twin: type[nn.Module] | None, training: bool, backend: str
) -> None:
    """In training the units that are drawn, in evaluation a part of all; a row that starts anew has nothing to keep."""
    torch.manual_seed(0)
    layer = kind(3, 4, dtype=torch.float64, zoneout=0.25, backend=backend).train(training)
    cell = (twin or partial(nn.RNNCell, nonlinearity="relu"))(3, 4, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, state = torch.randn(6, 2, 3, dtype=torch.float64), (torch.zeros(2, 4, dtype=torch.float64),) * layer.num_states
    resets = torch.tensor([[0, 0], [0, 0], [0, 1], [0, 0], [1, 0], [0, 0]], dtype=torch.bool)
    torch.manual_seed(1)
    out, _ = layer(x, resets=resets)
    torch.manual_seed(1)
    drawn = [draw(0.25, True, 6, each).double() for each in state]
    stays = drawn if training else [torch.full_like(each, 0.25) for each in drawn]
    for t in range(6):
        state = tuple(each.masked_fill(resets[t][:, None], 0) for each in state)
        new = cell(x[t], state if len(state) == 2 else state[0])
        new = new if len(state) == 2 else (new,)
        state = tuple(
            stay[t] * before + (1 - stay[t]) * after for stay, before, after in zip(stays, state, new, strict=True)
        )
        torch.testing.assert_close(out[t], state[0])


@every_cell
def test_training_keeps_units_with_the_probability(cell: str) -> None:
    layer = make(cell, 3, 50, dtype=torch.float32, zoneout=0.3)
    out, _ = layer(torch.randn(40, 8, 3))
    stayed = (out[1:] == out[:-1])[out[:-1] != 0]  # relu's new value may be zero again
    assert abs(stayed.double().mean() - 0.3) < 0.02


def test_h_and_c_have_probabilities_of_their_own() -> None:
    layer = make("lstm", 3, 50, dtype=torch.float32, zoneout=(0.0, 0.6))
    x, h_0, c_0 = torch.randn(1, 40, 3), torch.randn(1, 40, 50), torch.randn(1, 40, 50)
    _, (h, c) = layer(x, (h_0, c_0))
    assert (h != h_0).all()
    assert abs((c == c_0).float().mean() - 0.6) < 0.05


@pytest.mark.parametrize("p", [0.05, 0.5, 0.999, 0.999996])
def test_drawn_units_stay_with_the_probability(p: float) -> None:
    torch.manual_seed(0)
    stays = draw(p, True, 33, torch.empty(7, 501)).double()
    assert abs(stays.mean() - p) < 4 * (p * (1 - p) / stays.numel()) ** 0.5
    assert (stays.flatten()[1:] * stays.flatten()[:-1]).mean() == pytest.approx(p * p, abs=0.01)


@every_cell
def test_is_repeatable_from_the_generator(cell: str) -> None:
    x, outputs = torch.randn(9, 3, 2, dtype=torch.float64), []
    for recompute, seed in ((False, 1), (True, 1), (False, 2)):
        layer = make(cell, 2, 6, recompute=recompute)
        torch.manual_seed(seed)
        out, _ = layer(x)
        out.pow(2).sum().backward()
        outputs.append([out, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not torch.equal(outputs[0][0], outputs[2][0])


@every_cell
def test_gradcheck(cell: str) -> None:
    layer = make(cell, 2, 3, backend="torchscript")
    lengths, resets = torch.tensor([4, 2]), torch.tensor([[0, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.bool)

    def run(x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        out, final = layer(x, states if len(states) == 2 else states[0], lengths=lengths, resets=resets)
        return (out, *final) if len(states) == 2 else (out, final)

    leaves = [torch.randn(4, 2, 2), *(torch.randn(1, 2, 3) for _ in range(layer.num_states))]
    assert torch.autograd.gradcheck(run, [leaf.double().requires_grad_() for leaf in leaves])


@every_cell
def test_second_derivatives(cell: str) -> None:
    layer, gradients = make(cell, 2, 3), []
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    for backend in ("reference", "torchscript"):
        torch.manual_seed(1)
        with forced(backend):
            (first,) = torch.autograd.grad(layer(x)[0].pow(2).sum(), x, create_graph=True)
        gradients.append(torch.autograd.grad(first.pow(2).sum(), [x, *layer.parameters()], allow_unused=True))
    torch.testing.assert_close(gradients[1], gradients[0])


@one_quick(
    "dtype, training",
    [("bfloat16", True), ("bfloat16", False)],
    quick=[("bfloat16", True)],
    slow=[("bfloat16", False), ("float16", True)],
)
def test_autocast_stays_near_float32(backend: str, cell: str, dtype: str, training: bool) -> None:
    layer, x, found = make(cell, 8, 16, dtype=torch.float32).train(training), torch.randn(6, 4, 8), []
    for enabled in (False, True):
        torch.manual_seed(1)
        layer.zero_grad()
        with torch.autocast("cpu", getattr(torch, dtype), enabled=enabled), forced(backend):
            layer(x)[0].sum().backward()
        found.append([parameter.grad.clone() for parameter in layer.parameters()])
    for exact, low in zip(*found, strict=True):
        assert (low - exact).norm() <= (0.1 if "norm" in cell else 0.05) * exact.norm()


@pytest.mark.parametrize(
    ("backend", "cell"),
    [
        *(pytest.param("auto", cell, marks=[] if cell == "lstm" else pytest.mark.slow) for cell in ZONEOUT),
        triton("lstm", slow=True),
    ],
)
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_compiles_into_one_node(backend: str, cell: str, training: bool) -> None:
    torch.compiler.reset()
    layer, x = make(cell, 3, 4, dtype=torch.float32, backend=backend).train(training), torch.randn(5, 2, 3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    runs = []
    for module in (compiled, layer):
        torch.manual_seed(1)
        layer.zero_grad()
        out, _ = module(x)
        out.sum().backward()
        runs.append([out, *(parameter.grad.clone() for parameter in layer.parameters())])
    torch.testing.assert_close(*runs)


@torch.no_grad()
@every_cell
def test_decoding_takes_the_expectation(cell: str) -> None:
    layer = make(cell, 3, 5, num_layers=2).eval()
    embedding, head = torch.randn(7, 3, dtype=torch.float64), nn.Linear(5, 7, dtype=torch.float64)
    decoder = Decoder(layer, embedding, head.weight, head.bias)
    text = torch.randint(0, 7, (4, 2))
    decoder.read(text)
    tokens, _ = decoder.sample(torch.rand(3, 2, dtype=torch.float64))
    torch.testing.assert_close(decoder.logits, head(layer.forward_ids(torch.cat([text, tokens]), embedding)[0][-1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(3, 4, zoneout=1.0), r"LSTM: zoneout must be a probability below 1, or 2 of them.*, got 1\.0"),
        (lambda: GRU(3, 4, zoneout=-0.1), r"GRU: zoneout must be a probability below 1, got -0\.1"),
        (lambda: GRU(3, 4, zoneout=(0.1, 0.2)), r"GRU: zoneout must be a probability below 1, got \(0\.1, 0\.2\)"),
        (lambda: LSTM(3, 4, zoneout="0.1"), "zoneout must be a probability .*, got '0.1'"),
        (lambda: PeepholeLSTM(3, 4, zoneout=0.1), "PeepholeLSTM has no zoneout; RNN, GRU, LSTM and LayerNormLSTM have"),
        (lambda: PeepholeLSTM(3, 4, zoneout=0.1, peephole="diagonal"), "PeepholeLSTM has no zoneout"),
        (lambda: LSTM(3, 4, proj_size=2, zoneout=0.1), "LSTM with proj_size has no zoneout"),
        (lambda: LSTM(3, 4, zoneout=0.1, backend="native"), "neither cuDNN nor oneDNN has these equations"),
    ],
)
def test_errors_name_what_is_wrong(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_zero_is_the_plain_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert LSTM(3, 4, zoneout=0)._cell is LSTM(3, 4)._cell
    assert repr(LSTM(3, 4, zoneout=0.0)) == "LSTM(3, 4)"
    assert repr(GRU(3, 4, zoneout=0.5)) == "GRU(3, 4, zoneout=(0.5,))"
    LSTM(3, 4, zoneout=0.5).explain(5, 2)
    assert "torchscript, the fastest that has these equations" in capsys.readouterr().out


def test_a_probability_may_be_a_number_of_numpy() -> None:
    layer = LSTM(3, 4, num_layers=2, dropout=np.float32(0.5), zoneout=np.float32(0.25))
    assert (layer.dropout, layer.zoneout) == (0.5, (0.25, 0.25))


def test_kernels_that_have_not_run_on_a_gpu_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    monkeypatch.setattr(plan, "device_limits", lambda device: plan.Device(processors=132, memory=227 << 10))
    for kind in (LSTM, GRU, RNN, LayerNormLSTM):
        case = CASE._replace(cell=kind(3, 4, zoneout=0.1)._cell, device="cuda:0")
        assert choose("triton", case).backend == "triton"
        backend, reason = choose("auto", case)
        assert backend == "torchscript"
        assert "the Triton kernels have not run on a GPU for this cell" in reason
        assert reason.endswith("with zoneout; backend='triton' asks for them")


def test_torch_nn_has_no_such_layer() -> None:
    layers = nn.Sequential(LSTM(3, 4, zoneout=0.5), LSTM(4, 4), LayerNormLSTM(4, 4))
    assert [type(layer) for layer in as_torch(layers)] == [LSTM, nn.LSTM, LayerNormLSTM]
