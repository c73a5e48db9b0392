"""Which messages of Lightning and its threads do not reach the terminal."""

import logging
import os
import re
import threading
import warnings

# Warnings of Lightning and torch that do not apply here, by their beginning.
IRRELEVANT_WARNINGS = (
    "The 'train_dataloader' does not have many workers",  # batches are made faster than workers could hand them over
    "The 'val_dataloader' does not have many workers",
    "The 'test_dataloader' does not have many workers",
    "The 'predict_dataloader' does not have many workers",
    "You defined a `validation_step` but have no `val_dataloader`",  # toy tasks need no validation: every batch is new
    "Total length of `list` across ranks is zero",  # no texts are held out for validation
    "Your `IterableDataset` has `__len__` defined",  # a problem for several workers only
    "You're resuming from a checkpoint that ended before the epoch ended",  # a stream continues at its step
    "Checkpoint directory",  # "… exists and is not empty": a run has one folder for all its files
    "Be aware that when using `ckpt_path`, callbacks",  # an evaluation needs none of the training's callbacks
    "torch.distributed.nn.functional.all_gather is deprecated",  # called by Lightning
    "`isinstance(treespec, LeafSpec)` is deprecated",  # called by Lightning
    "`ModelCheckpoint(monitor='val/",  # "… could not find": the run ended before its first validation
    "The `srun` command is available",  # "… but is not used": study.py gives runs to SLURM; this one runs here
    "Sparse CSR tensor support is in beta",
    "Starting from v1.9.0, `tensorboardX` has been removed",
)


def quiet() -> None:
    """Keep Lightning's tips and the warnings that do not apply here off the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # about Lightning's calls
    for beginning in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(beginning))
    threading.excepthook = _report_thread


def _report_thread(failure: threading.ExceptHookArgs) -> None:
    """Print no traceback for a full disk: TensorBoard's writing thread hands its error to the main thread."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
