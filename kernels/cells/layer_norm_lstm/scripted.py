"""The LSTM with layer normalisation as scripted loops.

ĩ, f̃, g̃, õ = γ_x ⊙ norm(x̃) + γ_h ⊙ norm(h̃) + b, where x̃ = W_x x and h̃ = W_h h′, then the LSTM's equations with
h = tanh(ñ) ⊙ o, ñ = γ_c ⊙ norm(c) + b_c.

Everything is normalised step by step, while it is in the cache: norms of a whole chunk take longer. As in the LSTM all
gates are one σ, with s = σ(−2 g̃) and g = 1 − 2s: the −2 has been multiplied into γ_x, γ_h and b of the
candidate. Likewise tanh(ñ) = 1 − 2 σ(−2 ñ), where the −2 is in γ_c and b_c.

Legend: B batch, T time, H hidden, k steps of a chunk.
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from kernels.cells.layer_norm_lstm.reference import EPSILON, layer_norm_lstm_step
from kernels.cells.lstm.scripted import ScriptedLSTMLike
from kernels.operator import Named
from kernels.scripted.chunks import add_recurrent, scale_rows
from kernels.scripted.script import (
    BackwardChunk,
    Folded,
    ForwardChunk,
    entering,
    let_stay,
    loop,
    split_gradient,
    stop_gradient,
    write_product,
)


@loop
def forward_loop(chunk: ForwardChunk, epsilon: float = EPSILON) -> None:
    """Fill the states h and c; beside x̃, `gates[0]`, fill the other two buffers with h̃ and with i, f, s, o.

    `weights` also holds γ_x, γ_h, b, −2 γ_c and −2 b_c.
    """
    hidden, cells, h, c, product = chunk.states[0], chunk.states[1], chunk.before[0], chunk.before[1], chunk.scratch[0]
    weight_t, gain_x, gain_h, bias = chunk.weights[0], chunk.weights[1], chunk.weights[2], chunk.weights[3]
    gain_c, bias_c, recurrent, gates = chunk.weights[4], chunk.weights[5], chunk.gates[1], chunk.gates[2]
    H = hidden.shape[2]
    for t in range(hidden.shape[0]):
        gate, sums = gates[t], recurrent[t]
        h, c = entering(h, chunk.resets, t), entering(c, chunk.resets, t)
        write_product(sums, h, weight_t, product)
        normal_x = torch.native_layer_norm(chunk.gates[0][t], [4 * H], gain_x, bias, epsilon)[0]
        normal_h = torch.native_layer_norm(sums, [4 * H], gain_h, None, epsilon)[0]
        torch.add(normal_x, normal_h, out=gate).sigmoid_()
        i, f, s, o = gate.chunk(4, 1)
        h_new, c_new = hidden[t], torch.addcmul(i, f, c, out=cells[t]).addcmul_(i, s, value=-2.0)
        v = torch.native_layer_norm(c_new, [H], gain_c, bias_c, epsilon)[0].sigmoid_()
        if h_new.dtype == o.dtype:
            torch.addcmul(o, o, v, value=-2.0, out=h_new)
        else:
            h_new.copy_(torch.addcmul(o, o, v, value=-2.0))
        let_stay(h_new, h, chunk.zoneout, 0, t)
        let_stay(c_new, c, chunk.zoneout, 1, t)
        h, c = h_new, c_new


@loop
def backward_loop(chunk: BackwardChunk, epsilon: float = EPSILON) -> None:
    """Fill `grad_gates` with the gradients of x̃ and h̃ [k, B, 8H], and add to those of γ_x, γ_h, b, γ_c and b_c.

    With δ the gradient before a function and ∂ that of a value, and v = σ(−2 ñ):
    δo = ∂h ⊙ (1 − 2v) ⊙ o(1 − o),  δn = ∂h ⊙ o ⊙ v(1 − v),  ∂c += −2 δn through −2 γ_c ⊙ norm(c),
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δs = ∂c ⊙ i ⊙ s(1 − s),  ∂c′ = ∂c ⊙ f,
    ∂x̃ = δ through γ_x ⊙ norm(x̃),  ∂h̃ = δ through γ_h ⊙ norm(h̃),  ∂h′ = ∂h̃ W_h.
    δn and δs lack a factor of 4 each. That of δs is in γ_x and γ_h here; `unfold` gives it to the gradients.
    """
    cells, weight, grad_hidden, grad_cells = chunk.states[1], chunk.weights[0], chunk.grads[0], chunk.grads[1]
    gain_x, gain_h, gain_c, bias_c = chunk.weights[1], chunk.weights[2], chunk.weights[4], chunk.weights[5]
    grad_h, grad_c, product_low, first_c = chunk.grad_states[0], chunk.grad_states[1], chunk.scratch[0], chunk.before[1]
    H, grad_n, grad = cells.shape[2], chunk.scratch[1], torch.empty_like(chunk.gates[2][0])
    zoneout = len(chunk.zoneout) > 0
    for t in range(cells.shape[0] - 1, -1, -1):
        x, sums, gate, c = chunk.gates[0][t], chunk.gates[1][t], chunk.gates[2][t], cells[t]
        c_before = entering(cells[t - 1] if t > 0 else first_c, chunk.resets, t)
        i, f, s, o = gate.chunk(4, 1)
        grad_i, grad_f, grad_s, grad_o = grad.chunk(4, 1)
        if grad_hidden is not None:
            grad_h.add_(grad_hidden[t])
        if grad_cells is not None:
            grad_c.add_(grad_cells[t])
        if zoneout:
            c = torch.addcmul(i, f, c_before, out=chunk.scratch[4]).addcmul_(i, s, value=-2.0)  # before a part stayed
            split_gradient(grad_h, chunk.zoneout, 0, t, chunk.scratch[2])
            split_gradient(grad_c, chunk.zoneout, 1, t, chunk.scratch[3])
        v, mean, scale = torch.native_layer_norm(c, [H], gain_c, bias_c, epsilon)
        v.sigmoid_()
        torch.addcmul(grad_h, grad_h, v, value=-2.0, out=grad_o)
        torch.mul(grad_h, o, out=grad_n)
        torch.ops.aten.sigmoid_backward(grad_n, v, grad_input=grad_n)
        grad_sums, grad_gain, grad_bias = torch.ops.aten.native_layer_norm_backward(
            grad_n, c, [H], mean, scale, gain_c, bias_c, [True, True, True]
        )
        grad_c.add_(grad_sums, alpha=-2.0)
        chunk.grad_extra[3].add_(grad_gain)
        chunk.grad_extra[4].add_(grad_bias)
        torch.addcmul(grad_c, grad_c, s, value=-2.0, out=grad_i)
        torch.mul(grad_c, c_before, out=grad_f)
        torch.mul(grad_c, i, out=grad_s)
        grad_c.mul_(f)
        torch.ops.aten.sigmoid_backward(grad, gate, grad_input=grad)
        _, mean, scale = torch.native_layer_norm(sums, [4 * H], None, None, epsilon)
        grad_sums, grad_gain, grad_bias = torch.ops.aten.native_layer_norm_backward(
            grad, sums, [4 * H], mean, scale, gain_h, gain_h, [True, True, True]
        )
        low = chunk.grad_gates[1][t, :, 4 * H :].copy_(grad_sums)
        write_product(grad_h, grad_sums if grad_sums.dtype == weight.dtype else low, weight, product_low)
        if zoneout:
            grad_h.add_(chunk.scratch[2])
            grad_c.add_(chunk.scratch[3])
        chunk.grad_extra[1].add_(grad_gain)
        chunk.grad_extra[2].add_(grad_bias)
        _, mean, scale = torch.native_layer_norm(x, [4 * H], None, None, epsilon)
        grad_sums, grad_gain, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x, [4 * H], mean, scale, gain_x, None, [True, True, False]
        )
        chunk.grad_extra[0].add_(grad_gain)
        chunk.grad_gates[0][t, :, : 4 * H].copy_(grad_sums)
        if grad_sums.dtype != weight.dtype:
            chunk.grad_gates[1][t, :, : 4 * H].copy_(grad_sums)
        stop_gradient(grad_h, chunk.resets, t)
        stop_gradient(grad_c, chunk.resets, t)


class ScriptedLayerNormLSTM(ScriptedLSTMLike):
    """The LSTM with layer normalisation."""

    name = "layer_norm_lstm"
    options = ()
    # There is no bias of the input projection, the third: b is added after its norm.
    weights = ("weight_ih", "weight_hh", "bias_ih?", "gain_ih", "gain_hh", "gain_c", "bias?", "bias_c?")
    states = ("h_0", "c_0")
    low_states = (True, False)
    gates = (4, 4, 4)
    activated = 2
    grad_gates = 8
    recurrent_blocks = (4, 8)
    backward_scratch = 1
    step = staticmethod(layer_norm_lstm_step)
    forward_loop = staticmethod(forward_loop)
    backward_loop = staticmethod(backward_loop)

    def fold(self, tensors: Named, factor: float) -> Folded:
        """Multiply the candidate's γ_x, γ_h and b by the factor, and γ_c and b_c by −2; missing biases become zeros."""
        gain_ih, gain_hh, gain_c, bias, bias_c = (
            tensors[name] for name in ("gain_ih", "gain_hh", "gain_c", "bias", "bias_c")
        )
        rows = self.candidate_rows(len(gain_c))
        bias = torch.zeros_like(gain_ih) if bias is None else bias
        bias_c = torch.zeros_like(gain_c) if bias_c is None else bias_c
        extra = [*(scale_rows(each, factor, rows) for each in (gain_ih, gain_hh, bias)), gain_c * -2.0, bias_c * -2.0]
        return Folded(tensors["weight_ih"], None, tensors["weight_hh"], extra)

    def unfold(self, gradients: Folded, H: int, factor: float) -> dict[str, Tensor | None]:
        """Give the gradients the factors that the loop left out; `gradients.extra` are in the order of `fold`."""
        gain_ih, gain_hh, bias, gain_c, bias_c = gradients.extra
        rows = self.candidate_rows(H)
        gates = {"gain_ih": gain_ih, "gain_hh": gain_hh, "bias": bias}
        return {
            "weight_ih": gradients.weight_ih,
            "weight_hh": gradients.weight_hh,
            **{name: scale_rows(gradient, factor, rows) for name, gradient in gates.items()},
            "gain_c": gain_c * factor,
            "bias_c": bias_c * factor,
        }

    def rebuild(self, chunk: ForwardChunk, t: int, states: list[Tensor], initial: list[Tensor]) -> None:
        """Compute h̃ and i, f, s, o from the stored states."""
        (x, recurrent, gates), (weight_t, gain_x, gain_h, bias, *_) = chunk.gates, chunk.weights
        add_recurrent(recurrent.zero_(), t, states[0], initial[0], weight_t, chunk.reset_places)
        normal_x = layer_norm(x, gain_x.shape, gain_x, bias, EPSILON)
        torch.add(normal_x, layer_norm(recurrent, gain_h.shape, gain_h, None, EPSILON), out=gates).sigmoid_()


class ZoneoutLayerNormLSTM(ScriptedLayerNormLSTM):
    """The LSTM with layer normalisation, and zoneout of h and c."""

    name = "zoneout_layer_norm_lstm"
    has_zoneout = True
    backward_scratch = 4


SCRIPTED = ScriptedLayerNormLSTM()
ZONEOUT = ZoneoutLayerNormLSTM()
