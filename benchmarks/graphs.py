"""Graph networks: time of an epoch beside PyG's GCN, the sampler alone, and a step's time and memory against size.

    python -m benchmarks.graphs epoch                    # training steps of a GCN on Cora and CiteSeer
    python -m benchmarks.graphs sampler                  # seeds a second on 4 million edges, one core
    python -m benchmarks.graphs size                     # 10⁴ to 10⁶ nodes: edge list, CSR, sampled; also a picture

An epoch of full-batch training is one step: forward, backward, Adam. Both GCNs have 64 hidden units and drop out the
input; PyG's gets the features dense, as its Planetoid data set gives them, or sparse, and times are medians of rounds
that take all ways in another order each. `size` draws random graphs with 20 edges a node, 100 features, 256 hidden
units and 47 classes, and takes each step in a process of its own: `memory` is by how much its resident memory grows at
most over what the graph itself takes, `resident` the whole of it.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from torch_geometric.data import Data
from torch_geometric.loader import NodeLoader
from torch_geometric.nn.models import GCN as PyGGCN

from benchmarks.named_data import make_parser, run
from benchmarks.recurrent import peak_memory, process_status
from datamodules.neighbor_sampler import NeighborSampler
from datamodules.node_graphs import Citations
from lightning_modules.callbacks.colours import colour, marker
from lightning_modules.networks.gcn import GCN
from lightning_modules.networks.graph_sage import GraphSAGE

ROUNDS = 60
F, H, C, DEGREE = 100, 256, 47, 20  # of the random graphs
SEEDS, FAN_OUTS = 1024, [15, 10]
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
LARGEST = {"edges": 100_000, "sparse": 1_000_000, "sampled": 1_000_000}  # edges: 4 GB at 100,000 nodes


class PyGNetwork(nn.Module):
    """PyG's GCN model with the input's dropout, which it lacks."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.network = PyGGCN(num_features, 64, num_layers=2, out_channels=num_classes, dropout=0.5, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.network(dropout(x, 0.5, self.training) if x.layout == torch.strided else x, edge_index)


def epoch(download: bool) -> None:
    """Print the time of a training step of both GCNs on the citation graphs."""
    print("| data | network | ms an epoch | of PyG's GCN |\n| --- | --- | --- | --- |")
    for name in ("Cora", "CiteSeer"):
        data = Citations(name, download)
        compare(name, data.graph, (data.num_features, data.num_classes))


def compare(name: str, sparse: Data, sizes: tuple[int, int]) -> None:
    """Print the time of a training step of both GCNs on one graph."""
    dense = sparse.clone()
    dense.x = sparse.x.to_dense()
    ways = {
        "PyG's GCN": stepper(PyGNetwork(*sizes), lambda: dense),
        "PyG's GCN, sparse features without dropout": stepper(PyGNetwork(*sizes), lambda: sparse),
        "ours": stepper(GCN(*sizes, hidden_size=64), lambda: sparse),
        "ours, dense features": stepper(GCN(*sizes, hidden_size=64), lambda: dense),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = random.Random(0)
    for _ in range(ROUNDS):
        for way in order.sample(list(ways), len(ways)):
            ways[way]()
            start = time.perf_counter()
            ways[way]()
            times[way].append(1000 * (time.perf_counter() - start))
    peer = statistics.median(times["PyG's GCN"])
    for way in ways:
        median = statistics.median(times[way])
        print(f"| {name} | {way} | {median:.1f} | {median / peer:.2f} |", flush=True)


def stepper(network: nn.Module, batch: Callable[[], Data]) -> Callable[[], None]:
    """Return a function that takes one training step on the training nodes of the next batch."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=5e-4)

    def run() -> None:
        graph = batch()
        nodes = slice(graph.batch_size) if "batch_size" in graph else graph.train_mask
        optimizer.zero_grad()
        cross_entropy(network(graph.x, graph.edge_index)[nodes], graph.y[nodes]).backward()
        optimizer.step()

    return run


def sampler() -> None:
    """Print how many seeds a second are sampled."""
    torch.set_num_threads(1)
    N = 200_000
    made = NeighborSampler(torch.randint(0, N, (2, DEGREE * N)), N, FAN_OUTS)
    times = []
    for _ in range(20):
        seeds = torch.randperm(N)[:SEEDS]
        start = time.perf_counter()
        made._sample(seeds)
        times.append(time.perf_counter() - start)
    print(
        f"{SEEDS / statistics.median(times):,.0f} seeds a second, fan-outs {FAN_OUTS}, {DEGREE * N:,} edges, one thread"
    )


def size(out: Path) -> None:
    """Print, save and draw time and memory of a step against the size of the graph, a process each."""
    rows = []
    print("| nodes | edges | way | s a step | memory, MB | resident, MB |\n| --- | --- | --- | --- | --- | --- |")
    for N in SIZES:
        for way, largest in LARGEST.items():
            if largest >= N:
                words = [sys.executable, "-m", "benchmarks.graphs", "one", "--nodes", str(N), "--way", way]
                row = json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
                rows.append(row)
                print(f"| {N:,} | {DEGREE * N:,} | {way} | {row['seconds']:.2f} | {row['memory']:.0f} "
                      f"| {row['resident']:.0f} |", flush=True)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "graph-size.json").write_text(json.dumps(rows, indent=1))
    draw(rows, out / "graph-size.png")
    print(f"\n{out / 'graph-size.png'}")


def one(N: int, way: str) -> dict[str, Any]:
    """Return time and memory of training steps on a random graph of N nodes; all that a step needs is in its time."""
    torch.manual_seed(0)
    edge_index = torch.randint(0, N, (2, DEGREE * N))
    graph = Data(
        x=torch.randn(N, F),
        edge_index=edge_index,
        y=torch.randint(0, C, (N,)),
        train_mask=torch.ones(N, dtype=torch.bool),
    )
    if way == "sampled":
        near = NeighborSampler(edge_index, N, FAN_OUTS)
        batches = iter(NodeLoader(graph, near, graph.train_mask, batch_size=SEEDS, shuffle=True))
        step = stepper(GraphSAGE(F, C, hidden_size=H), lambda: next(batches))
    else:
        step = stepper(GCN(F, C, hidden_size=H, form=way), lambda: graph)  # type: ignore[arg-type]
    memory = peak_memory(step, "cpu")
    times = []
    for _ in range(3 if N * DEGREE < 1e7 else 1):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    resident = process_status("VmHWM") / 1024
    return {"nodes": N, "way": way, "seconds": statistics.median(times), "memory": memory, "resident": resident}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw memory and time of a step against the number of nodes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names = {"edges": "GCN, a message an edge", "sparse": "GCN, CSR", "sampled": f"GraphSAGE, {SEEDS} sampled seeds"}
    for axes, key, label in zip(figure.subplots(1, 2), ("memory", "seconds"), ("MB", "seconds"), strict=True):
        for number, (way, name) in enumerate(names.items()):
            own = [row for row in rows if row["way"] == way]
            style = {"color": colour(number), "marker": marker(number)}
            axes.plot([row["nodes"] for row in own], [row[key] for row in own], label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel=f"{label} a training step")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("epoch", "sampler", "size", "one"))
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/graphs"), help="folder of the results of size"
    )
    parser.add_argument("--nodes", type=int, default=10_000, help="of one, a single step of size")
    parser.add_argument("--way", choices=LARGEST, default="sampled", help="of one")
    options = parser.parse_args()
    if options.what == "size":
        size(options.out)
    elif options.what == "one":
        print(json.dumps(one(options.nodes, options.way)))
    elif options.what == "epoch":
        epoch(options.download)
    else:
        sampler()
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
