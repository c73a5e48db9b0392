"""Sampling from a recurrent language model, one symbol at a time, in one loop over its layers.

A call of the layers for every symbol costs more in overhead than in arithmetic. Here the choice of the symbol, the
layers and the head are one scripted loop, over any number of samples. A layer's step is the forward loop of its cell
over one step, with the token table as input projection. A cell that has only its equations runs them as plain Python.

Legend: N samples, L layers, H hidden, G gates · H, V vocabulary.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.dtypes import emulated
from kernels.layer import RecurrentLayer
from kernels.scripted.script import ForwardChunk, Starts, loop
from kernels.stack import equations

NO_RESETS = Starts([], []), None
PART = 1000  # symbols of a text that are read at once


class Sampling(NamedTuple):
    """How a symbol is chosen."""

    temperature: float = 1.0  # multiplies the logits
    greedy: bool = False  # whether to take the likeliest symbol instead
    top_k: int = 0  # choose from so many of the likeliest, 0 for all
    top_p: float = 1.0  # choose from the fewest that have so much of the probability


class LayerStep(NamedTuple):
    """A layer as the decoding loop takes it."""

    input_t: Tensor  # weight of the input projection, transposed [I, G]
    bias: Tensor  # of the input projection [G]
    projected: Tensor  # where the input projection goes [N, G]
    even: ForwardChunk  # the argument of the forward loop in even steps; its `states` are the `before` of `odd`
    odd: ForwardChunk  # the same in odd steps


class Decoder:
    """A language model's layers and head, ready to be sampled from; reading a prompt and sampling carry one state.

    Args:
        layer: recurrent layer in one direction.
        embedding_weight: vectors of the symbols [V, I].
        head_weight: [V, H], or [V, P] for a layer with a projection.
        head_bias: [V].
        dtype: dtype of the products of states and weights; gates and logits keep that of the weights, and so do the
            products where a CPU would emulate this dtype.

    Raises:
        ValueError: if the layer has two directions.
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
        if dtype is None or emulated(dtype, head_bias.device.type):
            dtype = head_bias.dtype
        self.dtype = dtype
        self.scripted, self.zoneout = layer._cell.scripted, layer.zoneout if any(layer.zoneout) else ()
        if self.scripted is None:
            self.loop = decode_loop(equations_step(head_bias.device.type, self.dtype))
        else:
            self.loop = scripted_loop(inspect.unwrap(self.scripted.forward_loop))
        self.weights = [self._weights(f"_l{k}") for k in range(layer.num_layers)]
        input_t, bias, _, _ = self.weights[0]
        self.table = torch.addmm(bias, embedding_weight, input_t)  # [V, G]
        self._set([head_bias.new_zeros(layer.num_layers, 1, width) for width in layer.state_widths], head_bias[None])

    def read(self, tokens: Tensor) -> Tensor:
        """Read tokens [T, N] from an empty state; return the logits of the symbol after each, [T, N, V]."""
        state: Any = None
        parts = []
        for part in tokens.split(PART):  # so that only the gates of one part are in memory
            hidden, state = self.layer.forward_ids(part, self.embedding, state)
            parts.append(linear(hidden, self.head_t.T, self.head_bias))
        logits = torch.cat(parts)
        self._set(list(state) if isinstance(state, tuple) else [state], logits[-1])
        return logits

    def state(self) -> list[Tensor]:
        """Return a copy of what decides how the text goes on: every state [L, N, H], and the logits [N, V]."""
        states = [torch.stack([step.even.before[j] for step in self.steps]) for j in range(self.layer.num_states)]
        return [*states, self.logits.clone()]

    def restore(self, state: list[Tensor]) -> None:
        """Go on from a state that `state` returned."""
        self._set(state[:-1], state[-1])

    def repeat(self, N: int) -> None:
        """Let N samples go on from the one text that has been read."""
        *states, logits = self.state()
        self._set([state.repeat(1, N, 1) for state in states], logits.repeat(N, 1))

    def sample(
        self, uniforms: Tensor, temperature: float = 1.0, greedy: bool = False, top_k: int = 0, top_p: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Go on from the state; return symbols and their log-probabilities at temperature 1, [length, N] each.

        Args:
            uniforms: random numbers in [0, 1) for the choices [length, N].
            temperature: as in `Sampling`, like the rest.
            greedy: whether to take the likeliest symbol.
            top_k: number of the likeliest to choose from.
            top_p: probability of those to choose from.
        """
        tokens = torch.empty(uniforms.shape, dtype=torch.int64, device=uniforms.device)
        log_probs = torch.empty_like(uniforms)
        sampling = Sampling(temperature, greedy, min(top_k, self.logits.shape[1]), top_p)
        self.loop(
            self.table, self.steps, self.head_t, self.head_bias, self.logits, sampling, uniforms, tokens, log_probs
        )
        return tokens, log_probs

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, list[Any], float]:
        """Return a layer's input weight, transposed, its bias, its recurrent weights, and the candidate's factor."""
        layer, cell = self.layer, self.layer._cell
        weights = {name: weight.detach() for name, weight in layer.weights(suffix).items()}
        recurrent: list[Any]
        if cell.scripted is None:
            (step, (weight_ih, bias)), factor = equations(layer, weights), 1.0
            recurrent = [step]
        else:
            names = (name.removesuffix("?") for name in cell.scripted.weights)
            tensors = dict(zip(names, cell.tensors(weights), strict=True))
            tensors[cell.scripted.states[-1]] = self.head_bias.new_empty(0, layer.hidden_size)
            options = (option.split()[1] for option in cell.scripted.options)
            factor = cell.scripted.factor(dict(zip(options, layer.cell_options, strict=True)))
            weight_ih, bias, weight_hh, extra = cell.scripted.fold(tensors, factor)
            recurrent = [weight_hh.mT.contiguous().to(self.dtype), *extra]
        bias = weight_ih.new_zeros(len(weight_ih)) if bias is None else bias
        return weight_ih.T.contiguous(), bias, recurrent, factor

    def _set(self, states: list[Tensor], logits: Tensor) -> None:
        """Go on from states [L, N, ·] and logits [N, V]; make the buffers for N samples."""
        (N, H), self.logits, self.steps = states[-1].shape[1:], logits.clone(), []
        empty, low = self.logits.new_empty, (False,) * len(states)
        if self.scripted is not None:
            low = self.scripted.low_states
        for k, (input_t, bias, weights, factor) in enumerate(self.weights):
            gates, scratch, pair = [empty(1, N, len(bias))], [], []
            if self.scripted is not None:
                gates += [empty(1, N, width * H) for width in self.scripted.gates[1:]]
                scratch = [empty(N, weights[0].numel() // weights[0].shape[-2], dtype=self.dtype)]
                scratch += [empty(N, H) for _ in range(self.scripted.forward_scratch)]
            for _ in range(2):
                dtypes = [self.dtype if is_low else self.head_bias.dtype for is_low in low]
                pair.append(
                    [state[k : k + 1].to(dtype, copy=True) for state, dtype in zip(states, dtypes, strict=True)]
                )
            zoneout = [torch.full_like(state, p) for state, p in zip(pair[0], self.zoneout, strict=False)]
            even, odd = (
                ForwardChunk(
                    gates, after, [state[0] for state in before], weights, factor, None, *NO_RESETS, zoneout, scratch
                )
                for before, after in (pair, reversed(pair))
            )
            self.steps.append(LayerStep(input_t.to(self.dtype), bias, gates[0][0], even, odd))


def choose(logits: Tensor, sampling: Sampling, uniform: Tensor) -> Tensor:
    """Return a symbol for each row of `logits` [N, V]: the first whose cumulated probability exceeds `uniform` [N]."""
    if sampling.greedy:
        return logits.argmax(1)
    scaled = logits if sampling.temperature == 1.0 else logits * sampling.temperature
    if sampling.top_k > 0:
        least = scaled.topk(sampling.top_k, 1).values[:, sampling.top_k - 1 :]
        scaled = scaled.masked_fill(scaled < least, -float("inf"))
    p = torch.softmax(scaled, 1)
    if sampling.top_p < 1.0:
        ordered, order = p.sort(1, descending=True)
        ordered = ordered.masked_fill(ordered.cumsum(1) - ordered >= sampling.top_p, 0.0)
        p = torch.zeros_like(p).scatter_(1, order, ordered)
    sums = p.cumsum(1)
    chosen = torch.searchsorted(sums, uniform.unsqueeze(1) * sums[:, -1:], right=True)
    return chosen.squeeze(1).clamp_(max=logits.shape[1] - 1)


def decode_loop(step: Callable[[ForwardChunk], None]) -> Callable[..., None]:
    """Return the decoding loop around the step of a cell."""

    def run(
        table: Tensor,
        layers: list[LayerStep],
        head_t: Tensor,
        head_bias: Tensor,
        logits: Tensor,
        sampling: Sampling,
        uniforms: Tensor,
        tokens: Tensor,
        log_probs: Tensor,
    ) -> None:
        """Fill `tokens` and `log_probs` [length, N] from the logits [N, V] of the first; leave states and logits."""
        for t in range(tokens.shape[0]):
            chosen = choose(logits, sampling, uniforms[t])
            tokens[t] = chosen
            log_probs[t] = torch.log_softmax(logits, 1).gather(1, chosen.unsqueeze(1)).squeeze(1)
            # torch_geometric replaces torch.index_select by a function that TorchScript cannot compile.
            hidden = torch.ops.aten.index_select(table, 0, chosen, out=layers[0].projected)
            for k, layer in enumerate(layers):
                if k > 0:
                    product = torch.mm(hidden.to(layer.input_t.dtype), layer.input_t)
                    torch.add(product, layer.bias, out=layer.projected)
                chunk, after = (layer.even, layer.odd) if t % 2 == 0 else (layer.odd, layer.even)
                step(chunk)
                hidden = after.before[0]
            torch.addmm(head_bias, hidden.to(head_bias.dtype), head_t, out=logits)
        if tokens.shape[0] % 2 == 1:
            for layer in layers:
                for j, before in enumerate(layer.even.before):
                    before.copy_(layer.odd.before[j])

    return run


@functools.cache
def scripted_loop(step: Callable[[ForwardChunk], None]) -> Callable[..., None]:
    """Return the decoding loop around a forward loop, which TorchScript compiles into it."""
    return loop(decode_loop(step))


def equations_step(device: str, dtype: torch.dtype) -> Callable[[ForwardChunk], None]:
    """Return a forward loop of one step for a cell that has only its equations, which `weights` holds."""

    def step(chunk: ForwardChunk) -> None:
        equations: Any = chunk.weights[0]
        with torch.autocast(device, dtype, enabled=dtype in (torch.bfloat16, torch.float16)):
            new = equations(chunk.gates[0][0], tuple(chunk.before))
        for after, value in zip(chunk.states, new, strict=True):
            after[0] = value

    return step
