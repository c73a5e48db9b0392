"""Graph networks: time of an epoch and of a sparse product beside PyG's, the sampler, and a step against graph size.

    python -m benchmarks.graphs epoch                    # training steps of a GCN on Cora and CiteSeer
    python -m benchmarks.graphs products                 # forward and backward pass of Â H, three ways
    python -m benchmarks.graphs sampler                  # sampled seeds per second from 4 million edges, one core
    python -m benchmarks.graphs size                     # time and memory at 10⁴ to 10⁶ nodes, table and picture

`epoch`: an epoch of full-batch training is one step: forward pass, backward pass, Adam. Both GCNs have 64 hidden units
and dropout on the input. PyG's gets the features dense, as its Planetoid data set returns them, or sparse. `epoch` and
`products` print the median over rounds that run all ways in random order.

`size`: random graphs with 20 edges per node, 100 features, 256 hidden units and 47 classes; each step runs in its own
process. `memory` is the peak growth of the resident memory beyond the graph, `resident` the peak as a whole.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.loader import NodeLoader
from torch_geometric.nn.models import GCN as PyGGCN

from benchmarks.named_data import make_parser, run
from benchmarks.recurrent import peak_memory, process_status
from datamodules.neighbor_sampler import NeighborSampler
from datamodules.node_graphs import Citations
from lightning_modules.callbacks.colours import colour, marker
from lightning_modules.networks.gcn import GCN, sparse_adjacency
from lightning_modules.networks.graph_sage import GraphSAGE

ROUNDS = 60
F, H, C, DEGREE = 100, 256, 47, 20  # random graphs
SEEDS, FAN_OUTS = 1024, [15, 10]
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
LARGEST = {"edges": 100_000, "sparse": 1_000_000, "sampled": 1_000_000}  # nodes; edges need 4 GB at 100,000


class PyGNetwork(nn.Module):
    """PyG's GCN model with dropout on the input, which it lacks."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.network = PyGGCN(num_features, 64, num_layers=2, out_channels=num_classes, dropout=0.5, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C]."""
        return self.network(dropout(x, 0.5, self.training) if x.layout == torch.strided else x, edge_index)


def epoch(download: bool) -> None:
    """Print the time of a training step of both GCNs on Cora and CiteSeer."""
    print("| data | network | ms per epoch | ÷ PyG's GCN |\n| --- | --- | --- | --- |")
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
    times = interleaved(ways)
    peer = times["PyG's GCN"]
    for way in ways:
        print(f"| {name} | {way} | {times[way]:.1f} | {times[way] / peer:.2f} |", flush=True)


def matrix_products(download: bool) -> None:
    """Print the time of the forward and backward pass of Â H, H [N, 64], on Cora and CiteSeer."""
    print("| data | way | ms per product |\n| --- | --- | --- |")
    for name in ("Cora", "CiteSeer"):
        graph = Citations(name, download).graph
        matrix = sparse_adjacency(graph.edge_index, len(graph.y))
        index = EdgeIndex(matrix.rows).fill_cache_()
        h = torch.randn(len(graph.y), 64, requires_grad=True)
        products: dict[str, Callable[[Tensor], Tensor]] = {
            "ours, SparseMatrix": matrix.__matmul__,
            "torch_geometric.EdgeIndex": partial(index.matmul, input_value=matrix.rows.values()),
            "torch.sparse_csr": matrix.rows.__matmul__,
        }
        times = interleaved({way: partial(differentiate, product, h) for way, product in products.items()})
        for way in products:
            print(f"| {name} | {way} | {times[way]:.2f} |", flush=True)


def differentiate(product: Callable[[Tensor], Tensor], h: Tensor) -> None:
    """Run a product forwards and backwards."""
    product(h).sum().backward()


def interleaved(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each function in ms, over rounds that call all of them in random order."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = random.Random(0)
    for _ in range(ROUNDS):
        for way in order.sample(list(ways), len(ways)):
            ways[way]()
            start = time.perf_counter()
            ways[way]()
            times[way].append(1000 * (time.perf_counter() - start))
    return {way: statistics.median(own) for way, own in times.items()}


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
    """Print the number of seeds sampled per second."""
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
        f"{SEEDS / statistics.median(times):,.0f} seeds per second, fan-outs {FAN_OUTS}, {DEGREE * N:,} edges, 1 thread"
    )


def size(out: Path) -> None:
    """Print, save and draw time and memory of a training step against the size of the graph."""
    rows = []
    print("| nodes | edges | way | s per step | memory, MB | resident, MB |\n| --- | --- | --- | --- | --- | --- |")
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
    """Return time and memory of training steps on a random graph of N nodes; the time includes the sampling."""
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
    names = {"edges": "GCN, a message per edge", "sparse": "GCN, CSR", "sampled": f"GraphSAGE, {SEEDS} sampled seeds"}
    for axes, key, label in zip(figure.subplots(1, 2), ("memory", "seconds"), ("MB", "seconds"), strict=True):
        for number, (way, name) in enumerate(names.items()):
            own = [row for row in rows if row["way"] == way]
            style = {"color": colour(number), "marker": marker(number)}
            axes.plot([row["nodes"] for row in own], [row[key] for row in own], label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel=f"{label} per training step")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Run the chosen benchmark; `one` is a single step of `size`, which `size` runs in a process of its own."""
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("epoch", "products", "sampler", "size", "one"))
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/graphs"), help="folder for the results of size"
    )
    parser.add_argument("--nodes", type=int, default=10_000, help="number of nodes, for one")
    parser.add_argument("--way", choices=LARGEST, default="sampled", help="how to train, for one")
    options = parser.parse_args()
    if options.what == "size":
        size(options.out)
    elif options.what == "one":
        print(json.dumps(one(options.nodes, options.way)))
    elif options.what == "epoch":
        epoch(options.download)
    elif options.what == "products":
        matrix_products(options.download)
    else:
        sampler()
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
