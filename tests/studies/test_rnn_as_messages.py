"""An RNN as message passing along a path: the same states, and only the messages do not care for the numbering."""

import json
from pathlib import Path

import torch

from kernels import RNN
from studies import rnn_as_messages as analysis


def test_what_it_leaves() -> None:
    assert analysis.main(["--out", "out"]) == 0
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["difference_after_all_rounds"] < 1e-12
    assert summary["rounds_until_equal"] == 64
    assert summary["messages_change_by_renumbering"] < 1e-12
    assert summary["rnn_change_by_renumbering"] > 0.1
    assert {path.name for path in Path("out").iterdir()} == {
        "rnn_as_messages.csv", "rnn_as_messages.png", "summary.json",
    }  # fmt: skip


def test_each_round_settles_one_more_node() -> None:
    _, equal = analysis.compare()
    assert equal == list(range(1, 65))


def test_a_node_hears_from_all_its_neighbours() -> None:
    rnn, x = RNN(2, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    star = torch.tensor([[0, 1], [2, 2]])  # 0 → 2 ← 1
    with torch.no_grad():
        first, second = analysis.rounds_of_messages(rnn, x, star, 2)
        expected = torch.tanh(
            x[2] @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + rnn.bias_hh_l0 + (first[0] + first[1]) @ rnn.weight_hh_l0.T
        )
    torch.testing.assert_close(second[2], expected)
    assert torch.equal(second[:2], first[:2])
