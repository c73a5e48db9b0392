"""Time of the filtered ranking of a knowledge graph's whole test split, head and tail, beside PyG's evaluation.

    python -m benchmarks.link_ranking --data FB15k-237 --threads 1

The weights are the initial ones; the time does not depend on them. PyG's `test` ranks tails only, unfiltered, one
triple at a time; it runs on the first 200 triples, and its time is scaled to the whole split.
"""

import sys
import time

import torch
from torch_geometric.nn.kge import ComplEx as PyGComplEx
from torch_geometric.nn.kge import DistMult as PyGDistMult

from benchmarks.named_data import make_parser, run
from datamodules.knowledge_graphs import PUBLISHED, KnowledgeGraph
from lightning_modules.networks.complex import ComplEx
from lightning_modules.networks.distmult import DistMult
from lightning_modules.ranking import mid_ranks, rank_metrics
from lightning_modules.training_system import Mean

SAMPLE = 200  # triples that PyG ranks


@torch.no_grad()
def rank_all(data: KnowledgeGraph, network: torch.nn.Module) -> int:
    """Rank head and tail of every test triple; return the number of ranks."""
    metrics, ranks = {name: Mean() for name in ("mrr", "hits@1", "hits@3", "hits@10")}, 0
    for batch in data.test_dataloader():
        scores = network(batch.heads, batch.relations, batch.edge_index, batch.edge_type)
        both = mid_ranks(scores, batch.target_rows, batch.targets, batch.known_rows, batch.known)
        for name, (values, weights) in rank_metrics(*both, batch.target_rows, [1, 3, 10], []).items():
            metrics[name].update(values, weights)
        ranks += len(batch.target_rows)
    for metric in metrics.values():
        metric.compute()
    return ranks


def main() -> int:
    """Print a table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", choices=PUBLISHED, default="FB15k-237")
    parser.add_argument("--hidden_size", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = KnowledgeGraph(options.data, options.download)
    head, relation, tail = data.links.triples["test"][: len(data.links.triples["test"]) // 2].T
    print(f"{options.data}, {len(head)} test triples, H {options.hidden_size}, threads {options.threads}", end="\n\n")
    print("| decoder | ours, s | ours, CPU s | PyG's, tails only, unfiltered, CPU s |\n| --- | --- | --- | --- |")
    for make, peer in ((DistMult, PyGDistMult), (ComplEx, PyGComplEx)):
        network = make(data.num_nodes, data.num_relations, options.hidden_size)
        start, wall = time.process_time(), time.monotonic()
        assert rank_all(data, network) == 2 * len(head)
        own, wall = time.process_time() - start, time.monotonic() - wall
        width = options.hidden_size // (2 if make is ComplEx else 1)  # PyG's width counts complex numbers
        other = peer(data.num_nodes, data.num_relations, width).eval()
        start = time.process_time()
        other.test(head[:SAMPLE], relation[:SAMPLE], tail[:SAMPLE], batch_size=20000, log=False)
        theirs = (time.process_time() - start) * len(head) / SAMPLE
        print(f"| {make.__name__} | {wall:.1f} | {own:.1f} | {theirs:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
