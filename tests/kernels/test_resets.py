"""Resets inside a sequence: the same as the sequence cut at its resets, each piece run alone."""

import copy
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from kernels import GRU, LSTM, RNN, PeepholeLSTM, choose, dispatch, forced
from kernels.cells.lstm.layer import LSTM_CELL
from kernels.layer import RecurrentLayer
from kernels.triton import available, plan
from tests.kernels.all_cells import CELLS, NO_TRITON, TRITON, Leaky, as_hx, as_states, random_states
from tests.kernels.test_dispatch import CASE

T, B, I, H, V = 7, 3, 2, 4, 5
RESETS = torch.tensor(  # one row for each sequence: at its first and second step, at none, at the last two
    [[1, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1, 1]], dtype=torch.bool
).T
LENGTHS = torch.tensor([7, 4, 6])
triton = pytest.mark.skipif(NO_TRITON is not None, reason=str(NO_TRITON))
cases = pytest.mark.parametrize(
    ("backend", "cell"),
    [
        *((backend, cell) for cell in CELLS for backend in ("reference", "torchscript")),
        *(
            pytest.param("triton", cell, marks=triton if cell == "lstm_projected" else [triton, pytest.mark.slow])
            for cell in TRITON
        ),
    ],
)


class Count(RecurrentLayer):
    """The sum of the inputs since the sequence began."""

    def shapes(self, input_size: int) -> dict:
        return {"weight_ih": (self.hidden_size, input_size)}

    def step(self, weights: dict, projected: Tensor, state: tuple) -> tuple:
        return (state[0] + projected,)


def cut(
    layer: RecurrentLayer, x: Tensor, states: list[Tensor], resets: Tensor, lengths: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Run every row's pieces alone; return outputs and last states."""
    outputs, finals, D = [], [], 2 if layer.bidirectional else 1
    for row, length in enumerate(lengths.tolist()):
        starts = {0, *resets[:length, row].nonzero().flatten().tolist()}
        bounds = [*sorted(starts), length]
        parts, ends = [], []
        for a, b in itertools.pairwise(bounds):
            keep = torch.zeros(len(states[0]), 1, 1, dtype=x.dtype)
            keep[::D] = float(a == 0 and not resets[0, row])
            if D == 2:
                keep[1::D] = float(b == length)
            hx = tuple(state[:, row : row + 1] * keep for state in states)
            out, final = layer(x[a:b, row : row + 1], as_hx(hx))
            parts.append(out)
            ends.append(as_states(final))
        outputs.append(torch.cat([*parts, parts[0].new_zeros(len(x) - length, *parts[0].shape[1:])]))
        last = [
            torch.stack([ends[-1 if k % D == 0 else 0][j][k] for k in range(len(states[0]))])
            for j in range(len(states))
        ]
        finals.append(last)
    return torch.cat(outputs, 1), [torch.cat(each, 1) for each in zip(*finals, strict=True)]


def with_gradients(layer: RecurrentLayer, values: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """Return values, and the gradients of weights and leaves for random weights of the values."""
    generator = torch.Generator().manual_seed(1)
    sum((value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum() for value in values).backward()
    gradients = [leaf.grad for leaf in (*leaves, *layer.parameters())]
    return [*values, *(torch.zeros(()) if grad is None or not grad.any() else grad for grad in gradients)]


@cases
@pytest.mark.parametrize(
    ("tokens", "ragged"), [(False, True), (True, False)], ids=["ragged vectors", "tokens of equal lengths"]
)
def test_equals_the_pieces_run_alone(cell: str, backend: str, tokens: bool, ragged: bool) -> None:
    """Two layers, both directions, initial states."""
    dtype = torch.float32 if backend == "triton" else torch.float64
    results = []
    for whole in (True, False):
        torch.manual_seed(0)
        layer = CELLS[cell](I, H, num_layers=2, bidirectional=True, dtype=dtype)
        states = [state.requires_grad_() for state in random_states(layer, B)]
        ids, table = torch.randint(0, V, (T, B)), torch.randn(V, I, dtype=dtype, requires_grad=True)
        x = table[ids] if tokens else torch.randn(T, B, I, dtype=dtype, requires_grad=True)
        if whole:
            options = {"lengths": LENGTHS if ragged else None, "resets": RESETS}
            hx = as_hx(states)
            with forced(backend):
                out, final = layer.forward_ids(ids, table, hx, **options) if tokens else layer(x, hx, **options)
            finals = as_states(final)
        else:
            with forced("reference"):
                out, finals = cut(layer, x, states, RESETS, LENGTHS if ragged else torch.full((B,), T))
        results.append(with_gradients(layer, [out, *finals], [table if tokens else x, *states]))
    tolerance = 2e-4 if backend == "triton" else 1e-11
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["reference", "torchscript", pytest.param("triton", marks=triton)])
def test_the_last_state_alone(backend: str) -> None:
    """A reset at the last step hides the cell before it from an output gate that is computed for that step alone."""
    torch.manual_seed(0)
    layer, x = PeepholeLSTM(I, H, backend=backend), torch.randn(T, B, I)
    hx = tuple(torch.randn(1, B, H, requires_grad=True) for _ in range(2))
    for steps in (1, T):
        last, _ = layer(x[:steps], hx, resets=RESETS[-steps:], output="last")
        whole, _ = layer(x[:steps], hx, resets=RESETS[-steps:])
        torch.testing.assert_close(last, whole[-1])
        given = torch.randn(B, H)
        gradients = [torch.autograd.grad(out, (hx[1], *layer.parameters()), given) for out in (last, whole[-1])]
        torch.testing.assert_close(*gradients)


def test_the_state_that_enters_a_marked_step_is_zero() -> None:
    """The convention as the documentation draws it."""
    layer = Count(1, 1, bidirectional=True)
    for parameter in layer.parameters():
        torch.nn.init.ones_(parameter)
    resets = torch.tensor([False, False, True, False, False])
    out, final = layer(torch.ones(5, 1), torch.full((2, 1), 10.0), resets=resets)
    assert out[:, 0].tolist() == [11, 12, 1, 2, 3]
    assert out[:, 1].tolist() == [2, 1, 13, 12, 11]
    assert final.flatten().tolist() == [3, 2]
    resets[0] = True  # before the first step, only the forward direction has a state
    out, _ = layer(torch.ones(5, 1), torch.full((2, 1), 10.0), resets=resets)
    assert out[:, 0].tolist() == [1, 2, 1, 2, 3]
    assert out[:, 1].tolist() == [2, 1, 13, 12, 11]


@pytest.mark.parametrize("cell", CELLS)
def test_not_even_a_nan_crosses_a_reset(cell: str) -> None:
    layer = CELLS[cell](I, H, backend="torchscript")
    x = torch.randn(T, B, I)
    x[1] = torch.nan
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[3] = True
    out, _ = layer(x, resets=resets)
    assert out[1:3].isnan().all()
    torch.testing.assert_close(out[3:], layer(x[3:])[0])


@pytest.mark.parametrize("cell", CELLS)
def test_a_mask_without_resets_changes_no_bit(cell: str) -> None:
    layer = CELLS[cell](I, H, backend="torchscript")
    x, none = torch.randn(T, B, I, requires_grad=True), torch.zeros(T, B, dtype=torch.bool)
    results = []
    for resets in (none, None):
        out, _ = layer(x, resets=resets)
        results.append([out, *torch.autograd.grad(out.sum(), (x, *layer.parameters()))])
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell: str) -> None:
    torch.manual_seed(0)
    layer = CELLS[cell](I, 3, dtype=torch.float64, backend="torchscript")
    resets = torch.tensor([[False, True], [True, False], [False, False], [True, False]])
    x = torch.randn(4, 2, I, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        own = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(layer, own, (x,), {"resets": resets})[0]

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize("cell", CELLS)
def test_autocast_is_as_precise_with_resets(cell: str) -> None:
    torch.manual_seed(0)
    layer, x = CELLS[cell](16, 32, backend="torchscript"), torch.randn(20, 8, 16)
    resets = torch.rand(20, 8) < 0.2

    def run(module: RecurrentLayer, x: Tensor) -> list[Tensor]:
        module.zero_grad()
        out, _ = module(x, resets=resets)
        out.double().pow(2).sum().backward()
        return [out.double(), torch.cat([weight.grad.double().flatten() for weight in module.parameters()])]

    with forced("reference"):
        exact = run(copy.deepcopy(layer).double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = run(layer, x)
        with forced("reference"):
            theirs = run(layer, x)
    for mine, other, value in zip(ours, theirs, exact, strict=True):
        assert (mine - value).norm() <= 1.2 * (other - value).norm()


@pytest.mark.parametrize("kind", [LSTM, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (GRU, RNN))])
def test_compiles_and_exports(kind: type[RecurrentLayer]) -> None:
    layer, x, resets = kind(I, H, bidirectional=True), torch.randn(T, B, I), RESETS
    expected = layer(x, resets=resets)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, resets=resets), expected)
    program = torch.export.export(layer, (x,), {"resets": resets})
    torch.testing.assert_close(program.module()(x, resets=resets), expected)


def test_layouts() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(I, H), torch.randn(T, B, I)
    out, final = layer(x, resets=RESETS)
    first = LSTM(I, H, batch_first=True)
    first.load_state_dict(layer.state_dict())
    turned, same = first(x.transpose(0, 1), resets=RESETS.T)
    torch.testing.assert_close(turned.transpose(0, 1), out)
    torch.testing.assert_close(same, final)
    one, _ = layer(x[:, 0], resets=RESETS[:, 0])
    torch.testing.assert_close(one, out[:, 0])
    empty, _ = layer(x[:, :0], resets=RESETS[:, :0])
    assert empty.shape == (T, 0, H)


def test_wrong_resets_are_named() -> None:
    layer, x = LSTM(I, H), torch.randn(T, B, I)
    for wrong, got in (
        (RESETS.T, r"torch\.bool \[3, 7\]"),
        (RESETS.int(), r"torch\.int32 \[7, 3\]"),
        (RESETS[0], r"torch\.bool \[3\]"),
        ([True], "list"),
    ):
        with pytest.raises(ValueError, match=rf"resets must be torch\.bool \[7, 3\], one for each step.*, got {got}"):
            layer(x, resets=wrong)
    with pytest.raises(ValueError, match="resets= cannot be combined with a PackedSequence"):
        layer(pack_sequence([x[:, 0]]), resets=RESETS[:, :1])


def test_the_choice_of_a_backend(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASE._replace(resets=True)
    assert choose("auto", case)[0] == "torchscript"
    assert choose("auto", case)[1].startswith("the fastest that has resets inside a sequence")
    with pytest.raises(ValueError, match="neither cuDNN nor oneDNN has resets inside a sequence"):
        choose("native", case)
    assert choose("auto", case._replace(cell=LSTM_CELL._replace(scripted=None))).backend == "reference"
    with monkeypatch.context() as patch:  # as if the kernels could run on a GPU, where they have not run with resets
        patch.setattr(available, "refusal", lambda dtype, device: None)
        patch.setattr(plan, "device_limits", lambda device: plan.Device(processors=132, memory=227 << 10))
        on_gpu = case._replace(device="cuda:0")
        assert choose("auto", on_gpu._replace(resets=False)).backend == "triton"
        assert choose("triton", on_gpu).backend == "triton"
        backend, reason = choose("auto", on_gpu)
        assert backend == "torchscript"
        assert "the Triton kernels have not run on a GPU with resets" in reason
    LSTM(I, H).explain(T, B, resets=True)
    assert "torchscript, the fastest that has resets" in capsys.readouterr().out
    monkeypatch.setattr(type(Leaky.cell.scripted), "has_resets", False)  # a cell from before there were resets
    leaky = case._replace(cell=Leaky.cell)
    assert choose("auto", leaky) == ("reference", "the loops of this cell do not support resets")
    with pytest.raises(ValueError, match="the loops of this cell do not support resets"):
        choose("torchscript", leaky)
    assert dispatch.choose("torchscript", leaky._replace(resets=False)).backend == "torchscript"
