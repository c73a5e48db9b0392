"""The practical's graph of six nodes: Ã, what reaches a node in each layer, and graph convolution beside PyG's GCNConv.

    python -m studies.six_nodes --out FOLDER

The practical asks for Ã = A + I; the report of 2020 prints A, whose diagonal is zero. In its account of the way from C
to E the second step is "B or E"; it is B or F, since D has no edge to E.
"""

import sys
import warnings
from typing import get_args

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.nn import GCNConv

from datamodules.six_nodes import EDGES, NAMES, adjacency, reach, six_nodes
from lightning_modules.callbacks.colours import colour
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.networks.gcn import Form, GraphConvolution, dense_adjacency
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_summary

PLACES = {"A": (0, 1), "B": (1, 1), "C": (2, 0), "D": (1, 0), "E": (-1, 1), "F": (0, 0)}  # for the drawing
WIDTH = 4  # features of a node in the comparisons


def layers_between(edge_index: Tensor, source: str, target: str) -> int:
    """Return after how many layers a node first depends on another: the smallest k with (Ãᵏ)_target,source > 0."""
    row, column = NAMES.index(target), NAMES.index(source)
    return next(k for k in range(len(NAMES)) if reach(edge_index, len(NAMES), k)[row, column])


def layers_by_gradient(edge_index: Tensor, source: str, target: str) -> int:
    """Return the smallest number of graph convolutions for which ∂ output(target) / ∂ input(source) is not zero."""
    for layers in range(1, len(NAMES)):
        h = x = torch.randn(len(NAMES), WIDTH, dtype=torch.float64, requires_grad=True)
        for _ in range(layers):
            h = GraphConvolution(WIDTH, WIDTH).double()(h, edge_index)
        (gradient,) = torch.autograd.grad(h[NAMES.index(target)].sum(), x)
        if gradient[NAMES.index(source)].any():
            return layers
    raise AssertionError(f"{target} does not depend on {source}")


def difference_from_gcnconv(edge_index: Tensor, form: Form) -> float:
    """Return the largest difference from PyG's GCNConv in float64, over outputs and gradients of inputs and weights."""
    ours, theirs = GraphConvolution(WIDTH, WIDTH, form).double(), GCNConv(WIDTH, WIDTH).double()
    x, direction = torch.randn(2, len(NAMES), WIDTH, dtype=torch.float64)
    x.requires_grad_()
    with torch.no_grad():
        theirs.lin.weight.copy_(ours.weight.T)
        theirs.bias.copy_(ours.bias)
    results = []
    for layer, weight in ((ours, ours.weight), (theirs, theirs.lin.weight)):
        h = layer(x, edge_index)
        grad_x, grad_weight = torch.autograd.grad((h * direction).sum(), [x, weight])
        results.append((h.detach(), grad_x, grad_weight if layer is ours else grad_weight.T))
    return max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))


def sources(edge_index: Tensor, layers: int) -> list[str]:
    """Return, for each node, the nodes on which it depends after a number of layers, as "CDF"."""
    return ["".join(NAMES[j] for j in row.nonzero()[:, 0].tolist()) for row in reach(edge_index, len(NAMES), layers)]


def tables(edge_index: Tensor) -> str:
    """Return as Markdown Ã, and layer by layer the way from C to E."""
    matrix = adjacency(edge_index, len(NAMES)).tolist()
    rows = [{"Ã": name} | dict(zip(NAMES, row, strict=True)) for name, row in zip(NAMES, matrix, strict=True)]
    steps = []
    for k in range(layers_between(edge_index, "C", "E") + 1):
        known = dict(zip(NAMES, sources(edge_index, k), strict=True))
        heard = [name for name, own in known.items() if "C" in own]
        steps.append({"layers": k, "nodes that depend on C": " ".join(heard), "E depends on": " ".join(known["E"])})
    return f"{markdown_table(rows)}\n\n{markdown_table(steps)}\n"


def draw(edge_index: Tensor) -> Figure:
    """Draw the graph, Â, and after how many layers each node first depends on each other one."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    graph, weights, layers = figure.subplots(1, 3)
    for edge in EDGES:
        x, y = zip(*(PLACES[name] for name in edge), strict=True)
        graph.plot(x, y, color="grey", zorder=1)
    for name, place in PLACES.items():
        graph.scatter(*place, s=500, color=colour(5), zorder=2)
        graph.text(*place, name, ha="center", va="center", fontsize=12)
    graph.set(title="the graph", xlim=(-1.4, 2.4), ylim=(-0.5, 1.5))
    graph.axis("off")
    first = torch.tensor([[layers_between(edge_index, j, i) for j in NAMES] for i in NAMES])
    normalized = dense_adjacency(edge_index, len(NAMES))
    _matrix(weights, normalized, "{:.2f}", "weights of the messages, Â")
    _matrix(layers, first, "{:.0f}", "layers from sender to receiver")
    return figure


def _matrix(axes: Axes, values: Tensor, form: str, title: str) -> None:
    axes.imshow(values.numpy(), cmap="Blues", vmax=1.6 * float(values.max()))  # pale: the numbers are to be read
    for i in range(len(NAMES)):
        for j in range(len(NAMES)):
            axes.text(j, i, form.format(float(values[i, j])), ha="center", va="center", fontsize=9)
    axes.set(xlabel="sending node", ylabel="receiving node", title=title)
    axes.set_xticks(range(len(NAMES)), list(NAMES))
    axes.set_yticks(range(len(NAMES)), list(NAMES))


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    options = analysis_parser("six_nodes", __doc__).parse_args(arguments)
    try:
        prepare_folder(options.out)
    except UserError as error:
        return print_error("studies.six_nodes", error)
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
    torch.manual_seed(0)
    edge_index = six_nodes()
    write_whole(options.out / "six_nodes.md", tables(edge_index))
    draw(edge_index).savefig(options.out / "six_nodes.png", dpi=120)
    eigenvalues = torch.linalg.eigvalsh(dense_adjacency(edge_index, len(NAMES), dtype=torch.float64))
    numbers = {
        "layers_from_C_to_E": layers_between(edge_index, "C", "E"),
        "layers_from_C_to_E_by_gradient": layers_by_gradient(edge_index, "C", "E"),
        "difference_from_GCNConv": max(difference_from_gcnconv(edge_index, form) for form in get_args(Form)),
        "largest_eigenvalue": float(eigenvalues[-1]),
    }
    write_summary(options.out, numbers)
    print("\n".join(f"{name} {value:g}" for name, value in numbers.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
