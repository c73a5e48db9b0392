"""Ranks of the correct nodes among all nodes, and the metrics made of them.

Legend: B queries, N nodes, A targets, K known tails.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 512  # targets ranked at a time, each with a row of N scores in memory


def mid_ranks(
    scores: Tensor, target_rows: Tensor, targets: Tensor, known_rows: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the filtered rank of every target [A], and its place in the list of its query [A].

    The rank of a target is 1 + the number of nodes with a higher score + half the number of other nodes with an equal
    score, so that a constant score gives the middle rank. Known tails never count. The other targets of the query count
    in the list, but not in the filtered rank (Bordes et al. 2013). NaN scores rank a target last and other nodes first.

    Args:
        scores: score of every node for every query [B, N].
        target_rows: query of each target [A].
        targets: the correct nodes [A].
        known_rows: query of each known tail [K].
        known: nodes that are left out [K].
    """
    least = torch.finfo(scores.dtype).min
    wrong = scores.clamp(min=least)  # so that −∞ can stand for nodes that do not count
    target_scores = wrong[target_rows, targets].nan_to_num(nan=least, posinf=torch.inf)
    wrong[torch.cat([target_rows, known_rows]), torch.cat([targets, known])] = -torch.inf
    filtered, listed = [], []
    for part in torch.arange(len(target_rows), device=target_rows.device).split(CHUNK):
        own = target_scores[part, None]
        nodes = wrong[target_rows[part]]  # [chunk, N]
        equal, worse = (nodes == own).sum(1).float(), (nodes < own).sum(1)
        filtered.append(1 + nodes.shape[1] - worse - equal + equal / 2)
        rivals = target_rows[part, None] == target_rows  # of the same query, the target itself included [chunk, A]
        higher, equal_targets = (rivals & (target_scores > own)).sum(1), (rivals & (target_scores == own)).sum(1) - 1
        listed.append(filtered[-1] + higher + equal_targets.float() / 2)
    return torch.cat(filtered), torch.cat(listed)


def rank_metrics(
    filtered: Tensor, listed: Tensor, target_rows: Tensor, hits_at: Sequence[int], recall_at: Sequence[int]
) -> dict[str, tuple[Tensor, Tensor | int]]:
    """Return the values whose means are the metrics of ranks, and their weights.

    mrr is the mean of 1 / rank over the targets, hits@k the fraction of targets with rank k or better; both use the
    filtered ranks. recall@k is the fraction of a query's targets among the first k places of its list, averaged over
    the queries.

    Args:
        filtered: rank of each target as `mid_ranks` returns it [A].
        listed: place of each target in the list of its query [A].
        target_rows: query of each target [A].
        hits_at: values of k for hits@k.
        recall_at: values of k for recall@k.

    Returns:
        By name, such as "hits@10": a value of each target [A], and its weight in the mean.
    """
    metrics: dict[str, tuple[Tensor, Tensor | int]] = {"mrr": (1 / filtered, 1)}
    metrics |= {f"hits@{k}": ((filtered <= k).float(), 1) for k in hits_at}
    weights = 1 / torch.bincount(target_rows)[target_rows].float()  # those of a query's targets add up to 1
    return metrics | {f"recall@{k}": ((listed <= k).float(), weights) for k in recall_at}
