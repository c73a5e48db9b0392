"""The folder of a small run on a text, as train.py leaves it."""

from pathlib import Path

import torch
import yaml

from lightning_modules.networks.language_model import CharacterModel
from tests.conftest import save_language_model

TEXT = "Secretary of States: the quick brown fox jumps over the lazy dog,\nAND WHY NOT? BECAUSE IT MAY.\n" * 40


def book_folder(seeds: dict[int, int], spoilt: bool = False, rows: str = "step,train/loss,train/accuracy\n") -> Path:
    """Make and return a folder with a config, metrics.csv and checkpoints.

    Args:
        seeds: the seed of the weights of each step.
        spoilt: whether the weights are NaN.
        rows: the content of metrics.csv.
    """
    Path("text.txt").write_text(TEXT)
    folder = Path("version_0")
    folder.mkdir(exist_ok=True)
    data = {"path": "text.txt", "val_fraction": 0.2, "test_fraction": 0.1, "length": 30}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"data": {"class_path": "datamodules.book.Book", "init_args": data}})
    )
    (folder / "metrics.csv").write_text(rows)
    for step, seed in seeds.items():
        torch.manual_seed(seed)
        network = CharacterModel("".join(sorted(set(TEXT))), embedding_size=4, hidden_size=6)
        if spoilt:
            network.head.bias.data.fill_(torch.nan)
        save_language_model(network).rename(folder / f"step_{step}.ckpt")
    return folder
