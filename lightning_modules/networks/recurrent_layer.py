"""What the networks ask of a recurrent layer: whether they can run it, and how wide its outputs are."""

import torch
from torch import nn


def check_recurrent(layer: object, network: nn.Module) -> None:
    """Check that a layer has the interface of the recurrent layers in `kernels`.

    Raises:
        ValueError: if it has no `forward_ids`, wants the batch first, or has weights of another dtype than the network.
    """
    if not hasattr(layer, "forward_ids"):
        kind = type(layer)
        raise ValueError(
            f"layer: {type(network).__name__} cannot run {kind.__module__}.{kind.__qualname__}, which has no "
            "forward_ids; use a layer of kernels, such as kernels.LSTM, which loads the weights of torch.nn.LSTM"
        )
    if getattr(layer, "batch_first", False):
        raise ValueError(f"layer: {type(network).__name__} gives it tokens [T, B]; batch_first must be false")
    dtypes = {weight.dtype for weight in layer.parameters()} if isinstance(layer, nn.Module) else set()
    if dtypes - {torch.get_default_dtype()}:
        raise ValueError("layer: its dtype must be that of the network, float32; --trainer.precision sets another one")


def output_width(layer: object, hidden_size: int) -> int:
    """Return the width of a recurrent layer's outputs, with both directions side by side if it has two.

    Args:
        layer: the layer. `proj_size`, if it has that and it is not 0, is the width of its outputs in each direction.
        hidden_size: otherwise this is the width.
    """
    directions = 2 if getattr(layer, "bidirectional", False) else 1
    return directions * (getattr(layer, "proj_size", 0) or hidden_size)
