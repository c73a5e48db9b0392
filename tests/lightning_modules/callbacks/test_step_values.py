"""Values of steps, read together."""

import torch

from lightning_modules.callbacks.step_values import read


def test_values_keep_their_order_and_every_bit() -> None:
    tensors = [torch.tensor(0.1), torch.tensor(0.1, dtype=torch.float64), torch.tensor(3), torch.tensor(1 / 3)]
    assert read(tensors) == [float(tensor) for tensor in tensors]
    assert all(isinstance(value, float) for value in read(tensors))
    assert read([]) == []
