"""Nothing that no valid step reads reaches outputs or gradients, be it NaN: padding, and rows that no token selects."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.layer import RecurrentLayer
from tests.kernels.all_cells import CELLS, NATIVE, NO_TRITON, TRITON

triton = pytest.mark.skipif(NO_TRITON is not None, reason=str(NO_TRITON))
QUICK = [name for name in CELLS if name not in ("peephole_full_tanh", "peephole_diagonal_sigmoid")]
cases = pytest.mark.parametrize(
    ("cell", "backend"),
    [
        *((name, backend) for name in QUICK for backend in ("reference", "torchscript")),
        *((name, "native") for name in NATIVE),
        *(pytest.param(name, "triton", marks=triton) for name in QUICK if name in TRITON and name != "layer_norm_lstm"),
        pytest.param("layer_norm_lstm", "triton", marks=[triton, pytest.mark.slow]),
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
    results = []
    for filling in (bad, 0.0):
        torch.manual_seed(0)
        layer = CELLS[cell](I, H, bidirectional=True, backend=backend)
        x = torch.randn(T, B, I).masked_fill(AFTER[..., None], filling).requires_grad_()
        results.append(outcome(layer, lambda: layer(x, lengths=LENGTHS, output=output), x))  # noqa: B023
    torch.testing.assert_close(*results)


@cases
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("ragged", [False, True])
def test_rows_of_an_embedding_that_no_valid_step_selects_may_hold_anything(
    cell: str, backend: str, output: str, ragged: bool
) -> None:
    lengths, bad = (LENGTHS, [0, V - 1]) if ragged else (None, [V - 1])
    ids = torch.randint(1, V - 1, (T, B), generator=torch.Generator().manual_seed(1))
    if ragged:
        ids[AFTER] = 0  # the padding vector
    results = []
    for filling in (torch.nan, 0.0):
        torch.manual_seed(0)
        layer = CELLS[cell](I, H, bidirectional=True, backend=backend)
        embedding = torch.randn(V, I)
        embedding[bad] = filling
        embedding.requires_grad_()
        run = lambda: layer.forward_ids(ids, embedding, lengths=lengths, output=output)  # noqa: B023, E731
        results.append(outcome(layer, run, embedding))
    torch.testing.assert_close(*results)
    assert not results[0][-1][0][bad].any()  # rows that take no part have no gradient


@cases
def test_a_nan_that_a_valid_step_reads_is_seen(cell: str, backend: str) -> None:
    embedding = torch.randn(V, I)
    embedding[0] = torch.nan
    out, _ = CELLS[cell](I, H, backend=backend).forward_ids(torch.zeros(T, B, dtype=torch.int64), embedding)
    assert out.isnan().all()
