"""Evaluate a network in the middle of its training, or at its end."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Run a block without dropout in a module and without gradient; then the module is in its former mode again."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)
