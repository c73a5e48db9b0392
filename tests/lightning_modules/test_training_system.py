"""What the training systems share: figures of a step whose gradient is accumulated over several batches."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batches import GraphBatch
from lightning_modules.callbacks.metrics_csv import MetricsCSV
from lightning_modules.callbacks.step_callback import StepCallback
from lightning_modules.cli.quiet import quiet
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.graph_property import GraphProperty
from lightning_modules.run_files import curve, read_metrics
from lightning_modules.training_system import Split, TrainingSystem

Train = Callable[..., tuple[int, str, str]]
MUTAG = Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TUDataset" / "MUTAG" / "raw"
PARTS = ["--trainer.accelerator", "cpu", "--trainer.max_steps", "4", "--trainer.accumulate_grad_batches", "3"]
CASES = {
    "palindrome_lstm": ["--data.batch_size", "8", "--data.length", "2", "--model.network.hidden_size", "8"],
    "book_lstm": ["--data.book", "null", "--data.batch_size", "4", "--model.network.hidden_size", "8"],
    "karate_gcn": [],
    "knowledge_graph": ["--data.path", ".", "--data.batch_size", "2"],
    "molecules": ["--data.name", "MUTAG"],
}


@pytest.mark.parametrize("config", CASES)
def test_a_step_is_logged_as_the_mean_of_its_parts(train: Train, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if config == "molecules" and not MUTAG.is_dir():
        pytest.skip("MUTAG's files are not here")
    for name, shift in {"train": 1, "valid": 2, "test": 3}.items():
        Path(f"{name}.txt").write_text("".join(f"{a}\tknows\t{(a + shift) % 7}\n" for a in range(7)))
    figures: dict[str, list[float]] = {}
    steps: list[int] = []  # of each figure of the loss
    whole = TrainingSystem.log_mean

    def listen(self: TrainingSystem, split: Split, name: str, values: Tensor, weights: Tensor | int = 1) -> None:
        if split == "train" and name in ("loss", "accuracy"):
            figures.setdefault(f"train/{name}", []).append(float(values.detach().mean()))
            if name == "loss":
                steps.append(self.trainer.global_step)
        whole(self, split, name, values, weights)

    monkeypatch.setattr(TrainingSystem, "log_mean", listen)
    status, _, err = train("--config", f"{config}.yaml", *CASES[config], *PARTS, small=False)
    assert (status, err) == (0, "")
    rows = read_metrics(Path("runs") / config / "version_0" / "metrics.csv")
    assert figures.keys() == {tag for tag in rows[0] if tag in ("train/loss", "train/accuracy")}
    for tag, values in figures.items():
        assert len(values) == len(steps)
        means = [
            sum(value for value, at in zip(values, steps, strict=True) if at == step) / steps.count(step)
            for step in range(4)
        ]
        assert curve(rows, tag) == (list(range(4)), pytest.approx(means, rel=1e-6)), tag
    # An epoch ends with a step: of one batch it is a step of one part, of others the last step may have fewer parts.
    assert len(steps) == {"karate_gcn": 4, "palindrome_lstm": 12, "book_lstm": 12}.get(config, len(steps)) >= 4


class Offsets(nn.Module):
    """A quantity that is wrong by what is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return x + self.offset


def test_rmse_is_the_root_of_the_mean_over_all_parts(tmp_path: Path) -> None:
    def graphs(errors: list[float]) -> Any:
        none, B = torch.zeros(2, 0).long(), len(errors)
        return GraphBatch(torch.tensor(errors)[:, None], none, torch.ones(0, 1), torch.arange(B), B, torch.zeros(B))

    trainer = Trainer(
        max_steps=1, accumulate_grad_batches=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    batches = [graphs([1.0, 3.0]), graphs([5.0, 7.0])]
    quiet()
    trainer.fit(GraphProperty(Offsets(), target_mean=0.0, target_std=1.0), DataLoader(batches, batch_size=None))
    assert float(trainer.callback_metrics["train/rmse"]) == pytest.approx(((1 + 9 + 25 + 49) / 4) ** 0.5)
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx((1 + 9 + 25 + 49) / 4)


@pytest.mark.parametrize("every", [1, 3])
def test_a_trainer_of_lightnings_own_logs_the_same_values(tmp_path: Path, train: Train, every: int) -> None:
    class Rows(StepCallback):
        def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            rows.append({tag: float(value) for tag, value in trainer.callback_metrics.items()})

    rows: list[dict[str, float]] = []
    words = ["--trainer.max_steps", "3", "--trainer.gradient_clip_val", "0.01"]
    assert train(*words, "--trainer.accumulate_grad_batches", str(every))[0] == 0
    cli = TrainCLI(["--config", "runs/palindrome_lstm/version_0/config.yaml"])
    cli.build()
    trainer = Trainer(
        max_steps=3, accumulate_grad_batches=every, logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Rows()], gradient_clip_val=0.01,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(cli.model, cli.datamodule)
    written = read_metrics(Path("runs/palindrome_lstm/version_0/metrics.csv"))
    assert written == [{"step": step, **row} for step, row in enumerate(rows)]


class Weight(TrainingSystem):
    """Logs its only weight, which the optimizer changes in place."""

    def step(self, batch: Tensor, split: Split) -> Tensor:
        weight = next(self.network.parameters())
        self.log_mean(split, "weight", weight)
        return weight * batch.sum()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.5)


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return x


def one_weight(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    quiet()
    return Trainer(
        max_epochs=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=folder, callbacks=[*callbacks], **{"logger": False, **options},
    )  # fmt: skip


def test_a_value_is_that_of_its_step_although_it_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MetricsCSV, "PERIOD", 1000.0)
    trainer = one_weight(tmp_path, MetricsCSV(tmp_path / "metrics.csv"))
    trainer.fit(Weight(Scalar()), DataLoader(torch.ones(4, 1)))
    assert curve(read_metrics(tmp_path / "metrics.csv"), "train/weight") == ([0, 1, 2, 3], [0, -0.5, -1, -1.5])


def test_another_trainer_without_metrics_csv_logs_the_values_itself(tmp_path: Path) -> None:
    system, batches = Weight(Scalar()), DataLoader(torch.ones(4, 1))
    one_weight(tmp_path, MetricsCSV(tmp_path / "metrics.csv")).fit(system, batches)
    trainer = one_weight(tmp_path)
    trainer.fit(system, batches)
    assert float(trainer.logged_metrics["train/weight"]) == -3.5


def test_rows_end_and_the_file_closes_where_the_device_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(values: Any) -> None:
        raise RuntimeError("the device failed")

    monkeypatch.setattr("lightning_modules.callbacks.metrics_csv.read", fail)
    callback = MetricsCSV(tmp_path / "metrics.csv")
    with pytest.raises(RuntimeError, match="the device failed"):
        one_weight(tmp_path, callback).fit(Weight(Scalar()), DataLoader(torch.ones(4, 1)))
    assert callback._file is None


def test_gradients_that_are_still_scaled_are_not_clipped(tmp_path: Path) -> None:
    class Scaled(MixedPrecision):
        def __init__(self) -> None:
            super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu"))

    trainer = one_weight(tmp_path, plugins=[Scaled()], gradient_clip_val=1.0)
    system = Weight(Scalar())
    system.configure_optimizers = lambda: torch.optim.Adam(system.parameters(), fused=True)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="does not allow for gradient clipping"):
        trainer.fit(system, DataLoader(torch.ones(4, 1)))


def test_a_run_of_several_parts_a_step_goes_on_exactly(train: Train) -> None:
    words = ("--trainer.accumulate_grad_batches", "3", "--model.network.dropout", "0.5", "--trainer.max_steps")
    train(*words, "7", "--trainer.default_root_dir", "whole")
    train(*words, "3")
    assert train(*words, "7", "--ckpt_path", "last")[0] == 0
    runs = Path("runs/palindrome_lstm/version_0/metrics.csv")
    assert runs.read_text() == ("whole" / runs).read_text()
    assert len(read_metrics(runs)) == 7
