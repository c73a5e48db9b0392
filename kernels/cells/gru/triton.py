"""The GRU: the kernels of its loops, and the operator around them.

r = σ(r̃), z = σ(z̃), q = W_hn h′ + b_hn, n = tanh(ñ + r ⊙ q), h = (1 − z) ⊙ n + z ⊙ h′, where ñ = W_in x + b_in, and the
other tildes mark the sum of both weights' products and both biases. States are float32 also for 16-bit weights. They
are stored, and the backward pass rebuilds the gates from them. A row whose sequence has ended keeps its state.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

from collections.abc import Mapping

import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from kernels.cell import Results
from kernels.cells.gru.reference import gru_step
from kernels.operator import Grads, Named
from kernels.triton.bulk import (
    add_recurrent,
    input_gradients,
    last_gradient,
    project,
    project_all,
    recurrent_gradient,
    states_before,
)
from kernels.triton.cell import TritonCell
from kernels.triton.launch import RUN_TIME, launch
from kernels.triton.tiles import (
    arrive,
    before,
    factor,
    fetch,
    halves,
    held_tiles,
    place,
    product,
    read,
    share_rows,
    tanh,
    wait,
    write_state,
)


@triton.jit(do_not_specialize=RUN_TIME)
def forward_kernel(
    weight: tl.tensor, told: tl.tensor, share: tl.tensor, tokens: tl.tensor, bias_n: tl.tensor, h_0: tl.tensor,
    lengths: tl.tensor, hidden: tl.tensor, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor,
    end_step: tl.tensor, first_tile: tl.tensor, H: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
    BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `hidden` [T, B, H] in some steps, from the inputs' share [T, B, 3H], or [V, 3H] with tokens [T, B]."""
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    low = weight.dtype.element_ty
    h = read(before(h_0, hidden, first_step, slab) + own, mask)
    b_n = read(bias_n + units, units < H)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held_rz = held_tiles(weight, first_unit, H, H, 1, 2, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
        held_n = held_tiles(weight + 2 * H * H, first_unit, H, H, 1, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for t in range(first_step, end_step):
        x = share + share_rows(tokens, t, rows, B) * (3 * H) + units
        x_r, x_z, x_n = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask)
        wait(counter, t - first_step, PROGRAMS)
        h_before = told + t * slab if told is not None else before(h_0, hidden, t, slab)
        r, z = halves(
            product(
                factor(h, low, PRECISION) if PROGRAMS == 1 else None, h_before, held_rz if PIECES > 0 else None,
                weight, rows, first_unit, B, H, H, H, 1, 2, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
            ), ROWS, UNITS,
        )  # fmt: skip
        q = b_n + product(
            factor(h, low, PRECISION) if PROGRAMS == 1 else None, h_before, held_n if PIECES > 0 else None,
            weight + 2 * H * H, rows, first_unit, B, H, H, H, 1, 1, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        r, z, n = r + x_r.to(tl.float32), z + x_z.to(tl.float32), x_n.to(tl.float32)
        n = tanh(n + tl.sigmoid(r) * q)
        h_new = n + tl.sigmoid(z) * (h - n)
        h = tl.where(t < length, h_new, h) if lengths is not None else h_new
        write_state(h, hidden, told, t, slab, own, mask, low, PRECISION)
        arrive(counter, PROGRAMS)


@triton.jit(do_not_specialize=RUN_TIME)
def backward_kernel(
    weight: tl.tensor, gates: tl.tensor, recurrent: tl.tensor, h_0: tl.tensor, lengths: tl.tensor, hidden: tl.tensor,
    grad_hidden: tl.tensor, deltas: tl.tensor, grad_h: tl.tensor, counters: tl.tensor, B: tl.tensor,
    first_step: tl.tensor, end_step: tl.tensor, first_tile: tl.tensor, H: tl.constexpr, ROWS: tl.constexpr,
    UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `deltas` [T + 1, B, 4H], the gradients δn, δr, δz, δq; those of step T are zeros beforehand.

    δn = ∂h ⊙ (1 − z) ⊙ (1 − n²),  δz = ∂h ⊙ (h′ − n) ⊙ z(1 − z),  δr = δn ⊙ q ⊙ r(1 − r),  δq = δn ⊙ r,
    ∂h′ = ∂h ⊙ z + [δr, δz, δq] W_hh.
    `gates` [T, B, 3H] are r̃, z̃ and ñ, `recurrent` [T, B, H] is q, `weight` [H, 3H] is W_hhᵀ. `grad_h` [B, H]
    holds ∂h, and is taken back to before the first step but for its product with W_hh.
    """
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    own_delta = rows * (4 * H) + units
    low = deltas.dtype.element_ty
    dh = read(grad_h + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held_rz = held_tiles(weight, first_unit, H, 3 * H, 2, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
        held_n = held_tiles(weight + 2 * H, first_unit, H, 3 * H, 1, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for step in range(first_step, end_step):
        t = first_step + end_step - 1 - step
        x = gates + t * (3 * slab) + rows * (3 * H) + units
        r, z, n = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask)
        q, h = fetch(recurrent + t * slab + own, mask), fetch(before(h_0, hidden, t, slab) + own, mask)
        if grad_hidden is not None:
            dh += read(grad_hidden + t * slab + own, mask)
        r, z, q = tl.sigmoid(r.to(tl.float32)), tl.sigmoid(z.to(tl.float32)), q.to(tl.float32)
        n = tanh(n.to(tl.float32) + r * q)
        wait(counter, step - first_step, PROGRAMS)
        after = deltas + (t + 1) * (4 * slab)
        dh += product(
            None, after + H, held_rz if PIECES > 0 else None, weight, rows, first_unit, B, H, 4 * H, 3 * H, 2, 1,
            ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        dh += product(
            None, after + 3 * H, held_n if PIECES > 0 else None, weight + 2 * H, rows, first_unit, B, H, 4 * H,
            3 * H, 1, 1, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        delta_n = dh * (1.0 - z) * (1.0 - n * n)
        delta_z = dh * (h - n) * z * (1.0 - z)
        dh_new = dh * z
        if lengths is not None:  # an ended row hands its gradient on
            running = t < length
            delta_n, delta_z = tl.where(running, delta_n, 0.0), tl.where(running, delta_z, 0.0)
            dh = tl.where(running, dh_new, dh)
        else:
            dh = dh_new
        delta_r, delta_q = delta_n * q * r * (1.0 - r), delta_n * r
        delta = deltas + t * (4 * slab) + own_delta
        tl.store(delta, factor(delta_n, low, PRECISION), mask=mask)
        tl.store(delta + H, factor(delta_r, low, PRECISION), mask=mask)
        tl.store(delta + 2 * H, factor(delta_z, low, PRECISION), mask=mask)
        tl.store(delta + 3 * H, factor(delta_q, low, PRECISION), mask=mask)
        arrive(counter, PROGRAMS)
    tl.store(grad_h + own, dh, mask=mask)


class TritonGRU(TritonCell):
    """The GRU."""

    name = "triton_gru"
    weights = ("weight_ih", "weight_hh", "bias_ih?", "bias_hh?")
    step = staticmethod(gru_step)

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H] and the last one [B, H]."""
        h_0, (bias, bias_n) = tensors["h_0"], _biases(tensors)
        projected, tokens = project(tensors, bias)
        hidden = h_0.new_empty(len(tensors["inputs"]), *h_0.shape)
        arguments = (projected, tokens, bias_n, h_0, tensors["lengths"])
        launch(forward_kernel, tensors["weight_hh"], arguments, (hidden,), first=h_0)
        return hidden, hidden[-1].clone()

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name."""
        (grad_hidden, grad_h_n), (hidden, _) = grads, results
        weight_hh, h_0 = tensors["weight_hh"], tensors["h_0"]
        T, B, H = hidden.shape
        bias, bias_n = _biases(tensors)
        gates = project_all(tensors, weight_hh.dtype, bias)
        h_before = states_before(hidden, h_0, weight_hh.dtype)
        add_recurrent(gates[..., : 2 * H], h_before, weight_hh[: 2 * H])
        recurrent = linear(h_before, weight_hh[2 * H :], bias_n.to(h_before.dtype))
        deltas = weight_hh.new_empty(T + 1, B, 4 * H)
        deltas[T] = 0
        grad_h = last_gradient(grad_h_n, h_0, h_0.dtype)
        launch(
            backward_kernel, weight_hh, (gates, recurrent, h_0, tensors["lengths"], hidden, grad_hidden),
            (deltas, grad_h), reverse=True, summed=1,
        )  # fmt: skip
        input_side, recurrent_side = deltas[:T, :, : 3 * H], deltas[:T, :, H:]  # of n, r, z and of r, z, q
        own = {**tensors, "weight_ih": tensors["weight_ih"].roll(H, 0)}
        gradients = input_gradients(input_side, own, wanted["inputs"])
        return {
            **gradients,
            "weight_ih": gradients["weight_ih"].roll(-H, 0),
            "weight_hh": recurrent_gradient(recurrent_side, h_before),
            "bias_ih": gradients["bias"].roll(-H, 0),
            "bias_hh": recurrent_side.sum((0, 1), dtype=h_0.dtype),
            "h_0": grad_h + recurrent_side[0] @ weight_hh if wanted["h_0"] else None,
        }


TRITON = TritonGRU()


def _biases(tensors: Named) -> tuple[Tensor | None, Tensor]:
    """Return the bias of r̃, z̃ and ñ, with both of r and z, and b_hn."""
    bias_ih, bias_hh, h_0 = tensors["bias_ih"], tensors["bias_hh"], tensors["h_0"]
    H = h_0.shape[1]
    if bias_ih is None:
        return None, h_0.new_zeros(H)
    bias = bias_ih.to(bias_hh.dtype, copy=True)
    bias[: 2 * H] += bias_hh[: 2 * H]
    return bias.to(bias_ih.dtype), bias_hh[2 * H :]
