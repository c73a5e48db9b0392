"""GraphLSTM: its equations, its parts left out one by one, and texts that are independent of the rest of the batch."""

from functools import partial

import pytest
import torch
from torch.nn.functional import softmax

from kernels import GRU, LSTM
from lightning_modules.networks.gcn import dense_adjacency
from lightning_modules.networks.graph_lstm import GraphLSTM

V, C = 20, 3
EDGES = torch.tensor([[1, 2, 2, 5, 7, 9], [2, 1, 5, 2, 9, 7]])
WEIGHTS = torch.tensor([0.5, 0.5, 2.0, 2.0, 1.0, 1.0])


def batch() -> tuple[torch.Tensor, ...]:
    """Return two texts of 6 and 3 words, and the graph."""
    words = torch.tensor([[1, 2, 7, 0, 19, 5], [9, 9, 4, 0, 0, 0]])
    return words, torch.tensor([6, 3]), EDGES, WEIGHTS


def test_its_equations() -> None:
    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5).eval()
    words, lengths, *graph = batch()
    network.start_from(*graph, torch.rand(V))
    (convolution,) = network.graph
    adjacency = dense_adjacency(*graph[:1], V, graph[1])
    messages = torch.relu(adjacency @ network.embedding @ convolution.weight + convolution.bias)
    w = network.embedding + messages
    first, last = network.attention[0], network.attention[2]
    for row, length in enumerate(lengths):
        x = w[words[row, :length]]
        h, _ = network.layer(x[:, None])
        x = torch.cat([h[:, 0], x], 1)
        a = softmax(torch.tanh(x @ first.weight.T + first.bias) @ last.weight[0], 0)
        tf_idf = torch.bincount(words[row, :length], minlength=V) * network.idf
        vector = torch.cat([a @ x, tf_idf / tf_idf.norm() @ w])
        torch.testing.assert_close(network(words, lengths, *graph)[row], network.head(vector))


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"graph_layers": 0}, "graph."),
        ({"hidden_size": 0}, "layer."),
        ({"pooling": "mean"}, "attention."),
        ({}, "none"),
    ],
)
def test_every_part_can_be_left_out(options: dict, absent: str) -> None:
    torch.manual_seed(0)
    network = GraphLSTM(V, C, **{"embedding_size": 4, "hidden_size": 5} | options)
    network(*batch()).sum().backward()
    parts = ("graph.", "layer.", "attention.")
    names = [name for name, _ in network.named_parameters()]
    assert [any(name.startswith(part) for name in names) for part in parts] == [part != absent for part in parts]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_states_may_be_projected() -> None:
    network = GraphLSTM(V, C, layer=partial(LSTM, proj_size=2), embedding_size=4, hidden_size=5)
    assert network(*batch()).shape == (2, C)


@pytest.mark.parametrize("graph_layers", [0, 1, 2])
def test_vectors_of_some_words(graph_layers: int) -> None:
    """They, and the gradients of all weights, are those that all words would give."""
    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5, graph_layers=graph_layers)
    words, parameters = torch.tensor([0, 2, 9]), [network.embedding, *network.graph.parameters()]
    some, every = network.word_vectors(EDGES, WEIGHTS, words), network.word_vectors(EDGES, WEIGHTS)[words]
    torch.testing.assert_close(some, every)
    direction = torch.randn_like(some)
    pair = [torch.autograd.grad((w * direction).sum(), parameters) for w in (some, every)]
    torch.testing.assert_close(*pair)


def test_a_text_does_not_depend_on_its_batch() -> None:
    """Neither the other texts nor the padding change its logits."""
    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5).eval()
    words, lengths, *graph = batch()
    alone = network(words[1:, :3], lengths[1:], *graph)
    torch.testing.assert_close(network(words, lengths, *graph)[1:], alone)
    _, counts = network.read(words, lengths, *graph)
    torch.testing.assert_close(counts.sum(1), torch.ones(2))
    assert not counts[1, 3:].any()


def test_the_graph_passes_gradients_to_neighbours() -> None:
    """So a word that occurs in no training text is trained through its neighbours."""
    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5)
    network.word_vectors(EDGES, WEIGHTS, torch.tensor([1])).sum().backward()
    touched = network.embedding.grad.abs().sum(1).nonzero().flatten().tolist()
    assert touched == [1, 2]


def test_embeddings_start_from_the_graph() -> None:
    """Not those of a network without graph, which must not know it."""
    idf = torch.rand(V)
    for graph_layers in (0, 1):
        network = GraphLSTM(V, C, embedding_size=4, hidden_size=5, graph_layers=graph_layers)
        before = network.embedding.detach().clone()
        network.start_from(EDGES, WEIGHTS, idf)
        assert torch.equal(network.embedding, before) == (not graph_layers)
        assert torch.equal(network.idf, idf)


def test_word_dropout_hides_words_in_training_only() -> None:
    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5, dropout=0.0, word_dropout=1.0)
    words, lengths, *graph = batch()
    unknown = network.eval()(torch.zeros_like(words), lengths, *graph)
    assert not torch.allclose(network(words, lengths, *graph), unknown)
    torch.testing.assert_close(network.train()(words, lengths, *graph), unknown)


def test_any_layer_of_kernels() -> None:
    network = GraphLSTM(V, C, layer=GRU, embedding_size=4, hidden_size=5)
    assert network.head.in_features == 4 + 5 + 4
    assert network(*batch()).shape == (2, C)


def test_sizes_must_be_defined() -> None:
    with pytest.raises(ValueError, match="GraphLSTM needs vocab_size, which the data module does not define"):
        GraphLSTM(None, 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_edge_weights_get_a_gradient(dtype: torch.dtype) -> None:
    def scores(weights: torch.Tensor) -> torch.Tensor:
        return network(words, lengths, edges.to(dtype), weights)

    torch.manual_seed(0)
    network = GraphLSTM(V, C, embedding_size=4, hidden_size=5, graph_layers=2).double().eval()
    words, lengths, edges, weights = batch()
    assert torch.autograd.gradcheck(scores, weights.double().requires_grad_())
    assert scores(weights.double()).requires_grad
    assert network(words, lengths, edges[:, :0].to(dtype), weights[:0].double()).isfinite().all()  # no edge
