"""BagOfWords: its equation, and that it sees neither order nor padding."""

import pytest
import torch

from lightning_modules.networks.bag_of_words import BagOfWords

GRAPH = (torch.empty(2, 0, dtype=torch.int64), torch.empty(0))


def test_its_equation() -> None:
    torch.manual_seed(0)
    network = BagOfWords(9, 3, hidden_size=5).eval()
    torch.nn.init.normal_(network.bias)
    words, lengths = torch.tensor([[1, 8, 8, 2], [4, 0, 7, 7]]), torch.tensor([4, 2])
    logits = network(words, lengths, *GRAPH)
    for row, length in enumerate(lengths):
        counts = torch.bincount(words[row, :length], minlength=9) / length
        hidden = torch.relu(counts @ network.embedding + network.bias)
        torch.testing.assert_close(logits[row], network.head(hidden))
    torch.testing.assert_close(network(words[:1].flip(1), lengths[:1], *GRAPH), logits[:1])


def test_sizes_must_be_defined() -> None:
    with pytest.raises(ValueError, match="BagOfWords needs num_classes, which the data module does not define"):
        BagOfWords(3, None)
