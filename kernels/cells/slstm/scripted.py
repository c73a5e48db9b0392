"""The sLSTM as scripted loops.

l = log σ(f̃) or f̃, m = max(l + m′, ĩ), i = exp(ĩ − m), f = exp(l + m′ − m), c = f ⊙ c′ + i ⊙ z, n = f ⊙ n′ + i,
h = o ⊙ c / n, where the tilde marks W x + b + R h′.

As in the LSTM, z = tanh(z̃) = 1 − 2s with s = σ(−2z̃), and the −2 is multiplied into the candidate's weights. So s and o
are one σ, and i and f one exp. R has a block for each head; its products are one batched GEMM. `shift.py` explains μ.

Legend: B batch, T time, H hidden, N heads, D = H / N, k steps of a chunk.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kernels.cells.lstm.scripted import ScriptedLSTMLike
from kernels.cells.slstm.reference import slstm_step
from kernels.cells.slstm.shift import with_shift, without_shift
from kernels.operator import Grads, Named
from kernels.scripted.chunks import pairs
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    add_product,
    entering,
    loop,
    low_gradient,
    stop_gradient,
    write_product,
)


@loop
def forward_loop(chunk: ForwardChunk) -> None:
    """Fill the states; turn `gates[0]` from W x + b into i, f, s, o, and fill `gates[1]`, if there is one, with σ(−f̃).

    There is none for an exponential forget gate.
    """
    hidden, cells, norms, maxima = chunk.states[0], chunk.states[1], chunk.states[2], chunk.states[3]
    h, c, n, m = chunk.before[0], chunk.before[1], chunk.before[2], empty_maxima(chunk.before[3], chunk.before[2])
    gates, closed, weight_t = chunk.gates[0], chunk.gates[len(chunk.gates) - 1], chunk.weights[0]
    product, v = chunk.scratch[0], chunk.scratch[1]
    is_logistic = len(chunk.gates) > 1
    B, H = hidden.shape[1], hidden.shape[2]
    for t in range(hidden.shape[0]):
        gate, c_new, n_new, m_new = gates[t], cells[t], norms[t], maxima[t]
        h, c, n = entering(h, chunk.resets, t), entering(c, chunk.resets, t), entering(n, chunk.resets, t)
        if len(chunk.resets.pieces) > 0 and chunk.resets.pieces[t] >= 0:
            m = empty_maxima(m, n)
        add_heads(gate, h, weight_t, product)
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        if is_logistic:
            torch.neg(f, out=closed[t]).sigmoid_()
            torch.ops.aten.log_sigmoid_forward(f, output=f, buffer=v)
        f.add_(m)
        torch.maximum(i, f, out=m_new)
        gate[:, : 2 * H].view(B, 2, H).sub_(m_new.unsqueeze(1)).exp_()
        gate[:, 2 * H :].sigmoid_()
        torch.addcmul(i, f, c, out=c_new).addcmul_(i, s, value=-2.0)
        torch.addcmul(i, f, n, out=n_new)
        h, c, n, m = hidden[t], c_new, n_new, m_new
        if h.dtype == c.dtype:
            torch.div(c, n, out=h).mul_(o)
        else:
            h.copy_(torch.div(c, n, out=v).mul_(o))


@loop
def backward_loop(chunk: BackwardChunk) -> None:
    """Fill `grad_gates`, the gradients δ of ĩ, f̃, s before its σ, and õ.

    p = ∂h ⊙ h,  δo = p ⊙ (1 − o),  ∂c += ∂h ⊙ o / n,  ∂n −= p / n,
    δs = ∂c ⊙ i ⊙ s(1 − s) without the factor,  δi = ∂c ⊙ z ⊙ i + ∂n ⊙ i,  ∂c′ = ∂c ⊙ f,  ∂n′ = ∂n ⊙ f,
    δf = (∂c′ ⊙ c′ + ∂n′ ⊙ n′) ⊙ σ(−f̃),  ∂h′ = δ R.
    For m, `grads` and `grad_states` have μ, which is 0 where there are no `grads`. It goes to the larger one in
    m = max(l + m′, ĩ): to δi where i = 1, else to l and μ′.
    """
    hidden, cells, norms = chunk.states[0], chunk.states[1], chunk.states[2]
    grad_hidden, grad_cells, grad_norms, grad_shift = chunk.grads[0], chunk.grads[1], chunk.grads[2], chunk.grads[3]
    grad_h, grad_c, grad_n, shift = (
        chunk.grad_states[0], chunk.grad_states[1], chunk.grad_states[2], chunk.grad_states[3],
    )  # fmt: skip
    gates, closed, weight = chunk.gates[0], chunk.gates[len(chunk.gates) - 1], chunk.weights[0]
    grad_gates, low, product_low, p = chunk.grad_gates[0], chunk.grad_gates[1], chunk.scratch[0], chunk.scratch[1]
    is_logistic, H, by_head = len(chunk.gates) > 1, hidden.shape[2], torch.empty_like(low[0])
    for t in range(hidden.shape[0] - 1, -1, -1):
        gate, grad, n = gates[t], grad_gates[t], norms[t]
        c_before = entering(cells[t - 1] if t > 0 else chunk.before[1], chunk.resets, t)
        n_before = entering(norms[t - 1] if t > 0 else chunk.before[2], chunk.resets, t)
        i, f, s, o = gate[:, :H], gate[:, H : 2 * H], gate[:, 2 * H : 3 * H], gate[:, 3 * H :]
        grad_i, grad_f = grad[:, :H], grad[:, H : 2 * H]
        grad_s, grad_o = grad[:, 2 * H : 3 * H], grad[:, 3 * H :]
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        if grad_norms is not None:
            grad_n.add_(grad_norms[t])
        torch.mul(grad_h, o, out=p)
        grad_c.addcdiv_(p, n)
        torch.mul(grad_h, hidden[t], out=p)
        grad_n.addcdiv_(p, n, value=-1.0)
        torch.addcmul(p, p, o, value=-1.0, out=grad_o)
        torch.mul(grad_c, i, out=grad_s)
        torch.addcmul(grad_s, grad_s, s, value=-2.0, out=grad_i).addcmul_(grad_n, i)
        torch.ops.aten.sigmoid_backward(grad_s, s, grad_input=grad_s)
        grad_c.mul_(f)
        grad_n.mul_(f)
        torch.mul(grad_c, c_before, out=grad_f).addcmul_(grad_n, n_before)
        if grad_shift is not None:
            shift.add_(grad_shift[t])
            torch.mul(shift, torch.floor(i, out=p), out=p)
            grad_i.add_(p)
            shift.sub_(p)
            grad_f.add_(shift)
        if is_logistic:
            grad_f.mul_(closed[t])
        write_heads(grad_h, low_gradient(grad, low, t), weight, by_head, product_low)
        for own in chunk.grad_states:
            stop_gradient(own, chunk.resets, t)


def empty_maxima(m: Tensor, n: Tensor) -> Tensor:
    """Return m [B, H] with −∞ where n is 0, that is, where nothing has been stored."""
    return m.masked_fill(n == 0, -float("inf"))


def add_heads(gates: Tensor, h: Tensor, weight_t: Tensor, product: Tensor) -> None:
    """Add R h to the gates [B, 4H]; h is [B, H], `weight_t` [N, D, 4D], `product` [B, 4H] is overwritten."""
    B, N, D = h.shape[0], weight_t.shape[0], weight_t.shape[1]
    if N == 1:
        add_product(gates, h, weight_t[0], product)
    else:
        by_head = product.view(N, B, 4 * D)
        torch.bmm(h.reshape(B, N, D).transpose(0, 1), weight_t, out=by_head)
        gates.view(B, 4, N, D).add_(by_head.view(N, B, 4, D).permute(1, 2, 0, 3))


def write_heads(total: Tensor, grads: Tensor, weight: Tensor, by_head: Tensor, product: Tensor) -> None:
    """Write δ R into `total` [B, H]; δ are `grads` [B, 4H], `weight` is [N, 4D, D]; the others are overwritten.

    They are `by_head` [B, 4H] and `product` [B, H], in the dtype of the weights.
    """
    B, N, D = total.shape[0], weight.shape[0], weight.shape[2]
    if N == 1:
        write_product(total, grads, weight[0], product)
    else:
        by_head.view(N, B, 4, D).copy_(grads.view(B, 4, N, D).permute(2, 0, 1, 3))
        own = product.view(N, B, D)
        torch.bmm(by_head.view(N, B, 4 * D), weight, out=own)
        total.view(B, N, D).copy_(own.transpose(0, 1))


class ScriptedSLSTM(ScriptedLSTMLike):
    """The sLSTM with a logistic forget gate."""

    name = "slstm"
    options = ("str forget_gate", "int num_heads")
    states = ("h_0", "c_0", "n_0", "m_0")
    low_states = (True, False, False, False)
    gates: ClassVar[tuple[int, ...]] = (4, 1)
    grad_gates = 4
    forward_scratch = 1
    backward_scratch = 1
    step = staticmethod(slstm_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Return the recurrent weight as [N, 4D, D], the candidate's weights multiplied by `factor`."""
        folded = super().fold(tensors, factor)
        D = folded.weight_hh.shape[1]
        by_head = folded.weight_hh.view(4, -1, D, D).transpose(0, 1)
        return folded._replace(weight_hh=by_head.reshape(-1, 4 * D, D))

    def unfold(self, gradients: Folded, H: int, factor: float) -> dict[str, Tensor | None]:
        """Undo `fold`: the order of heads and gates, and the factor of the candidate."""
        D = gradients.weight_hh.shape[2]
        weight_hh = gradients.weight_hh.view(-1, 4, D, D).transpose(0, 1).reshape(-1, D)
        return super().unfold(gradients._replace(weight_hh=weight_hh), H, factor)

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute i, f, s, o and σ(−f̃) from the stored states."""
        gate, H, places = chunk.gates[0], states[0].shape[2], chunk.reset_places
        before = torch.cat([empty_maxima(chunk.before[3], chunk.before[2])[None], chunk.states[3][:-1]])
        kept = None if places is None else gate.flatten(0, 1)[places]
        for own, h in pairs(gate, t, states[0], initial[0]):
            add_heads(own, h, chunk.weights[0], chunk.weights[0].new_empty(own.shape))
        if places is not None and kept is not None:
            gate.flatten(0, 1)[places] = kept
            before.flatten(0, 1)[places] = -torch.inf
        i, f = gate[..., :H], gate[..., H : 2 * H]
        for closed in chunk.gates[1:]:
            torch.neg(f, out=closed).sigmoid_()
            f.copy_(logsigmoid(f))
        f.add_(before)
        m = torch.maximum(i, f)  # not the stored one: the greater of i and f must be 1, whatever the rounding
        gate[..., : 2 * H].unflatten(2, (2, H)).sub_(m.unsqueeze(2)).exp_()
        gate[..., 2 * H :].sigmoid_()

    def collect_recurrent(
        self, total: Tensor, t: int, grads: Tensor, states: list[Tensor], initial: list[Tensor]
    ) -> None:
        """Add Σ_t δ(t)ᵀ h(t − 1) of every head to `total` [N, 4D, D]."""
        N, _, D = total.shape
        for grad, before in pairs(grads, t, states[0], initial[0]):
            by_head = grad.view(-1, 4, N, D).permute(2, 1, 3, 0).flatten(1, 2)  # [N, 4D, k B]
            total += by_head @ before.to(grad.dtype).reshape(-1, N, D).transpose(0, 1)

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Run the backward loop with μ for m."""
        shifted = with_shift(grads, results)
        if shifted is not grads and tensors["lengths"] is None:
            # With lengths the driver hands the gradients of the last states to the loop.
            T, B = tensors["inputs"].shape[:2]
            tensors = {**tensors, "lengths": torch.full((B,), T, device=results[0].device)}
        return without_shift(super().backward(shifted, results, tensors, options, wanted), tensors)


class ScriptedExponentialSLSTM(ScriptedSLSTM):
    """The sLSTM with an exponential forget gate."""

    name = "exponential_slstm"
    gates = (4,)


SCRIPTED, SCRIPTED_EXPONENTIAL = ScriptedSLSTM(), ScriptedExponentialSLSTM()
