"""Parse and check the settings of a train.py command, and make the objects that they describe."""

import os
from collections.abc import Callable
from pathlib import Path
from pydoc import locate
from typing import Any, Literal

import yaml
from jsonargparse.typing import restricted_number_type
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_modules.callbacks.checkpoints import Checkpoints
from lightning_modules.callbacks.solved import Solved
from lightning_modules.cli.foreign_errors import memory_errors
from lightning_modules.cli.parser import OneLineParser, config_first, given_settings, plain
from lightning_modules.cli.precision import faster_precision
from lightning_modules.cli.quiet import quiet
from lightning_modules.cli.settings_check import check_groups, check_pair, check_settings
from lightning_modules.cli.trainer import RunTrainer
from lightning_modules.errors import UserError

# Attributes of a data module. A network gets each that its constructor has as a parameter; add a new one here.
DATA_FACTS = (
    "vocab_size", "vocabulary", "num_classes", "num_features", "num_edge_features", "num_outputs", "num_nodes",
    "num_relations",
)  # fmt: skip
SYSTEM_FACTS = ("target_mean", "target_std")  # attributes of a data module that a training system gets in the same way
OF_A_COMMAND = ("stage", "ckpt_path", "examples", "predictions")  # settings that a run's config.yaml leaves out

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="a seed that every generator takes")


class TrainCLI(LightningCLI):
    """LightningCLI that parses and checks all settings first, and makes objects when `build` is called.

    Args:
        arguments: the words of the command line, without the program's name.

    Raises:
        UserError: if the command cannot be carried out.
    """

    def __init__(self, arguments: list[str]) -> None:
        quiet()
        self.arguments = arguments
        super().__init__(
            run=False,
            auto_configure_optimizers=False,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_class=RunTrainer,
            parser_class=OneLineParser,
            parser_kwargs={
                "description": "Train a network on data, both named in a config; any setting can be overridden."
            },
            trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 1},
            args=config_first(arguments),
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are train.py's own: the seed, the stage and the checkpoint to start from."""
        parser.add_argument("--seed_everything", type=Seed, default=42, help="Seeds everything random.")
        parser.add_argument(
            "--stage",
            type=Literal["fit", "test", "predict"],
            default="fit",
            help="fit trains; test evaluates --ckpt_path only; predict classifies examples with it.",
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to continue from; last: this config's newest run.",
        )
        parser.add_argument(
            "--examples",
            type=str | None,
            default=None,
            help="With --stage predict: a file of new examples, one per line. Without it, those of the test.",
        )
        parser.add_argument(
            "--predictions",
            type=str | None,
            default=None,
            help="With --stage predict: the CSV file to write. By default predictions.csv beside the checkpoint.",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that have settings, and link attributes of the data to arguments of the network."""
        parser.add_class_arguments(Checkpoints, "checkpoints")
        parser.add_class_arguments(Solved, "solved")
        if "data.seed" not in given_settings(config_first(self.arguments)):  # a linked setting could not be given
            parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        for fact in DATA_FACTS:
            parser.link_arguments(f"data.{fact}", f"model.init_args.network.init_args.{fact}", apply_on="instantiate")
        for fact in SYSTEM_FACTS:
            parser.link_arguments(f"data.{fact}", f"model.init_args.{fact}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words given, and check the settings."""
        self.config = parser.parse_args(args)
        for key in ("model", "data"):
            if not self.config.get(key):
                raise UserError(f"no {key} is given; name a config: --config palindrome_lstm.yaml")
        for key in ("examples", "predictions"):
            if self.config[key] is not None and self.config.stage != "predict":
                raise UserError(f"--{key} belongs to --stage predict")
        check_groups(self.config)
        trainer = self.config.trainer
        if trainer.precision == "auto":  # replaced here, so that config.yaml has it and a continued run uses the same
            gains = getattr(locate(self.config.model.class_path), "faster_in_bf16", False)
            trainer.precision = faster_precision(trainer.accelerator, gains)
        check_settings(self.config, from_data=(*DATA_FACTS, *SYSTEM_FACTS))
        check_pair(self.config)

    def _set_seed(self) -> None:
        """Set no seed yet; LightningCLI calls this before it parses, and `build` sets the seed."""

    def instantiate_classes(self) -> None:
        """Make no objects yet; `build` does."""

    def build(self, prepare: Callable[[LightningDataModule], None] | None = None) -> None:
        """Seed all generators, and make `datamodule`, `model` and the callbacks of `config_init`.

        Args:
            prepare: called with the data module before it is asked for the facts that the network gets.

        Raises:
            UserError: if a constructor refuses its arguments, or memory does not suffice.
        """
        super()._set_seed()

        def prepared(kind: type[LightningDataModule], *args: Any, **kwargs: Any) -> LightningDataModule:
            data = kind(*args, **kwargs)
            if prepare is not None:
                prepare(data)
            return data

        self.parser.add_instantiator(prepared, LightningDataModule, subclasses=True, prepend=True)
        try:
            with memory_errors(self.values):
                self.config_init = self.parser.instantiate_classes(self.config)
        except (ValueError, MisconfigurationException) as error:
            if os.environ.get("JSONARGPARSE_DEBUG"):
                raise
            raise UserError(plain(str(error))) from error
        self.datamodule, self.model = self.config_init.data, self.config_init.model

    @property
    def runs_folder(self) -> Path:
        """runs/<name of the last config>, under `trainer.default_root_dir` or the current folder."""
        config_files = [Path(str(path)) for path in self.config.get("config") or []]
        name = config_files[-1].stem if config_files else self.config.model.class_path.rpartition(".")[2].lower()
        if name in (".", ".."):
            raise UserError(f"--config: a run has its config's name, and {config_files[-1].name} gives it none")
        return Path(self.config.trainer.default_root_dir or ".") / "runs" / name

    @property
    def yaml(self) -> str:
        """All settings but those of one command, as YAML. Given as --config, they start a new run like this one."""
        config = self.config.clone()
        for key in OF_A_COMMAND:
            config.pop(key)
        return self.parser.dump(config)

    @property
    def values(self) -> dict[str, Any]:
        """The settings of `yaml` as plain values."""
        return yaml.safe_load(self.yaml)


def parse_settings(arguments: list[str]) -> tuple[Path, dict[str, Any]]:
    """Return runs/<config> and all settings of a train.py command line, as config.yaml will hold them.

    Raises:
        UserError: if train.py would refuse the command line.
    """
    cli = TrainCLI(arguments)
    return cli.runs_folder, cli.values
