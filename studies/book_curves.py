"""Figure 3 of the report: loss and accuracy of the study's language model, beside the same on held-out text.

    python -m studies.book_curves --out FOLDER --runs runs/book_lstm_study/version_0

Training values are means over 100 iterations, as in the report. Held-out text is measured in two ways: as one stream,
its state carried from the first character to the last, and (at thirds of the training) in windows like those of the
training, each from a zero state. Only the second can be compared with the training values directly.
"""

import statistics
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from lightning_modules.callbacks.colours import colour
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.options import whole_number
from lightning_modules.run_files import curve, read_metrics
from studies.analysis import Number, analysis_parser, prepare_folder, write_csv, write_summary
from studies.book_run import BookRun, read_book_run

WINDOW = 100  # iterations of a mean
CAPTION = (
    f"**Figure 3.** Loss and accuracy of the study's language model. Training windows: means over {WINDOW} iterations. "
    "Held-out text is read as one stream, its state carried, and at thirds of the training in windows that start from "
    "a zero state, as those of the training do."
)
UNITS = {"loss": "nats per character", "accuracy": "%"}
Curve = dict[int, float]  # values by iteration


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("book_curves", __doc__, reads_runs=True)
    parser.add_argument("--at", type=whole_number(1), nargs="+", default=[], help="iterations whose values are kept")
    options = parser.parse_args(arguments)
    try:
        run = read_book_run(options.runs)
        curves = read_curves(run)
        numbers = summary(curves, options.at)
        prepare_folder(options.out)
        iterations = sorted({step for values in curves.values() for step in values})
        columns = {name: [values.get(step, "") for step in iterations] for name, values in curves.items()}
        write_csv(options.out / "book_curves.csv", {"iteration": iterations, **columns})
        draw(curves, options.out / "book_curves.png")
        write_whole(options.out / "book_curves.md", f"{CAPTION}\n")
        write_summary(options.out, numbers)
    except UserError as error:
        return print_error("studies.book_curves", error)
    return 0


def read_curves(run: BookRun) -> dict[str, Curve]:
    """Return six curves: train_, val_ and windows_ with loss and accuracy.

    Raises:
        UserError: if the run has no row of training.
    """
    rows = read_metrics(run.folder / "metrics.csv")
    curves: dict[str, Curve] = {}
    for metric in UNITS:
        values = curve(rows, f"train/{metric}")[1]
        if not values:
            raise UserError(f"{run.folder / 'metrics.csv'} has no train/{metric}")
        width = min(WINDOW, len(values))
        curves[f"train_{metric}"] = {
            end: statistics.mean(values[end - width : end]) for end in range(width, len(values) + 1, width)
        }
        steps, values = curve(rows, f"val/{metric}")
        curves[f"val_{metric}"] = {step + 1: value for step, value in zip(steps, values, strict=True)}
    held_out = {step: on_windows(run.network(step), run.book.part("val"), run.book.length) for step in run.checkpoints}
    curves["windows_loss"] = {step: loss for step, (loss, _) in held_out.items()}
    curves["windows_accuracy"] = {step: accuracy for step, (_, accuracy) in held_out.items()}
    return curves


@torch.no_grad()
def on_windows(network: CharacterModel, text: str, length: int) -> tuple[float, float]:
    """Return loss and accuracy on consecutive windows of a text, each read from a zero state.

    Args:
        network: the language model.
        text: a text of known characters, longer than a window.
        length: characters T of a window.
    """
    tokens = network.encode(text)
    windows = tokens[: (len(tokens) - 1) // length * length].view(-1, length)  # [B, T]
    targets = tokens[1 : windows.numel() + 1]
    logits = network(windows)[0].flatten(0, 1)
    return float(cross_entropy(logits, targets)), float((logits.argmax(1) == targets).float().mean())


def summary(curves: dict[str, Curve], at: list[int]) -> dict[str, Number]:
    """Return the last value of every curve, the lowest held-out loss, and the values at chosen iterations.

    `share_at_<n>` is the accuracy on training windows at iteration n, divided by the last one. `overfitting` is the
    held-out loss at the end minus its lowest value before. A value that was not measured is None.
    """
    numbers: dict[str, Number] = {name: last(values) for name, values in curves.items()}
    held_out = curves["val_loss"]
    lowest = min(held_out, key=lambda step: held_out[step]) if held_out else None
    numbers |= {"lowest_val_loss_at": lowest, "lowest_val_loss": held_out.get(lowest or 0)}
    numbers["overfitting"] = None if lowest is None else held_out[max(held_out)] - held_out[lowest]
    for step in at:
        numbers |= {f"{name}_at_{step}": values.get(step) for name, values in curves.items()}
        reached, end = curves["train_accuracy"].get(step), last(curves["train_accuracy"])
        numbers[f"share_at_{step}"] = reached / end if reached is not None and end else None
    return numbers


def last(values: Curve) -> float | None:
    """Return the value of the last iteration; None of an empty curve."""
    return values[max(values)] if values else None


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw loss and accuracy against the iteration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    labels = {
        "train": f"training windows, mean of {WINDOW}",
        "val": "held-out text, state carried",
        "windows": "held-out text, windows from a zero state",
    }
    styles = {"train": "-", "val": "o-", "windows": "D"}
    for axes, (metric, unit) in zip(figure.subplots(1, 2), UNITS.items(), strict=True):
        for number, (split, label) in enumerate(labels.items()):
            values = curves[f"{split}_{metric}"]
            heights = [100 * value if unit == "%" else value for value in values.values()]
            axes.plot(list(values), heights, styles[split], color=colour(number), markersize=4, label=label)
        axes.set(xlabel="iteration", ylabel=f"{metric}, {unit}")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
