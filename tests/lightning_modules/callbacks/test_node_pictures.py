"""Pictures of nodes: drawn from evaluation's features, the mode left as it was; attention in rows that sum to one."""

from itertools import pairwise

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from datamodules.node_graphs import Karate
from datamodules.six_nodes import NAMES, six_nodes
from lightning_modules.callbacks.colours import COLOURS
from lightning_modules.callbacks.evaluation import evaluation
from lightning_modules.callbacks.node_pictures import draw_attention, draw_map
from lightning_modules.networks.gat import GAT
from lightning_modules.networks.gcn import GCN


def test_features_are_evaluations() -> None:
    graph, network = Karate().graph, GCN(34, 4).train()
    with evaluation(network):
        hidden = network.hidden(graph.x, graph.edge_index)
    assert network.training
    assert not hidden.requires_grad
    torch.testing.assert_close(hidden, network.eval().hidden(graph.x, graph.edge_index).detach())
    (plot,) = draw_map(hidden, graph.y).axes
    assert len(plot.collections) == 4
    assert sum(np.shape(group.get_offsets())[0] for group in plot.collections) == 34
    assert [text.get_text() for text in plot.get_legend().get_texts()] == [f"class {k}" for k in range(4)]


def test_classes_have_colours_marks_and_names() -> None:
    names = ["one", "two", "three"]
    (plot,) = draw_map(torch.randn(9, 3), torch.arange(9) % 3, names).axes
    assert [text.get_text() for text in plot.get_legend().get_texts()] == names
    assert [to_hex(group.get_facecolor()[0]).upper() for group in plot.collections] == list(COLOURS[:3])
    assert len({group.get_paths()[0].vertices.tobytes() for group in plot.collections}) == 3


def test_the_numbers_below_the_map_do_not_touch() -> None:
    angles = torch.linspace(-3, 3, 80)
    hidden = torch.stack((angles.cos(), angles.sin(), torch.full((80,), 0.5)), 1)  # spans just under 2
    figure = draw_map(hidden, torch.zeros(80, dtype=torch.int64), ["reinforcement learning"])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    boxes = sorted((text.get_window_extent().x0, text.get_window_extent().x1) for text in labels)
    assert len(boxes) >= 3
    assert all(left[1] + 5 < right[0] for left, right in pairwise(boxes))


def test_attention_of_six_nodes() -> None:
    torch.manual_seed(0)
    network = GAT(4, 2).eval()
    edges, weights = network.attention(torch.randn(6, 4), six_nodes())
    plot, _ = draw_attention(edges, weights.detach(), NAMES).axes
    table = torch.as_tensor(np.asarray(plot.images[0].get_array()))
    torch.testing.assert_close(table.sum(1), torch.ones(6))
    assert table[NAMES.index("D"), NAMES.index("C")] > 0  # D hears from C, and A does not
    assert table[NAMES.index("A"), NAMES.index("C")] == 0
    assert [label.get_text() for label in plot.get_yticklabels()] == list(NAMES)
