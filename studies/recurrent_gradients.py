"""How far gradients reach back: ‖∂L(T)/∂h(k)‖ against T − k for an RNN, an LSTM and the study's peephole LSTM.

    python -m studies.recurrent_gradients --out FOLDER [--length 20] [--hidden-size 256] [--radii 0.5 1 4]

The gradient of the last step's loss passes through every step back to k: ∂L(T)/∂h(k) = (J(T) … J(k+1))ᵀ ∂L(T)/∂h(T),
J(j) = ∂h(j)/∂h(j−1). Its norm falls or grows with the product of the Jacobians. Each network has the practical's
initial weights, but its recurrent matrices are scaled to a spectral radius ρ; gates are scaled one by one. "start" has
the practical's weights as they are: Kaiming's normal distribution, of variance 2/H, has ρ ≈ √2.

∂L(T)/∂s(k) counts every path from the state s(k) to the loss. In the LSTM these lead through h and c. No gate of the
study's peephole LSTM sees h, so its ∂L(T)/∂h(k) is 0 for k < T, and only the cell c carries a gradient.
"""

import statistics
import sys

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor
from torch.nn.functional import cross_entropy

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BinaryPalindrome
from kernels import LSTM, RNN, PeepholeLSTM, RecurrentLayer
from kernels.reference import project
from kernels.stack import equations
from lightning_modules.callbacks.colours import LINES, colour
from lightning_modules.errors import UserError, print_error
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier
from lightning_modules.options import number, whole_number
from studies.analysis import analysis_parser, prepare_folder, write_csv, write_summary

LAYERS: dict[str, type[RecurrentLayer]] = {"rnn": RNN, "lstm": LSTM, "peephole": PeepholeLSTM}
TITLES = {"rnn": "RNN", "lstm": "LSTM", "peephole": "peephole LSTM, full matrices"}
Curves = dict[str, list[float]]  # for each state, h and maybe c, the norms for T − k = 0 … T − 1


def spectral_radius(matrix: Tensor) -> float:
    """Return the largest absolute value of the eigenvalues of a square matrix."""
    return float(torch.linalg.eigvals(matrix.detach()).abs().max())


def layer_of(network: RecurrentClassifier) -> RecurrentLayer:
    """Return a classifier's recurrent layer, which must be one of `kernels`."""
    assert isinstance(network.layer, RecurrentLayer)
    return network.layer


def recurrent_matrices(layer: RecurrentLayer) -> list[Tensor]:
    """Return the matrices [H, H] on the state, one for each gate that has one."""
    weights = layer.weights("_l0")
    stacked = weights["weight_ch"] if "weight_ch" in weights else weights["weight_hh"]
    return list(stacked.split(layer.hidden_size))


def make_network(layer: type[RecurrentLayer], hidden_size: int, radius: float | None) -> RecurrentClassifier:
    """Return a classifier in float64 with the practical's initial weights.

    Args:
        layer: the recurrent layer's class.
        hidden_size: width H of the state.
        radius: spectral radius to which each recurrent matrix is scaled; None leaves the weights as they are.
    """
    torch.manual_seed(42)
    network = RecurrentClassifier(3, 2, layer, hidden_size=hidden_size).double()
    if radius is not None:
        with torch.no_grad():
            for matrix in recurrent_matrices(layer_of(network)):
                matrix.mul_(radius / spectral_radius(matrix))
    return network


def gradient_norms(network: RecurrentClassifier, tokens: Tensor, labels: Tensor) -> Curves:
    """Return ‖∂L(T)/∂s(k)‖ of each state s, averaged over the sequences.

    Args:
        network: a classifier with one recurrent layer.
        tokens: sequences [B, T].
        labels: their classes [B].
    """
    layer = layer_of(network)
    step, projection = equations(layer, layer.weights("_l0"))
    zeros = network.head.weight.new_zeros(len(tokens), layer.hidden_size, requires_grad=True)
    state, steps = (zeros,) * layer.num_states, []
    with torch.enable_grad():
        for projected in project(tokens.T, network.embedding.weight, *projection):
            state = step(projected, state)
            for value in state:
                value.retain_grad()
            steps.append(state)
        # The loss is a sum, so a row's gradient is that of its own sequence's loss.
        cross_entropy(network.head(state[0]), labels, reduction="sum").backward()
    return {
        name: [0.0 if value.grad is None else float(value.grad.norm(dim=1).mean()) for value in reversed(values)]
        for name, values in zip("hc", zip(*steps, strict=True), strict=False)
    }


def measure(length: int, hidden_size: int, radii: list[float], sequences: int = 32) -> dict[str, dict[str, Curves]]:
    """Return the curves of every layer with every spectral radius, and with the practical's start.

    Args:
        length: n of the palindromes that the networks read.
        hidden_size: width H of the state.
        radii: the spectral radii.
        sequences: number of palindromes that a curve is averaged over.
    """
    tokens, labels = BinaryPalindrome(length, sequences).make_batch(step_generator(42, 0, 0))
    starts = {f"{radius:g}": radius for radius in radii} | {"start": None}
    return {
        name: {
            start: gradient_norms(make_network(layer, hidden_size, radius), tokens, labels)
            for start, radius in starts.items()
        }
        for name, layer in LAYERS.items()
    }


def draw(curves: dict[str, dict[str, Curves]]) -> Figure:
    """Return a picture with one panel for each layer: the norm against T − k, one colour for each spectral radius.

    A logarithmic axis has no zero, so nothing is drawn for a gradient that is 0.
    """
    starts = list(next(iter(curves.values())))
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True)
    for axes, (name, of_layer) in zip(panels, curves.items(), strict=True):
        for place, start in enumerate(starts):
            for style, norms in zip(LINES, of_layer[start].values(), strict=False):
                if all(norms[1:]):
                    axes.semilogy(norms, style, color=colour(place), linewidth=1.6)
        axes.set(title=TITLES[name], xlabel="steps back, T − k", ylim=(1e-20, 1e15))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("‖∂L(T)/∂h(k)‖ and ‖∂L(T)/∂c(k)‖")
    legend = [Line2D([], [], color=colour(place), label=_title(start)) for place, start in enumerate(starts)]
    legend += [
        Line2D([], [], color="grey", ls="-", label="by h(k)"),
        Line2D([], [], color="grey", ls="--", label="by c(k)"),
    ]
    figure.legend(handles=legend, frameon=False, loc="outside lower center", ncols=len(legend))
    return figure


def _title(start: str) -> str:
    return "the practical's weights" if start == "start" else f"ρ = {start}"


def columns(curves: dict[str, dict[str, Curves]]) -> Curves:
    """Return every curve under one name, such as `lstm_0.5_c`."""
    return {
        f"{name}_{start}_{state}": norms
        for name, starts in curves.items()
        for start, states in starts.items()
        for state, norms in states.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("recurrent_gradients", __doc__)
    parser.add_argument("--length", type=whole_number(1), default=20, help="n of the palindromes (default: 20)")
    parser.add_argument("--hidden-size", type=whole_number(1), default=256, help="width of the state (default: 256)")
    parser.add_argument("--radii", type=number(0, 100, above=True), nargs="+", default=[0.5, 1, 4],
                      help="spectral radii (default: 0.5 1 4)")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        prepare_folder(options.out)
        curves = measure(options.length, options.hidden_size, options.radii)
        draw(curves).savefig(options.out / "recurrent_gradients.png", dpi=120)
        norms = columns(curves)
        back = range(len(next(iter(norms.values()))))
        write_csv(options.out / "recurrent_gradients.csv", {"steps_back": back, **norms})
        # From the last step but one, since the loss sees h(T) itself, to the first one.
        ratios = {name: values[-1] / values[1] if values[1] else 0.0 for name, values in norms.items()}
        radii = {f"{name}_start_radius": start_radius(layer, options.hidden_size) for name, layer in LAYERS.items()}
        write_summary(options.out, ratios | radii)
    except UserError as error:
        return print_error("studies.recurrent_gradients", error)
    return 0


def start_radius(layer: type[RecurrentLayer], hidden_size: int) -> float:
    """Return the mean spectral radius of a layer's recurrent matrices with the practical's initial weights."""
    return statistics.mean(map(spectral_radius, recurrent_matrices(layer_of(make_network(layer, hidden_size, None)))))


if __name__ == "__main__":
    sys.exit(main())
