"""See that a layer which a config names is one that a network can run."""

from torch import nn


def check_recurrent(layer: object, network: nn.Module) -> None:
    """Refuse what is no recurrent layer of `kernels` and has not its interface.

    Raises:
        ValueError: naming the layer, and what would do.
    """
    if not hasattr(layer, "forward_ids"):
        kind = type(layer)
        raise ValueError(
            f"layer: {type(network).__name__} cannot run {kind.__module__}.{kind.__qualname__}, which has no "
            "forward_ids; take a layer of kernels, such as kernels.LSTM, which loads the weights of torch.nn.LSTM"
        )
