"""Where a graph could help: test accuracy with a fraction of the labels, of text classifiers and a linear SVM.

    python -m studies.text_labels --out FOLDER --runs FOLDER …

The labels are drawn anew for each seed, the same for all classifiers. The other training texts lose their classes, but
still give words and edges to the graph.
"""

import math
import statistics
import sys
from collections.abc import Mapping

from matplotlib.figure import Figure

from datamodules.errors import DataError
from datamodules.labelled_texts import LabelledTexts
from lightning_modules.callbacks.colours import LINES, colour, marker
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from studies.analysis import Number, analysis_parser, markdown_table, prepare_folder, write_summary
from studies.text_baseline import linear_svm
from studies.text_runs import Row, accuracies

Accuracies = Mapping[Row, Mapping[int, float]]


def svm_accuracies(found: Accuracies) -> dict[Row, dict[int, float]]:
    """Return the accuracy of the linear SVM for every data set, fraction of labels and seed of the runs.

    With all labels it is fitted once, since no seed makes a difference.

    Raises:
        DataError: if the texts are missing.
    """
    wanted = sorted({(row.data, row.labels, seed) for row, own in found.items() for seed in own})
    made: dict[Row, dict[int, float]] = {}
    for data, labels, seed in wanted:
        own = made.setdefault(Row(data, "SVM", labels), {})
        if labels == 1 and own:  # the seed only draws the labels, and here all are known
            continue
        texts = LabelledTexts(name=data, label_fraction=labels, val_fraction=0, seed=seed).texts  # type: ignore[arg-type]
        own[seed] = linear_svm(texts["train"], texts["test"])["accuracy"]
    return made


def table(found: Accuracies) -> str:
    """Return mean ± standard deviation of the accuracy in % as a Markdown table, a column for each fraction."""
    fractions = sorted({row.labels for row in found})
    rows = []
    for data, network in dict.fromkeys((row.data, row.network) for row in found):
        cells = {f"{100 * labels:g} %": _cell(found.get(Row(data, network, labels), {})) for labels in fractions}
        rows.append({"texts": data, "classifier": network} | cells)
    return markdown_table(rows)


def _cell(own: Mapping[int, float]) -> str:
    values = [100 * value for value in own.values()]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread} ({len(values)})"


def draw(found: Accuracies) -> Figure:
    """Draw the mean accuracy against the fraction of labels, with bars of one standard deviation over the seeds."""
    sets = list(dict.fromkeys(row.data for row in found))
    networks = list(dict.fromkeys(row.network for row in found))
    figure = Figure(figsize=(5.5 * len(sets), 4.6), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for number, network in enumerate(networks):
            rows = sorted(row for row in found if (row.data, row.network) == (data, network))
            values = [[100 * value for value in found[row].values()] for row in rows]
            means = [statistics.fmean(own) for own in values]
            stds = [statistics.stdev(own) if len(own) > 1 else math.nan for own in values]  # one seed has no bar
            style = {"color": colour(number), "marker": marker(number), "linestyle": LINES[number % len(LINES)]}
            axes.errorbar([100 * row.labels for row in rows], means, stds, capsize=3, label=network, **style)
        axes.set(xscale="log", xlabel="training texts with a class, %", ylabel="test accuracy, %", title=data)
        ticks = sorted({100 * row.labels for row in found if row.data == data})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    options = analysis_parser("text_labels", __doc__, reads_runs=True).parse_args(arguments)
    try:
        prepare_folder(options.out)
        found = accuracies(options.runs)
        found |= svm_accuracies(found)
    except (UserError, DataError) as error:
        return print_error("studies.text_labels", error)
    numbers: dict[str, Number] = {
        f"{row.data}/{row.network}/{100 * row.labels:g}/accuracy": statistics.fmean(own.values())
        for row, own in found.items()
    }
    for data in dict.fromkeys(row.data for row in found):
        least = min(row.labels for row in found if row.data == data)
        hybrid, svm = (numbers.get(f"{data}/{name}/{100 * least:g}/accuracy") for name in ("hybrid", "SVM"))
        if hybrid is not None and svm is not None:
            numbers[f"{data}/hybrid-svm/accuracy"] = hybrid - svm  # with the fewest labels
    write_whole(options.out / "text_labels.md", table(found) + "\n")
    draw(found).savefig(options.out / "text_labels.png", dpi=120)
    write_summary(options.out, numbers)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
