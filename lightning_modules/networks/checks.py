"""Checks of a network's arguments, which raise ValueError with one line that the command line shows."""

from torch import Tensor, nn


def require(network: nn.Module, **values: object) -> None:
    """Check that the data module has defined the values that a network takes from it, such as num_classes.

    Raises:
        ValueError: if one is None, 0 or empty.
    """
    if missing := [name for name, value in values.items() if not value]:
        raise ValueError(
            f"{type(network).__name__} needs {' and '.join(missing)}, which the data module does not define"
        )


def check_edges(edge_index: Tensor, N: int) -> None:
    """Check that edges [2, E] join nodes 0 to N − 1. Sparse matrices do not check this.

    Raises:
        ValueError: if the shape or dtype is wrong, or a node does not exist.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise ValueError(f"edge_index must be integers [2, E], got {edge_index.dtype} {[*edge_index.shape]}")
    if edge_index.numel():
        least, greatest = map(int, edge_index.aminmax())
        if least < 0 or greatest >= N:
            raise ValueError(f"edges must join nodes 0..{N - 1}, got {least if least < 0 else greatest}")
