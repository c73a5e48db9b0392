"""Sampling from a recurrent language model, one symbol at a time, in one scripted loop over all levels.

A call of the layers for every symbol costs more in overhead than in arithmetic. Here choice of the symbol, levels and
head are one loop in TorchScript (the same function unscripted, where there is none), over any number of samples.

With tanh(x) = 1 − 2 σ(−2x) all gates of an LSTM are one logistic, as in `kernels.scripted`.

Legend: N samples, L levels, H hidden, G gates · H, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.cells.gru.layer import GRU
from kernels.cells.lstm.layer import LSTM
from kernels.cells.peephole_lstm.layer import PeepholeLSTM
from kernels.cells.rnn.layer import RNN
from kernels.layer import RecurrentLayer
from kernels.scripted.chunks import scale_rows
from kernels.scripted.script import add_product, loop

PART = 1000  # symbols of a text that are read at once


class Decoder:
    """A language model's layers and head, ready to be sampled from; reading a prompt and sampling carry one state.

    Args:
        layer: recurrent layer in one direction, any cell of `kernels`.
        embedding_weight: vectors of the symbols [V, I].
        head_weight: [V, H].
        head_bias: [V].
        dtype: dtype of the products of states and weights; cells, gates and logits keep that of the weights.

    Raises:
        ValueError: if the layer has two directions or is a cell of one's own.
    """

    def __init__(
        self,
        layer: RecurrentLayer,
        embedding_weight: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        dtype: torch.dtype | None = None,
    ) -> None:
        if layer.bidirectional:
            raise ValueError("a layer of two directions cannot go on: it needs the end of a text first")
        self.layer, self.embedding = layer, embedding_weight
        self.head_t, self.head_bias = head_weight.T.contiguous(), head_bias
        self.cell = _cell(layer)
        levels = [_level(layer, f"_l{k}") for k in range(layer.num_layers)]
        inputs_t, biases, recurrent_t, extra = (list(each) for each in zip(*levels, strict=True))
        self.table = torch.addmm(biases[0], embedding_weight, inputs_t[0])  # [V, G]
        self.dtype = dtype or head_bias.dtype
        self.inputs_t, self.recurrent_t = (
            [weight.to(self.dtype) for weight in each] for each in (inputs_t, recurrent_t)
        )
        self.biases, self.extra = biases, extra
        self.c = head_bias.new_zeros(layer.num_layers, 1, layer.hidden_size)  # [L, N, H]
        self.h = self.c.to(self.dtype)
        self.logits = head_bias[None].clone()  # of the next symbol [N, V]

    def read(self, tokens: Tensor) -> Tensor:
        """Read tokens [T, N] from an empty state; return the logits of the symbol after each, [T, N, V]."""
        state: Any = None
        parts = []
        for part in tokens.split(PART):  # gates are kept for a part at most
            hidden, state = self.layer.forward_ids(part, self.embedding, state)
            parts.append(linear(hidden, self.head_t.T, self.head_bias))
        states = state if isinstance(state, tuple) else (state, torch.zeros_like(state))
        self.h, self.c = states[0].to(self.dtype, copy=True), states[1].clone()
        logits = torch.cat(parts)
        self.logits = logits[-1].clone()
        return logits

    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return a copy of what decides how the text goes on."""
        return self.h.clone(), self.c.clone(), self.logits.clone()

    def restore(self, state: tuple[Tensor, Tensor, Tensor]) -> None:
        """Go on from a state that `state` returned."""
        self.h, self.c, self.logits = (value.clone() for value in state)

    def repeat(self, N: int) -> None:
        """Let N samples go on from the one text that has been read."""
        self.h, self.c = self.h.repeat(1, N, 1), self.c.repeat(1, N, 1)
        self.logits = self.logits.repeat(N, 1)

    def sample(
        self, uniforms: Tensor, temperature: float = 1.0, greedy: bool = False, top_k: int = 0, top_p: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Go on from the state; return symbols and their log-probabilities at temperature 1, [length, N] each.

        Args:
            uniforms: random numbers in [0, 1) for the choices [length, N].
            temperature: multiplies the logits.
            greedy: whether to take the likeliest symbol instead.
            top_k: choose from so many of the likeliest, 0 for all.
            top_p: choose from the fewest that have so much of the probability.
        """
        tokens = torch.empty(uniforms.shape, dtype=torch.int64, device=uniforms.device)
        log_probs = torch.empty_like(uniforms)
        decode_loop(
            self.cell, self.table, self.inputs_t, self.biases, self.recurrent_t, self.extra, self.head_t,
            self.head_bias, self.h, self.c, self.logits, temperature, greedy, min(top_k, self.logits.shape[1]), top_p,
            uniforms, tokens, log_probs,
        )  # fmt: skip
        return tokens, log_probs


def choose(logits: Tensor, temperature: float, greedy: bool, top_k: int, top_p: float, uniform: Tensor) -> Tensor:
    """Return a symbol for each row of `logits` [N, V]: the first whose cumulated probability exceeds `uniform` [N]."""
    if greedy:
        return logits.argmax(1)
    scaled = logits if temperature == 1.0 else logits * temperature
    if top_k > 0:
        least = scaled.topk(top_k, 1).values[:, top_k - 1 :]
        scaled = scaled.masked_fill(scaled < least, -float("inf"))
    p = torch.softmax(scaled, 1)
    if top_p < 1.0:
        ordered, order = p.sort(1, descending=True)
        ordered = ordered.masked_fill(ordered.cumsum(1) - ordered >= top_p, 0.0)
        p = torch.zeros_like(p).scatter_(1, order, ordered)
    sums = p.cumsum(1)
    chosen = torch.searchsorted(sums, uniform.unsqueeze(1) * sums[:, -1:], right=True)
    return chosen.squeeze(1).clamp_(max=logits.shape[1] - 1)


def advance(cell: str, gate: Tensor, h: Tensor, c: Tensor, recurrent_t: Tensor, extra: Tensor) -> Tensor:
    """Carry h and c [N, H] over a step of a cell; `kernels/cells` has the equations; return h in c's dtype.

    Args:
        cell: "lstm", "peephole_diagonal", "peephole_full", with "_sigmoid" for that candidate, "gru", "rnn_tanh" or
            "rnn_relu".
        gate: the inputs' share W x + b [N, G]; overwritten.
        h: state before the step, in the dtype of the weights; overwritten.
        c: cell before the step; overwritten.
        recurrent_t: recurrent weight, transposed [H, G].
        extra: a GRU's recurrent bias [3H], diagonal peepholes [3, H], else unused.
    """
    H = h.shape[1]
    if cell == "gru":
        seen = torch.mm(h, recurrent_t).to(gate.dtype) + extra
        rz = torch.sigmoid(gate[:, : 2 * H] + seen[:, : 2 * H])
        n = torch.tanh(gate[:, 2 * H :] + rz[:, :H] * seen[:, 2 * H :])
        new = torch.lerp(n, h.to(gate.dtype), rz[:, H:])
    elif cell == "rnn_tanh":
        add_product(gate, h, recurrent_t)
        new = gate.tanh_()
    elif cell == "rnn_relu":
        add_product(gate, h, recurrent_t)
        new = gate.relu_()
    else:
        i, f, g, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        if cell.startswith("peephole_full"):
            seen = torch.mm(c.to(recurrent_t.dtype), recurrent_t)
            gate[:, : 2 * H].add_(seen[:, : 2 * H])
            o.add_(seen[:, 2 * H :])
        else:
            add_product(gate, h, recurrent_t)
        if cell.startswith("peephole_diagonal"):
            i.addcmul_(c, extra[0])
            f.addcmul_(c, extra[1])
            gate[:, : 3 * H].sigmoid_()
        else:
            gate.sigmoid_()
        c.mul_(f)
        if cell.endswith("sigmoid"):
            c.addcmul_(i, g)
        else:
            c.add_(i).addcmul_(i, g, value=-2.0)
        if cell.startswith("peephole_diagonal"):
            o.addcmul_(c, extra[2]).sigmoid_()
        new = torch.addcmul(o, o, torch.add(c, c, alpha=-3.0).sigmoid_(), value=-2.0)
    h.copy_(new)
    return new


@loop
def decode_loop(
    cell: str,
    table: Tensor,
    inputs_t: list[Tensor],
    biases: list[Tensor],
    recurrent_t: list[Tensor],
    extra: list[Tensor],
    head_t: Tensor,
    head_bias: Tensor,
    h: Tensor,
    c: Tensor,
    logits: Tensor,
    temperature: float,
    greedy: bool,
    top_k: int,
    top_p: float,
    uniforms: Tensor,
    tokens: Tensor,
    log_probs: Tensor,
) -> None:
    """Fill `tokens` and `log_probs` [length, N] from the logits [N, V] of the first; leave state and logits behind."""
    for t in range(tokens.shape[0]):
        chosen = choose(logits, temperature, greedy, top_k, top_p, uniforms[t])
        tokens[t] = chosen
        log_probs[t] = torch.log_softmax(logits, 1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        gate = table.index_select(0, chosen)
        hidden = advance(cell, gate, h[0], c[0], recurrent_t[0], extra[0])
        for level in range(1, h.shape[0]):
            gate = torch.mm(h[level - 1], inputs_t[level]) + biases[level]
            hidden = advance(cell, gate, h[level], c[level], recurrent_t[level], extra[level])
        torch.addmm(head_bias, hidden, head_t, out=logits)


def _cell(layer: RecurrentLayer) -> str:
    """Return the name of a layer's cell in `advance`."""
    if type(layer) is RNN:
        return f"rnn_{layer.nonlinearity}"
    if type(layer) is PeepholeLSTM:
        return f"peephole_{layer.peephole}" + ("_sigmoid" if layer.candidate == "sigmoid" else "")
    if type(layer) in (LSTM, GRU):
        return type(layer).__name__.lower()
    raise ValueError(f"{type(layer).__name__} cannot be decoded; LSTM, GRU, RNN and PeepholeLSTM can")


def _level(layer: RecurrentLayer, suffix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a layer's input weight and recurrent weight, transposed, its bias, and what `advance` calls extra."""
    assert layer.cell is not None
    own = {name: getattr(layer, name + suffix).detach() for name in layer._names}
    weight, recurrent, bias, *others = layer.cell.tensors(own)
    assert weight is not None
    assert recurrent is not None
    nothing = weight.new_zeros(len(weight))
    bias, extra = (nothing if tensor is None else tensor for tensor in (bias, *others, *([None] * (not others))))
    if layer.num_states == 2 and getattr(layer, "candidate", "tanh") == "tanh":
        H = layer.hidden_size
        weight, bias = scale_rows(weight, -2.0, 2 * H, 3 * H), scale_rows(bias, -2.0, 2 * H, 3 * H)
        if len(recurrent) == 4 * H:  # a full peephole's candidate sees no cell
            recurrent = scale_rows(recurrent, -2.0, 2 * H, 3 * H)
    return weight.T.contiguous(), bias, recurrent.T.contiguous(), extra
