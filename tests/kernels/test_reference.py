"""The reference equations against closed forms and counts from the literature; what `torch.export` makes of them."""

from typing import Any

import pytest
import torch
from torch import nn

from kernels import GRU, LSTM, RNN, LayerNormLSTM, PeepholeLSTM, forced
from kernels.cells.lstm.reference import lstm_step
from kernels.cells.peephole_lstm.reference import peephole_step
from kernels.cells.rnn.reference import rnn_step
from kernels.reference import run_steps


def test_rnn_gradient_equals_the_closed_form() -> None:
    """∂L/∂W_hh = Σ_k [diag(1 − h(k)²) (J(T) … J(k+1))ᵀ W_phᵀ (ŷ − y)] h(k−1)ᵀ with J(j) = diag(1 − h(j)²) W_hh."""
    torch.manual_seed(0)
    T, I, H, C = 7, 3, 5, 4
    inputs = torch.randn(T, 1, I, dtype=torch.float64)
    weight_ih = torch.randn(H, I, dtype=torch.float64)
    weight_hh = (torch.randn(H, H, dtype=torch.float64) / H**0.5).requires_grad_()
    weight_ph = torch.randn(C, H, dtype=torch.float64, requires_grad=True)
    bias, h_0 = torch.randn(H, dtype=torch.float64), torch.zeros(1, H, dtype=torch.float64)
    hidden, last = run_steps(
        lambda projected, state: rnn_step(projected, state, weight_hh, "tanh"),
        inputs,
        None,
        (weight_ih, bias),
        (h_0,),
        None,
    )
    logits = last @ weight_ph.T
    label = torch.tensor([2])
    nn.functional.cross_entropy(logits, label).backward()

    states = [h_0[0], *hidden.detach()[:, 0]]  # h(0) … h(T)
    error = (logits.detach().softmax(1) - nn.functional.one_hot(label, C))[0]  # ŷ − y
    jacobian = {k: torch.diag(1 - states[k] ** 2) @ weight_hh.detach() for k in range(1, T + 1)}
    expected = torch.zeros_like(weight_hh)
    for k in range(1, T + 1):
        product = torch.eye(H, dtype=torch.float64)
        for j in range(T, k, -1):
            product = product @ jacobian[j]  # J(T) … J(k+1)
        back = product.T @ weight_ph.detach().T @ error
        expected += torch.outer((1 - states[k] ** 2) * back, states[k - 1])
    torch.testing.assert_close(weight_hh.grad, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(weight_ph.grad, torch.outer(error, states[T]), rtol=0, atol=1e-14)


def test_peephole_step_by_hand() -> None:
    """One unit, numbers small enough for a pocket calculator: all gates σ(0) = 1/2 but for the cell's part."""
    h, c = peephole_step(torch.zeros(1, 4), (torch.zeros(1, 1), torch.full((1, 1), 2.0)), torch.zeros(3, 1), "sigmoid")
    torch.testing.assert_close(c, torch.tensor([[0.5 * 0.5 + 2.0 * 0.5]]))
    torch.testing.assert_close(h, torch.tanh(c) * 0.5)
    weight = torch.tensor([[1.0], [2.0], [3.0]])  # i, f, o
    h, c = peephole_step(torch.zeros(1, 4), (torch.zeros(1, 1), torch.ones(1, 1)), weight, "tanh")
    sigma = torch.sigmoid(torch.tensor([[1.0], [2.0], [3.0]]))
    torch.testing.assert_close(c, sigma[1:2])  # the candidate tanh(0) = 0 adds nothing
    torch.testing.assert_close(h, torch.tanh(c) * sigma[2:3])


def test_diagonal_output_gate_sees_the_new_cell() -> None:
    c = torch.ones(1, 1)
    peephole = torch.tensor([[0.0], [0.0], [1.0]])
    h, c_new = lstm_step(torch.zeros(1, 4), (c, c), torch.zeros(4, 1), peephole, "tanh")
    torch.testing.assert_close(h, torch.tanh(c_new) * torch.sigmoid(c_new))


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_lstm_is_an_lstm_cell_with_three_layer_norms(bias: bool) -> None:
    """The paper's equations 20 to 22 from nn.Linear and nn.LayerNorm, whose two biases of the gates are one here."""
    torch.manual_seed(0)
    layer = LayerNormLSTM(3, 4, bias=bias, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    of_input, of_state = (nn.Linear(size, 16, bias=False, dtype=torch.float64) for size in (3, 4))
    norms = [nn.LayerNorm(size, dtype=torch.float64) for size in (16, 16, 4)]
    names = ("weight_ih_l0", "weight_hh_l0", "gain_ih_l0", "gain_hh_l0", "gain_c_l0")
    for module, name in zip((of_input, of_state, *norms), names, strict=True):
        module.weight.data = layer.get_parameter(name).data
    if bias:
        nn.init.normal_(norms[0].bias)
        norms[1].bias.data, norms[2].bias.data = layer.bias_l0 - norms[0].bias, layer.bias_c_l0
    x, h, c = torch.randn(5, 2, 3, dtype=torch.float64), *torch.randn(2, 1, 2, 4, dtype=torch.float64)
    out, final = layer(x, (h, c))
    h, c = h[0], c[0]
    for t in range(5):
        i, f, g, o = (norms[0](of_input(x[t])) + norms[1](of_state(h))).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norms[2](c).tanh()
        torch.testing.assert_close(out[t], h)
    torch.testing.assert_close(final, (h[None], c[None]))


def test_layer_norm_lstm_starts_with_gains_of_one_and_no_biases() -> None:
    layer = LayerNormLSTM(3, 5)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            assert 0.8 / 5**0.5 < parameter.abs().max() <= 1 / 5**0.5
        else:
            assert (parameter == float("gain" in name)).all()


@pytest.mark.parametrize(("d", "n"), [(64, 256), (3, 5)])
def test_parameter_counts(d: int, n: int) -> None:
    def count(layer: nn.Module) -> int:
        return sum(parameter.numel() for parameter in layer.parameters())

    assert count(LSTM(d, n)) == 4 * (n * d + n**2 + n) + 4 * n  # torch.nn's second bias
    assert count(PeepholeLSTM(d, n)) == 4 * n * d + 3 * n**2 + 4 * n
    assert count(PeepholeLSTM(d, n, peephole="diagonal")) == count(LSTM(d, n)) + 3 * n
    assert count(LayerNormLSTM(d, n)) == 4 * (n * d + n**2) + 3 * 4 * n + 2 * n
    assert count(RNN(d, n)) == n * d + n**2 + 2 * n
    assert count(GRU(d, n)) == 3 * count(RNN(d, n))


@pytest.mark.parametrize("backend", ["reference", "torchscript"])
def test_diagonal_peepholes_of_zeros_are_the_lstm(backend: str) -> None:
    torch.manual_seed(0)
    lstm, peephole = LSTM(3, 4), PeepholeLSTM(3, 4, peephole="diagonal")
    peephole.load_state_dict({**lstm.state_dict(), "weight_peephole_l0": torch.zeros(3, 4)})
    x = torch.randn(6, 2, 3)
    with forced(backend):
        torch.testing.assert_close(peephole(x), lstm(x))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # torch imports Inductor
@pytest.mark.parametrize(
    "options",
    [{"bidirectional": True}, pytest.param({"num_layers": 2}, marks=pytest.mark.slow)],
    ids=["both ways", "two layers"],
)
def test_an_exported_program_has_any_number_of_steps_and_rows(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = PeepholeLSTM(3, 5, peephole="diagonal", backend="reference", **options)
    T, B = torch.export.Dim("T"), torch.export.Dim("B")

    def inputs(steps: int, rows: int) -> dict[str, Any]:
        resets = torch.rand(steps, rows) < 0.3
        return {"input": torch.randn(steps, rows, 3), "hx": tuple(torch.randn(2, 2, rows, 5)), "resets": resets}

    free = {"input": {0: T, 1: B}, "hx": ({1: B}, {1: B}), "resets": {0: T, 1: B}}
    program = torch.export.export(layer, (), inputs(7, 4), dynamic_shapes=free).module()
    for steps, rows in ((11, 2), (1, 1)):
        given = inputs(steps, rows)
        torch.testing.assert_close(program(**given), layer(**given))
