"""What the analyses of the book read of a run of `lightning_modules.language_model.LanguageModel`."""

import re
from dataclasses import dataclass
from pathlib import Path

from datamodules.book import Book
from datamodules.errors import DataError
from lightning_modules.errors import UserError
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.saved_language_model import load_language_model
from studies.analysis import settings_of


@dataclass
class BookRun:
    """A finished training of a language model on a book.

    Args:
        folder: the run's folder.
        book: the text that it was trained on, with its split.
        checkpoints: the weights that it left at thirds of its training, by their step.
    """

    folder: Path
    book: Book
    checkpoints: dict[int, Path]

    def network(self, step: int) -> CharacterModel:
        """Return the network after a step, ready to be evaluated.

        Raises:
            UserError: if the checkpoint is damaged, or its weights are not finite.
        """
        network = load_language_model(self.checkpoints[step]).eval().requires_grad_(False)
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise UserError(f"the weights in {self.checkpoints[step]} are not finite; the training has diverged")
        return network


def read_book_run(folders: list[Path]) -> BookRun:
    """Return the one run of an analysis.

    Raises:
        UserError: if there is not exactly one, or it is not a run on a book that left checkpoints at thirds of its
            training, or the book is missing.
    """
    if len(folders) != 1:
        raise UserError(f"--runs takes the folder of one run, not of {len(folders)}")
    folder = folders[0]
    settings = settings_of(folder)
    if settings.get("data.class_path") != "datamodules.book.Book":
        raise UserError(f"{folder} is not a run on a book: its data are {settings.get('data.class_path')}")
    prefix = "data.init_args."
    options = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    found = {path: re.fullmatch(r"step_(\d+)\.ckpt", path.name) for path in folder.glob("step_*.ckpt")}
    steps = {int(match[1]): path for path, match in found.items() if match}
    if not steps:
        raise UserError(f"{folder} has no step_<n>.ckpt, which a run leaves at thirds of its training; train it again")
    try:
        book = Book(**options)
    except DataError as error:
        raise UserError(str(error)) from error
    return BookRun(folder, book, dict(sorted(steps.items())))
