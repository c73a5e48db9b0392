"""The two time loops of every cell: one forward, one backward. A cell supplies the equations of a step as functions.

A program computes its part of the states for all steps. It reads the parts of the other programs of its group from
memory, after all have written them; see plan.py. A row whose sequence has ended keeps its states; going back, it passes
their gradients on unchanged. A row that starts anew enters a step with states of zero; going back, their gradients end
there. With zoneout a part of each state stays as it was; going back, its gradient skips the step.

Legend: B batch, T time, H hidden, V vocabulary.
"""

# ruff: noqa: RUF005 # Triton cannot unpack a tuple into another one

import triton
import triton.language as tl

from kernels.triton.tiles import (
    Place,
    arrive,
    as_factor,
    before,
    find_place,
    load,
    load_float32,
    load_gates,
    load_weights,
    multiply,
    split_gates,
    wait,
)

# Integers that differ between launches: a kernel compiled for a batch of 1, or for a multiple of 16, would be another.
RUNS = ["B", "first_step", "end_step", "first_tile"]


@triton.jit(do_not_specialize=RUNS)
def forward_kernel(
    weight: tl.tensor, factor_states: tl.tensor, projected: tl.tensor, tokens: tl.tensor, vectors: tl.tuple,
    lengths: tl.tensor, resets: tl.tensor, zoneout: tl.tuple, initial: tl.tuple, states: tl.tuple, counters: tl.tensor,
    B: tl.tensor, first_step: tl.tensor, end_step: tl.tensor, first_tile: tl.tensor, STEP: tl.constexpr,
    GATES: tl.constexpr, OPTION: tl.constexpr, FACTORS: tl.constexpr, plan: tl.constexpr,
) -> None:  # fmt: skip
    """Fill the states of some steps.

    Args:
        weight: recurrent weight [G, H].
        factor_states: the first state [T + 1, B, H] as it is multiplied, if the states themselves cannot be.
        projected: input projection [T, B, GATES * H], or with tokens [V, GATES * H].
        tokens: [T, B] or None.
        vectors: further parameters [H] of the cell.
        lengths: valid steps of each row [B] or None.
        resets: 1 where a row starts anew at a step, else 0 [T + 1, B], or None; no row does so at step T.
        zoneout: for each state 1 where a unit stays as it was, else 0, uint8 [T, B, H], or the part of all units that
            stays, float32 [1]; empty without zoneout.
        initial: states before step 0 [B, H].
        states: states of all steps [T, B, H], written. The first one is multiplied by the recurrent weight.
        counters: one for each group, zeros; each has a cache line of its own.
        B: rows of the batch.
        first_step: where the loop starts, or going back ends.
        end_step: the step after the last.
        first_tile: the first tile of the batch.
        STEP: function(projected gates, recurrent products, states, vectors, OPTION) returns the next states.
        GATES: gates of the input projection.
        OPTION: the cell's choice of a function.
        FACTORS: a `launch.Factors` for each recurrent product.
        plan: a `plan.Plan`.
    """
    at = find_place(counters, B, first_tile, plan)
    low = weight.dtype.element_ty
    parameters = [load_float32(vector + at.units, at.units < plan.H) for vector in vectors]
    state: tl.tuple = ()
    for k in tl.static_range(len(states)):
        state = state + (load(before(initial[k], states[k], first_step, at) + at.own, at.mask),)
    if lengths is not None:
        length = tl.load(lengths + at.rows, mask=at.rows < B, other=0)
    resident = load_weights(weight, at, FACTORS, plan)
    for t in range(first_step, end_step):
        row = t * B.to(tl.int64) + at.rows
        if tokens is not None:
            row = tl.load(tokens + row, mask=at.rows < B, other=0).to(tl.int64)
        x = load_gates(projected, row, at, GATES, plan)
        stays = load_zoneout(zoneout, t, at)
        wait(at, t - first_step, plan)
        h = factor_states + t * at.step if factor_states is not None else before(initial[0], states[0], t, at)
        fresh = load_fresh(resets, t, at)
        state = clear(state, fresh)
        recurrent: tl.tuple = ()
        for k in tl.static_range(len(FACTORS)):
            own = as_factor(state[0], low, plan) if plan.programs == 1 else None
            product = multiply(own, h, resident[k], weight, at, FACTORS, k, plan)
            product = product if fresh is None else tl.where(fresh, 0.0, product)
            recurrent = recurrent + split_gates(product, FACTORS[k].outer, plan)
        x = [value.to(tl.float32) for value in x]  # after the wait, so that it does not delay the wait
        new = mix(STEP(x, recurrent, state, parameters, OPTION), state, stays)
        state = freeze(new, state, t < length if lengths is not None else None)
        tl.store(states[0] + t * at.step + at.own, state[0], mask=at.mask)
        if factor_states is not None:
            tl.store(factor_states + (t + 1) * at.step + at.own, as_factor(state[0], low, plan), mask=at.mask)
        arrive(at, plan)
        for k in tl.static_range(1, len(states)):  # only this program reads them
            tl.store(states[k] + t * at.step + at.own, state[k], mask=at.mask)


@triton.jit(do_not_specialize=RUNS)
def backward_kernel(
    weight: tl.tensor, gates: tl.tensor, extra: tl.tensor, vectors: tl.tuple, lengths: tl.tensor, resets: tl.tensor,
    zoneout: tl.tuple, initial: tl.tuple, states: tl.tuple, grad_outputs: tl.tuple, grad_gates: tl.tensor,
    grad_states: tl.tuple, counters: tl.tensor, B: tl.tensor, first_step: tl.tensor, end_step: tl.tensor,
    first_tile: tl.tensor, ACTIVATE: tl.constexpr, DIFFERENTIATE: tl.constexpr, GATES: tl.constexpr,
    GRAD_GATES: tl.constexpr, OPTION: tl.constexpr, FACTORS: tl.constexpr, plan: tl.constexpr,
) -> None:  # fmt: skip
    """Fill the gradients of the gates, from the last step to the first.

    Its arguments are those of `forward_kernel`, except for these:
        weight: transpose of the recurrent weight [H, G].
        gates: gates before their functions [T, B, GATES * H].
        extra: one more of them [T, B, H] or None.
        initial: before step 0 those states that the equations need [B, H].
        states: these states of all steps [T, B, H].
        grad_outputs: gradients of the first state [T, B, H], to be added.
        grad_gates: gradients of the gates [T + 1, B, GRAD_GATES * H], written; those of step T are 0.
        grad_states: gradients of the states [B, H] after the last step. They become those before the first one, except
            for its recurrent product.
        ACTIVATE: function(gates, states before, states after, vectors, OPTION) returns what DIFFERENTIATE needs. With
            zoneout the states after a step are mixed; a cell that needs the new ones computes them from the gates.
        DIFFERENTIATE: function(these values, gradients of the states, vectors, OPTION) returns the gradients of the
            gates, and of the states before the step without the recurrent product.
    """
    at = find_place(counters, B, first_tile, plan)
    low = grad_gates.dtype.element_ty
    parameters = [load_float32(vector + at.units, at.units < plan.H) for vector in vectors]
    grads = [load_float32(array + at.own, at.mask) for array in grad_states]
    after = [load(array + (end_step - 1) * at.step + at.own, at.mask) for array in states]
    if lengths is not None:
        length = tl.load(lengths + at.rows, mask=at.rows < B, other=0)
    resident = load_weights(weight, at, FACTORS, plan)
    for step in range(first_step, end_step):
        t = first_step + end_step - 1 - step
        row = t * B.to(tl.int64) + at.rows
        x = load_gates(gates, row, at, GATES, plan)
        if extra is not None:
            x = x + (load(extra + t * at.step + at.own, at.mask),)
        state: tl.tuple = ()
        for k in tl.static_range(len(states)):
            state = state + (load(before(initial[k], states[k], t, at) + at.own, at.mask),)
        fresh, fresh_after = load_fresh(resets, t, at), load_fresh(resets, t + 1, at)
        stays = load_zoneout(zoneout, t, at)
        grad = grads[0]
        for k in tl.static_range(len(grad_outputs)):
            grad += load_float32(grad_outputs[k] + t * at.step + at.own, at.mask)
        x = [value.to(tl.float32) for value in x]
        values = ACTIVATE(x, clear(state, fresh), after, parameters, OPTION)
        wait(at, step - first_step, plan)
        grad_gates_after = grad_gates + (t + 1) * (GRAD_GATES * at.step)
        for k in tl.static_range(len(FACTORS)):
            product = multiply(None, grad_gates_after, resident[k], weight, at, FACTORS, k, plan)
            grad += product if fresh_after is None else tl.where(fresh_after, 0.0, product)
        all_grads: tl.tuple = (grad,)
        for k in tl.static_range(1, len(grad_states)):
            all_grads = all_grads + (grads[k],)
        staying, rest = split_gradients(all_grads, stays)
        gate_grads, new = DIFFERENTIATE(values, rest, parameters, OPTION)
        new = add(new, staying)
        running = t < length if lengths is not None else None
        grads = clear(freeze(new, all_grads, running), fresh)
        for gate in tl.static_range(len(gate_grads)):
            gate_grad = gate_grads[gate] if running is None else tl.where(running, gate_grads[gate], 0.0)
            own = grad_gates + row * (GRAD_GATES * plan.H) + gate * plan.H + at.units
            tl.store(own, as_factor(gate_grad, low, plan), mask=at.mask)
        arrive(at, plan)
        after = state
    for k in tl.static_range(len(grad_states)):
        tl.store(grad_states[k] + at.own, grads[k], mask=at.mask)


@triton.jit
def load_fresh(resets: tl.tensor, t: tl.tensor, at: Place) -> tl.tensor:
    """Return which of the program's rows start anew at step t [BLOCK_B, 1]; None where none ever do."""
    return None if resets is None else tl.load(resets + t * at.B + at.rows, mask=at.rows < at.B, other=0) != 0


@triton.jit
def clear(values: tl.tuple, fresh: tl.tensor) -> tl.tuple:
    """Return values with zeros in the rows that start anew."""
    cleared: tl.tuple = ()
    for k in tl.static_range(len(values)):
        cleared = cleared + (values[k] if fresh is None else tl.where(fresh, 0.0, values[k]).to(values[k].dtype),)
    return cleared


@triton.jit
def freeze(new: tl.tuple, old: tl.tuple, running: tl.tensor) -> tl.tuple:
    """Return the new values of running rows and the old ones of others, in the dtypes of the old ones."""
    kept: tl.tuple = ()
    for k in tl.static_range(len(new)):
        value = new[k].to(old[k].dtype)
        kept = kept + (value if running is None else tl.where(running, value, old[k]),)
    return kept


@triton.jit
def load_zoneout(zoneout: tl.tuple, t: tl.tensor, at: Place) -> tl.tuple:
    """Return how much of the program's part of each state stays as it was at step t; nothing without zoneout."""
    stays: tl.tuple = ()
    for k in tl.static_range(len(zoneout)):
        if zoneout[k].dtype.element_ty == tl.uint8:
            stays = stays + (tl.load(zoneout[k] + t * at.step + at.own, mask=at.mask, other=0),)
        else:
            stays = stays + (tl.load(zoneout[k]),)
    return stays


@triton.jit
def mix(new: tl.tuple, old: tl.tuple, stays: tl.tuple) -> tl.tuple:
    """Return the states after a step with zoneout, stays ⊙ old + (1 − stays) ⊙ new; without it the new ones."""
    mixed: tl.tuple = ()
    for k in tl.static_range(len(new)):
        value = new[k]
        if len(stays) > 0:
            stay = stays[k].to(tl.float32)
            value = value * (1.0 - stay) + old[k] * stay
        mixed = mixed + (value,)
    return mixed


@triton.jit
def split_gradients(grads: tl.tuple, stays: tl.tuple) -> tl.tuple:
    """Return the gradients of the parts that stay, which skip the step, and those of the new states.

    Without zoneout the first are (), the others all.
    """
    staying: tl.tuple = ()
    rest: tl.tuple = ()
    for k in tl.static_range(len(grads)):
        if len(stays) > 0:
            part = grads[k] * stays[k].to(tl.float32)
            staying = staying + (part,)
            rest = rest + (grads[k] - part,)
        else:
            rest = rest + (grads[k],)
    return staying, rest


@triton.jit
def add(values: tl.tuple, parts: tl.tuple) -> tl.tuple:
    """Return values with parts added, if there are any."""
    total: tl.tuple = ()
    for k in tl.static_range(len(values)):
        total = total + (values[k] if len(parts) == 0 else values[k] + parts[k],)
    return total
