"""Settings are parsed and checked before anything is made of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.toy_tasks import BinaryPalindrome
from lightning_modules.cli.parser import CONFIGS
from lightning_modules.cli.settings import DATA_FACTS, TrainCLI, parse_settings
from lightning_modules.networks.recurrent_classifier import RecurrentClassifier

Train = Callable[..., tuple[int, str, str]]


class NoFacts(BinaryPalindrome):
    """Does not tell its number of classes."""

    num_classes = None  # type: ignore[assignment]

    def make_batch(self, generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("drawn from")


def test_data_of_another_kind_are_refused(train: Train) -> None:
    words = ("--config", "palindrome_lstm.yaml", "--data", "datamodules.node_graphs.Karate")
    status, _, err = train(*words, small=False)
    assert status == 2
    line = "SequenceClassifier takes a SequenceBatch, and Karate makes a NodeBatch; name another with --model or"
    assert err == f"train.py: error: {line} --data\n"
    assert not Path("runs").exists()


def test_a_network_refuses_facts_that_the_data_lack(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.toy_tasks.NoFacts", NoFacts, raising=False)
    monkeypatch.setattr(NoFacts, "__module__", "datamodules.toy_tasks")
    status, _, err = train("--data", "datamodules.toy_tasks.NoFacts")
    assert status == 2
    assert "RecurrentClassifier needs num_classes" in err
    assert not Path("runs").exists()


def test_facts_reach_the_network() -> None:
    words = ["--config", "random_combinations_lstm.yaml", "--data.length", "7", "--trainer.accelerator", "cpu"]
    cli = TrainCLI(words)
    cli.build()
    network = cli.model.network
    assert isinstance(network, RecurrentClassifier)
    assert network.embedding.num_embeddings == network.head.out_features == 7
    assert cli.datamodule.seed == 42
    assert set(DATA_FACTS) >= {"vocab_size", "num_classes"}


def test_parse_settings_makes_nothing(tmp_path: Path) -> None:
    folder, settings = parse_settings(["--config", "palindrome_lstm.yaml", "--seed_everything", "7"])
    assert folder == Path("runs/palindrome_lstm")
    assert settings["seed_everything"] == 7
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["--data.seed", "7"],
        ["--data.seed=7"],
        ["--data.init_args.seed", "7"],
        ["--config", "own.yaml"],
        ["--config", "whole.yaml"],
        ["--data", '{"class_path": "datamodules.toy_tasks.BinaryPalindrome", "init_args": {"seed": 7}}'],
    ],
)
def test_a_seed_of_the_data_that_is_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("data:\n  init_args:\n    seed: 7\n")
    Path("whole.yaml").write_text(
        "data:\n  class_path: datamodules.toy_tasks.BinaryPalindrome\n  init_args: {seed: 7}\n"
    )
    before = ["--config", "palindrome_lstm.yaml", "--trainer.accelerator", "cpu", "--seed_everything", "3"]
    cli = TrainCLI([*before, *words])
    cli.build()
    assert (cli.datamodule.seed, cli.config.seed_everything) == (7, 3)
    assert cli.values["data"]["init_args"]["seed"] == 7
    Path("config.yaml").write_text(yaml.safe_dump(cli.values))  # as a run keeps it
    _, again = parse_settings(["--config", "config.yaml", "--seed_everything", "4"])
    assert (again["seed_everything"], again["data"]["init_args"]["seed"]) == (4, 7)


def test_without_one_the_seed_of_everything_is_that_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = ["--config", "palindrome_lstm.yaml", "--trainer.accelerator", "cpu"]
    cli = TrainCLI([*before, "--seed_everything", "3"])
    cli.build()
    assert cli.datamodule.seed == 3
    assert "seed" not in cli.values["data"]["init_args"], "or config.yaml would fix it for other seeds"
    Path("config.yaml").write_text(yaml.safe_dump(cli.values))
    cli = TrainCLI(["--config", "config.yaml", "--seed_everything", "4"])
    cli.build()
    assert cli.datamodule.seed == 4


def test_a_seed_that_no_generator_takes_is_refused(train: Train) -> None:
    status, _, err = train("--data.seed", "-1")
    assert status == 2
    assert "the seed of the data must be 0..4294967295, got -1" in err
    assert not Path("runs").exists()


def test_a_config_of_dots_is_refused(train: Train) -> None:
    Path("...yaml").write_text((CONFIGS / "palindrome_lstm.yaml").read_text())
    status, _, err = train("--config", "...yaml", small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert [path.name for path in Path().iterdir()] == ["...yaml"]
