"""A run from its folder to its report, with data that have validation and test splits."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BinaryPalindrome
from lightning_modules.cli.parser import CONFIGS
from lightning_modules.run_files import curve, read_metrics

Train = Callable[..., tuple[int, str, str]]
RUN = Path("runs/palindrome_lstm/version_0")


class HeldOut(BinaryPalindrome):
    """Palindromes with fixed validation and test splits, which do not exist before `setup`."""

    def setup(self, stage: str) -> None:
        self._fixed = [TensorDataset(*self.make_batch(step_generator(self.seed, rank, 0))) for rank in (1000, 1001)]

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._fixed[0], batch_size=4)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self._fixed[1], batch_size=4)


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setattr("datamodules.toy_tasks.HeldOut", HeldOut, raising=False)
    monkeypatch.setattr(HeldOut, "__module__", "datamodules.toy_tasks")
    return ("--data", "datamodules.toy_tasks.HeldOut", "--trainer.max_steps", "8", "--trainer.val_check_interval", "4",
            "--trainer.check_val_every_n_epoch", "null")  # fmt: skip


def test_validation_keeps_the_best_and_the_test_takes_it(train: Train, held_out: tuple[str, ...]) -> None:
    status, out, err = train(*held_out)
    assert (status, err) == (0, "")
    steps, values = curve(read_metrics(RUN / "metrics.csv"), "val/loss")
    assert steps == [3, 7]
    best = torch.load(RUN / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4 * (1 + min(range(2), key=values.__getitem__))
    summary = json.loads((RUN / "summary.json").read_text())
    assert {"test/loss", "test/accuracy"} <= summary.keys()
    assert "test/accuracy" in out

    status, out, _ = train(*held_out, "--stage", "test", "--ckpt_path", str(RUN / "best.ckpt"))
    assert status == 0
    assert len(list(RUN.parent.iterdir())) == 1, "evaluating makes no run"
    assert str(summary["test/loss"])[:6] in out.replace("\n", "")


def test_continuing_with_validation_equals_an_unbroken_run(train: Train, held_out: tuple[str, ...]) -> None:
    train(*held_out)
    for steps in ("3", "6", "8"):
        words = ("--trainer.max_steps", steps, *(("--ckpt_path", "last") if steps != "3" else ()))
        assert train(*held_out, *words)[0] == 0
    whole, parts = (read_metrics(RUN.parent / f"version_{k}" / "metrics.csv") for k in (0, 1))
    assert curve(parts, "train/loss") == curve(whole, "train/loss")


def test_cpu_time_is_that_of_all_processes(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.callbacks.summary.cpu_seconds", lambda: 10.0)
    train("--trainer.max_steps", "5")
    for steps, expected in (("6", 20.0), ("8", 30.0), ("9", None)):
        if expected is None:  # a checkpoint from before the time was kept
            last = torch.load(RUN / "last.ckpt", weights_only=True)
            del last["callbacks"]["Summary"]
            torch.save(last, RUN / "last.ckpt")
        assert train("--trainer.max_steps", steps, "--ckpt_path", "last")[0] == 0
        assert json.loads((RUN / "summary.json").read_text())["cpu_seconds"] == expected


@pytest.mark.parametrize("limit", ["max_steps", "max_epochs"])
def test_a_run_stopped_after_its_last_step_is_finished(train: Train, limit: str) -> None:
    words = ("--config", "karate_gcn.yaml", f"--trainer.{limit}", "3")
    run = Path("runs/karate_gcn/version_0")
    assert train(*words, small=False)[0] == 0
    rows, summary = (run / "metrics.csv").read_text(), json.loads((run / "summary.json").read_text())
    for made in ("summary.json", "curves.png", "nodes.png"):
        (run / made).unlink()
    status, out, err = train(*words, "--ckpt_path", "last", small=False)
    assert (status, err) == (0, "")
    assert "test/accuracy" in out
    finished = json.loads((run / "summary.json").read_text())
    assert finished.pop("cpu_seconds") > summary.pop("cpu_seconds")
    assert finished == summary | {"steps_per_second": None}
    assert (run / "metrics.csv").read_text() == rows
    assert (run / "curves.png").exists()
    assert (run / "nodes.png").exists()
    status, out, err = train(*words, "--ckpt_path", "last", small=False)
    unit = limit.removeprefix("max_").removesuffix("s")
    more = f"is at {unit} 3 already; to go on, raise --trainer.{limit} (3)"
    assert (status, err) == (2, f"train.py: error: {run / 'last.ckpt'} {more}\n")


def test_a_solved_run_is_not_trained_on(train: Train) -> None:
    words = ("--trainer.max_steps", "9", "--solved.accuracy", "0", "--solved.window", "3", "--solved.stop", "true")
    assert train(*words)[0] == 0
    (RUN / "summary.json").unlink()
    assert train(*words, "--ckpt_path", "last")[0] == 0
    assert json.loads((RUN / "summary.json").read_text())["solved_at"] == 3
    assert train(*words[:-1], "false", "--ckpt_path", "last")[0] == 0
    assert len(read_metrics(RUN / "metrics.csv")) == 9


@pytest.mark.parametrize(
    ("kept", "found"),
    [("", "has 0 of them"), ("h12", "has 2 of them"), ("h1235", "has 4 of them"), ("h21345", "has others")],
)
def test_rows_that_are_missing_are_told(train: Train, kept: str, found: str) -> None:
    assert train("--trainer.max_steps", "5")[0] == 0
    file, last = RUN / "metrics.csv", RUN / "last.ckpt"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[int(number)] for number in kept.replace("h", "0")))
    before = {path: path.read_bytes() for path in RUN.iterdir()}
    status, _, err = train("--trainer.max_steps", "6", "--ckpt_path", "last")
    line = (
        f"{last} continues a metrics.csv of 5 rows, and {file} {found}; put the file back, or give --ckpt_path {last}"
    )
    assert (status, err) == (2, f"train.py: error: {line} to go on in a folder of its own\n")
    assert {path: path.read_bytes() for path in RUN.iterdir()} == before
    assert train("--trainer.max_steps", "6", "--ckpt_path", str(last))[0] == 0
    assert len(read_metrics(RUN.parent / "version_1" / "metrics.csv")) == 1


def best_score(run: Path) -> float:
    states = torch.load(run / "last.ckpt", weights_only=True)["callbacks"]
    (score,) = (state["best_score"] for state in states.values() if "best_score" in state)
    return float(score)


def test_a_moved_run_keeps_its_best(train: Train, held_out: tuple[str, ...]) -> None:
    train(*held_out, "--model.learning_rate", "0.01")
    best, score = (RUN / "best.ckpt").read_bytes(), best_score(RUN)
    _, values = curve(read_metrics(RUN / "metrics.csv"), "val/loss")
    assert score == min(values)
    for way, folder in ((shutil.copytree, "copied"), (shutil.move, "moved")):
        way("runs", f"{folder}/runs")
        os.chdir(folder)
        last = torch.load(RUN / "last.ckpt", weights_only=True)
        for state in last["callbacks"].values():
            if "best_score" in state:
                state["best_score"] -= 1  # so that nothing that comes is better
        torch.save(last, RUN / "last.ckpt")
        words = (*held_out, "--model.learning_rate", "0.01", "--trainer.max_steps", "12", "--ckpt_path", "last")
        status, _, err = train(*words)
        assert (status, err) == (0, "")
        assert len(curve(read_metrics(RUN / "metrics.csv"), "val/loss")[0]) == 3
        assert (RUN / "best.ckpt").read_bytes() == best, "not overwritten with a worse one"
        assert best_score(RUN) == pytest.approx(score - 1)
        os.chdir("..")


def test_a_copied_run_keeps_a_better_one(train: Train, held_out: tuple[str, ...]) -> None:
    words = (*held_out, "--model.learning_rate", "0.01", "--trainer.max_steps")
    train(*words, "4")
    train(*words, "12", "--trainer.default_root_dir", "whole")
    shutil.copytree("runs", "copied/runs")
    os.chdir("copied")
    assert train(*words, "12", "--ckpt_path", "last")[0] == 0
    steps = [torch.load(run / "best.ckpt", weights_only=True)["global_step"] for run in (RUN, Path("../whole") / RUN)]
    assert steps[0] == steps[1]


def test_another_model_checkpoint_does_not_decide_what_is_tested(train: Train, held_out: tuple[str, ...]) -> None:
    own = "--trainer.callbacks+=pytorch_lightning.callbacks.ModelCheckpoint"
    words = (*held_out, "--model.learning_rate", "0.01", own, "--trainer.callbacks.monitor=val/loss")
    status, _, err = train(*words, "--trainer.callbacks.mode=max", "--trainer.callbacks.dirpath=theirs")
    assert (status, err) == (0, "")
    assert any(Path("theirs").iterdir())
    tested = json.loads((RUN / "summary.json").read_text())["test/loss"]
    status, out, _ = train(*held_out, "--stage", "test", "--ckpt_path", str(RUN / "best.ckpt"))
    assert str(tested)[:6] in out.replace("\n", "")
    (worst,) = Path("theirs").iterdir()
    status, out, _ = train(*held_out, "--stage", "test", "--ckpt_path", str(worst))
    assert str(tested)[:6] not in out.replace("\n", "")


def test_a_run_that_was_stopped_early_stays_stopped(train: Train) -> None:
    run, early = Path("runs/karate_gcn/version_0"), "--trainer.callbacks"
    words = ["--config", "karate_gcn.yaml", f"{early}+=pytorch_lightning.callbacks.EarlyStopping"]
    words += [f"{early}.monitor=val/loss", f"{early}.patience=2", f"{early}.min_delta=9", "--trainer.max_epochs"]
    assert train(*words, "20", small=False)[0] == 0
    rows, summary = (run / "metrics.csv").read_text(), json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 3
    for epochs in ("20", "30"):
        status, _, err = train(*words, epochs, "--ckpt_path", "last", small=False)
        line = f"{run}/last.ckpt was ended by EarlyStopping at step 3; to go on, take it out of trainer.callbacks and"
        assert (status, err) == (2, f"train.py: error: {line} give --ckpt_path {run}/last.ckpt\n")
    (run / "summary.json").unlink()  # as when it was killed after its last step
    status, _, err = train(*words, "20", "--ckpt_path", "last", small=False)
    assert (status, err) == (0, "")
    assert (run / "metrics.csv").read_text() == rows, "nothing was trained"
    finished = json.loads((run / "summary.json").read_text())
    assert finished.pop("cpu_seconds") > summary.pop("cpu_seconds")
    assert finished == summary | {"steps_per_second": None}
    words = ["--config", "karate_gcn.yaml", "--trainer.max_epochs", "5", "--ckpt_path", str(run / "last.ckpt")]
    assert train(*words, small=False)[0] == 0
    assert curve(read_metrics(run.parent / "version_1" / "metrics.csv"), "train/loss")[0] == [3, 4]


def test_stage_test_needs_a_test_split(train: Train) -> None:
    train("--trainer.max_steps", "1")
    status, _, err = train("--stage", "test", "--ckpt_path", str(RUN / "last.ckpt"))
    assert status == 2
    assert err == "train.py: error: BinaryPalindrome has no test split; --stage fit trains\n"


def test_the_run_folder_goes_under_default_root_dir(train: Train) -> None:
    train("--trainer.max_steps", "1", "--trainer.default_root_dir", "elsewhere")
    assert (Path("elsewhere") / RUN / "last.ckpt").exists()


def test_the_readmes_new_cell_trains(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (CONFIGS.parent / "README.md").read_text()
    code = re.search(r"```python\n(import torch\nfrom torch.nn.functional.*?)```", readme, re.DOTALL)
    (tmp_path / "leaky.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    status, _, err = train("--trainer.max_steps", "2", "--model.network.layer", "leaky.Leaky")
    assert (status, err) == (0, "")
    assert read_metrics(RUN / "metrics.csv")[1]["train/loss"] > 0


def test_the_progress_line_can_be_turned_off(train: Train) -> None:
    status, out, err = train("--trainer.enable_progress_bar", "false", "--trainer.max_steps", "30")
    assert (status, err) == (0, "")
    assert "step " not in out.split("accuracy")[0]
    assert (RUN / "last.ckpt").exists()
