"""Numbers that no run can use are refused in one line: for every setting there is, found from the signatures."""

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace
from pytorch_lightning import Trainer

from lightning_modules.cli.parser import CONFIGS
from lightning_modules.cli.settings import DATA_FACTS, SYSTEM_FACTS, TrainCLI
from lightning_modules.cli.settings_check import check_settings
from lightning_modules.errors import UserError
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
FROM_DATA = (*DATA_FACTS, *SYSTEM_FACTS)
CLASS = re.compile(r"class_path: ((?:data|lightning_)modules\.\w+\.\w+)$", re.MULTILINE)
OURS = ("model.", "data.", "checkpoints.", "solved.")  # of the trainer's, null is the default of several
MAY_BE_NEGATIVE = {"max_steps", "max_epochs", "num_sanity_val_steps"}  # −1 for all
MAY_BE_ZERO = {
    "min_steps", "min_epochs", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches",
    "num_sanity_val_steps", "log_every_n_steps", "gradient_clip_val", "reload_dataloaders_every_n_epochs",
    "fast_dev_run",
}  # fmt: skip


def parsed(config: str) -> Namespace:
    return TrainCLI(["--config", config]).config


def numbers_of(tree: Any, key: str = "") -> dict[str, Any]:
    """Return every setting that is a number, by its key; not those which the data fill in."""
    if isinstance(tree, Namespace):
        return {k: v for name, branch in vars(tree).items() for k, v in numbers_of(branch, f"{key}.{name}").items()}
    return {key[1:]: tree} if isinstance(tree, int | float) and not isinstance(tree, bool) else {}


def refusal(config: Namespace, key: str, value: Any) -> str:
    """Return the line with which a setting's value is refused."""
    changed = config.clone()
    changed[key] = value
    with pytest.raises(UserError, match=re.escape(key.rpartition(".")[2])) as refused:
        check_settings(changed, FROM_DATA)
    return str(refused.value)


# A config for every system and data module, each with another network.
CONFIG_NAMES = [
    "palindrome_lstm.yaml", "baum_sweet_lstm.yaml", "random_combinations_lstm.yaml", "book_lstm.yaml",
    "palindrome_peephole.yaml", "karate_gcn.yaml", "cora_gat.yaml", "cora_gcnii.yaml", "cora_graph_sage.yaml",
    "friends.yaml", "knowledge_graph.yaml", "molecules.yaml", "text_graph_lstm.yaml",
    "resets_lstm.yaml", "digits_lstm.yaml",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_every_number_of_a_config_is_finite_and_not_too_large(name: str) -> None:
    config = parsed(name)
    numbers = numbers_of(config)
    assert len(numbers) > 10
    for key in numbers:
        for bad in (math.inf, -math.inf, math.nan, 10**40, 1e39, *([None] if key.startswith(OURS) else [])):
            line = refusal(config, key, bad)
            assert "\n" not in line
            assert key.replace("init_args.", "") in line


def test_the_configs_have_every_system_and_data_module() -> None:
    named = {path.name: CLASS.findall(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    covered = {path for name in CONFIG_NAMES for path in named[name]}
    assert {path for paths in named.values() for path in paths} <= covered


def test_every_number_of_the_trainer_has_its_range() -> None:
    config = parsed("palindrome_lstm.yaml")
    names = [
        name for name, parameter in inspect.signature(Trainer).parameters.items()
        if any(kind in re.split(r"\W+", str(parameter.annotation)) for kind in ("int", "float"))
        and name not in ("precision", "max_time")  # lists of names; a duration
    ]  # fmt: skip
    assert {"accumulate_grad_batches", "limit_train_batches", "gradient_clip_val", "max_steps", "devices"} <= set(names)
    for name in names:
        bad = [-2, -1.5, *([] if name in MAY_BE_NEGATIVE else [-1]), *([] if name in MAY_BE_ZERO else [0])]
        for value in bad:
            line = refusal(config, f"trainer.{name}", value)
            assert "\n" not in line
            assert name in line


@refusals(
    {
        "--model.learning_rate inf": "model.learning_rate must be a finite number, got inf",
        "--data.length null": "data.length cannot be null; leave it out for its default (10)",
        "--trainer.max_steps null": "trainer.max_steps: Expected a int. Got value: None",
        "--trainer.gradient_clip_val -1": "trainer.gradient_clip_val must be 0 or more, got -1",
        "--trainer.accumulate_grad_batches -1": "trainer.accumulate_grad_batches must be 1 or more, got -1",
        "--trainer.limit_train_batches 0": "trainer.limit_train_batches must be above 0, got 0",
        "--trainer.limit_test_batches -1": "trainer.limit_test_batches must be 0 or more, got -1",
        "--trainer.max_steps -2": "trainer.max_steps must be 1 or more, or -1 for no limit, got -2",
        "--trainer.max_time '{days: -1}'": "trainer.max_time must be more than no time",
        "--trainer.max_time '{weeks_: 1}'": "trainer: 'weeks_' is an invalid keyword",
        "--trainer.devices -1": "trainer: `devices`",
        "--trainer.devices abc": "abc",
        "--trainer.devices 1000": "the number of processors, got 1000",
        "--trainer.devices 1111111111111111111111111": "trainer.devices is too large",
        "--trainer.accelerator abc": "abc",
        "--trainer.accelerator tpu": "trainer: ",
        "--trainer.strategy abc": "abc",
        "--trainer.precision abc": "abc",
        "--trainer.plugins builtins.int": "builtins.int",
        "--data.batch_size 1000000000000": "data.batch_size must be at most 10000000, got 1000000000000",
        "--model.network.layer.num_layers 1000000": "model.network.layer.num_layers must be at most 1000",
        "--trainer.default_root_dir 'a\x00b'": "trainer.default_root_dir has a zero character: 'a\\x00b'",
        "--ckpt_path 'a\x00b'": "ckpt_path has a zero character",
    }
)
def test_what_was_accepted_or_a_traceback(refused: Refused, words: list[str], message: str) -> None:
    assert message in refused(*words)


@pytest.mark.parametrize("text", ["trainer: [1, 2]", "trainer:", "solved: 3", "checkpoints: null"])
def test_groups_that_hold_no_settings(train: Train, text: str, tmp_path: Path) -> None:
    config = (CONFIGS / "karate_gcn.yaml").read_text().replace("trainer:\n  max_epochs: 100\n", "")
    (tmp_path / "mine.yaml").write_text(f"{config}\n{text}\n")
    status, _, err = train("--config", "mine.yaml", small=False)
    assert (status, err.count("\n")) == (2, 1), err
    assert text.partition(":")[0] in err
    assert not Path("runs").exists()


def test_a_share_that_leaves_no_batch(train: Train) -> None:
    words = ("--config", "karate_gcn.yaml", "--trainer.limit_train_batches", "0.5", "--trainer.accelerator", "cpu")
    status, _, err = train(*words, small=False)
    assert (status, err.count("\n")) == (2, 1), err
    assert "0.5 * 1 < 1. Please increase the `limit_train_batches` argument" in err
    assert not Path("runs").exists()
