"""Sampled neighbourhoods: all of them against PyG's subgraph, bounds, uniform draws, means, loaders."""

import itertools

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader, NodeLoader
from torch_geometric.sampler import BaseSampler, NegativeSampling, NodeSamplerInput, SamplerOutput
from torch_geometric.typing import WITH_PYG_LIB
from torch_geometric.utils import k_hop_subgraph

from datamodules.errors import DataError
from datamodules.neighbor_sampler import NeighborSampler, _distinct, make_sampler

N = 60
EDGES = torch.unique(torch.randint(0, N - 1, (2, 400), generator=torch.Generator().manual_seed(0)), dim=1)


def draw(sampler: BaseSampler, seeds: list[int]) -> SamplerOutput:
    return sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor(seeds)))


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_all_neighbours_are_pygs_subgraph(hops: int) -> None:
    seeds = [5, 17, 3, N - 1]  # the last has no edge
    sample = draw(NeighborSampler(EDGES, N, [-1] * hops), seeds)
    nodes, *_ = k_hop_subgraph(seeds, hops, EDGES, num_nodes=N)
    assert sample.node[:4].tolist() == seeds
    assert sample.node.sort().values.tolist() == nodes.tolist()
    assert torch.equal(torch.stack([sample.node[sample.row], sample.node[sample.col]]), EDGES[:, sample.edge])
    inner, *_ = k_hop_subgraph(seeds, hops - 1, EDGES, num_nodes=N)
    arrive = torch.isin(EDGES[1], inner)  # every edge to a node whose neighbours were asked for, once
    assert sample.edge.sort().values.tolist() == torch.nonzero(arrive)[:, 0].tolist()
    assert sum(sample.num_sampled_nodes) == len(sample.node)
    assert sum(sample.num_sampled_edges) == len(sample.edge)


def test_no_more_than_the_fan_out() -> None:
    torch.manual_seed(0)
    sampler = NeighborSampler(EDGES, N, [4, 2])
    degree = torch.bincount(EDGES[1], minlength=N)
    for seed in range(N):
        sample = draw(sampler, [seed])
        first = sample.edge[: sample.num_sampled_edges[0]]
        assert len(first) == min(4, int(degree[seed]))
        assert len(sample.edge.unique()) == len(sample.edge)
        assert torch.equal(torch.stack([sample.node[sample.row], sample.node[sample.col]]), EDGES[:, sample.edge])
        assert len(sample.node.unique()) == len(sample.node)


def test_every_set_is_equally_likely() -> None:
    torch.manual_seed(0)
    draws = _distinct(torch.full((30_000,), 5), 3).sort(1).values
    _, counts = draws.unique(dim=0, return_counts=True)
    assert len(counts) == len(list(itertools.combinations(range(5), 3)))
    assert counts.min() > 2700
    assert counts.max() < 3300


def test_the_mean_of_a_sample_expects_the_mean_of_all() -> None:
    torch.manual_seed(0)
    x, seed = torch.randn(N), int(torch.bincount(EDGES[1], minlength=N).argmax())
    sampler = NeighborSampler(EDGES, N, [3])
    means = []
    for _ in range(4000):
        sample = draw(sampler, [seed])
        means.append(x[sample.node[sample.row]].mean())
    expected = x[EDGES[0][EDGES[1] == seed]].mean()
    assert torch.stack(means).mean() == pytest.approx(expected.item(), abs=0.04)


@pytest.mark.skipif(not WITH_PYG_LIB, reason="pyg-lib is not here")
def test_pyg_lib_draws_alike() -> None:
    torch.manual_seed(0)
    graph, x, seeds = Data(edge_index=EDGES, num_nodes=N), torch.randn(N), list(range(8))
    ours, theirs = draw(NeighborSampler(EDGES, N, [-1, -1]), seeds), draw(make_sampler(graph, [-1, -1]), seeds)
    assert ours.node.sort().values.tolist() == theirs.node.sort().values.tolist()
    assert len(ours.row) == len(theirs.row)
    means = []
    for sampler in (NeighborSampler(EDGES, N, [3]), make_sampler(graph, [3])):
        samples = [draw(sampler, seeds) for _ in range(2000)]
        assert {len(sample.row) for sample in samples} == {len(samples[0].row)}
        means.append(torch.stack([x[sample.node[sample.row]].mean() for sample in samples]).mean())
    assert means[0] == pytest.approx(means[1], abs=0.04)


def test_ours_is_made_without_pyg_lib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.neighbor_sampler.WITH_PYG_LIB", False)
    assert isinstance(make_sampler(Data(edge_index=EDGES, num_nodes=N), [3]), NeighborSampler)


@pytest.mark.parametrize("workers", [0, 2])
def test_pygs_node_loader(workers: int) -> None:
    data = Data(x=torch.arange(N, dtype=torch.float32)[:, None], edge_index=EDGES, y=torch.arange(N))
    loader = NodeLoader(data, NeighborSampler(EDGES, N, [3, 2]), batch_size=16, num_workers=workers)
    seen = []
    for batch in loader:
        assert torch.equal(batch.n_id[: batch.batch_size], batch.input_id)
        assert torch.equal(batch.x[:, 0].long(), batch.n_id)
        assert torch.equal(batch.n_id[batch.edge_index], EDGES[:, batch.e_id])
        seen += batch.input_id.tolist()
    assert seen == list(range(N))


def test_pygs_link_loader() -> None:
    data = Data(x=torch.arange(N, dtype=torch.float32)[:, None], edge_index=EDGES)
    loader = LinkLoader(
        data,
        NeighborSampler(EDGES, N, [3, 2]),
        edge_label_index=EDGES[:, :40],
        neg_sampling=NegativeSampling("binary"),
        batch_size=20,
    )
    for k, batch in enumerate(loader):
        assert batch.edge_label.tolist() == [1] * 20 + [0] * 20
        assert torch.equal(batch.n_id[batch.edge_label_index[:, :20]], EDGES[:, 20 * k : 20 * k + 20])


@pytest.mark.parametrize(
    ("edges", "fan_outs", "message"),
    [
        (torch.empty(2, 0, dtype=torch.int64), [2], "no edges"),
        (torch.tensor([[0], [N]]), [2], rf"0\.\.{N - 1}, got 0\.\.{N}"),
        (EDGES, [3, 0], r"positive, or −1 for all neighbours, got \[3, 0\]"),
        (EDGES, [], "positive"),
    ],
)
def test_what_is_refused(edges: torch.Tensor, fan_outs: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        NeighborSampler(edges, N, fan_outs)


def test_a_large_sample_does_not_depend_on_the_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = torch.randint(10, 5000, (300_000,), generator=generator)  # many sources are met several times
    sampler = NeighborSampler(torch.stack([sources, torch.arange(300_000) % 10]), 5000, [-1])
    threads, samples = torch.get_num_threads(), []
    try:
        for number in (1, *[2] * 20):
            torch.set_num_threads(number)
            samples.append(draw(sampler, list(range(10))))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(sample.node, samples[0].node) for sample in samples)
