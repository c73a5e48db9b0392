"""Does the order of the words matter to a trained network? Its test accuracy as the texts are, and with shuffled words.

    python -m benchmarks.word_order runs/text_lstm/version_0 runs/text_graph/version_0

Each run's config.yaml and best.ckpt are read; last.ckpt, if it held out no validation texts. A config names classes,
which are imported, so give runs of your own.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.named_data import make_parser, run
from datamodules.batches import LabelledTextBatch
from lightning_modules.checkpoint_file import read_checkpoint
from lightning_modules.cli.settings import TrainCLI
from lightning_modules.errors import UserError, print_error
from studies.analysis import markdown_table


def shuffled(batch: LabelledTextBatch, generator: torch.Generator) -> LabelledTextBatch:
    """Return a batch with the words of each text in a random order."""
    words = batch.words.clone()
    for row, length in zip(words, batch.lengths.tolist(), strict=True):
        row[:length] = row[torch.randperm(length, generator=generator)]
    return batch._replace(words=words)


@torch.no_grad()
def compare(folder: Path) -> dict[str, str]:
    """Return a row of the table for a run.

    Raises:
        UserError: if the run is no run on texts, or has no checkpoint.
    """
    cli = TrainCLI(["--config", str(folder / "config.yaml")])
    cli.build()
    if getattr(cli.datamodule, "batch_type", None) is not LabelledTextBatch:
        raise UserError(f"{folder} is not a run on labelled texts")
    best = folder / "best.ckpt"
    checkpoint = best if best.exists() else folder / "last.ckpt"
    cli.model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    cli.model.eval()
    generator, answers, labels = torch.Generator().manual_seed(0), [], []
    for batch in cli.datamodule.test_dataloader():
        both = [cli.model(*each[:-1]).argmax(1) for each in (batch, shuffled(batch, generator))]
        answers.append(torch.stack(both))
        labels.append(batch.labels)
    found, correct = torch.cat(answers, 1), torch.cat(labels)
    return {
        "config": folder.parent.name,
        "texts": str(cli.config.data.init_args.name),
        "weights": f"{sum(weight.numel() for weight in cli.model.parameters()):,}",
        "test accuracy": _percent(found[0] == correct),
        "with shuffled words": _percent(found[1] == correct),
        "answers that change": _percent(found[0] != found[1]),
    }


def _percent(true: Tensor) -> str:
    return f"{100 * true.float().mean().item():.2f} %"


def main() -> int:
    """Print one row for each run."""
    parser = make_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    try:
        print(markdown_table([compare(folder) for folder in parser.parse_args().runs]))
    except UserError as error:
        return print_error("benchmarks.word_order", error)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
