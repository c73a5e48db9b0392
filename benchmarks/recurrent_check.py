"""One cell of the Triton backend against float64, on a device: outputs, last states, all gradients; and twice the same.

    python -m benchmarks.recurrent_check lstm bf16                               # all sizes, those that are timed, too
    python -m benchmarks.recurrent_check lstm bf16 --small                       # a few, in seconds
    TRITON_INTERPRET=1 python -m benchmarks.recurrent_check lstm float32 --small --device cpu

A failure is printed in the line of its case and does not end the others, unless the GPU cannot be used any more. A
race between the programs of a group shows as results that differ from run to run. If programs fail to meet, this waits
for ever: give it a time limit. Returns 1 if something was wrong, 2 if nothing can run.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from benchmarks import recurrent_cases
from benchmarks.cuda_timing import works
from benchmarks.recurrent import fault_of
from benchmarks.recurrent_cases import BOUND, LOW, SHAPES, Shape, error
from kernels import LSTM, SLSTM, LayerNormLSTM, forced
from kernels.layer import RecurrentLayer
from kernels.triton import available, plan

CELLS: dict[str, Callable[..., RecurrentLayer]] = {
    **recurrent_cases.CELLS,
    "layer_norm_lstm": LayerNormLSTM,
    "slstm": lambda I, H, **options: SLSTM(I, H, num_heads=1 if H % 4 else 4, **options),
    "lstm_projected": lambda I, H, **options: LSTM(I, H, proj_size=H // 2, **options),
    **{f"{name}_zoneout": partial(recurrent_cases.CELLS[name], zoneout=0.3) for name in ("lstm", "gru", "rnn")},
    "layer_norm_lstm_zoneout": partial(LayerNormLSTM, zoneout=0.3),
}
TIMED = ("palindrome", "palindrome, vectors", "palindrome20, vectors", "book", "large", "wide")
STEPS = 4  # of those that are timed
REPEATS = 20
OTHER_FUNCTION = {
    "rnn": {"nonlinearity": "relu"},
    "rnn_zoneout": {"nonlinearity": "relu"},
    "peephole_full": {"candidate": "tanh"},
    "peephole_diagonal": {"candidate": "sigmoid"},
    "slstm": {"forget_gate": "exp"},
}
# Norms magnify rounding: the error of these may exceed `BOUND`, but not that of the equations in the same precision.
NORMALISED = ("layer_norm_lstm", "layer_norm_lstm_zoneout")


class Check(NamedTuple):
    """What is compared.

    Args:
        shape: sizes.
        ragged: whether rows have lengths of their own.
        states: whether there are initial states, and gradients of them.
        last: whether the output is the last state only.
        options: further ones of the layer.
        repeats: runs that must give the same, to the bit.
        resets: whether rows start anew inside the sequence.
        evaluation: whether the layer is evaluated, so that zoneout takes its expectation.
    """

    shape: Shape
    ragged: bool = False
    states: bool = False
    last: bool = False
    options: dict[str, Any] | None = None
    repeats: int = 0
    resets: bool = False
    evaluation: bool = False


SMALL = (
    Check(Shape(5, 7, 3, 37, False), ragged=True, states=True),
    Check(Shape(3, 4, 4, 64, True), last=True),
    Check(Shape(20, 4, 8, 256, False), states=True, repeats=2),  # programs in groups
    Check(Shape(20, 9, 8, 256, False), states=True, ragged=True, resets=True),
)


def checks(cell: str) -> tuple[Check, ...]:
    """Return what is compared of a cell, small sizes first."""
    both_ways: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    other: dict[str, Any] | None = OTHER_FUNCTION.get(cell)
    found = (
        *SMALL,
        *([SMALL[-1]._replace(evaluation=True)] if cell.endswith("zoneout") else []),
        Check(Shape(1, 1, 4, 16, True), states=True),
        Check(Shape(40, 6, 8, 200, True), ragged=True, states=True, options=other),
        Check(Shape(9, 5, 8, 37, False), ragged=True, states=True, options=both_ways),
        Check(Shape(33, 5, 8, 128, True), last=True, ragged=True, options=both_ways),
        Check(Shape(33, 9, 8, 128, True), resets=True, options=both_ways),
        Check(Shape(300, 3, 8, 256, False), states=True, options=other),
        Check(Shape(600, 3, 8, 512, False), ragged=True),  # several launches
        *(Check(SHAPES[name]._replace(T=STEPS), last=SHAPES[name].tokens) for name in TIMED),
        *(Check(Shape(64, 50, 8, H, False), repeats=REPEATS) for H in (256, 512)),
    )
    return tuple(check for check in found if cell not in NORMALISED or check.shape.H <= plan.MAX_ROW)


class Problem:
    """Weights and inputs of a check, and what a backend makes of them.

    Args:
        cell: a name in `CELLS`.
        check: what is compared.
        precision: a name in `benchmarks.recurrent_cases.BOUND`; on a CPU the 16-bit ones are float32.
        device: "cpu" or "cuda".
    """

    def __init__(self, cell: str, check: Check, precision: str, device: str) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        (B, T, I, H, tokens), self.check = check.shape, check
        self.dtype = LOW.get(precision, torch.float32) if device == "cuda" else torch.float32
        self.layer = CELLS[cell](I, H, device=device, **check.options or {}).to(self.dtype)
        self.layer.train(not check.evaluation)
        D = self.layer.num_layers * (2 if self.layer.bidirectional else 1)
        self.ids = torch.randint(0, 3, (T, B), device=device)
        self.inputs = torch.randn(*((3, I) if tokens else (T, B, I)), device=device).to(self.dtype)
        widths = self.layer.state_widths
        self.states = [torch.randn(D, B, width, device=device).to(self.dtype) for width in widths]
        for name, parameter in self.layer.named_parameters():
            if cell in NORMALISED and not name.startswith("weight"):  # gains of 1 and biases of 0 otherwise
                parameter.data += 0.3 * torch.randn_like(parameter)
        if isinstance(self.layer, SLSTM):
            self.states[2] = self.states[2].abs() + 0.5  # normalisers are positive
        self.resets = torch.rand(T, B, device=device) < 0.2 if check.resets else None
        self.lengths = torch.arange(B, device=device) % T + 1 if check.ragged else None

    def run(self, backend: Literal["triton", "reference"], dtype: torch.dtype) -> list[Tensor]:
        """Return all results in one tensor, then the gradients of inputs, states and weights."""
        layer, check = self.layer.to(dtype), self.check
        leaf, *states = (value.to(dtype, copy=True).requires_grad_() for value in (self.inputs, *self.states))
        given: Any = (states[0] if len(states) == 1 else tuple(states)) if check.states else None
        output: Literal["last", "sequence"] = "last" if check.last else "sequence"
        parts: dict[str, Any] = {"lengths": self.lengths, "resets": self.resets, "output": output}
        torch.manual_seed(2)  # of zoneout
        with forced(backend):
            if check.shape.tokens:
                out, final = layer.forward_ids(self.ids, leaf, given, **parts)
            else:
                out, final = layer(leaf, given, **parts)
        values = [out, *(final if isinstance(final, tuple) else (final,))]
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(value.shape, generator=generator).to(value.device) for value in values]
        loss = sum((value.float() * weight).sum() for value, weight in zip(values, weights, strict=True))
        leaves = (leaf, *(states if check.states else ()), *layer.parameters())
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        self.layer.to(self.dtype)
        return [torch.cat([value.detach().double().flatten() for value in values]), *gradients]


def compare(cell: str, check: Check, precision: str, device: str) -> tuple[bool, str]:
    """Return whether a check is met, and by how much, or what is wrong."""
    problem = Problem(cell, check, precision, device)
    values = problem.run("triton", problem.dtype)
    for k in range(check.repeats):
        again = problem.run("triton", problem.dtype)
        if not all(torch.equal(once, value) for once, value in zip(values, again, strict=True)):
            return False, f"run {k + 2} differs from the first"
    exact = problem.run("reference", torch.float64)
    found, bound = error(values, exact), BOUND[precision]
    if cell in NORMALISED:
        bound = max(bound, error(problem.run("reference", problem.dtype), exact))
    if "relu" in (check.options or {}).values():
        bound *= 3  # a unit near 0 may be on in one and off in the other, and its gradient with it
    return found <= bound, f"error {found:.1e}"


def main() -> int:
    """Compare one cell; return 1 if something was wrong, 2 if nothing can run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", choices=CELLS)
    parser.add_argument("precision", choices=BOUND)
    parser.add_argument("--small", action="store_true", help="a few small sizes alone")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    reason = available.refusal(torch.float32, options.device)
    if reason is not None or not works(options.device):
        print(f"nothing is checked: {reason or 'the device cannot be used'}", file=sys.stderr)
        return 2
    good = True
    for check in SMALL if options.small else checks(options.cell):
        try:
            fine, found = compare(options.cell, check, options.precision, options.device)
        except Exception as failure:  # must not end the other cases
            fine, found = False, fault_of(failure)
        good &= fine
        what = [f"{name} {value}" for name, value in zip("BTIH", check.shape, strict=False)]
        what += [word for word in ("ragged", "resets", "evaluation", "states", "last") if getattr(check, word)]
        what += ["tokens"] * check.shape.tokens + [f"{name}={value}" for name, value in (check.options or {}).items()]
        print(
            f"{'ok' if fine else 'WRONG'}: {options.cell}, {options.precision}, {', '.join(what)}: {found}", flush=True
        )
        if not fine and not works(options.device):
            print("WRONG: the device cannot be used any more, the rest is left out", flush=True)
            break
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
