"""What each part of the hybrid text classifier adds: differences in test accuracy, paired over the seeds.

    python -m studies.text_differences --out FOLDER --runs FOLDER …

Runs of one seed have the same split and the same order of the texts, so their difference varies less than each. The
interval is Student's, for the mean over seeds: mean ± t(0.975, n − 1) s / √n. It says how sure that mean is on these
test texts, not what other test texts would give. The linear support vector machine is the same for every seed.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence

from scipy.stats import t as student

from datamodules.errors import DataError
from datamodules.text_files import read_texts
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from studies.analysis import Number, analysis_parser, markdown_table, prepare_folder, write_summary
from studies.text_baseline import linear_svm
from studies.text_runs import Row, accuracies

OTHERS = {  # the short name of a difference: minuend and subtrahend
    "graph": ("hybrid", "BiLSTM"),
    "lstm": ("hybrid", "graph"),
    "attention": ("hybrid", "hybrid without attention"),
    "transductive": ("hybrid, transductive", "hybrid"),
    "svm": ("hybrid", "SVM"),
    "transductive-svm": ("hybrid, transductive", "SVM"),
}


def interval(differences: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the mean and its 95 % confidence interval, None for one difference."""
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return mean, None, None
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return mean, mean - half, mean + half


def paired(found: Mapping[Row, Mapping[int, float]], first: Row, second: Row) -> list[float]:
    """Return the differences of the seeds that both rows have."""
    a, b = found.get(first, {}), found.get(second, {})
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def differences(found: Mapping[Row, Mapping[int, float]], data: str) -> dict[str, Number]:
    """Return mean, interval and number of seeds of every difference on a data set, by name."""
    numbers: dict[str, Number] = {}
    for name, (first, second) in OTHERS.items():
        if values := paired(found, Row(data, first, 1.0), Row(data, second, 1.0)):
            mean, low, high = interval(values)
            place = f"{data}/{name}"
            numbers |= {f"{place}/accuracy": mean, f"{place}/accuracy_low": low, f"{place}/accuracy_high": high}
            numbers[f"{place}/seeds"] = len(values)
    return numbers


def table(numbers: Mapping[str, Number], sets: Sequence[str]) -> str:
    """Return the differences in percentage points as a Markdown table."""
    rows = []
    for name, (first, second) in OTHERS.items():
        cells = [_cell(numbers, f"{data}/{name}") for data in sets]
        if any(cells):
            rows.append({"difference": f"{first} − {second}"} | dict(zip(sets, cells, strict=True)))
    return markdown_table(rows)


def _cell(numbers: Mapping[str, Number], place: str) -> str:
    mean, low, high = (numbers.get(f"{place}/accuracy{end}") for end in ("", "_low", "_high"))
    if mean is None:
        return ""
    between = "" if low is None or high is None else f" [{100 * low:+.2f}, {100 * high:+.2f}]"
    seeds = numbers[f"{place}/seeds"]
    return f"{100 * mean:+.2f}{between}, {seeds} seed{'s' if seeds != 1 else ''}"


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    options = analysis_parser("text_differences", __doc__, reads_runs=True).parse_args(arguments)
    try:
        prepare_folder(options.out)
        found = accuracies(options.runs)
        sets = list(dict.fromkeys(row.data for row in found))
        numbers: dict[str, Number] = {}
        for data in sets:
            texts = read_texts(data, None)
            train, test = ([text for text in texts if text.split == split] for split in ("train", "test"))
            seeds = {seed for row, own in found.items() if row.data == data for seed in own}
            found[Row(data, "SVM", 1.0)] = dict.fromkeys(seeds, linear_svm(train, test)["accuracy"])
            numbers |= differences(found, data)
    except (UserError, DataError) as error:
        return print_error("studies.text_differences", error)
    write_whole(options.out / "text_differences.md", table(numbers, sets) + "\n")
    write_summary(options.out, numbers)
    print(table(numbers, sets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
