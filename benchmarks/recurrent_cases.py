"""The measured cells and shapes, and what runs them: this project's backends, their peers, and an oracle.

Peers are torch.nn's layer (behind nn.Embedding for token input; on a GPU in bfloat16 also with packed weights), the
cell's equations in an eager loop, on a CPU the same loop under TorchScript's own autodiff, and on a GPU FlashRNN's
package in bfloat16, where it is installed.
"""

import copy
import importlib.util
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.cuda_timing import flash_rnn
from benchmarks.jit_loops import jit_step
from kernels import GRU, LSTM, RNN, PeepholeLSTM, forced
from kernels.layer import RecurrentLayer
from kernels.processor import onednn_has
from kernels.triton import available


class Shape(NamedTuple):
    """Sizes of a case. With tokens the output is the last state, as in a classifier; otherwise the whole sequence."""

    B: int
    T: int
    I: int
    H: int
    tokens: bool


SHAPES = {
    "palindrome": Shape(256, 41, 64, 256, True),
    "palindrome20": Shape(256, 81, 64, 256, True),
    "palindrome, vectors": Shape(256, 41, 64, 256, False),
    "palindrome20, vectors": Shape(256, 81, 64, 256, False),
    "book": Shape(64, 30, 256, 256, False),
    "small": Shape(32, 100, 64, 128, False),
    "large": Shape(64, 100, 512, 512, False),
    "one row": Shape(1, 1000, 256, 256, False),
    "wide": Shape(16, 1024, 768, 768, False),
}
CELLS: dict[str, Callable[..., RecurrentLayer]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "peephole_full": PeepholeLSTM,
    "peephole_diagonal": lambda *sizes, **options: PeepholeLSTM(*sizes, peephole="diagonal", **options),
}
GATES = {"lstm": (4, 4), "gru": (3, 3), "rnn": (1, 1), "peephole_full": (4, 3), "peephole_diagonal": (4, 4)}  # x, h
VOCABULARY = 3
PEERS = ("torch.nn", "torch.nn, packed", "FlashRNN", "eager loop", "jit loop")
OURS = ("kernels, auto", "kernels, recompute", "kernels, triton", "kernels, torchscript")
GEMMS = "GEMMs alone"
IMPLEMENTATIONS = (*OURS, *PEERS, GEMMS)
PLANS: dict[str, dict[str, int]] = {"own": {}}  # of a program: constants of kernels/triton/plan.py
PLANS |= {f"{kib} KiB": {"RESIDENT_BYTES": kib << 10, "SPREAD_BLOCK_H": 1 << 20} for kib in (192, 128, 64, 32)}
PLANS["whole sums"] = {"SPLIT_SUMS": 0}  # no warp has a part of its own
PLANS |= {f"{terms} terms": {"MAX_SUM": terms} for terms in (512, 2048)}  # loaded at a time
LONG = 500  # steps; from here on, loops of small operators are left out on a GPU
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
BOUND = {"float32": 1e-4, "tf32": 1e-2, "bf16": 5e-2, "fp16": 2e-2}


class Case:
    """A cell at a shape in a precision: the same weights and data for every implementation.

    Args:
        cell: a name in CELLS.
        shape: its sizes.
        precision: a name in BOUND.
        device: "cpu" or "cuda".
    """

    def __init__(self, cell: str, shape: Shape, precision: str, device: str) -> None:
        torch.manual_seed(0)
        self.cell, self.shape, self.precision, self.device = cell, shape, precision, device
        B, T, I, H, tokens = shape
        self.dtype = LOW.get(precision, torch.float32) if device == "cuda" else torch.float32
        if device == "cuda":
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.layer = CELLS[cell](I, H, device=device).to(self.dtype)
        self.embedding = nn.Embedding(VOCABULARY, I, device=device).to(self.dtype)
        self.ids = torch.randint(0, VOCABULARY, (T, B), device=device)
        self.vectors = torch.randn(T, B, I, device=device).to(self.dtype)
        grad = torch.randn(B, H, device=device).to(self.dtype)
        self.grad = grad if tokens else grad.repeat(T, 1, 1)  # of the result

    def implementations(self, asked: Collection[str]) -> dict[str, Callable[[], Callable[[], list[Tensor]]]]:
        """Return a factory for each implementation that is asked for and runs on this machine.

        A factory makes a function that runs the forward pass and returns the result and the leaves that get gradients.
        """
        here: dict[str, Callable[[], Callable[[], list[Tensor]]]] = {}
        short = self.device == "cpu" or self.shape.T < LONG
        lacking = self.device == "cpu" and self.precision in LOW and not onednn_has(LOW[self.precision])
        if self.layer.cell is not None and self.layer.cell.native is not None and not (self.cell == "lstm" and lacking):
            here["torch.nn"] = self._torch_nn
            if self.device == "cuda" and self.dtype == torch.bfloat16:
                here["torch.nn, packed"] = partial(self._torch_nn, pack=True)
        if self.cell in ("lstm", "rnn") and self.dtype == torch.bfloat16 and importlib.util.find_spec("flashrnn"):
            here["FlashRNN"] = lambda: self.with_input(*flash_rnn(self.cell, self.layer))
        if short:
            here["eager loop"] = partial(self.ours, "reference")
            here["kernels, torchscript"] = partial(self.ours, "torchscript")
        if self.device == "cpu":
            here["jit loop"] = self._jit
            here["kernels, auto"] = partial(self.ours, "auto")
            here["kernels, recompute"] = partial(self.ours, "torchscript", recompute=True)
        elif available.refusal(self.dtype, self.device) is None:
            here["kernels, triton"] = partial(self.ours, "triton")
        return {name: make for name, make in here.items() if name in asked}

    def ours(self, backend: str, recompute: bool = False) -> Callable[[], list[Tensor]]:
        """Return this project's layer with a backend."""
        layer = CELLS[self.cell](self.shape.I, self.shape.H, device=self.device, backend=backend, recompute=recompute)
        layer = layer.to(self.dtype)
        layer.load_state_dict(self.layer.state_dict())
        embedding = nn.Embedding.from_pretrained(self.embedding.weight.detach().clone(), freeze=False)
        vectors = self.vectors.clone().requires_grad_()

        def run() -> list[Tensor]:
            if self.shape.tokens:
                out, _ = layer.forward_ids(self.ids, embedding.weight, output="last")
                return [out, embedding.weight, *layer.parameters()]
            return [layer(vectors)[0], vectors, *layer.parameters()]

        return run

    def _torch_nn(self, pack: bool = False) -> Callable[[], list[Tensor]]:
        layer = getattr(nn, type(self.layer).__name__)(self.shape.I, self.shape.H, device=self.device, dtype=self.dtype)
        layer.load_state_dict(self.layer.state_dict())
        if pack:  # torch.nn packs no bfloat16 weights, so torch does it in every pass
            packed = torch.backends.cudnn.CUDNN_TENSOR_DTYPES
            packed.add(self.dtype)
            try:
                layer.flatten_parameters()
            finally:
                packed.remove(self.dtype)
        return self.with_input(lambda vectors: layer(vectors)[0], list(layer.parameters()))

    def _jit(self) -> Callable[[], list[Tensor]]:
        loop, (B, _, _, H, _) = jit_step(self.cell), self.shape
        own = {name: value.detach().clone().requires_grad_() for name, value in self.layer.named_parameters()}
        zeros = torch.zeros(B, H, device=self.device)
        recurrent = [value for name, value in own.items() if name[:9] in ("weight_hh", "weight_ch", "weight_pe")]
        if self.cell == "gru":
            recurrent.append(own["bias_hh_l0"])

        def run(vectors: Tensor) -> Tensor:
            bias = own["bias_l0"] if "bias_l0" in own else own["bias_ih_l0"]
            if self.cell not in ("gru", "peephole_full"):
                bias = bias + own["bias_hh_l0"]
            return loop(nn.functional.linear(vectors, own["weight_ih_l0"], bias), recurrent, zeros, zeros)

        return self.with_input(run, list(own.values()))

    def with_input(self, function: Callable[[Tensor], Tensor], weights: list[Tensor]) -> Callable[[], list[Tensor]]:
        """Return an implementation made of a function of vectors [T, B, I] and of its weights."""
        embedding = nn.Embedding.from_pretrained(self.embedding.weight.detach().clone(), freeze=False)
        leaf = self.vectors.clone().requires_grad_()

        def run() -> list[Tensor]:
            if self.shape.tokens:
                return [function(embedding(self.ids))[-1], embedding.weight, *weights]
            return [function(leaf), leaf, *weights]

        return run

    def autocast(self) -> Any:
        """Return the context of the precision."""
        if self.device == "cuda" or self.precision not in LOW:
            return nullcontext()
        return torch.autocast(self.device, LOW[self.precision], cache_enabled=False)

    def forward(self, run: Callable[[], list[Tensor]]) -> None:
        """Run without gradients."""
        with torch.no_grad(), self.autocast():
            run()

    def both(self, run: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run forward and backward; return the result and the gradients."""
        with self.autocast():
            out, *leaves = run()
        for leaf in leaves:
            leaf.grad = None
        out.backward(self.grad.to(out.dtype))
        return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    def oracle(self) -> list[Tensor]:
        """Return result and gradients in float64."""
        layer = copy.deepcopy(self.layer).double()
        leaf = (self.embedding.weight if self.shape.tokens else self.vectors).detach().double().requires_grad_()
        with forced("reference"):
            out, _ = layer.forward_ids(self.ids, leaf, output="last") if self.shape.tokens else layer(leaf)
        out.backward(self.grad.double())
        gradients = [value.grad for value in (leaf, *layer.parameters())]
        return [out.detach(), *(gradient for gradient in gradients if gradient is not None)]


def error(values: list[Tensor], exact: list[Tensor]) -> float:
    """Return the larger relative distance from the oracle: of the result, of all gradients together."""

    def distance(pairs: list[tuple[Tensor, Tensor]]) -> float:
        ours, theirs = (torch.cat([value.double().flatten() for value in side]) for side in zip(*pairs, strict=True))
        return float((ours - theirs).norm() / theirs.norm())

    pairs = list(zip(values, exact, strict=True))
    return max(distance(pairs[:1]), distance(pairs[1:]))


def gemms(case: Case) -> Callable[[], None]:
    """Return a function that does the GEMMs of a cell alone, forward and backward, as its plain equations have them."""
    B, T, I, H, tokens = case.shape
    G_x, G_h = (gates * H for gates in GATES[case.cell])
    dtype = LOW.get(case.precision, torch.float32)

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, dtype=dtype, device=case.device)  # zeros would take less power, and a faster clock

    state, gates, product = drawn(B, H), drawn(B, G_h), drawn(B, H)
    vectors, states, rows_x, rows_h = drawn(T * B, I), drawn(T * B, H), drawn(T * B, G_x), drawn(T * B, G_h)
    recurrent, back, weight = drawn(H, G_h), drawn(G_h, H), drawn(G_x, I)

    def run() -> None:
        for _ in range(T):
            torch.mm(state, recurrent, out=gates)
        for _ in range(T):
            torch.mm(gates, back, out=product)
        rows_h.T @ states
        if not tokens:
            torch.mm(vectors, weight.T, out=rows_x)
            rows_x.T @ vectors
            rows_x @ weight

    return run


@contextmanager
def planned(constants: dict[str, int]) -> Iterator[None]:
    """Plan with other constants of `kernels/triton/plan.py`."""
    if not constants:
        yield
        return
    from kernels.triton import plan

    previous = {name: getattr(plan, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(plan, name, value)
        plan.make_plan.cache_clear()
        yield
    finally:
        for name, value in previous.items():
            setattr(plan, name, value)
        plan.make_plan.cache_clear()
