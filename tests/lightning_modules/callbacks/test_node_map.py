"""The map of nodes: drawn from evaluation's features, the mode left as it was."""

from pathlib import Path

import torch

from datamodules.node_graphs import Karate
from lightning_modules.callbacks.node_map import draw, hidden_features
from lightning_modules.networks.node_networks import GCN


def test_features_are_evaluations(own_folder: Path) -> None:
    graph, network = Karate().graph, GCN(34, 4).train()
    hidden = hidden_features(network, graph)
    assert network.training
    torch.testing.assert_close(hidden, network.eval().hidden(graph.x, graph.edge_index).detach())
    draw(hidden, graph.y, Path("nodes.png"))
    assert Path("nodes.png").read_bytes().startswith(b"\x89PNG")
