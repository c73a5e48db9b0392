"""Each cell's equations as the paper prints them, one function a step, and one loop over time: the oracle.

Eager operations under autograd, any floating dtype, any number of derivatives. Everything else is tested against this.

Legend: B batch, T time, H hidden. ⊙ elementwise product, σ logistic, ′ the previous step. `projected` holds the
input's share of every gate, W x + b, in the gate order of the weights.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

State = tuple[Tensor, ...]


def rnn_step(projected: Tensor, h: Tensor, weight_hh: Tensor, nonlinearity: str) -> Tensor:
    """Return the next state of Elman's network (Elman 1990), h = tanh(W_hx x + b + W_hh h′), or with relu for tanh.

    Args:
        projected: [B, H].
        h: previous state [B, H].
        weight_hh: [H, H].
        nonlinearity: "tanh" or "relu".
    """
    return getattr(torch, nonlinearity)(projected + h @ weight_hh.T)


def gru_step(projected: Tensor, h: Tensor, weight_hh: Tensor, bias_hh: Tensor | None) -> Tensor:
    """Return the next state of the gated recurrent unit (Cho et al. 2014), in torch.nn's form.

    r = σ(W_ir x + b_ir + W_hr h′ + b_hr)
    z = σ(W_iz x + b_iz + W_hz h′ + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn h′ + b_hn))
    h = (1 − z) ⊙ n + z ⊙ h′

    Args:
        projected: [B, 3H], gates r, z, n.
        h: previous state [B, H].
        weight_hh: [3H, H].
        bias_hh: [3H] or None.
    """
    r, z, n = projected.chunk(3, dim=1)
    h_r, h_z, h_n = linear(h, weight_hh, bias_hh).chunk(3, dim=1)
    r, z = torch.sigmoid(r + h_r), torch.sigmoid(z + h_z)
    return (1 - z) * torch.tanh(n + r * h_n) + z * h


def lstm_step(
    projected: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor, weight_peephole: Tensor | None, candidate: str
) -> tuple[Tensor, Tensor]:
    """Return the next state and cell of the LSTM (Gers, Schmidhuber & Cummins 2000), or of its diagonal peephole form.

    i = σ(W_ix x + W_ih h′ + b_i + p_i ⊙ c′)
    f = σ(W_fx x + W_fh h′ + b_f + p_f ⊙ c′)
    g = tanh(W_gx x + W_gh h′ + b_g)
    c = g ⊙ i + c′ ⊙ f
    o = σ(W_ox x + W_oh h′ + b_o + p_o ⊙ c)
    h = tanh(c) ⊙ o

    Without peepholes p = 0; with them this is the network of Gers, Schraudolph & Schmidhuber (2002).

    Args:
        projected: [B, 4H], gates i, f, g, o.
        h: previous state [B, H].
        c: previous cell [B, H].
        weight_hh: [4H, H].
        weight_peephole: p [3, H], gates i, f, o.
        candidate: the candidate's function, "tanh" or "sigmoid".
    """
    i, f, g, o = (projected + h @ weight_hh.T).chunk(4, dim=1)
    p_i, p_f, p_o = weight_peephole if weight_peephole is not None else c.new_zeros(3, 1)
    i = torch.sigmoid(i + p_i * c)
    f = torch.sigmoid(f + p_f * c)
    c = getattr(torch, candidate)(g) * i + c * f
    o = torch.sigmoid(o + p_o * c)
    return torch.tanh(c) * o, c


def peephole_step(projected: Tensor, c: Tensor, weight_ch: Tensor, candidate: str) -> tuple[Tensor, Tensor]:
    """Return the next state and cell of the full-matrix peephole LSTM, the study's variant.

    i = σ(W_ix x + W_ic c′ + b_i)
    f = σ(W_fx x + W_fc c′ + b_f)
    o = σ(W_ox x + W_oc c′ + b_o)
    c = σ(W_cx x + b_c) ⊙ i + c′ ⊙ f
    h = tanh(c) ⊙ o

    No gate sees the state h′; the candidate has σ by default.

    Args:
        projected: [B, 4H], gates i, f, g, o, where g is the candidate.
        c: previous cell [B, H].
        weight_ch: [3H, H], gates i, f, o.
        candidate: the candidate's function, "tanh" or "sigmoid".
    """
    i, f, g, o = projected.chunk(4, dim=1)
    c_i, c_f, c_o = (c @ weight_ch.T).chunk(3, dim=1)
    i, f, o = torch.sigmoid(i + c_i), torch.sigmoid(f + c_f), torch.sigmoid(o + c_o)
    c = getattr(torch, candidate)(g) * i + c * f
    return torch.tanh(c) * o, c


def rnn(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
) -> State:
    """Return all states [T, B, H] and the last valid ones [B, H].

    Args:
        inputs: vectors [T, B, I], or tokens [T, B] where an embedding is given.
        embedding: vectors of the tokens [V, I] or None.
        weight_ih: [H, I].
        weight_hh: [H, H].
        bias: [H] or None.
        h_0: [B, H].
        lengths: number of valid steps of each row [B], None for T. A row's state stays as it is after its last one.
        nonlinearity: "tanh" or "relu".
    """
    projected = project(inputs, embedding, weight_ih, bias)
    return loop(lambda share, state: (rnn_step(share, state[0], weight_hh, nonlinearity),), projected, (h_0,), lengths)


def gru(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h_0: Tensor,
    lengths: Tensor | None,
) -> State:
    """Return all states [T, B, H] and the last valid ones [B, H]; arguments as of `rnn`."""
    projected = project(inputs, embedding, weight_ih, bias_ih)
    return loop(lambda share, state: (gru_step(share, state[0], weight_hh, bias_hh),), projected, (h_0,), lengths)


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
) -> State:
    """Return all states [T, B, H], the last valid state and the last valid cell [B, H]; arguments as of `rnn`."""

    def step(share: Tensor, state: State) -> State:
        return lstm_step(share, state[0], state[1], weight_hh, weight_peephole, candidate)

    states, h, c = loop(step, project(inputs, embedding, weight_ih, bias), (h_0, c_0), lengths)
    return states, h, c.to(h.dtype)


def peephole_lstm(
    inputs: Tensor,
    embedding: Tensor | None,
    weight_ih: Tensor,
    weight_ch: Tensor,
    bias: Tensor | None,
    c_0: Tensor,
    lengths: Tensor | None,
    candidate: str,
    last_only: bool = False,
) -> State:
    """Return all states [T, B, H], the last valid state and the last valid cell [B, H]; arguments as of `rnn`.

    `last_only` permits to leave out all states but the last; here they are there anyway.
    """

    def step(share: Tensor, state: State) -> State:
        return peephole_step(share, state[1], weight_ch, candidate)

    h_0 = torch.zeros_like(c_0)  # shown to no gate
    states, h, c = loop(step, project(inputs, embedding, weight_ih, bias), (h_0, c_0), lengths)
    return states, h, c.to(h.dtype)


def project(inputs: Tensor, embedding: Tensor | None, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """Return W x + b [T, B, G] of vectors [T, B, I], or of tokens [T, B] and their embedding [V, I]."""
    return linear(inputs if embedding is None else embedding[inputs], weight_ih, bias)


def loop(
    step: Callable[[Tensor, State], State], projected: Tensor, state: State, lengths: Tensor | None
) -> tuple[Tensor, ...]:
    """Return all values of the first state [T, B, H], and the last valid ones of every state [B, H].

    Args:
        step: takes a step's share of the gates [B, G] and the states before it; returns those after it.
        projected: W x + b [T, B, G].
        state: the states before the first step.
        lengths: number of valid steps of each row [B], None for T.
    """
    states = []
    for t, share in enumerate(projected):
        new = step(share, state)
        if lengths is not None:  # rows whose sequence has ended keep their state
            running = (t < lengths)[:, None]
            new = tuple(
                torch.where(running, after, before.to(after.dtype)) for after, before in zip(new, state, strict=True)
            )
        state = new
        states.append(state[0])
    return torch.stack(states), *state
