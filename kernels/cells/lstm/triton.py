"""The LSTM, plain or with diagonal peepholes: the kernels of its loops, and the operator around them.

i = σ(ĩ + p_i ⊙ c′), f = σ(f̃ + p_f ⊙ c′), c = g ⊙ i + c′ ⊙ f, o = σ(õ + p_o ⊙ c), h = tanh(c) ⊙ o, where the tilde marks
W x + b + W_hh h′ and p = 0 without peepholes. States and cells are stored, cells in float32; the backward pass rebuilds
the gates from them. A row whose sequence has ended keeps its state.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.cell import Results
from kernels.cells.lstm.reference import lstm_step
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
    candidate,
    candidate_slope,
    factor,
    fetch,
    four_gates,
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
    weight: tl.tensor, told: tl.tensor, share: tl.tensor, tokens: tl.tensor, peephole: tl.tensor, h_0: tl.tensor,
    c_0: tl.tensor, lengths: tl.tensor, hidden: tl.tensor, cells: tl.tensor, counters: tl.tensor, B: tl.tensor,
    first_step: tl.tensor, end_step: tl.tensor, first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `hidden` and `cells` [T, B, H] in some steps, from the share [T, B, 4H], or [V, 4H] with tokens [T, B]."""
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    low = weight.dtype.element_ty
    h = tl.load(before(h_0, hidden, first_step, slab) + own, mask=mask, other=0.0)
    c = read(before(c_0, cells, first_step, slab) + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if peephole is not None:
        p_i, p_f, p_o = (
            read(peephole + units, units < H), read(peephole + H + units, units < H),
            read(peephole + 2 * H + units, units < H),
        )  # fmt: skip
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, H, 1, 4, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for t in range(first_step, end_step):
        x = share + share_rows(tokens, t, rows, B) * (4 * H) + units
        x_i, x_f, x_g, x_o = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask), fetch(x + 3 * H, mask)
        wait(counter, t - first_step, PROGRAMS)
        h_before = told + t * slab if told is not None else before(h_0, hidden, t, slab)
        i, f, g, o = four_gates(
            product(
                factor(h, low, PRECISION) if PROGRAMS == 1 else None, h_before, held if PIECES > 0 else None,
                weight, rows, first_unit, B, H, H, H, 1, 4, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
            ), ROWS, UNITS,
        )  # fmt: skip
        i, f, g, o = i + x_i.to(tl.float32), f + x_f.to(tl.float32), g + x_g.to(tl.float32), o + x_o.to(tl.float32)
        if peephole is not None:
            i += p_i * c
            f += p_f * c
        c_new = candidate(g, TANH) * tl.sigmoid(i) + c * tl.sigmoid(f)
        if peephole is not None:
            o += p_o * c_new
        h_new = (tanh(c_new) * tl.sigmoid(o)).to(low)
        if lengths is not None:
            h, c = tl.where(t < length, h_new, h), tl.where(t < length, c_new, c)
        else:
            h, c = h_new, c_new
        write_state(h, hidden, told, t, slab, own, mask, low, PRECISION)
        arrive(counter, PROGRAMS)
        tl.store(cells + t * slab + own, c, mask=mask)  # read by this program alone


@triton.jit(do_not_specialize=RUN_TIME)
def backward_kernel(
    weight: tl.tensor, gates: tl.tensor, peephole: tl.tensor, c_0: tl.tensor, lengths: tl.tensor, cells: tl.tensor,
    grad_hidden: tl.tensor, deltas: tl.tensor, grad_h: tl.tensor, grad_c: tl.tensor, counters: tl.tensor, B: tl.tensor,
    first_step: tl.tensor, end_step: tl.tensor, first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `deltas` [T + 1, B, 4H], the gradients before each σ and tanh; those of step T are zeros beforehand.

    With δ the gradient before a gate's function and ∂ that of a value:
    ∂h += ∂h of the output,  δo = ∂h ⊙ tanh(c) ⊙ o(1 − o),  ∂c += ∂h ⊙ o ⊙ (1 − tanh²c) + δo ⊙ p_o,
    δi = ∂c ⊙ g ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ (1 − g²), or g(1 − g) for a logistic,
    ∂c′ = ∂c ⊙ f + δi ⊙ p_i + δf ⊙ p_f,  ∂h′ = δ W_hh.
    `gates` [T, B, 4H] are W x + b + W_hh h′, `weight` [H, 4H] is W_hhᵀ. `grad_h` and `grad_c` [B, H] hold ∂h and ∂c,
    and are taken back to before the first step but for its ∂h′.
    """
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    own_delta = rows * (4 * H) + units
    low = deltas.dtype.element_ty
    dh, dc = read(grad_h + own, mask), read(grad_c + own, mask)
    c = read(cells + (end_step - 1) * slab + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if peephole is not None:
        p_i, p_f, p_o = (
            read(peephole + units, units < H), read(peephole + H + units, units < H),
            read(peephole + 2 * H + units, units < H),
        )  # fmt: skip
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, 4 * H, 4, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for step in range(first_step, end_step):
        t = first_step + end_step - 1 - step
        x = gates + t * (4 * slab) + own_delta
        i, f, g, o = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask), fetch(x + 3 * H, mask)
        c_before = fetch(before(c_0, cells, t, slab) + own, mask)
        if grad_hidden is not None:
            dh += read(grad_hidden + t * slab + own, mask)
        i, f, g, o = i.to(tl.float32), f.to(tl.float32), g.to(tl.float32), o.to(tl.float32)
        if peephole is not None:
            i += p_i * c_before
            f += p_f * c_before
            o += p_o * c
        i, f, g, o = tl.sigmoid(i), tl.sigmoid(f), candidate(g, TANH), tl.sigmoid(o)
        tanh_c = tanh(c)
        wait(counter, step - first_step, PROGRAMS)
        after = deltas + (t + 1) * (4 * slab)
        dh += product(
            None, after, held if PIECES > 0 else None, weight, rows, first_unit, B, H, 4 * H, 4 * H, 4, 1, ROWS,
            UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        delta_o = dh * tanh_c * o * (1.0 - o)
        dc_all = dc + dh * o * (1.0 - tanh_c * tanh_c)
        if peephole is not None:
            dc_all += delta_o * p_o
        delta_i = dc_all * g * i * (1.0 - i)
        delta_f = dc_all * c_before * f * (1.0 - f)
        delta_g = dc_all * i * candidate_slope(g, TANH)
        dc_new = dc_all * f
        if peephole is not None:
            dc_new += delta_i * p_i + delta_f * p_f
        if lengths is not None:  # an ended row hands both on
            running = t < length
            delta_i, delta_f = tl.where(running, delta_i, 0.0), tl.where(running, delta_f, 0.0)
            delta_g, delta_o = tl.where(running, delta_g, 0.0), tl.where(running, delta_o, 0.0)
            dc, dh = tl.where(running, dc_new, dc), tl.where(running, 0.0, dh)
        else:
            dc, dh = dc_new, tl.zeros([ROWS, UNITS], tl.float32)
        delta = deltas + t * (4 * slab) + own_delta
        tl.store(delta, factor(delta_i, low, PRECISION), mask=mask)
        tl.store(delta + H, factor(delta_f, low, PRECISION), mask=mask)
        tl.store(delta + 2 * H, factor(delta_g, low, PRECISION), mask=mask)
        tl.store(delta + 3 * H, factor(delta_o, low, PRECISION), mask=mask)
        arrive(counter, PROGRAMS)
        c = c_before
    tl.store(grad_h + own, dh, mask=mask)
    tl.store(grad_c + own, dc, mask=mask)


class TritonLSTM(TritonCell):
    """The LSTM; with a `weight_peephole` its diagonal peephole form."""

    name = "triton_lstm"
    weights = ("weight_ih", "weight_hh", "bias?", "weight_peephole?")
    options = MappingProxyType({"candidate": "str"})
    states = ("h_0", "c_0")
    low_states = (True, False)
    step = staticmethod(lstm_step)

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H], the last state and cell [B, H], and for the backward pass all cells."""
        (h_0, c_0), (projected, tokens) = (tensors["h_0"], tensors["c_0"]), project(tensors)
        T, (B, H) = len(tensors["inputs"]), h_0.shape
        hidden, cells = h_0.new_empty(T, B, H), c_0.new_empty(T, B, H)
        arguments = (projected, tokens, tensors["weight_peephole"], h_0, c_0, tensors["lengths"])
        launch(
            forward_kernel, tensors["weight_hh"], arguments, (hidden, cells), first=h_0,
            TANH=options["candidate"] == "tanh",
        )  # fmt: skip
        return hidden, hidden[-1].clone(), cells[-1].clone(), cells

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name."""
        (grad_hidden, grad_h_n, grad_c_n, _), (hidden, _, _, cells) = grads, results
        weight_hh, peephole, h_0, c_0 = (tensors[name] for name in ("weight_hh", "weight_peephole", "h_0", "c_0"))
        T, B, H = hidden.shape
        gates = project_all(tensors, weight_hh.dtype)
        h_before = states_before(hidden, h_0, weight_hh.dtype)
        add_recurrent(gates, h_before, weight_hh)
        deltas = weight_hh.new_empty(T + 1, B, 4 * H)
        deltas[T] = 0
        grad_h, grad_c = (last_gradient(grad, c_0, c_0.dtype) for grad in (grad_h_n, grad_c_n))
        launch(
            backward_kernel, weight_hh, (gates, peephole, c_0, tensors["lengths"], cells, grad_hidden),
            (deltas, grad_h, grad_c), reverse=True, TANH=options["candidate"] == "tanh",
        )  # fmt: skip
        deltas = deltas[:T]
        return {
            **input_gradients(deltas, tensors, wanted["inputs"]),
            "weight_hh": recurrent_gradient(deltas, h_before),
            "weight_peephole": None if peephole is None else _grad_peephole(deltas, cells, c_0),
            "h_0": grad_h + deltas[0] @ weight_hh if wanted["h_0"] else None,
            "c_0": grad_c,
        }


TRITON = TritonLSTM()


def _grad_peephole(deltas: Tensor, cells: Tensor, c_0: Tensor) -> Tensor:
    """Return Σ_t [δi ⊙ c′, δf ⊙ c′, δo ⊙ c], the gradient of the peepholes [3, H]."""
    delta_i, delta_f, _, delta_o = deltas.chunk(4, dim=2)
    first = torch.stack([deltas[0].chunk(4, dim=1)[k] * c_0 for k in range(2)]).sum(1)
    later = torch.stack([(delta[1:] * cells[:-1]).sum((0, 1)) for delta in (delta_i, delta_f)])
    return torch.cat([first + later, (delta_o * cells).sum((0, 1))[None]])
