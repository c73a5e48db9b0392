"""The random number generators in a checkpoint."""

import random

import numpy as np
import torch

from lightning_modules.callbacks.checkpoints import restore_rng_states, rng_states


def draw() -> tuple[float, ...]:
    return (torch.rand(()).item(), np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1))


def test_generators_go_on_where_they_were() -> None:
    torch.manual_seed(1)
    np.random.seed(2)
    random.seed(3)
    draw()  # leaves a second normal number waiting in both numpy's and Python's generator
    saved = {name: state[None] for name, state in rng_states().items()}
    expected = [draw() for _ in range(3)]
    torch.manual_seed(9)
    draw()
    restore_rng_states(saved, rank=0)
    assert [draw() for _ in range(3)] == expected


def test_a_further_process_takes_its_own_state() -> None:
    torch.manual_seed(1)
    first = rng_states()
    torch.manual_seed(2)
    saved = {name: torch.stack([first[name], state]) for name, state in rng_states().items()}
    expected = torch.rand(())
    restore_rng_states(saved, rank=1)
    assert torch.rand(()) == expected


def test_a_process_that_the_saved_run_did_not_have_keeps_its_seed() -> None:
    saved = {name: state[None] for name, state in rng_states().items()}
    torch.manual_seed(5)
    restore_rng_states(saved, rank=1)
    after = torch.rand(())
    torch.manual_seed(5)
    assert torch.rand(()) == after
