"""When a task counts as solved."""

from types import SimpleNamespace

from lightning_modules.callbacks.solved import Solved


def feed(solved: Solved, accuracies: list[float], first: int = 1) -> SimpleNamespace:
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_should_accumulate=lambda: False))
    trainer = SimpleNamespace(callback_metrics={}, global_step=0, should_stop=False, fit_loop=loop)
    for step, accuracy in enumerate(accuracies, first):
        trainer.callback_metrics["train/accuracy"], trainer.global_step = accuracy, step
        solved.on_train_batch_end(trainer, None, None, None, 0)
    return trainer


def test_the_window_must_be_full_and_its_mean_reach_the_bar() -> None:
    solved = Solved(accuracy=0.9, window=3)
    trainer = feed(solved, [1.0, 1.0, 0.5, 1.0, 1.0, 0.8, 1.0])
    assert solved.iteration == 6
    assert not trainer.should_stop


def test_it_can_stop_the_run() -> None:
    assert feed(Solved(1.0, 2, stop=True), [1.0, 1.0]).should_stop


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
