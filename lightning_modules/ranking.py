"""Ranks of right targets among all nodes, in matrix form, and the figures made of them.

Legend: B queries, N nodes, A targets, K targets known already.
"""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

CHUNK = 512  # targets ranked at a time: as many rows of N scores are held


def mid_ranks(
    scores: Tensor, target_rows: Tensor, targets: Tensor, known_rows: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the rank of every target [A] among the wrong ones, and [A] in the list of wrong and right ones.

    A target ranks one place behind each better node and half a place behind each equal one, so that a network which
    scores all alike gets the middle. Other right targets, and known ones, do not count in the first, filtered rank; in
    the second, other right ones do. A right target whose score is no number ranks last, a wrong one ahead.

    Args:
        scores: of every node as a target to every query [B, N].
        target_rows: query of each target [A].
        targets: nodes that are right [A].
        known_rows: query of each known target [K].
        known: nodes that take part in no ranking [K].
    """
    least = torch.finfo(scores.dtype).min
    wrong = scores.clamp(min=least)  # below it are those alone that take no part
    target_scores = wrong[target_rows, targets].nan_to_num(nan=least, posinf=torch.inf)
    wrong[torch.cat([target_rows, known_rows]), torch.cat([targets, known])] = -torch.inf
    filtered, listed = [], []
    for part in torch.arange(len(target_rows), device=target_rows.device).split(CHUNK):
        own = target_scores[part, None]
        nodes = wrong[target_rows[part]]  # [chunk, N]
        equal, worse = (nodes == own).sum(1).float(), (nodes < own).sum(1)
        filtered.append(1 + nodes.shape[1] - worse - equal + equal / 2)
        rivals = target_rows[part, None] == target_rows  # [chunk, A], itself among them
        ahead, level = (rivals & (target_scores > own)).sum(1), (rivals & (target_scores == own)).sum(1) - 1
        listed.append(filtered[-1] + ahead + level.float() / 2)
    return torch.cat(filtered), torch.cat(listed)


class RankMetrics(nn.Module):
    """Means over ranks, batch by batch: MRR and Hits@k of the filtered ranks, recall@k of the lists.

    mrr is the mean of 1 / rank over the targets, hits@k the share of targets of rank k or better. recall@k is the share
    of a query's targets that stand in the first k places of its list, averaged over the queries.

    Args:
        hits_at: the k of Hits@k.
        recall_at: the k of recall@k.
    """

    def __init__(self, hits_at: list[int], recall_at: list[int]) -> None:
        super().__init__()
        self.hits_at, self.recall_at = hits_at, recall_at
        names = ["mrr", *(f"hits@{k}" for k in hits_at), *(f"recall@{k}" for k in recall_at)]
        self.means = nn.ModuleDict({name: MeanMetric().set_dtype(torch.float32) for name in names})

    def update(self, filtered: Tensor, listed: Tensor, target_rows: Tensor) -> None:
        """Take in the ranks of a batch, as `mid_ranks` returns them, and the query of each [A]."""
        figures = {"mrr": 1 / filtered} | {f"hits@{k}": (filtered <= k).float() for k in self.hits_at}
        for name, values in figures.items():
            self.means[name].update(values)  # type: ignore[operator]
        weights = 1 / torch.bincount(target_rows)[target_rows].float()  # of a query's targets
        for k in self.recall_at:
            self.means[f"recall@{k}"].update((listed <= k).float(), weights)  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """Return the means by their names, and begin anew."""
        values = {name: mean.compute() for name, mean in self.means.items()}  # type: ignore[operator]
        with torch.inference_mode(False):  # a reset tensor of inference could not be added to elsewhere
            for mean in self.means.values():
                mean.reset()  # type: ignore[operator]
        return values
