"""The full-matrix peephole LSTM of the study: the kernels of its loops over the cells, and the operator around them.

i = σ(ĩ + W_ic c′), f = σ(f̃ + W_fc c′), c = z ⊙ i + c′ ⊙ f; then o = σ(õ + W_oc c′), h = tanh(c) ⊙ o, where the tilde
marks W x + b and z is the candidate, a function of the input alone.

Nothing feeds o or h back, so the loops have i and f alone, a 2H × H of the 3H × H weight. The output gate is one GEMM
over all steps, and for a classifier, which reads the last state, over one. Cells are stored in float32, and the
backward pass rebuilds the gates from them. A row whose sequence has ended keeps its cell; its later states have no
meaning.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import embedding as take_rows

from kernels.cell import Results
from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.cells.peephole_lstm.triton_output_gate import output_gradient, output_state
from kernels.layout import last_rows, spread_last
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
    halves,
    held_tiles,
    place,
    product,
    read,
    share_rows,
    wait,
    write_state,
)


@triton.jit(do_not_specialize=RUN_TIME)
def forward_kernel(
    weight: tl.tensor, told: tl.tensor, share: tl.tensor, tokens: tl.tensor, c_0: tl.tensor, lengths: tl.tensor,
    cells: tl.tensor, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor, end_step: tl.tensor,
    first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
    BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill `cells` [T, B, H] in some steps, from the inputs' share [T, B, 4H], or [V, 4H] with tokens [T, B]."""
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    low = weight.dtype.element_ty
    c = read(before(c_0, cells, first_step, slab) + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, H, 1, 2, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for t in range(first_step, end_step):
        x = share + share_rows(tokens, t, rows, B) * (4 * H) + units
        x_i, x_f, z = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask)
        z = candidate(z.to(tl.float32), TANH)
        wait(counter, t - first_step, PROGRAMS)
        c_before = told + t * slab if told is not None else before(c_0, cells, t, slab)
        i, f = halves(
            product(
                factor(c, low, PRECISION) if PROGRAMS == 1 else None, c_before, held if PIECES > 0 else None,
                weight, rows, first_unit, B, H, H, H, 1, 2, ROWS, UNITS, BLOCK, PIECES, SPLIT, PRECISION,
            ), ROWS, UNITS,
        )  # fmt: skip
        i, f = i + x_i.to(tl.float32), f + x_f.to(tl.float32)
        c_new = z * tl.sigmoid(i) + c * tl.sigmoid(f)
        c = tl.where(t < length, c_new, c) if lengths is not None else c_new
        write_state(c, cells, told, t, slab, own, mask, low, PRECISION)
        arrive(counter, PROGRAMS)


@triton.jit(do_not_specialize=RUN_TIME)
def backward_kernel(
    weight: tl.tensor, gates: tl.tensor, c_0: tl.tensor, lengths: tl.tensor, cells: tl.tensor, grad_cells: tl.tensor,
    through: tl.tensor, deltas: tl.tensor, grad_c: tl.tensor, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor,
    end_step: tl.tensor, first_tile: tl.tensor, H: tl.constexpr, TANH: tl.constexpr, ROWS: tl.constexpr,
    UNITS: tl.constexpr, BLOCK: tl.constexpr, PIECES: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Fill δi, δf and δg of `deltas` [T + 1, B, 4H], the gradients before each σ; those of step T are zeros beforehand.

    δi = ∂c ⊙ z ⊙ i(1 − i),  δf = ∂c ⊙ c′ ⊙ f(1 − f),  δg = ∂c ⊙ i ⊙ z(1 − z), or 1 − z² for a tanh,
    ∂c′ = ∂c ⊙ f + [δi, δf] W.
    `gates` [T, B, 4H] are W x + b, with W c′ for i and f, `weight` [H, 2H] is Wᵀ. Beside them ∂c has parts through h:
    `grad_cells` [T, B, H], and `through` [T + 1, B, H] of the cells before each step. `grad_c` [B, H] holds ∂c, and is
    taken back to before the first step but for its product with W and that part.
    """
    PROGRAMS: tl.constexpr = (H + UNITS - 1) // UNITS
    counter, rows, first_unit, units = place(counters, first_tile, PROGRAMS, ROWS, UNITS)
    mask = (rows < B) & (units < H)
    own, slab = rows * H + units, B.to(tl.int64) * H
    own_delta = rows * (4 * H) + units
    low = deltas.dtype.element_ty
    dc = read(grad_c + own, mask)
    if lengths is not None:
        length = tl.load(lengths + rows, mask=rows < B, other=0)
    if PIECES > 0:
        held = held_tiles(weight, first_unit, H, 2 * H, 2, 1, UNITS, BLOCK, PIECES, SPLIT, PRECISION)
    for step in range(first_step, end_step):
        t = first_step + end_step - 1 - step
        x = gates + t * (4 * slab) + own_delta
        i, f, z = fetch(x, mask), fetch(x + H, mask), fetch(x + 2 * H, mask)
        c = fetch(before(c_0, cells, t, slab) + own, mask)
        if grad_cells is not None:
            dc += read(grad_cells + t * slab + own, mask)
        if through is not None:
            dc += read(through + (t + 1) * slab + own, mask)
        i, f, z = tl.sigmoid(i.to(tl.float32)), tl.sigmoid(f.to(tl.float32)), candidate(z.to(tl.float32), TANH)
        wait(counter, step - first_step, PROGRAMS)
        after = deltas + (t + 1) * (4 * slab)
        dc += product(
            None, after, held if PIECES > 0 else None, weight, rows, first_unit, B, H, 4 * H, 2 * H, 2, 1, ROWS,
            UNITS, BLOCK, PIECES, SPLIT, PRECISION,
        )  # fmt: skip
        delta_i = dc * z * i * (1.0 - i)
        delta_f = dc * c * f * (1.0 - f)
        delta_g = dc * i * candidate_slope(z, TANH)
        if lengths is not None:  # an ended row hands its gradient on
            running = t < length
            delta_i, delta_f = tl.where(running, delta_i, 0.0), tl.where(running, delta_f, 0.0)
            delta_g, dc = tl.where(running, delta_g, 0.0), tl.where(running, dc * f, dc)
        else:
            dc = dc * f
        delta = deltas + t * (4 * slab) + own_delta
        tl.store(delta, factor(delta_i, low, PRECISION), mask=mask)
        tl.store(delta + H, factor(delta_f, low, PRECISION), mask=mask)
        tl.store(delta + 2 * H, factor(delta_g, low, PRECISION), mask=mask)
        arrive(counter, PROGRAMS)
    tl.store(grad_c + own, dc, mask=mask)


class TritonPeephole(TritonCell):
    """The full peephole; with `last_only` its first result is empty."""

    name = "triton_peephole_lstm"
    weights = ("weight_ih", "weight_hh", "bias?")
    options = MappingProxyType({"candidate": "str"})
    flags = ("last_only",)
    states = ("c_0",)
    step = staticmethod(peephole_step)

    def count_results(self) -> int:
        """Count the states, the last state and cell, and all cells."""
        return 4

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        low, c_0, T = tensors["weight_hh"], tensors["c_0"], len(tensors["inputs"])
        B, H = c_0.shape
        hidden = low.new_empty(0 if options["last_only"] else T, B, H)
        return hidden, low.new_empty(B, H), c_0.new_empty(B, H), c_0.new_empty(T, B, H)

    def reference(self, tensors: Named, options: Named) -> Results:
        """Return all states, the last state and the last cell in differentiable operations."""
        return self.run_reference(tensors, options, (torch.zeros_like(tensors["c_0"]), tensors["c_0"]))

    def forward(self, tensors: Named, options: Named) -> Results:
        """Return all states [T, B, H], the last state and cell [B, H], and for the backward pass all cells."""
        weight_ch, c_0, lengths = (tensors[name] for name in ("weight_hh", "c_0", "lengths"))
        (T, (B, H)), (share, tokens) = (len(tensors["inputs"]), c_0.shape), project(tensors)
        cells = c_0.new_empty(T, B, H)
        launch(
            forward_kernel, weight_ch[: 2 * H], (share, tokens, c_0, lengths), (cells,), first=c_0,
            TANH=options["candidate"] == "tanh",
        )  # fmt: skip
        weight_o = weight_ch[2 * H :]
        if options["last_only"]:
            own = _output_gate(share)
            own = last_rows(own, lengths) if tokens is None else own[last_rows(tokens, lengths)]
            h_n = output_state(cells[-1], _last_gate(own, cells, c_0, weight_o, lengths), weight_ch.dtype)
            return weight_ch.new_empty(0, B, H), h_n, cells[-1].clone(), cells
        gates = share if tokens is None else take_rows(tokens, _output_gate(share).to(weight_o.dtype))
        add_recurrent(gates[..., -H:], states_before(cells, c_0, weight_o.dtype), weight_o)
        hidden = output_state(cells, gates, weight_ch.dtype)
        return hidden, last_rows(hidden, lengths), cells[-1].clone(), cells

    def backward(
        self, grads: Grads, results: list[Tensor], tensors: Named, options: Named, wanted: Mapping[str, bool]
    ) -> dict[str, Tensor | None]:
        """Return the gradients of the tensors by name.

        Before the loop the output gate's: δo and ∂c as in triton_output_gate.py, ∂c′ = δo W_oc.
        """
        (grad_hidden, grad_h_n, grad_c_n, _), (hidden, _, _, cells) = grads, results
        weight_ch, c_0, lengths = (tensors[name] for name in ("weight_hh", "c_0", "lengths"))
        T, B, H = cells.shape
        gates = project_all(tensors, weight_ch.dtype)
        weight_fi, weight_o = weight_ch[: 2 * H], weight_ch[2 * H :]
        c_before = states_before(cells, c_0, weight_ch.dtype)
        add_recurrent(gates[..., : 2 * H], c_before, weight_fi)
        deltas = weight_ch.new_empty(T + 1, B, 4 * H)
        deltas[T] = 0
        delta_o = deltas[:T, :, 3 * H :]
        grad_c, grad_cells, through = last_gradient(grad_c_n, c_0, c_0.dtype), None, None
        ends = torch.full((B,), T, device=c_0.device) if lengths is None else lengths
        if len(hidden) == 0:  # the output gate of one step
            delta_o.zero_()
            if grad_h_n is not None:
                gate_o = _last_gate(last_rows(_output_gate(gates), lengths), cells, c_0, weight_o, lengths)
                delta, through = weight_ch.new_empty(B, H), weight_ch.new_zeros(T + 1, B, H)
                grad_c += output_gradient(grad_h_n, cells[-1], gate_o, delta)
                step = ends - 1, torch.arange(B, device=c_0.device)
                delta_o[step], through[step] = delta, delta @ weight_o
        elif grad_hidden is not None or grad_h_n is not None:
            grad_last = weight_ch.new_zeros(B, H) if grad_h_n is None else grad_h_n
            grad_all = spread_last(grad_hidden, grad_last, ends, T, c_0.dtype)
            add_recurrent(_output_gate(gates), c_before, weight_o)
            grad_cells, through = output_gradient(grad_all, cells, gates, deltas), weight_ch.new_empty(T + 1, B, H)
            torch.mm(delta_o.flatten(0, 1), weight_o, out=through[:T].view(-1, H))
            through[T] = 0
        else:
            delta_o.zero_()
        launch(
            backward_kernel, weight_fi, (gates, c_0, lengths, cells, grad_cells, through), (deltas, grad_c),
            reverse=True, TANH=options["candidate"] == "tanh",
        )  # fmt: skip
        deltas = deltas[:T]
        serial, grad_c_0 = deltas[..., : 2 * H], None
        if wanted["c_0"]:
            grad_c_0 = grad_c + serial[0] @ weight_fi + (0 if through is None else through[0])
        return {
            **input_gradients(deltas, tensors, wanted["inputs"]),
            "weight_hh": torch.cat([recurrent_gradient(serial, c_before), recurrent_gradient(delta_o, c_before)]),
            "c_0": grad_c_0,
        }


TRITON = TritonPeephole()


def _output_gate(gates: Tensor) -> Tensor:
    """Return the output gate's part […, H] of rows of all four […, 4H]."""
    return gates[..., -(gates.shape[-1] // 4) :]


def _last_gate(share: Tensor, cells: Tensor, c_0: Tensor, weight_o: Tensor, lengths: Tensor | None) -> Tensor:
    """Return õ + W_oc c′ of each row's last valid step [B, H]; `share` is its õ."""
    if lengths is None:
        c_before = cells[-2] if len(cells) > 1 else c_0
    else:
        c_before = torch.where((lengths > 1)[:, None], last_rows(cells, (lengths - 1).clamp(min=1)), c_0)
    return share.to(cells.dtype) + c_before.to(weight_o.dtype) @ weight_o.T
