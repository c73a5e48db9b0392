"""The six-node example: its numbers, by hand and by three ways that share no code."""

import json
from pathlib import Path

import networkx
import pytest
import torch

from datamodules.six_nodes import EDGES, NAMES, six_nodes
from lightning_modules.networks.gcn import GraphConvolution
from studies import six_nodes as analysis


def test_what_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    assert analysis.main(["--out", "six"]) == 0
    out = Path("six")
    assert {path.name for path in out.iterdir()} == {"six_nodes.md", "six_nodes.png", "summary.json"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["layers_from_C_to_E"] == summary["layers_from_C_to_E_by_gradient"] == 4
    assert 0 <= summary["difference_from_GCNConv"] < 1e-12
    assert summary["largest_eigenvalue"] == pytest.approx(1, abs=1e-12)
    page = (out / "six_nodes.md").read_text(encoding="utf-8")
    assert "| E | 1 | 0 | 0 | 0 | 1 | 0 |" in page, "Ã has the self-loops that the practical asks for"
    assert "| 2 | B C D F | A B E F |" in page, "from D on to B or F"
    assert "| 4 | A B C D E F | A B C D E F |" in page
    assert "layers_from_C_to_E 4" in capsys.readouterr().out


def test_layers_are_the_length_of_the_shortest_path() -> None:
    lengths = dict(networkx.all_pairs_shortest_path_length(networkx.Graph([tuple(edge) for edge in EDGES])))
    for source in NAMES:
        for target in NAMES:
            assert analysis.layers_between(six_nodes(), source, target) == lengths[source][target]


def test_a_wrong_convolution_is_told_from_gcnconv(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_self(self: GraphConvolution, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return original(self, x, edge_index) - x @ self.weight

    original = GraphConvolution.forward
    monkeypatch.setattr(GraphConvolution, "forward", without_self)
    assert analysis.difference_from_gcnconv(six_nodes(), "edges") > 0.1


def test_a_file_in_place_of_the_folder_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("six").touch()
    assert analysis.main(["--out", "six"]) == 2
    assert capsys.readouterr().err.startswith("studies.six_nodes: error: cannot make the folder six")
