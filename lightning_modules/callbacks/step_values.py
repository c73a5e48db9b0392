"""Values of training steps that stay on the device until many steps are read at once."""

from collections.abc import Iterable

import torch
from torch import Tensor


def read(tensors: Iterable[Tensor]) -> list[float]:
    """Return tensors of one value each as floats.

    Reading a value waits until the device has computed it. Tensors of one device and dtype are read together, so the
    host waits once, not once for each value.
    """
    tensors = list(tensors)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(place)
    values = [0.0] * len(tensors)
    for places in groups.values():
        for place, value in zip(places, torch.stack([tensors[place] for place in places]).tolist(), strict=True):
            values[place] = float(value)
    return values
