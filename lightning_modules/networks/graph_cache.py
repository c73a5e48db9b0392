"""The one cache of what networks compute from a graph, such as its normalised adjacency matrix.

A result is kept as long as the graph's tensor lives and no argument changes. Training calls a network with the same
tensors at every step, so each matrix is computed once and shared by all layers and networks. The networks themselves
hold nothing of a graph: they can be copied, pickled and moved to another device at any time.

torch_geometric.EdgeIndex cannot replace this cache: it keeps the order of the edges, but not their weights or sparse
features, and does not notice changes in place.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

R = TypeVar("R")


class _Kept(NamedTuple):
    tensors: tuple[Tensor, ...]  # all tensor arguments but the first
    versions: list[int]  # of all tensor arguments; torch counts each change in place
    result: Any


_cache = WeakTensorKeyDictionary()  # first tensor → {(function, its plain arguments): _Kept}


def once_per_graph(function: Callable[..., R], *arguments: Any) -> R:
    """Return `function(*arguments)`, computed only if the arguments differ from those of the last call.

    If a tensor argument requires a gradient, nothing is kept, so that the gradient reaches it.

    Args:
        function: a module-level function. Its result must not contain the first tensor, which would keep both alive.
        arguments: its positional arguments: tensors, compared by identity and by changes in place, and hashable values.
            The first tensor stands for the graph: the result is freed with it.
    """
    first, *others = tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return function(*arguments)
    results: dict[Any, _Kept] = _cache.setdefault(first, {})
    key = (function, *(Tensor if isinstance(argument, Tensor) else argument for argument in arguments))
    versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    kept = results.get(key)
    if kept is None or kept.versions != versions or any(a is not b for a, b in zip(kept.tensors, others, strict=True)):
        # A tensor made in inference mode could not be used in training, nor one with autograd's graph twice.
        with torch.inference_mode(False), torch.no_grad():
            kept = results[key] = _Kept(tuple(others), versions, function(*arguments))
    return kept.result
