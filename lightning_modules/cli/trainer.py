"""Lightning's Trainer with precision "auto", and one line for limits and checkpoints that do not fit the run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.connector import _PRECISION_INPUT
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_modules.cli.checkpoint_checks import check_optimizers
from lightning_modules.cli.foreign_errors import checked_limits
from lightning_modules.errors import UserError


class RunTrainer(Trainer):
    """Trainer whose `precision` may also be "auto" on the command line, see `faster_precision`."""

    def __init__(self, *args: Any, precision: _PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, precision=precision, **kwargs)  # type: ignore[arg-type]  # TrainCLI has replaced "auto"
        self._checkpoint_connector = CheckedConnector(self)
        self.test_loop.setup_data = checked_limits(self.test_loop.setup_data)  # type: ignore[method-assign]


def is_first_process() -> bool:
    """Return whether this is the process that writes files, also before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0) == 0


class CheckedConnector(_CheckpointConnector):
    """Restores a checkpoint. States that do not fit this run are a user's mistake, since the file may be any."""

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        with self._state_errors(checkpoint_path):
            super()._restore_modules_and_callbacks(checkpoint_path, weights_only)

    def restore_training_state(self) -> None:
        """Restore the states of precision, loops and optimizers, and check those of the optimizers."""
        with self._state_errors(self._ckpt_path):
            super().restore_training_state()
            if self._ckpt_path is not None and self.trainer.state.fn == TrainerFn.FITTING:
                check_optimizers(self.trainer.optimizers, Path(self._ckpt_path))

    @contextlib.contextmanager
    def _state_errors(self, path: Any) -> Iterator[None]:
        """Turn an error about the states of a checkpoint into one line."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # a state may be of any type, so loading it may fail in any way
            used = "continued" if self.trainer.state.fn == TrainerFn.FITTING else "tested"
            raise UserError(f"{path} cannot be {used}: its states do not fit ({error!r})") from error
