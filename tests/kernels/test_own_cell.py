"""A fast cell of one's own is one folder outside the package, as docs/recurrent-layers.md says."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernels import RecurrentLayer, forced, unscripted

CELL = '''
"""h = h′ / 2 + tanh(W x + b + U h′) / 2, as scripted loops: with s = σ(2 (W x + b + U h′)), h = h′ / 2 + s − 1/2."""

import torch
from torch import Tensor

from kernels import Cell, RecurrentLayer
from kernels.scripted.chunks import add_recurrent, scale_rows
from kernels.scripted.driver import Folded, Gradients, ScriptedCell
from kernels.scripted.script import add_product, loop


def leaky_step(projected, state, weight_hh):
    (h,) = state
    return (h / 2 + torch.tanh(projected + h @ weight_hh.T) / 2,)


@loop
def forward_loop(
    gates: list[Tensor], states: list[Tensor], before: list[Tensor], weights: list[Tensor], factor: float,
    ended: Tensor | None, scratch: list[Tensor],
) -> None:
    h = before[0]
    for t in range(states[0].shape[0]):
        s = gates[0][t]
        add_product(s, h.to(weights[0].dtype), weights[0], scratch[0])
        h = torch.add(s.sigmoid_(), h, alpha=0.5, out=states[0][t]).sub_(0.5)


@loop
def backward_loop(
    grads: list[Tensor | None], states: list[Tensor], before: list[Tensor], gates: list[Tensor], weights: list[Tensor],
    factor: float, grad_gates: list[Tensor], grad_states: list[Tensor], scratch: list[Tensor],
) -> None:
    grad_h, grad_hidden = grad_states[0], grads[0]
    for t in range(states[0].shape[0] - 1, -1, -1):
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        grad = torch.ops.aten.sigmoid_backward(grad_h, gates[0][t], grad_input=grad_gates[0][t])
        low = grad_gates[1][t]
        if low.dtype != grad.dtype:
            low.copy_(grad)
        torch.mm(low, weights[0], out=scratch[0])
        grad_h.mul_(0.5).add_(scratch[0])


class ScriptedLeaky(ScriptedCell):
    name = "test_leaky"
    gates = (1,)
    grad_gates = 1
    recurrent_blocks = (0, 1)
    step = staticmethod(leaky_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def factor(self, options):
        return 2.0

    def gradient_factor(self, options):
        return 2.0

    def fold(self, tensors, factor):
        H = len(tensors["weight_hh"])
        scaled = (scale_rows(tensors[name], factor, 0, H) for name in ("weight_ih", "bias", "weight_hh"))
        return Folded(*scaled, [])

    def unfold(self, gradients, factor):
        names = ("weight_ih", "weight_hh", "bias")
        return {name: scale_rows(getattr(gradients, name), factor, 0, None) for name in names}

    def rebuild(self, gates, t, states, initial, weights):
        add_recurrent(gates[0], t, states[0], initial[0], weights[0])
        gates[0].sigmoid_()


class Leaky(RecurrentLayer):
    cell = Cell("leaky", ("weight_ih", "weight_hh", "bias"), leaky_step, scripted=ScriptedLeaky().run)

    def shapes(self, input_size):
        H = self.hidden_size
        return {"weight_ih": (H, input_size), "weight_hh": (H, H)} | ({"bias": (H,)} if self.bias else {})
'''


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[RecurrentLayer]]:
    """Return the layer of a folder outside the package."""
    folder: Path = tmp_path_factory.mktemp("own")
    (folder / "leaky_cell").mkdir()
    (folder / "leaky_cell" / "__init__.py").write_text(CELL)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("leaky_cell").Leaky
    sys.path.remove(str(folder))


def results(layer: RecurrentLayer, tokens: bool, ragged: bool, output: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids, lengths = torch.randint(0, 4, (7, 3), generator=generator), torch.tensor([7, 2, 4]) if ragged else None
    leaf = torch.randn(4, 2, generator=generator, dtype=layer._stored.dtype).requires_grad_()
    if tokens:
        out, final = layer.forward_ids(ids, leaf, lengths=lengths, output=output)
    else:
        out, final = layer(leaf[ids], lengths=lengths, output=output)
    loss = (out * torch.randn(out.shape, generator=generator)).sum() + final.sum()
    return [out, final, *torch.autograd.grad(loss, [leaf, *layer.parameters()])]


@pytest.mark.parametrize("tokens", [False, True], ids=["vectors", "tokens"])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"recompute": True}, {"num_layers": 2, "bidirectional": True}],
    ids=["plain", "no bias", "recompute", "two layers, two directions"],
)
def test_a_cell_of_ones_own_equals_its_equations(leaky: type[RecurrentLayer], options: dict, tokens: bool) -> None:
    layer = leaky(2, 5, dtype=torch.float64, **options)
    for ragged in (False, True):
        for output in ("sequence", "last"):
            arguments = (layer, tokens, ragged, output)
            with forced("reference"):
                expected = results(*arguments)
            with forced("torchscript"):
                actual = results(*arguments)
            torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)
            with forced("torchscript"), unscripted():
                torch.testing.assert_close(results(*arguments), actual)


def test_it_has_all_that_layers_have(leaky: type[RecurrentLayer], capsys: pytest.CaptureFixture[str]) -> None:
    layer, x = leaky(2, 5), torch.randn(7, 3, 2, requires_grad=True)
    layer.explain(7, 3)
    assert capsys.readouterr().out.endswith("torchscript, the fastest that has these equations\n")
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x)[0], rtol=0.05, atol=0.05)
    (gradient,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    for backend, message in (("native", "neither cuDNN nor oneDNN"), ("triton", "it has no kernels of this cell")):
        with pytest.raises(ValueError, match=message):
            leaky(2, 5, backend=backend)(x)


def test_without_loops_its_equations_run(leaky: type[RecurrentLayer], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = leaky(2, 5), torch.randn(7, 3, 2)
    expected = layer(x)
    monkeypatch.setattr(leaky, "cell", leaky.cell._replace(scripted=None))
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match="has no scripted loops"):
        leaky(2, 5, backend="torchscript")


def test_it_compiles(leaky: type[RecurrentLayer]) -> None:
    layer, x = leaky(2, 5), torch.randn(7, 3, 2)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
