"""The GRU as scripted loops.

r = σ(r̃), z = σ(z̃), q = W_hn h′ + b_hn, n = tanh(ñ + r ⊙ q), h = (1 − z) ⊙ n + z ⊙ h′, where ñ = W_in x + b_in, and the
other tildes mark the sum of both weights' products and both biases.

As tanh(x) = 2 σ(2x) − 1 and a logistic is several times cheaper than a tanh on a CPU, the 2 is multiplied into the
candidate's weights: s = σ(2ñ + r ⊙ 2q), n = 2s − 1. Gates are kept in the order s, r, z, and the doubled q beside
them: then the gradients of the input's side, s, r, z, and of the recurrent side, r, z, q, overlap in one buffer.

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

import torch
from torch import Tensor

from kernels.cells.gru.reference import gru_step
from kernels.operator import Named
from kernels.scripted.cell import ScriptedCell
from kernels.scripted.chunks import add_recurrent, scale_rows
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    entering,
    let_stay,
    loop,
    low_gradient,
    split_gradient,
    stop_gradient,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states h; turn `gates[0]` from W x + b into s, r, z, and fill `gates[1]`, the doubled q.

    `weights[1]` is the doubled b_hn.
    """
    hidden, h, product = chunk.states[0], chunk.before[0], chunk.scratch[0]
    gates, doubled, weight_t, bias_n = chunk.gates[0], chunk.gates[1], chunk.weights[0], chunk.weights[1]
    H, minus_one = hidden.shape[2], hidden.new_full((), -1.0)
    for t in range(hidden.shape[0]):
        gate, q, h_new, h = gates[t], doubled[t], hidden[t], entering(h, chunk.resets, t)
        torch.mm(h.to(weight_t.dtype), weight_t, out=product)
        gate[:, H:].add_(product[:, : 2 * H]).sigmoid_()
        s, r, z = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        torch.add(bias_n, product[:, 2 * H :], out=q)
        s.addcmul_(r, q).sigmoid_()
        torch.add(minus_one, s, alpha=2.0, out=h_new)
        torch.lerp(h_new, h, z, out=h_new)
        let_stay(h_new, h, chunk.zoneout, 0, t)
        h = h_new


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradients δs, δr, δz, δq [k, B, 4H].

    δz = ∂h ⊙ (h′ − n) ⊙ z(1 − z),  δs = 2 ∂h ⊙ (1 − z) ⊙ s(1 − s),  δr = δs ⊙ q ⊙ r(1 − r),  δq = δs ⊙ r,
    ∂h′ = ∂h ⊙ z + [δr, δz, δq] W_hh.
    """
    hidden, weight, grad_h, grad_hidden = chunk.states[0], chunk.weights[0], chunk.grad_states[0], chunk.grads[0]
    gates, doubled, grad_gates, low = chunk.gates[0], chunk.gates[1], chunk.grad_gates[0], chunk.grad_gates[1]
    product_low, product, first_h = chunk.scratch[0], chunk.scratch[1], chunk.before[0]
    H, zoneout = hidden.shape[2], len(chunk.zoneout) > 0
    for t in range(hidden.shape[0] - 1, -1, -1):
        gate, grad, q = gates[t], grad_gates[t], doubled[t]
        h = entering(hidden[t - 1] if t > 0 else first_h, chunk.resets, t)
        s, r, z = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H :]
        grad_s, grad_r = grad[:, :H], grad[:, H : 2 * H]
        grad_z, grad_q = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if zoneout:
            split_gradient(grad_h, chunk.zoneout, 0, t, chunk.scratch[2])
        torch.add(h, s, alpha=-2.0, out=product).add_(1.0)  # h′ − n
        torch.mul(grad_h, product, out=grad_z)
        torch.mul(grad_h, z, out=product)
        torch.sub(grad_h, product, out=grad_s).mul_(2.0)
        torch.ops.aten.sigmoid_backward(grad_s, s, grad_input=grad_s)
        torch.mul(grad_s, q, out=grad_r)
        torch.mul(grad_s, r, out=grad_q)
        both = grad[:, H : 3 * H]
        torch.ops.aten.sigmoid_backward(both, gate[:, H:], grad_input=both)
        if zoneout:
            product.add_(chunk.scratch[2])
        if weight.dtype == grad.dtype:
            torch.addmm(product, grad[:, H:], weight, out=grad_h)
        else:
            torch.mm(low_gradient(grad, low, t)[:, H:], weight, out=product_low)
            torch.add(product, product_low, out=grad_h)
        stop_gradient(grad_h, chunk.resets, t)


class ScriptedGRU(ScriptedCell):
    """The GRU."""

    name = "gru"
    weights = ("weight_ih", "weight_hh", "bias_ih?", "bias_hh?")
    gates = (3, 1)
    grad_gates = 4
    has_resets = True
    recurrent_blocks = (1, 4)
    backward_scratch = 1
    step = staticmethod(gru_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def factor(self, options: Named) -> float:
        """Return 2, for tanh(x) = 2 σ(2x) − 1."""
        return 2.0

    def gradient_factor(self, options: Named) -> float:
        """Return 2: the loop fills the gradient of the doubled pre-activation."""
        return 2.0

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Multiply the candidate's rows by the factor, put them first on the input side, and join the other biases."""
        weight_hh, bias_ih, bias_hh = (tensors[name] for name in ("weight_hh", "bias_ih", "bias_hh"))
        H = weight_hh.shape[1]
        bias, bias_n = None, weight_hh.new_zeros(H, dtype=tensors["h_0"].dtype)
        if bias_ih is not None:
            bias_n = factor * bias_hh[2 * H :]
            bias = scale_rows(bias_ih, factor, slice(2 * H, 3 * H))
            bias[: 2 * H] += bias_hh[: 2 * H]
            bias = bias.roll(H, 0)
        weight_ih = scale_rows(tensors["weight_ih"], factor, slice(2 * H, 3 * H)).roll(H, 0)
        return Folded(weight_ih, bias, scale_rows(weight_hh, factor, slice(2 * H, 3 * H)), [bias_n])

    def unfold(self, gradients: Folded, H: int, factor: float) -> dict[str, Tensor | None]:
        """Undo `fold`: the order of the gates, the factor of the candidate, one bias for two."""
        assert gradients.bias is not None
        bias = gradients.bias.roll(-H, 0)  # of r, z, s
        return {
            "weight_ih": scale_rows(gradients.weight_ih.roll(-H, 0), factor, slice(2 * H, 3 * H)),
            "weight_hh": scale_rows(gradients.weight_hh, factor, slice(2 * H, 3 * H)),
            "bias_ih": scale_rows(bias, factor, slice(2 * H, 3 * H)),
            "bias_hh": torch.cat([bias[: 2 * H], factor * gradients.extra[0]]),
        }

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute s, r, z and q from the stored states."""
        (gate, q), (weight_t, bias_n), H = chunk.gates, chunk.weights, states[0].shape[2]
        recurrent = torch.zeros_like(gate)
        add_recurrent(recurrent, t, states[0], initial[0], weight_t, chunk.reset_places)
        gate[..., H:].add_(recurrent[..., : 2 * H]).sigmoid_()
        torch.add(recurrent[..., 2 * H :], bias_n, out=q)
        gate[..., :H].addcmul_(gate[..., H : 2 * H], q).sigmoid_()

    def extra_gradients(self, chunk: BackwardChunk) -> list[Tensor]:
        """Return the gradient of the doubled b_hn, Σ_t δq."""
        return [chunk.grad_gates[0][..., 3 * chunk.states[0].shape[2] :].sum((0, 1))]


class ZoneoutGRU(ScriptedGRU):
    """The GRU with zoneout."""

    name = "zoneout_gru"
    has_zoneout = True
    backward_scratch = 2


SCRIPTED = ScriptedGRU()
ZONEOUT = ZoneoutGRU()
