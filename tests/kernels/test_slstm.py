"""What the sLSTM has and other cells lack: heads, an empty state, huge gates, the weights of the package xlstm."""

import copy
import importlib
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import LSTM, SLSTM, forced
from kernels.cells.slstm.reference import slstm_step

backends = pytest.mark.parametrize("backend", ["reference", "torchscript"])
gates = pytest.mark.parametrize("forget_gate", ["sigmoid", "exp"])


def test_two_steps_by_hand() -> None:
    """One unit without weights: n sums the weights of the inputs, c the weighted inputs, both divided by exp(m)."""
    i, f, z, o = 2.0, -1.0, 0.5, 0.3
    empty = (torch.zeros(1, 1),) * 4
    first = slstm_step(torch.tensor([[i, f, z, o]]), empty, torch.zeros(4, 1), "sigmoid", num_heads=1)
    sigma = 1 / (1 + math.exp(-o))
    for value, expected in zip(first, (sigma * math.tanh(z), math.tanh(z), 1.0, i), strict=True):
        assert value.item() == pytest.approx(expected)
    second = slstm_step(torch.tensor([[-i, f, -z, o]]), first, torch.zeros(4, 1), "sigmoid", num_heads=1)
    kept, new = math.exp(i) / (1 + math.exp(-f)), math.exp(-i)
    assert second[0].item() == pytest.approx(sigma * math.tanh(z) * (kept - new) / (kept + new))
    assert second[3].item() == pytest.approx(max(i - math.log1p(math.exp(-f)), -i))


@backends
def test_heads_do_not_see_each_other(backend: str) -> None:
    torch.manual_seed(0)
    layer, x = SLSTM(3, 6, num_heads=2, backend=backend), torch.randn(5, 2, 3)
    out, _ = layer(x)
    with torch.no_grad():
        layer.weight_hh_l0.view(4, 2, 3, 3)[:, 1] += 1.0
    changed, _ = layer(x)
    assert torch.equal(out[..., :3], changed[..., :3])
    assert not torch.equal(out[1:, :, 3:], changed[1:, :, 3:])


@backends
@gates
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_huge_gates(backend: str, forget_gate: Any, precision: str) -> None:
    """Gates between ±100 before their functions; exp(100) is no float32."""
    torch.manual_seed(0)
    layer = SLSTM(4, 8, num_heads=2, forget_gate=forget_gate, backend=backend)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(100 * torch.eye(4).repeat(8, 1)[torch.randperm(32)])
    oracle = copy.deepcopy(layer).double()
    x = torch.rand(30, 5, 4) * 2 - 1
    x = torch.cat([torch.sign(x), x.bfloat16().float()])

    def run(module: SLSTM, x: Tensor) -> list[Tensor]:
        out, final = module(x)
        found = torch.autograd.grad(out.double().pow(2).sum() + final[1].double().sum(), list(module.parameters()))
        return [out.double(), torch.cat([gradient.double().flatten() for gradient in found])]

    with forced("reference"):
        exact = run(oracle, x.double())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        ours = run(layer, x)
        with forced("reference"):
            theirs = run(layer, x)
    for mine, other, value in zip(ours, theirs, exact, strict=True):
        assert mine.isfinite().all()
        bound = max((other - value).norm(), torch.finfo(torch.float32).eps * value.norm())
        assert (mine - value).norm() <= 1.2 * bound


@backends
@gates
def test_a_state_of_zeros_is_empty(backend: str, forget_gate: Any) -> None:
    """Whatever m of an empty state is, the first input replaces it; so a row can begin where others go on."""
    torch.manual_seed(0)
    layer, x = SLSTM(3, 4, forget_gate=forget_gate, backend=backend), torch.randn(5, 2, 3)
    with torch.no_grad():
        layer.bias_l0[:4] = -150.0  # exp(−150) is 0 in float32
    _, states = layer(x)
    mixed = tuple(torch.cat([torch.zeros(1, 1, 4), state[:, 1:]], 1) for state in states)
    out, final = layer(x, mixed)
    assert out.isfinite().all()
    torch.testing.assert_close(out[:, :1], layer(x[:, :1])[0])
    torch.testing.assert_close(out[:, 1:], layer(x[:, 1:], tuple(state[:, 1:] for state in states))[0])
    other = (*mixed[:3], torch.full((1, 2, 4), 7.0))
    torch.testing.assert_close(layer(x[:, :1], tuple(state[:, :1] for state in other))[0], out[:, :1])
    assert final[2].min() >= 1


@backends
def test_states_stay_in_float32_under_autocast(backend: str) -> None:
    torch.manual_seed(0)
    layer, x = SLSTM(3, 4, backend=backend), torch.randn(20, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out, states = layer(x)
        assert [state.dtype for state in (out, *states)] == [torch.bfloat16] * 2 + [torch.float32] * 3
        _, first = layer(x[:11])
        torch.testing.assert_close(layer(x[11:], first)[0], out[11:], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_heads": 3}, ValueError, "hidden_size must be divisible by num_heads, got 4 and 3"),
        ({"num_heads": 0}, ValueError, "num_heads must be positive, got 0"),
        ({"num_heads": 2.0}, TypeError, "num_heads must be a whole number, got 2.0"),
        ({"forget_gate": "tanh"}, ValueError, "forget_gate must be 'sigmoid' or 'exp', got 'tanh'"),
        ({"backend": "native"}, ValueError, "neither cuDNN nor oneDNN has these equations"),
        ({"proj_size": 2}, ValueError, "only supported for LSTM"),
    ],
)
def test_errors_name_what_is_wrong(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SLSTM(3, 4, **options)


def test_states_of_another_number_are_refused() -> None:
    layer, state = SLSTM(3, 4), torch.zeros(1, 2, 4)
    with pytest.raises(
        RuntimeError, match=r"SLSTM: Expected hidden size of hx to be 4 of \[1, 2, 4\], got 2: \[1, 2, 4\], \[1, 2, 4\]"
    ):
        layer(torch.zeros(5, 2, 3), (state, state))


def test_repr_names_what_differs() -> None:
    assert repr(SLSTM(3, 4)) == "SLSTM(3, 4)"
    assert repr(SLSTM(3, 4, num_heads=2, forget_gate="exp")) == "SLSTM(3, 4, num_heads=2, forget_gate='exp')"


@pytest.mark.parametrize("backend", ["vanilla", "cuda"])
def test_weights_go_to_xlstm_and_back(backend: Any) -> None:
    torch.manual_seed(0)
    layer, other = SLSTM(3, 12, 2, num_heads=4), SLSTM(3, 12, 2, num_heads=4)
    state = layer.xlstm_state_dict("_l1", backend)
    D = 3
    assert state["_recurrent_kernel_"].shape == ((4, 4 * D, D) if backend == "vanilla" else (4, D, 4 * D))
    other.load_xlstm(state, "_l1")
    for name in ("weight_hh_l1", "bias_l1"):
        assert torch.equal(other.get_parameter(name), layer.get_parameter(name))
    with pytest.raises(ValueError, match=r"kernel \[2, 24, 6\] or \[2, 6, 24\] and a bias \[48\], got \[4,"):
        SLSTM(3, 12, num_heads=2).load_xlstm(state)
    for options in ({"bias": False}, {"forget_gate": "exp"}):
        with pytest.raises(ValueError, match="a cell of xlstm has a bias and forget_gate='sigmoid'"):
            SLSTM(3, 12, num_heads=4, **options).xlstm_state_dict()


@backends
def test_equals_the_package_xlstm(backend: str) -> None:
    """Its cell in plain PyTorch: outputs, states and gradients, from an empty state and from the one after it."""
    pytest.importorskip("xlstm", reason="the package xlstm is not installed", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("xlstm.blocks.slstm.cell")
    torch.manual_seed(0)
    T, B, I, H, N = 9, 4, 3, 8, 2
    config = package.sLSTMCellConfig(hidden_size=H, num_heads=N, backend="vanilla", dtype="float32")
    cell, layer = package.sLSTMCell(config).double(), SLSTM(I, H, num_heads=N, dtype=torch.float64, backend=backend)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(4)
    cell.load_state_dict(layer.xlstm_state_dict())
    close: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
    x, states = torch.randn(B, T, I, dtype=torch.float64), None
    for _ in range(2):
        out, final = layer(x.transpose(0, 1), states)
        expected, last = cell(x @ layer.weight_ih_l0.T, None if states is None else torch.cat(states))
        expected = expected.permute(2, 0, 1, 3).flatten(2)  # from [B, N, T, D]
        torch.testing.assert_close(out, expected, **close)
        torch.testing.assert_close(torch.cat(final), last, **close)
        weight, last_weight = torch.randn_like(out), torch.randn_like(last)
        ours = (out * weight).sum() + (torch.cat(final) * last_weight).sum()
        theirs = (expected * weight).sum() + (last * last_weight).sum()
        kernel, bias, weight_ih = torch.autograd.grad(
            theirs, [cell._recurrent_kernel_, cell._bias_, layer.weight_ih_l0]
        )
        weights = [layer.weight_hh_l0, layer.bias_l0, layer.weight_ih_l0]
        kernel = kernel.view(N, 4, H // N, H // N).transpose(0, 1).reshape(4 * H, -1)
        torch.testing.assert_close(list(torch.autograd.grad(ours, weights)), [kernel, bias, weight_ih], **close)
        states = tuple(state.detach() for state in final)


def test_the_exponential_input_gate_can_overwrite() -> None:
    """A later input with a larger gate takes the place of all earlier ones, which an LSTM cannot do."""
    layer, lstm = SLSTM(2, 1, bias=False), LSTM(2, 1, bias=False)
    for module in (layer, lstm):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
            module.weight_ih_l0[0, 0] = 20.0  # i sees the first number
            module.weight_ih_l0[2, 1] = 1.0  # z sees the second
    x = torch.tensor([[[0.0, 1.0]], [[1.0, -2.0]], [[0.0, 1.0]]])
    stored = 2 * layer(x)[0].flatten()  # o is a half
    torch.testing.assert_close(stored, torch.tanh(torch.tensor([1.0, -2.0, -2.0])))
    assert lstm(x)[1][1].item() > -0.5
