"""Checks of a graph before a network is trained on its nodes. Legend: N nodes, E edges, F features."""

import copy

import torch
from torch import Tensor
from torch_geometric.data import Data

from datamodules.errors import DataError


def to_usual_types(graph: Data) -> Data:
    """Return a copy of a graph with x as float32, edge_index and y as int64.

    Raises:
        DataError: if a part is not a tensor, or has complex numbers.
    """
    graph = copy.copy(graph)
    for name, dtype in (("x", torch.float32), ("edge_index", torch.int64), ("y", torch.int64)):
        part = getattr(graph, name, None)
        if part is None:
            continue  # check_graph names it
        if not isinstance(part, Tensor):
            raise DataError(f"{name} must be a tensor, got {type(part).__name__}")
        if part.is_complex():
            raise DataError(f"{name} must be real numbers, got {part.dtype}")
        if dtype.is_floating_point or not part.is_floating_point():  # check_graph refuses classes 0.5
            graph[name] = part.to(dtype)
    return graph


def check_graph(graph: Data) -> None:
    """Raise an error if a network could not learn from a graph.

    Raises:
        DataError: if a part is missing or has a wrong shape, or if there are no edges, an edge to a missing node, a
            feature that is not finite, a split without nodes, a node in two splits, or a class without a training node.
    """
    missing = [
        name
        for name in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask")
        if getattr(graph, name, None) is None
    ]
    if missing:
        raise DataError(f"the graph lacks {', '.join(missing)}")
    N = graph.y.shape[0]
    if graph.y.dim() != 1 or graph.y.is_floating_point():
        raise DataError(f"classes must be whole numbers [N], got {graph.y.dtype} {list(graph.y.shape)}")
    if graph.x.dim() != 2 or graph.x.shape[0] != N or graph.x.layout not in (torch.strided, torch.sparse_csr):
        raise DataError(
            f"features must be [{N}, F], dense or torch.sparse_csr, got {list(graph.x.shape)}, {graph.x.layout}"
        )
    if graph.edge_index.dtype != torch.int64 or graph.edge_index.dim() != 2 or graph.edge_index.shape[0] != 2:
        turned = "; .T turns it" if graph.edge_index.dim() == 2 and graph.edge_index.shape[1] == 2 else ""
        found = f"{graph.edge_index.dtype} {list(graph.edge_index.shape)}"
        raise DataError(f"edges must be int64 [2, E], got {found}{turned}")
    if graph.edge_index.numel() == 0:
        raise DataError("the graph has no edges")
    least, greatest = int(graph.edge_index.min()), int(graph.edge_index.max())
    if least < 0 or greatest >= N:
        raise DataError(f"edges must join nodes 0..{N - 1}, got {least if least < 0 else greatest}")
    values = graph.x.values() if graph.x.layout == torch.sparse_csr else graph.x
    if not torch.isfinite(values).all():
        raise DataError("the graph has features that are not finite numbers")
    masks = {split: graph[f"{split}_mask"] for split in ("train", "val", "test")}
    for split, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.shape != (N,) or mask.dtype != torch.bool:
            found = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise DataError(
                f"{split}_mask must be bool [{N}], True at the nodes of the split, got {found}; numbers of nodes "
                f"become one by torch.isin(torch.arange({N}), numbers)"
            )
        if not mask.any():
            raise DataError(f"the graph has no node in its {split} split")
    twice = torch.stack(list(masks.values())).sum(0) > 1
    if twice.any():
        raise DataError(f"node {int(twice.nonzero()[0])} is in two splits")
    if int(graph.y.min()) < 0:
        raise DataError(f"classes are numbered from 0, got {int(graph.y.min())}")
    never = set(range(int(graph.y.max()) + 1)) - set(graph.y[graph.train_mask].tolist())
    if never:
        raise DataError(f"no training node is of class {', '.join(map(str, sorted(never)))}; each class needs one")
