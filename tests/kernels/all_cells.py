"""The cells that the tests run with: those of the package, and one in a folder of its own outside the package."""

import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels import GRU, LSTM, RNN, SLSTM, LayerNormLSTM, PeepholeLSTM, RecurrentLayer
from kernels.triton import available

LEAKY = '''"""A leaky Elman network, h = (h′ + tanh(W x + b + U h′)) / 2: its equations and its scripted loops."""

import torch

from kernels import Cell, RecurrentLayer
from kernels.layer import gate_shapes
from kernels.scripted import BackwardChunk, ForwardChunk, ScriptedCell, add_product, entering, loop, stop_gradient


def leaky_step(projected, state, weight_hh):
    (h,) = state
    return ((h + torch.tanh(projected + h @ weight_hh.T)) / 2,)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h; turn `gates` from W x + b into g = tanh(W x + b + U h′)."""
    h, weight_t = chunk.before[0], chunk.weights[0]
    for t in range(len(chunk.states[0])):
        g, h = chunk.gates[0][t], entering(h, chunk.resets, t)
        add_product(g, h.to(weight_t.dtype), weight_t, chunk.scratch[0])
        h = torch.add(h, g.tanh_(), out=chunk.states[0][t]).mul_(0.5)


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradient before each tanh: δ = ∂h ⊙ (1 − g²) / 2,  ∂h′ = ∂h / 2 + δ U."""
    grad_h, grad_hidden, weight = chunk.grad_states[0], chunk.grads[0], chunk.weights[0]
    for t in range(len(chunk.states[0]) - 1, -1, -1):
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        grad = torch.ops.aten.tanh_backward(grad_h.mul_(0.5), chunk.gates[0][t], grad_input=chunk.grad_gates[0][t])
        add_product(grad_h, chunk.grad_gates[1][t].copy_(grad), weight, chunk.scratch[0])
        stop_gradient(grad_h, chunk.resets, t)


class ScriptedLeaky(ScriptedCell):
    name = "leaky"
    has_resets = True
    step = staticmethod(leaky_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)


class Leaky(RecurrentLayer):
    cell = Cell("leaky", ("weight_ih", "weight_hh", "bias"), leaky_step, scripted=ScriptedLeaky())

    def shapes(self, input_size):
        return gate_shapes(input_size, self.hidden_size, gates=1, bias=self.bias)
'''

_folder = tempfile.TemporaryDirectory()  # until the tests end: TorchScript reads the source
FOLDER = Path(_folder.name)
(FOLDER / "leaky_cell").mkdir()
(FOLDER / "leaky_cell" / "__init__.py").write_text(LEAKY, encoding="utf-8")
sys.path.append(str(FOLDER))
Leaky: type[RecurrentLayer] = importlib.import_module("leaky_cell").Leaky


def layer_norm_lstm(*sizes: int, **options: Any) -> LayerNormLSTM:
    """Return a LayerNormLSTM whose gains are not 1 and whose biases are not 0."""
    layer = LayerNormLSTM(*sizes, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if not name.startswith("weight"):
                parameter += 0.3 * torch.randn_like(parameter)
    return layer


def several_heads(hidden_size: int) -> int:
    """Return the least number of heads above 1 that divides a width."""
    return next(heads for heads in range(2, hidden_size + 1) if hidden_size % heads == 0) if hidden_size > 1 else 1


CELLS: dict[str, Callable[..., RecurrentLayer]] = {
    "rnn_tanh": RNN,
    "rnn_relu": lambda *sizes, **options: RNN(*sizes, nonlinearity="relu", **options),
    "gru": GRU,
    "lstm": LSTM,
    "lstm_projected": lambda I, H, **options: LSTM(I, H, proj_size=(H + 1) // 2 if H > 1 else 0, **options),
    "peephole_full": PeepholeLSTM,
    "peephole_full_tanh": lambda *sizes, **options: PeepholeLSTM(*sizes, candidate="tanh", **options),
    "peephole_diagonal": lambda *sizes, **options: PeepholeLSTM(*sizes, peephole="diagonal", **options),
    "peephole_diagonal_sigmoid": lambda *sizes, **options: PeepholeLSTM(
        *sizes, peephole="diagonal", candidate="sigmoid", **options
    ),
    "layer_norm_lstm": layer_norm_lstm,
    "slstm": lambda I, H, *rest, **options: SLSTM(I, H, *rest, num_heads=several_heads(H), **options),
    "slstm_exp": lambda *sizes, **options: SLSTM(*sizes, forget_gate="exp", **options),
    "leaky": Leaky,
}
KINDS = [RNN, GRU, LSTM, PeepholeLSTM, LayerNormLSTM, SLSTM, Leaky]
NATIVE = ("rnn_tanh", "rnn_relu", "gru", "lstm", "lstm_projected")
TRITON = tuple(name for name in CELLS if name != "leaky")
NO_TRITON = available.refusal(torch.float32, "cpu")  # why its interpreter cannot run the kernels here


def random_states(layer: RecurrentLayer, B: int) -> list[Tensor]:
    """Return initial states [L·D, B, ·] of a layer; an sLSTM's normalisers are positive."""
    weight = layer.weight_ih_l0
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    states = [torch.randn(count, B, width, dtype=weight.dtype) for width in layer.state_widths]
    if isinstance(layer, SLSTM):
        states[2].abs_().add_(0.5)
    return states


def as_hx(states: Sequence[Tensor]) -> Any:
    """Return states as a layer takes them: one alone, or a tuple."""
    return tuple(states) if len(states) > 1 else states[0]


def as_states(final: Any) -> list[Tensor]:
    """Return the last states that a layer returns, as a list."""
    return [final] if isinstance(final, Tensor) else list(final)
