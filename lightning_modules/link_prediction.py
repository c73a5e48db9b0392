"""Training system: a network that scores every node as the other end of a link, in a knowledge or a social graph.

A batch is a `Queries` of datamodules.link_graphs. Legend: B queries, N nodes, A targets.
"""

from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kernels.dtypes import without_autocast
from lightning_modules.networks.link_baselines import BASELINES, Baseline
from lightning_modules.ranking import RankMetrics, mid_ranks
from lightning_modules.training_system import TrainingSystem


class LinkPrediction(TrainingSystem):
    """Softmax cross-entropy of every target over all nodes, by Adagrad; targets are ranked among all nodes.

    All targets to a query share one row of scores, so an epoch costs a row a query and not one a link:
    loss = 1/A Σ_targets (log Σ_n exp s_n − s_target).

    Args:
        network: (heads [B], relations [B], edge_index, edge_type) in, scores [B, N] out.
        learning_rate: step size.
        n3_penalty: weight of the N3 penalty on the embeddings (Lacroix, Usunier & Obozinski 2018), which the network
            computes in its method `n3`.
        hits_at: the k of Hits@k.
        recall_at: the k of recall@k.
        baselines: scorers without weights that are ranked by the same protocol in the test.

    Raises:
        ValueError: if there is a penalty and the network has no method `n3`.
    """

    takes = "a graph's links"
    calls = ("heads", "relations", "edge_index", "edge_type")
    primary_metric = "loss"  # ranks are for held-out links
    monitor, mode = "val/mrr", "max"

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
        self.metrics = nn.ModuleDict(
            {name: RankMetrics(list(hits_at), list(recall_at)) for name in ("val", "test", *baselines)}
        )

    def forward(self, batch: Any) -> Tensor:
        """Return scores [B, N], −inf for what is known already."""
        scores = self.network(batch.heads, batch.relations, batch.edge_index, batch.edge_type)
        if len(batch.known):
            scores = scores.index_put((batch.known_rows, batch.known), scores.new_tensor(-torch.inf))
        return scores

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss with its penalty; log the loss."""
        loss = cross_entropy(self(batch), batch.target_rows, batch.targets)
        self.log_metric("train", "loss", loss, len(batch.targets))
        if not self.n3_penalty:
            return loss
        heads, relations = batch.heads[batch.target_rows], batch.relations[batch.target_rows]
        return loss + self.n3_penalty * self.network.n3(heads, relations, batch.targets)  # type: ignore[operator]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Rank the targets of the validation split."""
        self._rank(batch, "val", self._scores(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Rank the targets of the test split, by the network and by each baseline."""
        scores = self._scores(batch)
        self._rank(batch, "test", scores)
        for name in self.baselines:
            scored = BASELINES[name](batch.heads, batch.relations, batch.edge_index, batch.edge_type, scores.shape[1])
            self._rank(batch, name, scored)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation split."""
        for name, value in self._figures("val").items():
            self.log(f"val/{name}", value, prog_bar=name == "mrr")

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test split, such as test/mrr, and a baseline's, such as test/popularity/mrr."""
        for name in ("test", *self.baselines):
            below = "" if name == "test" else f"{name}/"
            self.log_dict({f"test/{below}{tag}": value for tag, value in self._figures(name).items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adagrad."""
        return torch.optim.Adagrad(self.network.parameters(), lr=self.learning_rate)

    def _scores(self, batch: Any) -> Tensor:
        with without_autocast(self.device):  # rounded scores would tie
            return self.network(batch.heads, batch.relations, batch.edge_index, batch.edge_type)

    def _rank(self, batch: Any, name: str, scores: Tensor) -> None:
        ranks = mid_ranks(scores, batch.target_rows, batch.targets, batch.known_rows, batch.known)
        self.metrics[name].update(*ranks, batch.target_rows)  # type: ignore[operator]

    def _figures(self, name: str) -> dict[str, Tensor]:
        return self.metrics[name].compute()  # type: ignore[operator]


def cross_entropy(scores: Tensor, target_rows: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over targets of −log softmax(scores)[target].

    Args:
        scores: of every node, a row a query [B, N].
        target_rows: query of each target [A].
        targets: nodes [A].
    """
    # On CPUs torch's log_softmax is several times as fast as its logsumexp, whose exponential is another.
    return -torch.log_softmax(scores, 1)[target_rows, targets].float().mean()
