"""When a task counts as solved."""

import random
from types import SimpleNamespace

import pytest
import torch

from lightning_modules.callbacks.solved import Solved
from lightning_modules.callbacks.step_values import read


def feed(solved: Solved, accuracies: list[float], first: int = 1) -> SimpleNamespace:
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_should_accumulate=lambda: False, max_steps=100))
    trainer = SimpleNamespace(callback_metrics={}, global_step=0, fit_loop=loop, world_size=1)
    for step, accuracy in enumerate(accuracies, first):
        trainer.callback_metrics["train/accuracy"], trainer.global_step = torch.tensor(accuracy), step
        solved.on_train_batch_end(trainer, None, None, None, 0)
    return trainer


def test_the_window_must_be_full_and_its_mean_reach_the_bar() -> None:
    solved = Solved(accuracy=0.9, window=3)
    trainer = feed(solved, [1.0, 1.0, 0.5, 1.0, 1.0, 0.8, 1.0])
    assert solved.iteration == 6
    assert trainer.fit_loop.epoch_loop.max_steps == 100


def test_accuracies_are_read_late_and_the_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, reads = random.Random(1), []
    monkeypatch.setattr("lightning_modules.callbacks.solved.read", lambda values: reads.append(1) or read(values))
    for _ in range(50):
        window, threshold = draw.randint(1, 8), draw.choice([0.75, 0.9, 1.0])
        accuracies = [draw.choice([0.5, 0.75, 1.0, 1.0, 1.0]) for _ in range(60)]
        means = {end: sum(accuracies[end - window : end]) / window for end in range(window, 61)}
        expected = next((end for end, mean in means.items() if mean >= threshold), None)
        solved = Solved(threshold, window)
        feed(solved, accuracies)
        assert solved.iteration == expected
    reads.clear()
    solved = Solved(1.0, 20)
    feed(solved, [0.5] * 100)
    assert len(reads) == 5


def test_it_can_stop_the_run() -> None:
    assert feed(Solved(1.0, 2, stop=True), [1.0, 1.0]).fit_loop.epoch_loop.max_steps == 2


def test_a_solved_run_that_had_to_stop_trains_no_further() -> None:
    solved = Solved(1.0, 2, stop=True)
    solved.load_state_dict({"iteration": 7, "recent": [1.0, 1.0]})
    trainer = feed(solved, [])
    solved.on_fit_start(trainer, None)
    assert trainer.fit_loop.epoch_loop.max_steps == 7


def test_several_processes_stop_together() -> None:
    """Each has its own batches; one that is right alone must not leave the others waiting."""
    solved, trainer = Solved(1.0, 1, stop=True), feed(Solved(), [])
    means = iter(torch.tensor([0.75, 1.0]))
    trainer.world_size, trainer.strategy = 2, SimpleNamespace(reduce=lambda accuracy, reduce_op: next(means))
    trainer.callback_metrics["train/accuracy"] = torch.tensor(1.0)
    for trainer.global_step in (1, 2):
        solved.on_train_batch_end(trainer, SimpleNamespace(device="cpu"), None, None, 0)
    assert solved.iteration == trainer.fit_loop.epoch_loop.max_steps == 2


def test_state_goes_on() -> None:
    first, second = Solved(1.0, 3), Solved(1.0, 3)
    feed(first, [1.0, 1.0])
    second.load_state_dict(first.state_dict())
    feed(second, [1.0], first=3)
    assert second.iteration == 3


def test_without_an_accuracy_nothing_happens() -> None:
    solved = Solved()
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_should_accumulate=lambda: False))
    solved.on_train_batch_end(SimpleNamespace(callback_metrics={}, fit_loop=loop), None, None, None, 0)
    assert solved.iteration is None
