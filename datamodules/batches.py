"""The types of batches: what a data module makes and a training system takes, one type for each kind of task.

A data module names its type as `batch_type`; a training system annotates its `step` with it. train.py compares the two
before a run. This module imports nothing but torch, so both sides can import it.
Legend: B examples of a batch, T time, N nodes, E edges, F and G features of a node and of an edge, A targets.
"""

from typing import NamedTuple

from torch import Tensor

NO_LABEL = -100  # marks steps without a class; torch's losses leave them out


class SequenceBatch(NamedTuple):
    """Sequences of symbols, each with a class.

    Args:
        tokens: symbols, int64 [B, T].
        labels: classes, int64 [B].
    """

    tokens: Tensor
    labels: Tensor


class JoinedSequenceBatch(NamedTuple):
    """Rows of several sequences of symbols, one behind the other; each sequence has a class.

    Args:
        tokens: symbols, int64 [B, T].
        starts: whether a sequence begins at a step, bool [B, T].
        labels: the class of the sequence that ends with a step, int64 [B, T]; NO_LABEL where none ends.
    """

    tokens: Tensor
    starts: Tensor
    labels: Tensor


class TextBatch(NamedTuple):
    """Parts of a text, each with the characters that follow.

    Args:
        tokens: characters, int64 [B, T].
        targets: the next character at each place, int64 [B, T].
        reset_state: whether the batch does not continue the one before it, so that a carried state must be reset.
    """

    tokens: Tensor
    targets: Tensor
    reset_state: bool


class NodeBatch(NamedTuple):
    """One graph, or a sampled part of it, whose nodes have classes.

    Args:
        x: features of the nodes, dense or sparse CSR [N, F].
        edge_index: edges from row 0 to row 1, int64 [2, E].
        y: classes of the nodes, int64 [N].
        mask: the nodes whose classes are to be predicted, bool [N].
    """

    x: Tensor
    edge_index: Tensor
    y: Tensor
    mask: Tensor


class GraphBatch(NamedTuple):
    """Graphs side by side, each with a property: a class or a quantity.

    Args:
        x: features of all nodes [N, F].
        edge_index: edges from row 0 to row 1, int64 [2, E].
        edge_attr: features of the edges [E, G].
        batch: the graph of each node, int64 [N].
        num_graphs: number B of graphs.
        y: int64 classes or float quantities [B].
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    num_graphs: int
    y: Tensor


class LinkBatch(NamedTuple):
    """Queries (head, relation, ?) about the links of one graph, and the tails that answer them.

    Args:
        heads: head of each query, int64 [B].
        relations: relation of each query, int64 [B].
        target_rows: the query of each target, as a row of `heads`, int64 [A].
        targets: correct tails of the queries, int64 [A].
        known_rows: the query of each known tail, int64 [K].
        known: tails that are left out of the ranking, since they are known to be correct already or cannot be correct,
            int64 [K].
        edge_index: the training links from head to tail, for networks that pass messages, int64 [2, E].
        edge_type: relations of the training links, int64 [E].
    """

    heads: Tensor
    relations: Tensor
    target_rows: Tensor
    targets: Tensor
    known_rows: Tensor
    known: Tensor
    edge_index: Tensor
    edge_type: Tensor


class LabelledTextBatch(NamedTuple):
    """Texts as sequences of words, each with a class, and a graph of the words of the vocabulary.

    Args:
        words: numbers of the words, 0 for a word outside the vocabulary and for padding, int64 [B, T].
        lengths: number of words of each text, int64 [B].
        edge_index: edges between words, in both directions, int64 [2, E].
        edge_weight: weights of the edges [E].
        labels: classes of the texts, int64 [B].
    """

    words: Tensor
    lengths: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    labels: Tensor
