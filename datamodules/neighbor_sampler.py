"""Sampling of neighbourhoods in plain PyTorch, for PyG's NodeLoader and LinkLoader without a compiled extension.

Hamilton, Ying & Leskovec (2017, arXiv:1706.02216): take a bounded number of neighbours of each node of a batch, then
of these neighbours, and so on, once for each layer of the network.
Legend: N nodes, E edges, n nodes of a frontier, k fan-out.
"""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, NegativeSampling, NodeSamplerInput, SamplerOutput
from torch_geometric.sampler import NeighborSampler as PygNeighborSampler
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample
from torch_geometric.typing import WITH_PYG_LIB

from datamodules.errors import DataError


class NeighborSampler(BaseSampler):
    """Uniform samples of incoming neighbours, hop by hop.

    The nodes of a sample are in the order in which they are reached, those of the batch first. Random numbers come from
    torch's generator, which a loader seeds in each of its workers.

    Args:
        edge_index: edges from row 0 to row 1 [2, E].
        num_nodes: number N of nodes.
        num_neighbors: fan-out of each hop; −1 takes all neighbours.

    Raises:
        DataError: if there are no edges, an edge joins a missing node, or a fan-out is neither positive nor −1.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, num_neighbors: list[int]) -> None:
        if edge_index.numel() == 0:
            raise DataError("the graph has no edges to sample")
        if int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes:
            least, greatest = int(edge_index.min()), int(edge_index.max())
            raise DataError(f"edges must join nodes 0..{num_nodes - 1}, got {least}..{greatest}")
        check_fan_outs(num_neighbors)
        self.num_nodes, self.num_neighbors = num_nodes, num_neighbors
        self.edges = torch.argsort(edge_index[1], stable=True)  # by target; number of each edge in edge_index [E]
        self.sources = edge_index[0][self.edges]  # [E]
        degree = torch.bincount(edge_index[1], minlength=num_nodes)
        self.starts = torch.cat([degree.new_zeros(1), degree.cumsum(0)])  # [N + 1]
        self._place = torch.full((num_nodes,), -1)  # of a node in the sample that is being made

    def sample_from_nodes(self, index: NodeSamplerInput, **_: Any) -> SamplerOutput:
        """Return a sample around nodes."""
        return node_sample(index, self._sample)

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None, **_: Any
    ) -> SamplerOutput:
        """Return a sample around the ends of edges, and of sampled negative edges."""
        return edge_sample(index, self._sample, self.num_nodes, disjoint=False, neg_sampling=neg_sampling)

    def _sample(self, seeds: Tensor, seed_time: Tensor | None = None) -> SamplerOutput:
        if seed_time is not None:
            raise NotImplementedError("NeighborSampler cannot sample by time; pyg-lib's sampler can")
        if seeds.numel() and not 0 <= int(seeds.min()) <= int(seeds.max()) < self.num_nodes:
            raise IndexError(f"nodes are 0..{self.num_nodes - 1}, got {int(seeds.min())}..{int(seeds.max())}")
        nodes, frontier = [seeds], seeds
        self._place[seeds] = torch.arange(len(seeds))
        rows, columns, edges = [], [], []
        met, targets = len(seeds), torch.arange(len(seeds))  # places of the frontier
        for k in self.num_neighbors:
            slots, counts = self._neighbours(frontier, k)
            found = self.sources[slots]
            columns.append(targets.repeat_interleave(counts))
            edges.append(self.edges[slots])
            new = found[self._place[found] < 0]
            numbers = torch.arange(len(new))
            # Of equal nodes the last stays; an assignment by index would leave that to chance with several threads.
            self._place.scatter_reduce_(0, new, numbers, "amax")
            new = new[self._place[new] == numbers]
            self._place[new] = torch.arange(met, met + len(new))
            rows.append(self._place[found])
            nodes.append(new)
            frontier, targets = new, torch.arange(met, met + len(new))
            met += len(new)
        node = torch.cat(nodes)
        self._place[node] = -1
        return SamplerOutput(
            node=node,
            row=torch.cat(rows),
            col=torch.cat(columns),
            edge=torch.cat(edges),
            num_sampled_nodes=[len(part) for part in nodes],
            num_sampled_edges=[len(part) for part in edges],
        )

    def _neighbours(self, frontier: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the places in `sources` of the neighbours drawn, node after node, and the number for each node [n]."""
        starts, degree = self.starts[frontier], self.starts[frontier + 1] - self.starts[frontier]
        counts = degree if k < 0 else degree.clamp(max=k)
        owner = torch.arange(len(frontier)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        slots = torch.arange(len(owner)) - first[owner]  # 0 … count − 1 of each node: all neighbours
        many = degree > k
        if k > 0 and many.any():
            slots[many[owner]] = _distinct(degree[many], k).flatten()
        return starts[owner] + slots, counts


def make_sampler(graph: Data, num_neighbors: list[int]) -> BaseSampler:
    """Return the compiled sampler of pyg-lib if it is installed, otherwise `NeighborSampler`.

    Args:
        graph: a graph with edge_index [2, E].
        num_neighbors: fan-out of each hop; −1 takes all neighbours.
    """
    if WITH_PYG_LIB:
        return PygNeighborSampler(graph, num_neighbors)
    return NeighborSampler(graph.edge_index, graph.num_nodes, num_neighbors)


def check_fan_outs(num_neighbors: list[int]) -> None:
    """Check that there are fan-outs, each positive or −1.

    Raises:
        DataError: if not.
    """
    if not num_neighbors or any(k < 1 and k != -1 for k in num_neighbors):
        raise DataError(f"fan-outs must be positive, or −1 for all neighbours, got {num_neighbors}")


def _distinct(degree: Tensor, k: int) -> Tensor:
    """Return k different numbers below each degree [n, k], every set of k equally likely (Floyd's algorithm).

    For j = d − k … d − 1 draw t ≤ j; take t, or j if t has been taken already.
    """
    taken = torch.empty(k, len(degree), dtype=torch.int64)
    for step in range(k):
        j = degree - k + step
        t = (torch.rand(len(degree), dtype=torch.float64) * (j + 1)).long()
        again = (taken[:step] == t).any(0)
        taken[step] = torch.where(again, j, t)
    return taken.T
