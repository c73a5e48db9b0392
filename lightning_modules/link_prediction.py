"""Training system: link prediction in a knowledge graph or a social graph, where every node is scored as a tail.

Legend: B queries, N nodes, A targets.
"""

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from datamodules.batches import LinkBatch
from kernels.dtypes import without_autocast
from lightning_modules.networks.link_baselines import BASELINES, Baseline
from lightning_modules.ranking import mid_ranks, rank_metrics
from lightning_modules.training_system import Split, TrainingSystem


class LinkPrediction(TrainingSystem):
    """Softmax cross-entropy of every target over all nodes, minimised by Adagrad; targets are ranked among all nodes.

        loss = 1/A Σ_targets (log Σ_n exp s_n − s_target)

    All targets of a query share one row of scores s [N]. An epoch therefore computes one row for each query, not for
    each link.

    Args:
        network: a network that maps (heads [B], relations [B], edge_index, edge_type) to scores [B, N].
        learning_rate: Adagrad's learning rate.
        n3_penalty: weight of the N3 penalty on the embeddings (Lacroix, Usunier & Obozinski 2018,
            arXiv:1806.07297), which the network computes in its method `n3`.
        hits_at: values of k for hits@k.
        recall_at: values of k for recall@k.
        baselines: scorers without weights; the test ranks their scores in the same way.

    Raises:
        ValueError: if there is a penalty and the network has no method `n3`.
    """

    primary_metric = "loss"  # of training: only held-out links are ranked
    monitor = "val/mrr"
    mode = "max"

    def __init__(
        self,
        network: nn.Module,
        learning_rate: PositiveFloat = 0.1,
        n3_penalty: NonNegativeFloat = 0.0,
        hits_at: tuple[PositiveInt, ...] = (1, 3, 10),
        recall_at: tuple[PositiveInt, ...] = (),
        baselines: tuple[Baseline, ...] = (),
    ) -> None:
        super().__init__(network)
        if n3_penalty and not hasattr(network, "n3"):
            raise ValueError(f"n3_penalty applies to ComplEx and DistMult; for {type(network).__name__} set it to 0")
        self.learning_rate, self.n3_penalty, self.baselines = learning_rate, n3_penalty, baselines
        self.hits_at, self.recall_at = hits_at, recall_at

    def forward(self, heads: Tensor, relations: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        """Return scores [B, N]."""
        return self.network(heads, relations, edge_index, edge_type)

    def step(self, batch: LinkBatch, split: Split) -> Tensor | None:
        """Return the loss of a training batch and log it; of other batches log the ranks of the targets."""
        inputs = batch.heads, batch.relations, batch.edge_index, batch.edge_type
        if split == "train":
            return self._loss(batch, self(*inputs))
        with without_autocast(self.device):  # rounded scores would tie
            scores = self(*inputs)
        self._log_ranks(batch, split, "", scores)
        if split == "test":
            for name in self.baselines:
                self._log_ranks(batch, split, f"{name}/", BASELINES[name](*inputs, scores.shape[1]))
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adagrad."""
        return torch.optim.Adagrad(self.network.parameters(), lr=self.learning_rate)

    def _loss(self, batch: LinkBatch, scores: Tensor) -> Tensor:
        """Return the loss with its penalty; log the loss without the penalty."""
        if len(batch.known):
            scores = scores.index_put((batch.known_rows, batch.known), scores.new_tensor(-torch.inf))
        loss = cross_entropy(scores, batch.target_rows, batch.targets)
        self.log_mean("train", "loss", loss)
        if not self.n3_penalty:
            return loss
        heads, relations = batch.heads[batch.target_rows], batch.relations[batch.target_rows]
        return loss + self.n3_penalty * self.network.n3(heads, relations, batch.targets)  # type: ignore[operator]

    def _log_ranks(self, batch: LinkBatch, split: Split, prefix: str, scores: Tensor) -> None:
        """Log the metrics of ranks, such as test/mrr, or of a baseline test/popularity/mrr."""
        ranks = mid_ranks(scores, batch.target_rows, batch.targets, batch.known_rows, batch.known)
        for name, (values, weights) in rank_metrics(*ranks, batch.target_rows, self.hits_at, self.recall_at).items():
            self.log_mean(split, prefix + name, values, weights)


def cross_entropy(scores: Tensor, target_rows: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over targets of −log softmax(scores)[target].

    Args:
        scores: scores of all nodes, one row per query [B, N].
        target_rows: query of each target [A].
        targets: the correct nodes [A].
    """
    # On CPUs torch's log_softmax is several times as fast as its logsumexp, which computes exponentials another way.
    return -torch.log_softmax(scores, 1)[target_rows, targets].float().mean()
