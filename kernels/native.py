"""torch's own recurrent operators, cuDNN or oneDNN below them, where the equations are the same."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as take_rows
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kernels.cell import Given, Results


def rnn(given: Given) -> Results:
    """Return all states [T, B, H] and the last valid one [B, H]."""
    return _run(torch.rnn_tanh if given.options == ("tanh",) else torch.rnn_relu, given, _two_biases(*given.weights))


def gru(given: Given) -> Results:
    """Return all states [T, B, H] and the last valid one [B, H]."""
    return _run(torch.gru, given, [weight for weight in given.weights if weight is not None])


def lstm(given: Given) -> Results:
    """Return all states [T, B, H], the last valid state and the last valid cell [B, H]."""
    return _run(torch.lstm, given, _two_biases(*given.weights[:3]))


def projected_lstm(given: Given) -> Results:
    """Return all states [T, B, P], the last valid state [B, P] and the last valid cell [B, H]."""
    *weights, weight_hr = given.weights
    return _run(torch.lstm, given, [*_two_biases(*weights), weight_hr])


def _run(function: Callable[..., Any], given: Given, weights: list[Tensor]) -> Results:
    vectors = given.inputs if given.embedding is None else take_rows(given.inputs, given.embedding)
    train = torch.is_grad_enabled() or torch.jit.is_tracing()  # a trace may be differentiated when it runs
    one_layer = (len(weights) > 3, 1, 0.0, train, False)  # biases, layers, dropout, train, both ways
    if given.lengths is None or not given.lengths.numel():  # no batch of no rows can be packed
        hx = [value[None].to(vectors.dtype) for value in given.states]
        with _quiet(vectors.is_cuda):
            states, *final = function(vectors, hx if len(hx) > 1 else hx[0], weights, *one_layer, False)
        return states, *(value[0] for value in final)
    packed = pack_padded_sequence(vectors, given.lengths.cpu(), enforce_sorted=False)
    hx = [value[packed.sorted_indices][None].to(vectors.dtype) for value in given.states]
    with _quiet(vectors.is_cuda):
        data, *final = function(packed.data, packed.batch_sizes, hx if len(hx) > 1 else hx[0], weights, *one_layer)
    states, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices),
        total_length=len(vectors),
    )
    return states, *(value[0, packed.unsorted_indices] for value in final)


@contextmanager
def _quiet(on_gpu: bool) -> Iterator[None]:
    """Silence cuDNN's warning that the weights are not packed: they are parameters of their own for all backends."""
    with warnings.catch_warnings() if on_gpu else nullcontext():
        if on_gpu:
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield


def _two_biases(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Return the weights with a bias as the two that these operators take."""
    return [weight_ih, weight_hh] if bias is None else [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
