"""best.ckpt: the weights with the best validation metric so far."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt` of a run, and its score in last.ckpt.

    Lightning's ModelCheckpoint loads its state only if its folder still has the same path. In a folder that was moved
    or copied it would forget the best score and overwrite the best weights with worse ones.

    Args:
        run: the run's folder.
        monitor: the metric.
        mode: "min" or "max", whether lower or higher values are better.
    """

    def __init__(self, run: Path, monitor: str, mode: str) -> None:
        super().__init__(run, "best", monitor=monitor, mode=mode, enable_version_counter=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score."""
        return {"best_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score, if best.ckpt is in the run's folder; a new folder starts without one."""
        score, path = state_dict["best_score"], Path(str(self.dirpath)) / "best.ckpt"
        if not isinstance(score, torch.Tensor) or not path.is_file():
            return
        self.best_model_score = self.kth_value = score
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_k_models = {str(path): score}
