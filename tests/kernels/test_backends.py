"""Every backend against the reference: outputs, states and all gradients, over shapes, lengths and dtypes."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from kernels import LSTM, forced, processor, unscripted
from kernels.dtypes import lower
from kernels.layer import RecurrentLayer
from kernels.processor import onednn_has
from kernels.scripted import chunks
from kernels.triton import plan
from tests.kernels.all_cells import CELLS, NATIVE, NO_TRITON, TRITON, as_hx, as_states, random_states


def of_cell(cell: str, *values: object) -> object:
    """Return values of a case of a cell: slow if another one has the same loops but for a line."""
    return pytest.param(*values, marks=[pytest.mark.slow] if cell == "slstm_exp" else [])


every_cell = pytest.mark.parametrize("cell", [of_cell(cell, cell) for cell in CELLS])
one_cell = pytest.mark.parametrize(  # the others are slow
    "cell", [pytest.param(cell, marks=[] if cell == "lstm" else pytest.mark.slow) for cell in TRITON]
)
DTYPES = {"torchscript": torch.float64, "native": torch.float64, "triton": torch.float32}
QUICK = ("rnn_tanh", "gru", "lstm", "lstm_projected", "peephole_full", "peephole_diagonal")


def triton(*values: object, slow: bool = False) -> object:
    """Return a case of the Triton backend: skipped where its kernels cannot be interpreted."""
    marks = [pytest.mark.skipif(NO_TRITON is not None, reason=str(NO_TRITON)), *([pytest.mark.slow] if slow else [])]
    return pytest.param("triton", *values, marks=marks)


def loops_and_cells(
    names: str,
    scripted: list[tuple],
    quick: list[tuple],
    slow: list[tuple],
    quick_cells: tuple[str, ...] = QUICK,
    cells: Iterable[str] = CELLS,
) -> pytest.MarkDecorator:
    """Return the mark for every cell in the scripted and the Triton backend, and values for further arguments.

    Args:
        names: of these arguments.
        scripted: values for the TorchScript backend.
        quick: for the Triton backend.
        slow: for the Triton backend, with all cells.
        quick_cells: with which the quick ones are not slow; the others are the same cells with another function.
        cells: all of them.
    """
    cases = [of_cell(cell, "torchscript", cell, *values) for cell in cells for values in scripted]
    with_kernels = [cell for cell in cells if cell in TRITON]
    cases += [triton(cell, *values, slow=cell not in quick_cells) for cell in with_kernels for values in quick]
    cases += [triton(cell, *values, slow=True) for cell in with_kernels for values in slow]
    return pytest.mark.parametrize(f"backend, cell, {names}", cases)


@pytest.fixture(autouse=True)
def _has_kernels(request: pytest.FixtureRequest) -> None:
    """Skip a cell that has no GPU kernels."""
    case = getattr(getattr(request.node, "callspec", None), "params", {})
    if case.get("backend") == "triton" and case.get("cell", "lstm") not in TRITON:
        pytest.skip("this cell has no GPU kernels")


TOKENS_OR_NOT = [(False,), (True,)]


def results(
    layer: RecurrentLayer,
    inputs: Tensor,
    embedding: Tensor | None,
    states: list[Tensor],
    lengths: Tensor | None = None,
    output: str = "sequence",
    resets: Tensor | None = None,
) -> dict[str, Tensor]:
    """Run a layer forward and backward under random weights of all its results; return values and gradients."""
    layer.zero_grad()
    leaves = {f"state{k}": state.clone().requires_grad_() for k, state in enumerate(states)}
    hx = as_hx(list(leaves.values()))
    if embedding is None:
        leaves["input"] = inputs.clone().requires_grad_()
        out, final = layer(leaves["input"], hx, lengths=lengths, resets=resets, output=output)
    else:
        leaves["embedding"] = embedding.clone().requires_grad_()
        options = {"lengths": lengths, "resets": resets, "output": output}
        out, final = layer.forward_ids(inputs, leaves["embedding"], hx, **options)
    values = {"output": out} | {f"final{k}": value for k, value in enumerate(as_states(final))}
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in values.values()]
    sum((value.double() * weight).sum() for value, weight in zip(values.values(), weights, strict=True)).backward()
    gradients = {f"grad {name}": leaf.grad for name, leaf in leaves.items()}
    gradients |= {f"grad {name}": parameter.grad for name, parameter in layer.named_parameters()}
    # A full peephole does not use h_0: no gradient and a gradient of zeros are the same there.
    return values | {name: gradient for name, gradient in gradients.items() if gradient is not None and gradient.any()}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def compare(
    cell: str,
    T: int,
    B: int,
    I: int,
    H: int,
    dtype: torch.dtype,
    ragged: bool,
    tokens: bool,
    output: str,
    backend: str = "torchscript",
    **options: object,
) -> None:
    torch.manual_seed(T + 10 * B + 100 * I + 1000 * H)
    has_resets = options.pop("resets", False)
    layer = CELLS[cell](I, H, dtype=dtype, **options)
    states = random_states(layer, B)
    lengths = torch.randint(1, T + 1, (B,)) if ragged else None
    inputs = torch.randint(0, 4, (T, B)) if tokens else torch.randn(T, B, I, dtype=dtype)
    embedding = torch.randn(4, I, dtype=dtype) if tokens else None
    arguments = (layer, inputs, embedding, states, lengths, output, torch.rand(T, B) < 0.4 if has_resets else None)
    with forced("reference"):
        expected = results(*arguments)
    with forced(backend):
        actual = results(*arguments)
    assert_equal(actual, expected, 1e-11 if dtype == torch.float64 else 2e-4)


@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
@loops_and_cells(
    "ragged, T, B",
    [(ragged, T, B) for ragged in (False, True) for T, B in ((5, 3), (1, 1), (1, 4), (2, 1))],
    quick=[(True, 5, 3)],
    slow=[(False, 5, 3), *((ragged, T, B) for ragged in (False, True) for T, B in ((1, 1), (1, 4), (2, 1), (6, 40)))],
    quick_cells=(*QUICK, "layer_norm_lstm"),
)
def test_equals_reference(cell: str, backend: str, T: int, B: int, ragged: bool, tokens: bool, output: str) -> None:
    compare(cell, T, B, 3, 5, DTYPES[backend], ragged, tokens, output, backend)


@every_cell
@pytest.mark.parametrize("backend", ["torchscript", triton(slow=True)])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_shapes(cell: str, backend: str, data: st.DataObject) -> None:
    normalised = cell == "layer_norm_lstm"  # a norm of few units magnifies rounding
    least = {"H": 4} if normalised and backend == "triton" else {}  # which has no float64
    T, B, I, H = (data.draw(st.integers(least.get(name, 1), 9), label=name) for name in "TBIH")
    ragged, tokens, bias, bidirectional, recompute, resets = (data.draw(st.booleans()) for _ in range(6))
    output = data.draw(st.sampled_from(["sequence", "last"]))
    options = {"bias": bias, "bidirectional": bidirectional, "recompute": recompute}
    options["num_layers"] = data.draw(st.integers(1, 2))
    dtype = torch.float64 if normalised and backend != "triton" else torch.float32
    compare(cell, T, B, I, H, dtype, ragged, tokens, output, backend, resets=resets, **options)


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize(
    ("backend", "cell"),
    [
        *(of_cell(cell, "torchscript", cell) for cell in CELLS),
        *(("native", cell) for cell in NATIVE),
        *(triton(cell, slow=True) for cell in TRITON),
    ],
)
def test_layers_and_directions(cell: str, ragged: bool, num_layers: int, bidirectional: bool, backend: str) -> None:
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    for tokens, output in ((False, "sequence"), (True, "last")):
        compare(cell, 4, 3, 2, 5, DTYPES[backend], ragged, tokens, output, backend, **options)


@every_cell
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
def test_chunks_and_recomputed_gates_give_the_same(cell: str, tokens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for rows in (1, 6, 7):  # of 3 sequences: one step, two steps a chunk
        monkeypatch.setattr(chunks, "CHUNK_ROWS", rows)
        for recompute in (False, True):
            compare(cell, 5, 3, 2, 4, torch.float64, True, tokens, "sequence", recompute=recompute)
            compare(cell, 5, 3, 2, 4, torch.float64, False, tokens, "last", recompute=recompute)
            compare(cell, 5, 3, 2, 4, torch.float64, True, tokens, "sequence", resets=True, recompute=recompute)


@every_cell
def test_recomputing_keeps_no_gates(cell: str) -> None:
    def kept(recompute: bool) -> int:
        layer, sizes = CELLS[cell](8, 16, recompute=recompute, backend="torchscript"), []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            layer.forward_ids(torch.zeros(50, 2, dtype=torch.int64), torch.zeros(3, 8), output="last")
        return sum(size for size in sizes if size >= 50 * 2 * 16)

    if "rnn" in cell:
        assert kept(True) == kept(False)
    elif cell == "leaky":  # one gate beside one state
        assert kept(True) == 0.5 * kept(False)
    else:
        assert kept(True) < (0.55 if cell == "slstm_exp" else 0.45) * kept(False)


@every_cell
def test_unscripted_loops_give_the_same(cell: str) -> None:
    with unscripted():
        compare(cell, 4, 3, 2, 5, torch.float64, True, True, "sequence")
        compare(cell, 4, 3, 2, 5, torch.float64, True, True, "sequence", resets=True)


@every_cell
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
def test_gradcheck(cell: str, tokens: bool) -> None:
    torch.manual_seed(0)
    layer = CELLS[cell](2, 3, dtype=torch.float64, backend="torchscript")
    lengths = torch.tensor([3, 1])
    ids = torch.tensor([[0, 1], [2, 2], [1, 0]])
    inputs = torch.randn(3, 2, dtype=torch.float64) if tokens else torch.randn(3, 2, 2, dtype=torch.float64)
    states = random_states(layer, 2)
    names = [name for name, _ in layer.named_parameters()]

    def run(inputs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        hx, weights = rest[: layer.num_states], dict(zip(names, rest[layer.num_states :], strict=True))
        arguments = ((ids, inputs) if tokens else (inputs,)) + (as_hx(hx),)
        method = _Ids(layer) if tokens else layer
        prefix = "layer." if tokens else ""
        weights = {prefix + name: weight for name, weight in weights.items()}
        out, final = torch.func.functional_call(method, weights, arguments, {"lengths": lengths})
        return out, *as_states(final)

    leaves = [inputs, *states, *(parameter.detach().clone() for parameter in layer.parameters())]
    assert torch.autograd.gradcheck(run, [leaf.requires_grad_() for leaf in leaves])


class _Ids(torch.nn.Module):
    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *arguments: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.layer.forward_ids(*arguments, lengths=lengths)


@every_cell
@pytest.mark.parametrize("backend", ["torchscript", triton(slow=True)])
def test_second_backward_with_a_retained_graph(cell: str, backend: str) -> None:
    layer = CELLS[cell](3, 4, backend=backend)
    out, _ = layer(torch.randn(5, 2, 3))
    out.sum().backward(retain_graph=True)
    first = [parameter.grad.clone() for parameter in layer.parameters()]
    out.sum().backward()
    for once, parameter in zip(first, layer.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, 2 * once)


@loops_and_cells("tokens", TOKENS_OR_NOT, quick=[(True,)], slow=[(False,)])
def test_second_derivatives(cell: str, tokens: bool, backend: str) -> None:
    """create_graph=True is answered through the reference: a gradient penalty has the reference's gradients."""
    torch.manual_seed(0)
    dtype = DTYPES[backend]
    layer = CELLS[cell](2, 3, dtype=dtype, bidirectional=True)
    vectors = torch.randn(4, 2, 2, dtype=dtype)
    embedding, ids = torch.randn(3, 2, dtype=dtype), torch.randint(0, 3, (4, 2))

    def penalty(backend: str) -> list[Tensor]:
        leaf = (embedding if tokens else vectors).clone().requires_grad_()
        lengths = torch.tensor([4, 2])
        with forced(backend):
            out, _ = layer.forward_ids(ids, leaf, lengths=lengths) if tokens else layer(leaf, lengths=lengths)
            (gradient,) = torch.autograd.grad(out.pow(2).sum(), leaf, create_graph=True)
            return list(torch.autograd.grad(gradient.pow(2).sum(), [leaf, *layer.parameters()], allow_unused=True))

    tolerance = {} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-4}
    torch.testing.assert_close(penalty(backend), penalty("reference"), **tolerance)


def test_transforms_run_through_the_reference() -> None:
    layer, x = LSTM(3, 4), torch.randn(5, 6, 2, 3)
    for backend in ("torchscript", "native", "triton"):
        with pytest.raises(NotImplementedError, match="backend='reference'"), forced(backend):
            torch.vmap(lambda sequence: layer(sequence)[0])(x)
    out = torch.vmap(lambda sequence: layer(sequence)[0])(x)
    torch.testing.assert_close(out[2], layer(x[2])[0])
    weights = dict(layer.named_parameters())
    gradients = torch.func.grad(lambda own: torch.func.functional_call(layer, own, (x[0],))[0].sum())(weights)
    layer(x[0])[0].sum().backward()
    torch.testing.assert_close(gradients, {name: weight.grad for name, weight in weights.items()})


@every_cell
@pytest.mark.parametrize("backend", ["torchscript", triton(slow=True)])
def test_checkpointing_and_other_devices(cell: str, backend: str) -> None:
    layer, x = CELLS[cell](3, 4, backend=backend, num_layers=2), torch.randn(5, 2, 3, requires_grad=True)
    checkpoint(lambda vectors: layer(vectors)[0], x, use_reentrant=False).sum().backward()
    once = x.grad.clone()
    x.grad = None
    layer(x)[0].sum().backward()
    torch.testing.assert_close(once, x.grad)
    shape = CELLS[cell](3, 4, device="meta")(torch.empty(5, 2, 3, device="meta"))[0].shape
    assert shape == (5, 2, layer.state_widths[0])


@every_cell
@pytest.mark.parametrize(
    ("backend", "tokens"),
    [("torchscript", False), ("torchscript", True), *(triton(ids, slow=True) for ids in (False, True))],
)
def test_autocast_error_is_within_that_of_the_peer(cell: str, tokens: bool, backend: str) -> None:
    """bfloat16 products, float32 cells: no further from float64 than torch.nn, or where it has none the plain loop."""
    torch.manual_seed(0)
    layer = CELLS[cell](16, 32, backend=backend)
    oracle = copy.deepcopy(layer).double()
    embedding, ids = torch.randn(5, 16), torch.randint(0, 5, (20, 8))

    def run(module: torch.nn.Module, embedding: Tensor) -> list[Tensor]:
        module.zero_grad()
        if tokens and isinstance(module, RecurrentLayer):
            out, _ = module.forward_ids(ids, embedding)
        else:
            out, _ = module(embedding[ids])
        out.double().pow(2).sum().backward()
        return [out.double(), torch.cat([parameter.grad.double().flatten() for parameter in module.parameters()])]

    with forced("reference"):
        exact = run(oracle, embedding.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = run(layer, embedding)
        if layer.cell.native is not None and (cell != "lstm" or onednn_has(torch.bfloat16)):
            options: dict[str, Any] = {"nonlinearity": "relu"} if cell == "rnn_relu" else {}
            options |= {"proj_size": layer.proj_size} if layer.proj_size else {}
            peer = getattr(torch.nn, type(layer).__name__)(16, 32, **options)
            peer.load_state_dict(layer.state_dict())
            theirs = run(peer, embedding)
        else:
            with forced("reference"):
                theirs = run(layer, embedding)
    for mine, other, value in zip(ours, theirs, exact, strict=True):
        assert (mine - value).norm() <= 1.2 * (other - value).norm()


@pytest.mark.parametrize("backend", ["torchscript", triton(slow=True)])
@pytest.mark.parametrize("cell", ["gru", "lstm", "peephole_diagonal", "peephole_full_tanh"])
def test_16_bit_gradients_of_every_gate_for_small_inputs(cell: str, backend: str) -> None:
    """Candidates near zero keep their precision in the gates that are kept for the backward pass."""
    torch.manual_seed(0)
    layer = CELLS[cell](16, 32, backend=backend)
    oracle = copy.deepcopy(layer).double()
    x, weight = torch.randn(12, 64, 16) * 0.02, torch.randn(12, 64, 32)
    name = "weight_ch_l0" if cell == "peephole_full_tanh" else "weight_hh_l0"

    def gates(module: RecurrentLayer, x: Tensor) -> list[Tensor]:
        module.zero_grad()
        (module(x)[0].double() * weight.double()).sum().backward()
        return list(module.get_parameter(name).grad.double().split(32))

    with forced("reference"):
        exact = gates(oracle, x.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = gates(layer, x)
        with forced("reference"):
            theirs = gates(layer, x)
    for mine, other, value in zip(ours, theirs, exact, strict=True):
        assert (mine - value).norm() <= 1.5 * (other - value).norm()


class _Operators(TorchDispatchMode):
    """Keeps the calls of the project's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable, tuple]] = []

    def __torch_dispatch__(self, function: Callable, types: object, args: tuple = (), kwargs: object = None) -> object:
        if function.namespace == "peephole":
            self.calls.append((function, args))
        return function(*args, **(kwargs or {}))


@loops_and_cells("output", [("sequence",), ("last",)], quick=[("sequence",)], slow=[("last",)])
def test_operators_are_what_their_fakes_say(cell: str, backend: str, output: str) -> None:
    """Also for a state that is not contiguous, as torch.compile's code is laid out after the fakes."""
    torch.manual_seed(0)
    layer = CELLS[cell](3, 5, backend=backend)
    states = [torch.randn(1, width, 4).transpose(1, 2).requires_grad_() for width in layer.state_widths]
    hx = as_hx(states)
    with _Operators() as operators:
        layer(torch.randn(6, 4, 3), hx, output=output)[0].sum().backward()
    assert len(operators.calls) >= 2
    for operator, arguments in operators.calls:
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


@every_cell
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_cpu_that_emulates_16_bits_multiplies_in_float32(
    cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under autocast, and with weights in 16 bits; only the results are rounded to the dtypes of torch.nn's layers."""
    torch.manual_seed(0)
    layer, x = CELLS[cell](8, 16, backend="torchscript"), torch.randn(6, 4, 8)
    layer, x = layer.to(dtype), x.to(dtype)
    for name, weight in layer.named_parameters():
        if name.startswith("bias_hh"):  # bias_ih + bias_hh would be rounded
            torch.nn.init.zeros_(weight)
    precise = copy.deepcopy(layer).float()

    def run(module: RecurrentLayer, x: Tensor) -> list[Tensor]:
        module.zero_grad()
        out, states = module(x)
        out.sum().backward()
        return [out, *(states if isinstance(states, tuple) else [states]), *(each.grad for each in module.parameters())]

    exact = run(precise, x.float())
    with torch.autocast("cpu", dtype):
        rounded = run(precise, x)
    monkeypatch.setattr(processor, "computes", lambda dtype, device: False)
    with torch.autocast("cpu", dtype):
        ours = run(precise, x)
    for found in (ours, run(layer, x)):
        for mine, value in zip(found, exact, strict=True):
            assert torch.equal(mine, value.to(mine.dtype))
    assert [each.dtype for each in ours] == [each.dtype for each in rounded]
    assert not all(torch.equal(*pair) for pair in zip(ours, rounded, strict=True))


@every_cell
@pytest.mark.parametrize("backend", ["auto", triton()])
def test_second_derivatives_of_one_step(cell: str, backend: str) -> None:
    torch.manual_seed(0)
    layer = CELLS[cell](2, 3, backend=backend)
    x = torch.randn(1, 2, 2, requires_grad=True)
    out, _ = layer(x, output="last")
    (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    assert torch.autograd.grad(first.pow(2).sum(), x)[0].isfinite().all()


@every_cell
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("auto", torch.bfloat16), ("auto", torch.float16), triton(torch.bfloat16),
        triton(torch.float16, slow=True),
    ],
    ids=str,
)  # fmt: skip
def test_autocast_trains(cell: str, backend: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = CELLS[cell](8, 16, backend=backend)
    x = torch.randn(6, 4, 8)
    layer(x)[0].sum().backward()
    exact = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()
    with torch.autocast("cpu", dtype):
        out, _ = layer(x)
        out.sum().backward()
    for parameter, gradient in zip(layer.parameters(), exact, strict=True):
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - gradient).norm() <= (0.08 if cell == "layer_norm_lstm" else 0.05) * gradient.norm()


@loops_and_cells("tokens", TOKENS_OR_NOT, quick=[(True,)], slow=[(False,)], quick_cells=("lstm", "peephole_full"))
def test_compiles_without_an_unrolled_loop(cell: str, tokens: bool, backend: str) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    layer, nodes = CELLS[cell](3, 4, backend=backend), []
    embedding, ids = torch.randn(3, 3), torch.randint(0, 3, (5, 2))

    def count(graph: torch.fx.GraphModule, _: object) -> object:
        calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        nodes.extend(call for call in calls if call.startswith("peephole."))
        return graph

    def run(module: torch.nn.Module) -> tuple[Tensor, list[Tensor]]:
        module.zero_grad()
        out, _ = module(ids, embedding) if tokens else module(embedding[ids])
        out.sum().backward()
        return out, [parameter.grad.clone() for parameter in module.parameters()]

    module = _Ids(layer) if tokens else layer
    torch.compile(module, fullgraph=True, backend=count)(*((ids, embedding) if tokens else (embedding[ids],)))
    # The full peephole's output gate is a TorchScript operator of its own, where the whole sequence is wanted.
    assert len(nodes) == (2 if "full" in cell and backend != "triton" else 1), nodes
    torch.testing.assert_close(run(torch.compile(module, fullgraph=True, backend="aot_eager")), run(module))


@every_cell
@pytest.mark.parametrize("backend", ["auto", triton(slow=True)])
def test_exports(cell: str, backend: str) -> None:
    layer, x = CELLS[cell](3, 4, num_layers=2, bidirectional=True, backend=backend), torch.randn(5, 2, 3)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("torchscript", "kernels"), triton("kernels.cells.lstm.triton")])
def test_an_exported_program_runs_in_another_process(backend: str, module: str) -> None:
    layer, x = LSTM(3, 4, backend=backend), torch.randn(5, 2, 3)
    torch.export.save(torch.export.export(layer, (x,)), "lstm.pt2")
    torch.save((x, layer(x)[0].detach()), "expected.pt")
    code = f"""
import {module}
import torch
x, expected = torch.load("expected.pt")
torch.testing.assert_close(torch.export.load("lstm.pt2").module()(x)[0], expected)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@loops_and_cells(
    "held", [], quick=[(8 << 10,)], slow=[(4 << 10,), (16 << 10,), (32 << 10,)],
    quick_cells=(*QUICK, "layer_norm_lstm"),
)  # fmt: skip
def test_groups_of_programs(cell: str, backend: str, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs own some units each, groups of them some rows."""
    monkeypatch.setattr(plan, "RESIDENT_BYTES", held)
    compare(cell, 3, 3, 3, 37, torch.float32, True, True, "sequence", backend)
    compare(cell, 3, 3, 3, 37, torch.float32, True, True, "sequence", backend, resets=True)


@one_cell
@pytest.mark.parametrize("backend", [triton()])
def test_a_large_batch_takes_several_launches(cell: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "RESIDENT_BYTES", 8 << 10)
    compare(cell, 2, 70, 3, 37, torch.float32, False, False, "last", backend)


@loops_and_cells("ragged", [], quick=[(False,)], slow=[(True,)], quick_cells=(*QUICK, "layer_norm_lstm"))
def test_weights_that_do_not_fit_are_read_in_blocks(
    cell: str, backend: str, ragged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RESIDENT_BYTES": 0, "STREAMED_BLOCK_H": 16, "STREAMED_BLOCK_K": 16}.items():
        monkeypatch.setattr(plan, name, value)
    compare(cell, 2, 3, 3, 37, torch.float32, ragged, True, "sequence", backend)


@one_cell
@pytest.mark.parametrize("backend", [triton()])
def test_weights_are_held_in_pieces(cell: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all states of a step do not fit beside them."""
    if cell == "layer_norm_lstm":
        pytest.skip("one program has whole rows, and multiplies its state in one piece")
    monkeypatch.setattr(plan, "RESIDENT_BYTES", 0)
    streamed = plan.make_plan
    monkeypatch.setattr(plan, "make_plan", lambda *case: streamed(*case)._replace(resident_blocks=2))
    compare(cell, 2, 3, 3, 70, torch.float32, False, True, "sequence", backend)


@pytest.mark.parametrize(("device", "V", "table"), [("cpu", 2000, True), ("meta", 2000, False), ("meta", 300, True)])
def test_large_vocabulary_has_no_table_on_a_gpu(device: str, V: int, table: bool) -> None:
    """The gradient of a table is a product with a one-hot matrix there, as large as symbols times tokens."""
    tokens, weight = torch.zeros(100, 50, dtype=torch.int64, device=device), torch.zeros(16, 3, device=device)
    _, embedding, _, _ = lower(tokens, torch.zeros(V, 3, device=device), weight, None, torch.float32)
    assert (embedding is not None) == table


@pytest.mark.parametrize("backend", ["auto", triton(slow=True)])
def test_large_vocabulary_sums_gradients_by_token(backend: str) -> None:
    """Where there are more symbols than tokens there is no table."""
    dtype = DTYPES.get(backend, torch.float64)
    for V, T in ((300, 200), (300, 5)):
        layer = LSTM(3, 4, dtype=dtype, backend=backend)
        ids, embedding = torch.randint(0, V, (T, 2)), torch.randn(V, 3, dtype=dtype)
        states = [torch.randn(1, 2, 4, dtype=dtype) for _ in range(2)]
        with forced("reference"):
            expected = results(layer, ids, embedding, states)
        assert_equal(results(layer, ids, embedding, states), expected, 1e-11 if dtype == torch.float64 else 2e-4)
