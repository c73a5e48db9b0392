"""The gradients of a vanilla RNN in closed form, compared with autograd; and the report's formula, which lacks a sum.

    python -m studies.closed_form_gradients --out FOLDER [--length 10] [--hidden-size 256] [--sequences 4]

The network reads x(1) … x(T) and is trained on the class of the whole sequence (practical of 2020, question 1.1):

h(t) = tanh(W_hx x(t) + W_hh h(t−1) + b_h),  p = W_ph h(T) + b_p,  ŷ = softmax(p),  L(T) = −log ŷ_y

∂L(T)/∂W_ph = (ŷ − y) h(T)ᵀ
∂L(T)/∂W_hh = Σ_{k=1..T} δ(k) h(k−1)ᵀ
δ(k)        = diag(1 − h(k)²) (J(T) J(T−1) … J(k+1))ᵀ W_phᵀ (ŷ − y)
J(j)        = ∂h(j)/∂h(j−1) = diag(1 − h(j)²) W_hh

The sums for W_hx and b_h have the same δ(k), with x(k)ᵀ and 1 in the place of h(k−1)ᵀ. The report of 2020 prints only
the term k = T of ∂L(T)/∂W_hh: its equation has no recursion over the earlier steps.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BinaryPalindrome
from kernels import RNN, Backend, forced
from lightning_modules.callbacks.colours import colour
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from lightning_modules.options import whole_number
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_csv, write_summary
from studies.recurrent_gradients import layer_of

WEIGHTS = {"W_ph": "head.weight", "W_hh": "layer.weight_hh_l0", "W_hx": "layer.weight_ih_l0", "b_h": "layer.bias_ih_l0"}


class Term(NamedTuple):
    """The term of one step k in the sums over time: W_hh [H, H], W_hx [H, I], b_h [H]."""

    W_hh: Tensor
    W_hx: Tensor
    b_h: Tensor


def terms(network: RecurrentClassifier, tokens: Tensor, label: int) -> Iterator[Term]:
    """Yield the terms of the sums over time, k = T, T − 1, …, 1, by the equations above.

    Args:
        network: a classifier with one layer of `kernels.RNN`.
        tokens: one sequence [T].
        label: its class.
    """
    weights = layer_of(network).weights("_l0")
    W_hh, W_ph = weights["weight_hh"], network.head.weight
    x = network.embedding.weight[tokens]  # [T, I]
    h = states(network, tokens)  # [T + 1, H], h(0) = 0 first
    error = _error(network, h[-1], label)
    jacobians = torch.eye(len(W_hh), dtype=W_hh.dtype)  # J(T) … J(k+1), which is empty for k = T
    for k in range(len(tokens), 0, -1):
        slope = 1 - h[k] ** 2  # tanh′
        delta = slope * (jacobians.T @ (W_ph.T @ error))
        yield Term(torch.outer(delta, h[k - 1]), torch.outer(delta, x[k - 1]), delta)
        jacobians = jacobians @ (slope[:, None] * W_hh)


def states(network: RecurrentClassifier, tokens: Tensor) -> Tensor:
    """Return h(0) … h(T) [T + 1, H] of one sequence of tokens [T]."""
    weights = layer_of(network).weights("_l0")
    h = [torch.zeros_like(weights["bias_ih"])]
    for x in network.embedding.weight[tokens]:
        b_h = weights["bias_ih"] + weights["bias_hh"]
        h.append(torch.tanh(weights["weight_ih"] @ x + weights["weight_hh"] @ h[-1] + b_h))
    return torch.stack(h)


def closed_form(network: RecurrentClassifier, tokens: Tensor, label: int) -> dict[str, Tensor]:
    """Return ∂L(T) by W_ph, W_hh, W_hx and b_h for one sequence [T] and its class."""
    last = states(network, tokens)[-1]
    sums = [torch.stack(each).sum(0) for each in zip(*terms(network, tokens, label), strict=True)]
    return {"W_ph": torch.outer(_error(network, last, label), last), **dict(zip(Term._fields, sums, strict=True))}


def by_backward(network: RecurrentClassifier, tokens: Tensor, label: int, backend: Backend) -> dict[str, Tensor]:
    """Return the same gradients by loss.backward().

    Args:
        network: the classifier.
        tokens: one sequence [T].
        label: its class.
        backend: "reference" is torch's autograd, "torchscript" this project's hand-written loop.
    """
    network.zero_grad()
    with torch.enable_grad(), forced(backend):
        cross_entropy(network(tokens[None]), torch.tensor([label])).backward()
    gradients = {name: network.get_parameter(path).grad for name, path in WEIGHTS.items()}
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}


def _error(network: RecurrentClassifier, last: Tensor, label: int) -> Tensor:
    """Return ŷ − y [C] from h(T)."""
    error = torch.softmax(network.head(last), dim=0)
    error[label] -= 1
    return error


def relative_error(value: Tensor, exact: Tensor) -> float:
    """Return ‖value − exact‖ / ‖exact‖."""
    return float((value - exact).norm() / exact.norm())


def compare(length: int, hidden_size: int, sequences: int) -> tuple[dict[str, dict[str, float]], list[float]]:
    """Compare the gradients of a network with the practical's initial weights, in float64, on some palindromes.

    Args:
        length: n of the palindromes.
        hidden_size: width H of the state.
        sequences: how many palindromes.

    Returns:
        For each weight, the largest relative error of the closed form and of the hand-written loop against autograd.
        For 1 … T terms, the relative error of ∂L(T)/∂W_hh by so many last terms, averaged over the sequences.
    """
    torch.manual_seed(42)
    network = RecurrentClassifier(3, 2, RNN, hidden_size=hidden_size).double()
    tokens, labels = BinaryPalindrome(length, sequences).make_batch(step_generator(42, 0, 0))
    errors: dict[str, dict[str, float]] = {name: {"closed form": 0.0, "hand-written loop": 0.0} for name in WEIGHTS}
    truncated = torch.zeros(tokens.shape[1], dtype=torch.float64)
    for sequence, label in zip(tokens, labels.tolist(), strict=True):
        exact = by_backward(network, sequence, label, "reference")
        loop = by_backward(network, sequence, label, "torchscript")
        with torch.no_grad():
            ours = closed_form(network, sequence, label)
            partial = torch.stack([term.W_hh for term in terms(network, sequence, label)]).cumsum(0)
            truncated += torch.tensor([relative_error(sum_, exact["W_hh"]) for sum_ in partial])
        for name, worst in errors.items():
            worst["closed form"] = max(worst["closed form"], relative_error(ours[name], exact[name]))
            worst["hand-written loop"] = max(worst["hand-written loop"], relative_error(loop[name], exact[name]))
    return errors, (truncated / sequences).tolist()


def draw(truncated: list[float]) -> Figure:
    """Return a picture of the relative error of ∂L(T)/∂W_hh against the number of its terms."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(range(1, len(truncated) + 1), truncated, color=colour(0), marker="o", markersize=3)
    axes.annotate("one term, the report's formula", (1, truncated[0]), (8, truncated[0]), va="center",
                  arrowprops={"arrowstyle": "->"})  # fmt: skip
    axes.set(xlabel="terms k = T, T − 1, … in the sum", ylabel="relative error of ∂L(T)/∂W_hh")
    axes.grid(alpha=0.3)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("closed_form_gradients", __doc__)
    parser.add_argument("--length", type=whole_number(1), default=10, help="n of the palindromes (default: 10)")
    parser.add_argument("--hidden-size", type=whole_number(1), default=256, help="width of the state (default: 256)")
    parser.add_argument("--sequences", type=whole_number(1), default=4, help="number of palindromes (default: 4)")
    options = parser.parse_args(arguments)
    try:
        prepare_folder(options.out)
        errors, truncated = compare(options.length, options.hidden_size, options.sequences)
        name = "closed_form_gradients"
        rows = [
            {"gradient": f"∂L(T)/∂{weight}", **{by: f"{error:.1e}" for by, error in row.items()}}
            for weight, row in errors.items()
        ]
        write_whole(options.out / f"{name}.md", markdown_table(rows) + "\n")
        write_csv(options.out / f"{name}.csv", {"terms": range(1, len(truncated) + 1), "relative_error": truncated})
        draw(truncated).savefig(options.out / f"{name}.png", dpi=120)
        write_summary(
            options.out,
            {
                "closed_form_error": max(row["closed form"] for row in errors.values()),
                "hand_written_error": max(row["hand-written loop"] for row in errors.values()),
                "one_term_error": truncated[0],
                "all_terms_error": truncated[-1],
            },
        )
    except UserError as error:
        return print_error("studies.closed_form_gradients", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
