"""The LSTM with layer normalisation on a GPU: the equations of a step, forward and backward.

The loops are in kernels/triton/loops.py. One program computes whole rows, so sums over all units and gates stay inside
it. The tilde marks a product, x̃ = W_x x and h̃ = W_h h′; ′ marks the previous step, ∂ the gradient of a value, δ the
gradient of a gate before its function. γ_x ⊙ norm(x̃) + b is computed for all steps before the loops, and so is h̃ for
the backward pass, from the stored states. Cells are float32. With zoneout the stored cells are mixed, so the backward
pass computes the new ones from the gates.

Legend: B batch, T time, H hidden.
"""

# ruff: noqa: RUF005 # Triton cannot unpack a tuple into another one

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import embedding as take_rows
from torch.nn.functional import layer_norm

from kernels.cells.layer_norm_lstm import reference
from kernels.cells.layer_norm_lstm.reference import layer_norm_lstm_step
from kernels.operator import Grads, Named
from kernels.triton.bulk import input_gradients, project, project_all
from kernels.triton.cell import Equations, TritonCell
from kernels.triton.tiles import tanh

EPSILON = tl.constexpr(reference.EPSILON)


@triton.jit
def mean_of_rows(x: tl.tuple, share: tl.tensor) -> tl.tensor:
    """Return the mean over all units of one or more gates [BLOCK_B, 1]; `share` is 1/H, and 0 beyond H."""
    total = x[0]
    for k in tl.static_range(1, len(x)):
        total += x[k]
    return tl.sum(total * share, axis=1, keep_dims=True) * (1.0 / len(x))


@triton.jit
def normalise(x: tl.tuple, share: tl.tensor) -> tuple[tl.tuple, tl.tensor]:
    """Return norm(x) = (x − mean) / std over all units of one or more gates, and 1 / std [BLOCK_B, 1]."""
    mean = mean_of_rows(x, share)
    deviations: tl.tuple = ()
    squares: tl.tuple = ()
    for k in tl.static_range(len(x)):
        deviation = x[k] - mean
        deviations = deviations + (deviation,)
        squares = squares + (deviation * deviation,)
    scale = tl.rsqrt(mean_of_rows(squares, share) + EPSILON)
    normal: tl.tuple = ()
    for k in tl.static_range(len(x)):
        normal = normal + (deviations[k] * scale,)
    return normal, scale


@triton.jit
def norm_gradient(grad: tl.tuple, normal: tl.tuple, scale: tl.tensor, share: tl.tensor) -> tl.tuple:
    """Return ∂x from ∂norm(x), norm(x) and 1 / std.

    ∂x = (∂norm − mean(∂norm) − norm ⊙ mean(∂norm ⊙ norm)) / std.
    """
    products: tl.tuple = ()
    for k in tl.static_range(len(grad)):
        products = products + (grad[k] * normal[k],)
    mean, along = mean_of_rows(grad, share), mean_of_rows(products, share)
    result: tl.tuple = ()
    for k in tl.static_range(len(grad)):
        result = result + ((grad[k] - mean - normal[k] * along) * scale,)
    return result


@triton.jit
def gates_of(x: tl.tuple, sums: tl.tuple, vectors: tl.tuple) -> tuple[tl.tuple, tl.tuple, tl.tensor]:
    """Return i, f, g and o, which are σ or tanh of x + γ_h ⊙ norm(h̃); norm(h̃) and its 1 / std."""
    share, gain_i, gain_f, gain_g, gain_o, _, _ = vectors
    normal, scale = normalise(sums, share)
    i, f = tl.sigmoid(x[0] + gain_i * normal[0]), tl.sigmoid(x[1] + gain_f * normal[1])
    g, o = tanh(x[2] + gain_g * normal[2]), tl.sigmoid(x[3] + gain_o * normal[3])
    return (i, f, g, o), normal, scale


@triton.jit
def tanh_of_norm(c: tl.tensor, vectors: tl.tuple) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return tanh(γ_c ⊙ norm(c) + b_c), norm(c) and its 1 / std."""
    share, _, _, _, _, gain_c, bias_c = vectors
    normal, scale = normalise((c,), share)
    return tanh(gain_c * normal[0] + bias_c), normal[0], scale


@triton.jit
def layer_norm_lstm_forward(
    x: tl.tuple, recurrent: tl.tuple, state: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return h and c.

    c = g ⊙ i + c′ ⊙ f,  h = tanh(γ_c ⊙ norm(c) + b_c) ⊙ o.
    """
    gates, _, _ = gates_of(x, recurrent, vectors)
    i, f, g, o = gates
    c = g * i + state[1] * f
    tanh_n, _, _ = tanh_of_norm(c, vectors)
    return tanh_n * o, c


@triton.jit
def layer_norm_lstm_activate(
    x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return the results of `gates_of` and, for c, of `tanh_of_norm`; and c′."""
    gates, normal, scale = gates_of((x[0], x[1], x[2], x[3]), (x[4], x[5], x[6], x[7]), vectors)
    tanh_n, normal_c, scale_c = tanh_of_norm(after[0], vectors)
    return gates, normal, scale, tanh_n, normal_c, scale_c, before[0]


@triton.jit
def zoneout_activate(
    x: tl.tuple, before: tl.tuple, after: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return the same, for the new c, before a part of c′ stays."""
    gates, normal, scale = gates_of((x[0], x[1], x[2], x[3]), (x[4], x[5], x[6], x[7]), vectors)
    tanh_n, normal_c, scale_c = tanh_of_norm(gates[2] * gates[0] + before[0] * gates[1], vectors)
    return gates, normal, scale, tanh_n, normal_c, scale_c, before[0]


@triton.jit
def layer_norm_lstm_differentiate(
    values: tl.tuple, grads: tl.tuple, vectors: tl.tuple, OPTION: tl.constexpr
) -> tl.tuple:  # fmt: skip
    """Return δ of i, f, g and o, ∂h̃, δ ⊙ norm(h̃), δn and δn ⊙ norm(c), and the gradients of h′ and c′.

    δn is the gradient before the tanh of h. That of h′ is 0 here, since ∂h̃ W_h is all of it.

    δo = ∂h ⊙ tanh(n) ⊙ o(1 − o),  δn = ∂h ⊙ o ⊙ (1 − tanh²n),  ∂c += δn through γ_c ⊙ norm(c),
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ (1 − g²),  ∂c′ = ∂c ⊙ f,
    ∂h̃ = δ through γ_h ⊙ norm(h̃).
    """
    share, gain_i, gain_f, gain_g, gain_o, gain_c, _ = vectors
    gates, normal, scale, tanh_n, normal_c, scale_c, c_before = values
    i, f, g, o = gates
    grad_h, grad_c = grads
    grad_o = grad_h * tanh_n * o * (1.0 - o)
    grad_n = grad_h * o * (1.0 - tanh_n * tanh_n)
    grad_c += norm_gradient((grad_n * gain_c,), (normal_c,), scale_c, share)[0]
    grad_i = grad_c * g * i * (1.0 - i)
    grad_f = grad_c * c_before * f * (1.0 - f)
    grad_g = grad_c * i * (1.0 - g * g)
    scaled = (grad_i * gain_i, grad_f * gain_f, grad_g * gain_g, grad_o * gain_o)
    grad_sums = norm_gradient(scaled, normal, scale, share)
    gain_grads = (grad_i * normal[0], grad_f * normal[1], grad_g * normal[2], grad_o * normal[3])
    gate_grads = (grad_i, grad_f, grad_g, grad_o) + grad_sums + gain_grads + (grad_n, grad_n * normal_c)
    return gate_grads, (tl.zeros_like(grad_h), grad_c * f)


class TritonLayerNormLSTM(TritonCell):
    """The LSTM with layer normalisation."""

    name = "triton_layer_norm_lstm"
    # There is no bias of the input projection, the third: b is added after its norm.
    weights = ("weight_ih", "weight_hh", "bias_ih?", "gain_ih", "gain_hh", "gain_c", "bias?", "bias_c?")
    states = ("h_0", "c_0")
    low_states = (True, False)
    whole_rows = True
    step = staticmethod(layer_norm_lstm_step)
    equations = Equations(
        layer_norm_lstm_forward, layer_norm_lstm_activate, layer_norm_lstm_differentiate, gates=4,
        recurrent=(1, 1, 1, 1), grad_gates=14, first=4,
    )  # fmt: skip

    def vectors(self, tensors: Named) -> tuple[Tensor, ...]:
        """Return 1/H, γ_h of each gate, γ_c and b_c."""
        gain_hh, gain_c, bias_c = (tensors[name] for name in ("gain_hh", "gain_c", "bias_c"))
        share = torch.full_like(gain_c, 1 / len(gain_c))
        return share, *gain_hh.chunk(4), gain_c, torch.zeros_like(gain_c) if bias_c is None else bias_c

    def projection(self, tensors: Named) -> tuple[Tensor, Tensor | None]:
        """Return γ_x ⊙ norm(x̃) + b of the inputs and None; or of the table of tokens, and the tokens."""
        (products, tokens), gain = project({**tensors, "bias": None}), tensors["gain_ih"]
        normal = layer_norm(products.to(gain.dtype), gain.shape, gain, tensors["bias"], reference.EPSILON)
        return normal.to(products.dtype), tokens

    def gates(self, tensors: Named, hidden: Tensor, h_before: Tensor) -> tuple[Tensor, None]:
        """Return γ_x ⊙ norm(x̃) + b and h̃ [T, B, 8H]."""
        (normal, tokens), weight = self.projection(tensors), tensors["weight_hh"]
        gates = weight.new_empty(*hidden.shape[:2], 2 * len(weight))
        x, recurrent = gates.chunk(2, dim=2)
        x.copy_(normal if tokens is None else take_rows(tokens, normal))
        torch.mm(h_before.flatten(0, 1), weight.T, out=recurrent.view(-1, len(weight)))
        return gates, None

    def input_gradients(self, grad_gates: Tensor, tensors: Named, wanted: bool) -> dict[str, Any]:
        """Return the gradients of inputs, embedding, weight_ih and γ_x by name."""
        tensors, gain = {**tensors, "bias": None}, tensors["gain_ih"]
        products = project_all(tensors, grad_gates.dtype).to(gain.dtype)
        shape = gain.shape
        _, mean, scale = torch.native_layer_norm(products, shape, None, None, reference.EPSILON)
        grad_products, grad_gain, _ = torch.ops.aten.native_layer_norm_backward(
            grad_gates[..., : len(gain)].to(gain.dtype), products, shape, mean, scale, gain, None, [True, True, False]
        )
        found = input_gradients(grad_products.to(grad_gates.dtype), tensors, wanted)
        return {**found, "bias": None, "gain_ih": grad_gain}

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Any]:
        """Return the gradients of the tensors by name."""
        found = super().backward(grads, results, tensors, options, wanted)
        H = results[0].shape[2]
        sums = found["gates"].sum((0, 1), dtype=tensors["gain_c"].dtype).split([4 * H, 4 * H, 4 * H, H, H])
        bias, _, gain_hh, bias_c, gain_c = map(torch.clone, sums)  # an operator's results share no memory
        return {**found, "bias": bias, "gain_hh": gain_hh, "bias_c": bias_c, "gain_c": gain_c}


class TritonZoneoutLayerNormLSTM(TritonLayerNormLSTM):
    """The LSTM with layer normalisation, and zoneout of h and c."""

    name = "triton_zoneout_layer_norm_lstm"
    has_zoneout = True
    equations = TritonLayerNormLSTM.equations._replace(activate=zoneout_activate)


TRITON = TritonLayerNormLSTM()
ZONEOUT = TritonZoneoutLayerNormLSTM()
