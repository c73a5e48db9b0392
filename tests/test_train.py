"""train.py as a person runs it: what a run leaves, how it continues, and how it ends when it must."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_experiment_plugin_data

from lightning_modules.cli.settings import parse_settings
from lightning_modules.run_files import curve, read_metrics
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]
RUNS = Path("runs/palindrome_lstm")


def losses(run: Path) -> tuple[list[int], list[float]]:
    return curve(read_metrics(run / "metrics.csv"), "train/loss")


def scalars(run: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(run))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def test_what_a_run_leaves(train: Train) -> None:
    status, out, err = train("--trainer.max_steps", "12")
    assert (status, err) == (0, "")
    run = RUNS / "version_0"
    names = {path.name for path in run.iterdir() if not path.name.startswith("events")}
    assert names == {"config.yaml", "curves.png", "last.ckpt", "metrics.csv", "summary.json"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    steps, values = losses(run)
    assert steps == list(range(12))
    assert scalars(run, "train/loss") == pytest.approx(dict(zip(steps, values, strict=True)))
    for tag in ("train/accuracy", "weight_update/gradient_norm", "weight_update/learning_rate"):
        assert len(scalars(run, tag)) == 12
    for tag in ("train/gradient_norm", "learning_rate"):
        assert len(curve(read_metrics(run / "metrics.csv"), tag)[0]) == 12
    summary = json.loads((run / "summary.json").read_text())
    accuracy = curve(read_metrics(run / "metrics.csv"), "train/accuracy")[1]
    assert summary["accuracy"] == pytest.approx(sum(accuracy) / 12)
    assert summary["steps"] == summary["iterations"] == 12
    assert summary["environment"]["device"] == "cpu"
    for shown in (
        "over the last 12 iterations",
        "not yet",
        "steps/s",
        "curves.png",
        "last.ckpt",
        "tensorboard --logdir runs",
    ):
        assert shown in out
    assert "Tip" not in out
    assert "Warning" not in out


def test_help_is_a_screen_of_options_that_work(start: Start) -> None:
    """It comes without torch, whose import takes seconds."""
    process = start("--help", prefix=("env", "PYTHONPROFILEIMPORTTIME=1"), small=False)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "lightning_modules" in err
    assert not re.search(r"\b(torch|pytorch_lightning|numpy)\b", err)
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    options = [line for line in lines if line.startswith("--") and not line.startswith(("--config", "--help"))]
    words = [word for line in options for word in re.split("  +", line)[0].split() if word != "--print_config"]
    _, settings = parse_settings(["--config", "palindrome_lstm.yaml", *words])
    assert settings["trainer"]["max_steps"] == 500
    assert settings["model"]["init_args"]["network"]["init_args"]["layer"]["class_path"] == "kernels.GRU"


def test_help_all_has_every_option(start: Start) -> None:
    out, _ = start("--help", "all", small=False).communicate(timeout=120)
    assert "--trainer.accumulate_grad_batches" in out
    assert "--checkpoints.every_n_steps" in out


def test_tensorboard_opens_with_accuracy_and_loss(train: Train) -> None:
    """It opens the first two groups of tags in the alphabet; a tag with one value is a lone dot in its own card."""
    assert train("--config", "karate_gcn.yaml", "--trainer.max_epochs", "3", small=False)[0] == 0
    assert train("--trainer.max_steps", "3")[0] == 0
    graph, stream = (EventAccumulator(f"runs/{name}/version_0").Reload() for name in ("karate_gcn", "palindrome_lstm"))
    update = ["weight_update/gradient_norm", "weight_update/learning_rate"]
    assert sorted(stream.Tags()["scalars"]) == ["train/accuracy", "train/loss", *update]
    tags = ["train/accuracy", "train/loss", "val/accuracy", "val/loss", *update]
    assert sorted(graph.Tags()["scalars"] + graph.Tags()["images"]) == [*tags[:4], "views/nodes", *update]
    assert {len(graph.Scalars(tag)) for tag in tags} == {3}
    metrics = []
    for events in (graph, stream):
        content = events.PluginTagToContent("hparams")["_hparams_/experiment"]
        metrics += [info.name.tag for info in parse_experiment_plugin_data(content).metric_infos]
    assert metrics == ["val/accuracy", "train/accuracy"], "HParams shows curves"
    (text,) = (bytes(event.tensor_proto.string_val[0]).decode() for event in graph.Tensors("summary/text_summary"))
    summary = json.loads(Path("runs/karate_gcn/version_0/summary.json").read_text())
    assert f"| test/accuracy | {summary['test/accuracy']:.4f} |" in text


def test_a_runs_config_repeats_it(train: Train) -> None:
    train("--trainer.max_steps", "4", "--data.length", "4")
    stored = str(RUNS / "version_0" / "config.yaml")
    assert train("--config", stored, small=False)[0] == 0
    assert losses(Path("runs/config/version_0")) == losses(RUNS / "version_0")


def test_a_continued_runs_config_makes_a_fresh_run(train: Train) -> None:
    train("--trainer.max_steps", "2")
    train("--trainer.max_steps", "4", "--ckpt_path", "last")
    assert train("--config", str(RUNS / "version_0" / "config.yaml"), small=False)[0] == 0
    assert losses(Path("runs/config/version_0")) == losses(RUNS / "version_0")
    assert losses(Path("runs/config/version_0"))[0] == [0, 1, 2, 3], "from the first step on"


def test_printed_settings_make_the_same_run(train: Train) -> None:
    train("--trainer.max_steps", "3", "--seed_everything", "7")
    status, printed, _ = train("--trainer.max_steps", "3", "--seed_everything", "7", "--print_config")
    assert status == 0
    Path("mine.yaml").write_text(printed)
    assert train("--config", "mine.yaml", small=False)[0] == 0
    assert losses(Path("runs/mine/version_0")) == losses(RUNS / "version_0")


def test_seeds(train: Train) -> None:
    for seed in ("1", "1", "2"):
        train("--trainer.max_steps", "3", "--seed_everything", seed)
    first, again, other = (losses(RUNS / f"version_{k}") for k in range(3))
    assert first == again
    assert first != other


def test_checkpoint_holds_what_exact_continuation_needs(train: Train) -> None:
    train("--trainer.max_steps", "3")
    checkpoint = torch.load(RUNS / "version_0" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] == 3
    assert {"torch", "numpy", "python"} <= checkpoint["rng_states"].keys()
    assert all(isinstance(state, torch.Tensor) for state in checkpoint["rng_states"].values())
    network = checkpoint["hyper_parameters"]["network"]["init_args"]
    assert (network["vocab_size"], network["hidden_size"]) == (3, 8), (
        "a checkpoint alone suffices to rebuild the network"
    )


DROPOUT = ("--model.network.dropout", "0.5", "--checkpoints.every_n_steps", "5")


def test_continuing_equals_an_unbroken_run(train: Train) -> None:
    train("--trainer.max_steps", "11", *DROPOUT)
    train("--trainer.max_steps", "4", *DROPOUT)
    status, out, err = train("--trainer.max_steps", "11", *DROPOUT, "--ckpt_path", "last")
    assert (status, err) == (0, "")
    assert "from step 4" in out
    assert "version_1" in out, "the newest run goes on, in its own folder"
    assert losses(RUNS / "version_1") == losses(RUNS / "version_0")
    assert (RUNS / "version_1" / "metrics.csv").read_text() == (RUNS / "version_0" / "metrics.csv").read_text()
    assert scalars(RUNS / "version_1", "train/loss") == scalars(RUNS / "version_0", "train/loss")
    first, second = (torch.load(RUNS / f"version_{k}" / "last.ckpt", weights_only=True) for k in (0, 1))
    for name, weight in first["state_dict"].items():
        assert torch.equal(weight, second["state_dict"][name]), name


def test_continuing_from_a_path_starts_a_folder_of_its_own(train: Train) -> None:
    train("--trainer.max_steps", "3")
    status, _, _ = train("--trainer.max_steps", "5", "--ckpt_path", str(RUNS / "version_0" / "last.ckpt"))
    assert status == 0
    assert losses(RUNS / "version_1")[0] == [3, 4]


def test_continuing_a_finished_run_changes_nothing(train: Train) -> None:
    train("--trainer.max_steps", "3")
    before = {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()}
    for steps in ("3", "2"):
        status, _, err = train("--trainer.max_steps", steps, "--ckpt_path", "last")
        assert status == 2
        assert f"is at step 3 already; to go on, raise --trainer.max_steps ({steps})" in err
    assert {path: path.read_bytes() for path in (RUNS / "version_0").iterdir()} == before


def test_last_needs_the_same_config(train: Train) -> None:
    status, _, err = train("--ckpt_path", "last")
    assert status == 2
    assert "there is no run in runs/palindrome_lstm" in err
    train("--trainer.max_steps", "2")
    status, _, err = train("--trainer.max_steps", "4", "--data.length", "6", "--ckpt_path", "last")
    assert status == 2
    assert "version_0 has another config: data.length (2, here 6)" in err
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]


@refusals(
    {
        "--ckpt_path none.ckpt": "there is no checkpoint none.ckpt",
        "--ckpt_path mine.ckpt": "mine.ckpt is not a checkpoint",
        "--ckpt_path ''": "--ckpt_path names no file: ''",
        "--stage test": "--stage test needs the checkpoint to evaluate",
    }
)
def test_checkpoints_that_are_none(refused: Callable[..., str], words: list[str], message: str) -> None:
    Path("mine.ckpt").write_text("hello")
    assert message in refused(*words)


def test_a_checkpoint_of_another_network(train: Train) -> None:
    train("--trainer.max_steps", "2", "--model.network.hidden_size", "9")
    checkpoint = str(RUNS / "version_0" / "last.ckpt")
    status, _, err = train("--ckpt_path", checkpoint)
    assert status == 2
    assert "belongs to another model" in err
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]


def test_hostile_strings_in_a_checkpoint_run_nothing(train: Train) -> None:
    train("--trainer.max_steps", "2")
    path = RUNS / "version_0" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"] |= {"_class_path": "antigravity.x", "_instantiator": "os.abort"}
    torch.save(checkpoint, path)
    assert train("--trainer.max_steps", "3", "--ckpt_path", str(path))[0] == 0
    checkpoint["loops"] = {"fit_loop": {"nonsense": 1}}
    checkpoint["optimizer_states"] = [3]
    torch.save(checkpoint, path)
    status, _, err = train("--trainer.max_steps", "4", "--ckpt_path", str(path))
    assert status != 0
    assert "cannot be continued" in err
    assert err.count("\n") == 1
    left = sorted(str(path.relative_to(RUNS)) for path in RUNS.rglob("*") if "version_2" in str(path))
    assert left == [], "a refused run leaves no folder"


def test_a_file_in_place_of_runs(train: Train) -> None:
    Path("runs").touch()
    status, _, err = train("--trainer.max_steps", "2")
    assert status == 2
    assert err == "train.py: error: runs must be a folder for the runs, and a file is in its place\n"
    Path("runs").unlink()
    RUNS.parent.mkdir()
    RUNS.touch()
    for words in ([], ["--ckpt_path", "last"]):
        status, _, err = train("--trainer.max_steps", "2", *words)
        assert (status, err.count("\n")) == (2, 1)
        assert "runs/palindrome_lstm must be a folder for the runs, and a file is in its place" in err


def test_solved_can_stop_the_run(train: Train) -> None:
    status, out, _ = train(
        "--trainer.max_steps", "50", "--solved.accuracy", "0", "--solved.window", "3", "--solved.stop", "true"
    )
    assert status == 0
    assert "at iteration 3" in out
    assert "step 3/50" in out
    assert losses(RUNS / "version_0")[0] == [0, 1, 2]
    assert {"curves.png", "last.ckpt", "summary.json"} <= {path.name for path in (RUNS / "version_0").iterdir()}
    train("--trainer.max_steps", "6", "--solved.accuracy", "0", "--solved.window", "3")
    assert losses(RUNS / "version_1")[0] == list(range(6)), "off by default: the study counts all iterations"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("palindrome_lstm.yaml", ("--data.batch_size", "8", "--data.length", "2", *DROPOUT)),  # a stream without epochs
        (
            "karate_gcn.yaml",  # two steps per epoch, then validation: the run stops inside an epoch
            ("--model.network", "lightning_modules.networks.graph_sage.GraphSAGE", "--data.num_neighbors", "[2, 2]",
             "--data.batch_size", "2"),
        ),
    ],
)  # fmt: skip
def test_a_run_that_ended_when_solved_goes_on_as_an_unbroken_one(
    train: Train, config: str, words: tuple[str, ...]
) -> None:
    words = ("--config", config, "--trainer.max_steps", "9", "--solved.accuracy", "0", "--solved.window", "5", *words)
    folder = Path("runs") / Path(config).stem
    assert train(*words, small=False)[0] == 0
    status, out, err = train(*words, "--solved.stop", "true", small=False)
    assert (status, err) == (0, "")
    assert read_metrics(folder / "version_1" / "metrics.csv")[-1]["step"] == 4
    printed = re.search(r"^ended when solved; for all 9 steps: \S+ \S+ (.*)$", out, re.MULTILINE)
    again = shlex.split(printed[1])
    assert again == [*words, "--solved.stop", "false", "--ckpt_path", "last"]
    status, _, err = train(*words, "--solved.stop", "true", "--ckpt_path", "last", small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert "version_1/last.ckpt was solved at step 5; to go on, give --solved.stop false" in err
    status, out, err = train(*again, small=False)
    assert (status, err) == (0, "")
    assert "ended when solved" not in out
    whole, parts = (folder / f"version_{k}" / "metrics.csv" for k in (0, 1))
    assert parts.read_text() == whole.read_text()


def test_bf16_mixed_trains(train: Train) -> None:
    status, out, err = train("--trainer.max_steps", "5", "--trainer.precision", "bf16-mixed")
    errors = [line for line in err.splitlines() if "at best as fast" not in line]  # of bf16 without its instructions
    assert (status, errors) == (0, [])
    assert "bf16-mixed" in out


def test_fast_dev_run_leaves_nothing(train: Train) -> None:
    assert train("--trainer.fast_dev_run", "true")[0] == 0
    assert not Path("runs").exists()


# The rest as processes: signals, kills, limits and several ranks.


def wait_for_step(process: subprocess.Popen[str], step: int, run: Path = RUNS / "version_0") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = read_metrics(run / "metrics.csv")
        if rows and rows[-1]["step"] >= step:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the run did not get there")


STEPS = 400


@pytest.fixture
def unbroken(train: Train) -> str:
    """metrics.csv of a run that nothing interrupts."""
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes
    train("--trainer.max_steps", str(STEPS), "--trainer.default_root_dir", "whole", *DROPOUT)
    torch.set_num_threads(torch_threads)
    return (Path("whole") / RUNS / "version_0" / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("signum", "status"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_signals_stop_at_a_step_saved(signum: int, status: int, start: Start, unbroken: str) -> None:
    process = start("--trainer.max_steps", str(STEPS), *DROPOUT)
    wait_for_step(process, 20)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in out + err
    stopped = re.search(r"stopped after step (\d+), saved; to continue: (.* --ckpt_path last)$", out, re.MULTILINE)
    assert stopped, out + err
    steps, _ = losses(RUNS / "version_0")
    assert steps == list(range(int(stopped[1]))), "every step before the stop is logged, once"
    assert len(steps) < STEPS, "the signal came too late for this test"
    # The line as it stands, by a shell in this folder, whose PATH has another python first.
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    again = subprocess.run(stopped[2], shell=True, capture_output=True, text=True, env=environment, timeout=120)
    assert again.returncode == 0, again
    assert (RUNS / "version_0" / "metrics.csv").read_text() == unbroken


def test_a_second_signal_ends_the_run_at_once(start: Start) -> None:
    process = start("--trainer.max_steps", "100000", "--data.batch_size", "20000", "--data.length", "20")
    wait_for_step(process, 0)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err


def test_a_killed_run_goes_on_from_its_last_checkpoint(start: Start, unbroken: str) -> None:
    process = start("--trainer.max_steps", str(STEPS), *DROPOUT)
    wait_for_step(process, 33)
    process.kill()
    process.communicate()
    steps, _ = losses(RUNS / "version_0")
    assert steps == list(range(len(steps)))
    saved = torch.load(RUNS / "version_0" / "last.ckpt", weights_only=True)["global_step"]
    assert saved % 5 == 0
    process = start("--trainer.max_steps", str(STEPS), *DROPOUT, "--ckpt_path", "last")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert f"from step {saved}" in out
    assert (RUNS / "version_0" / "metrics.csv").read_text() == unbroken
    assert list(scalars(RUNS / "version_0", "train/loss")) == list(range(STEPS))


def test_a_step_saved_without_its_event_gets_it(train: Train) -> None:
    train("--trainer.max_steps", "10")
    for events in (RUNS / "version_0").glob("events.*"):
        events.unlink()
    train("--trainer.max_steps", "12", "--ckpt_path", "last")
    assert list(scalars(RUNS / "version_0", "train/loss")) == [9, 10, 11]


@pytest.mark.slow
def test_a_running_run_is_not_continued_twice(start: Start) -> None:
    process = start("--trainer.max_steps", "100000", "--checkpoints.every_n_steps", "5")
    wait_for_step(process, 10)
    second = start("--trainer.max_steps", "100000", "--checkpoints.every_n_steps", "5", "--ckpt_path", "last")
    out, err = second.communicate(timeout=60)
    process.terminate()
    process.communicate(timeout=60)
    assert second.returncode == 2, out + err
    assert "version_0 is still running" in err


def test_a_full_disk_is_one_line_and_keeps_the_checkpoint(start: Start) -> None:
    """A limit on file sizes stands for the full disk: the log outgrows it, or the checkpoint does."""
    start("--trainer.max_steps", "3").communicate(timeout=60)
    before = (RUNS / "version_0" / "last.ckpt").read_bytes()
    limit = ("prlimit", f"--fsize={len(before) // 2}")
    process = start("--trainer.max_steps", "6", "--ckpt_path", "last", "--checkpoints.every_n_steps", "2", prefix=limit)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in out + err
    assert re.search(
        r"^train.py: error: cannot save runs/.*last\.ckpt: File too large; the previous one is whole$", err, re.M
    )
    assert (RUNS / "version_0" / "last.ckpt").read_bytes() == before


def test_a_full_disk_stops_the_logs_in_one_line(start: Start) -> None:
    process = start("--trainer.max_steps", "200", prefix=("prlimit", "--fsize=6000"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(r"train.py: error: cannot write .*: File too large\n", err), out + err


def test_two_processes_stop_and_go_on(start: Start) -> None:
    words = ("--trainer.max_steps", "60", "--trainer.devices", "2", "--trainer.strategy", "ddp", *DROPOUT)
    process = start(*words)
    wait_for_step(process, 10)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert len(losses(RUNS / "version_0")[0]) < 60, "the signal came too late for this test"
    process = start(*words, "--ckpt_path", "last")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    assert losses(RUNS / "version_0")[0] == list(range(60))


@pytest.mark.slow
def test_two_processes_train_on_different_data(start: Start) -> None:
    words = ("--trainer.max_steps", "6", "--trainer.devices", "2", "--trainer.strategy", "ddp", *DROPOUT)
    out, err = start(*words).communicate(timeout=180)
    assert "2 × cpu" in out, out + err
    run = RUNS / "version_0"
    assert [path.name for path in RUNS.iterdir()] == ["version_0"]
    assert losses(run)[0] == list(range(6))
    assert len(torch.load(run / "last.ckpt", weights_only=True)["rng_states"]["torch"]) == 2
    single = start("--trainer.max_steps", "6", *DROPOUT)
    single.communicate(timeout=60)
    # Step 0 has the same weights and, on rank 0, the same data: the averaged gradient differs by rank 1's data alone.
    norms = [curve(read_metrics(RUNS / f"version_{k}" / "metrics.csv"), "train/gradient_norm")[1][0] for k in (0, 1)]
    assert norms[0] != norms[1]


def test_config_yaml_is_plain_yaml(train: Train) -> None:
    train("--trainer.max_steps", "2")
    stored = yaml.safe_load((RUNS / "version_0" / "config.yaml").read_text())
    assert stored["data"]["init_args"]["length"] == 2
    assert os.environ.get("JSONARGPARSE_DEPRECATION_WARNINGS") == "off"
