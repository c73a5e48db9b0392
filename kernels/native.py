"""torch's own recurrent operators, cuDNN or oneDNN below them, where the equations are the same.

The arguments are those of `kernels.reference`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as take_rows
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def rnn(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, ...]:
    """Return all states [T, B, H] and the last valid one [B, H]."""
    weights = [weight_ih, weight_hh, *_two(bias)]
    return _run(
        torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu, inputs, embedding, (h_0,), weights, lengths
    )


def gru(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return all states [T, B, H] and the last valid one [B, H]."""
    weights = [weight_ih, weight_hh, *(bias for bias in (bias_ih, bias_hh) if bias is not None)]
    return _run(torch.gru, inputs, embedding, (h_0,), weights, lengths)


def lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
) -> tuple[Tensor, ...]:
    """Return all states [T, B, H], the last valid state and the last valid cell [B, H].

    Raises:
        NotImplementedError: with peepholes or a logistic candidate, which these libraries do not have.
    """
    if weight_peephole is not None or candidate != "tanh":
        raise NotImplementedError("the native backend has no peepholes and no candidate but tanh")
    return _run(torch.lstm, inputs, embedding, (h_0, c_0), [weight_ih, weight_hh, *_two(bias)], lengths)


def _run(
    function: Callable[..., Any],
    inputs: Tensor,
    embedding: Tensor | None,
    state: tuple[Tensor, ...],
    weights: list[Tensor],
    lengths: Tensor | None,
) -> tuple[Tensor, ...]:
    vectors = inputs if embedding is None else take_rows(inputs, embedding)
    train = torch.is_grad_enabled() or torch.jit.is_tracing()  # a trace may be differentiated when it runs
    one_layer = (len(weights) == 4, 1, 0.0, train, False)  # biases, layers, dropout, train, both ways
    if lengths is None or not lengths.numel():  # no batch of no rows can be packed
        hx = [value[None].to(vectors.dtype) for value in state]
        states, *final = function(vectors, hx if len(hx) > 1 else hx[0], weights, *one_layer, False)
        return states, *(value[0] for value in final)
    packed = pack_padded_sequence(vectors, lengths.cpu(), enforce_sorted=False)
    hx = [value[packed.sorted_indices][None].to(vectors.dtype) for value in state]
    data, *final = function(packed.data, packed.batch_sizes, hx if len(hx) > 1 else hx[0], weights, *one_layer)
    states, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices),
        total_length=len(vectors),
    )
    return states, *(value[0, packed.unsorted_indices] for value in final)


def _two(bias: Tensor | None) -> list[Tensor]:
    """Return a bias as the two that these operators take."""
    return [] if bias is None else [bias, torch.zeros_like(bias)]
