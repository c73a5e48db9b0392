"""Nothing that no valid step reads reaches outputs or gradients, be it NaN: padding, and rows that no token selects."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels import GRU, LSTM, RNN, PeepholeLSTM
from kernels.layer import RecurrentLayer
from kernels.triton import available

NO_TRITON = available.refusal(torch.float32, "cpu")  # its interpreter runs the kernels here
CELLS: dict[str, tuple[type[RecurrentLayer], dict]] = {
    "rnn_tanh": (RNN, {}),
    "rnn_relu": (RNN, {"nonlinearity": "relu"}),
    "gru": (GRU, {}),
    "lstm": (LSTM, {}),
    "peephole_full": (PeepholeLSTM, {}),
    "peephole_diagonal": (PeepholeLSTM, {"peephole": "diagonal"}),
}
BACKENDS = {
    name: [
        *("reference", "torchscript", *(("native",) if kind is not PeepholeLSTM else ())),
        pytest.param("triton", marks=pytest.mark.skipif(NO_TRITON is not None, reason=str(NO_TRITON))),
    ]
    for name, (kind, _) in CELLS.items()
}
cases = pytest.mark.parametrize(
    ("cell", "backend"),
    [
        pytest.param(name, *(getattr(backend, "values", [backend])), marks=getattr(backend, "marks", ()))
        for name, backends in BACKENDS.items()
        for backend in backends
    ],
)
T, B, I, H, V = 5, 3, 2, 4, 6
LENGTHS = torch.tensor([2, 5, 1])
AFTER = torch.arange(T)[:, None] >= LENGTHS  # [T, B]


def outcome(layer: RecurrentLayer, run: Callable[[], tuple[Tensor, object]], *leaves: Tensor) -> list:
    """Return what a layer gives, and the gradients of its weights and of `leaves`."""
    out, final = run()
    finals = final if isinstance(final, tuple) else (final,)
    (out.pow(2).sum() + sum(value.pow(3).sum() for value in finals)).backward()
    weights = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return [out.detach(), [value.detach() for value in finals], weights, [leaf.grad for leaf in leaves]]


@cases
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_vectors_after_a_rows_end_may_hold_anything(cell: str, backend: str, output: str, bad: float) -> None:
    kind, options = CELLS[cell]
    results = []
    for filling in (bad, 0.0):
        torch.manual_seed(0)
        layer = kind(I, H, bidirectional=True, backend=backend, **options)
        x = torch.randn(T, B, I).masked_fill(AFTER[..., None], filling).requires_grad_()
        results.append(outcome(layer, lambda: layer(x, lengths=LENGTHS, output=output), x))  # noqa: B023
    torch.testing.assert_close(*results)


@cases
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("ragged", [False, True])
def test_rows_of_an_embedding_that_no_valid_step_selects_may_hold_anything(
    cell: str, backend: str, output: str, ragged: bool
) -> None:
    kind, options = CELLS[cell]
    lengths, bad = (LENGTHS, [0, V - 1]) if ragged else (None, [V - 1])
    ids = torch.randint(1, V - 1, (T, B), generator=torch.Generator().manual_seed(1))
    if ragged:
        ids[AFTER] = 0  # the padding vector
    results = []
    for filling in (torch.nan, 0.0):
        torch.manual_seed(0)
        layer = kind(I, H, bidirectional=True, backend=backend, **options)
        embedding = torch.randn(V, I)
        embedding[bad] = filling
        embedding.requires_grad_()
        run = lambda: layer.forward_ids(ids, embedding, lengths=lengths, output=output)  # noqa: B023, E731
        results.append(outcome(layer, run, embedding))
    torch.testing.assert_close(*results)
    assert not results[0][-1][0][bad].any()  # rows that take no part have no gradient


@cases
def test_a_nan_that_a_valid_step_reads_is_seen(cell: str, backend: str) -> None:
    kind, options = CELLS[cell]
    embedding = torch.randn(V, I)
    embedding[0] = torch.nan
    out, _ = kind(I, H, backend=backend, **options).forward_ids(torch.zeros(T, B, dtype=torch.int64), embedding)
    assert out.isnan().all()
