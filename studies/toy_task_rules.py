"""What can be had without memory: the best rules that see only the last k symbols of a toy task's input.

    python -m studies.toy_task_rules --out FOLDER [--lengths 5 10 20 40] [--symbols 16]

A rule that sees the symbols w can do no better than to answer the class that is the most frequent among the inputs that
end in w, so its accuracy is Σ_w max_y P(w, y). For k = 0 this is the share of the most frequent class: the accuracy of
always giving the same answer. All numbers here are exact up to rounding; nothing is sampled.

- Binary palindromes. The input, read from its end, is the left half of the palindrome without its first bit, and then
  its mirror image. P(w, y) follows from a sum over the digits, which keeps only the k + 1 first bits of a longer half.
- Baum–Sweet numbers: a sum over all numbers from 10 to 10ⁿ.
- Random combinations: of n numbers n − k have not been seen, and each is the missing one as often as the others.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from datamodules.toy_tasks import BaumSweet, is_baum_sweet
from lightning_modules.callbacks.colours import colour, marker
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.options import whole_number
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_csv, write_summary

DIGITS = [f"{digit:b}" for digit in range(9)]
TITLES = {"baum_sweet": "Baum–Sweet", "random_combinations": "random combinations"}
TOY_LENGTH = 6  # n of the other two tasks in their configs


def palindrome_accuracies(length: int, most: int) -> list[float]:
    """Return the accuracy of the best rule on binary palindromes that sees the last 0 … `most` symbols of an input.

    Args:
        length: n of the task.
        most: the largest number of symbols.
    """
    joint: dict[tuple[str, str], float] = defaultdict(float)
    for digits in (DIGITS, [digit[::-1] for digit in DIGITS]):
        for half, share in _halves(digits, (length + 1) // 2, most + 1).items():
            # Only a half of more than `most` + 1 bits was cut, and then the symbols seen do not reach its middle.
            seen = f"{half[1:]}{half[::-1]}".ljust(most)  # from the end of the input backwards; then padding
            joint[seen, half[0]] += share / 2
    accuracies = []
    for symbols in range(most + 1):
        shares: dict[tuple[str, str], float] = defaultdict(float)  # P(w, y) of the symbols w seen and the class y
        for (seen, answer), share in joint.items():
            shares[seen[:symbols], answer] += share
        accuracies.append(
            sum(max(shares.get((seen, answer), 0.0) for answer in "01") for seen in {seen for seen, _ in shares})
        )
    return accuracies


def _halves(digits: list[str], count: int, kept: int) -> dict[str, float]:
    """Return the probability of every left half, cut to its first `kept` bits; it is `count` uniform digits, joined."""
    halves: dict[str, float] = {"": 1.0}
    for _ in range(count):
        longer: dict[str, float] = defaultdict(float)
        for half, share in halves.items():
            if len(half) == kept:
                longer[half] += share
                continue
            for digit in digits:
                longer[(half + digit)[:kept]] += share / len(digits)
        halves = dict(longer)
    return halves


def baum_sweet_accuracies(length: int, most: int) -> list[float]:
    """Return the accuracy of the best rule on Baum–Sweet numbers that sees the last 0 … `most` symbols.

    A number of fewer bits than symbols is padded on the left, and the padding is seen too.

    Args:
        length: n of the task.
        most: the largest number of symbols.
    """
    numbers = np.arange(10, 10**length + 1)
    good = is_baum_sweet(numbers)
    weights = np.where(good, 1.0, BaumSweet.KEEP_OTHER)
    sizes = np.frexp(numbers)[1]  # the number of bits
    accuracies = []
    for symbols in range(most + 1):
        # A one in front of the bits seen marks where the padding begins: different inputs give different codes.
        seen = (numbers & ((1 << symbols) - 1)) | (1 << np.minimum(sizes, symbols))
        classes = [np.bincount(seen, weights * (good == answer)) for answer in (False, True)]
        accuracies.append(float(np.maximum(*classes).sum() / weights.sum()))
    return accuracies


def combination_accuracy(length: int, symbols: int) -> float:
    """Return the accuracy of the best rule on random combinations of n numbers, which sees k of the n − 1 given."""
    return 1 / (length - min(symbols, length - 1))


def draw(curves: dict[str, list[float]]) -> Figure:
    """Return a picture of the accuracy of the best rule against the number of symbols that it sees."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(curves.items()):
        style = "-" if number % 2 == 0 else "--"  # curves that coincide stay visible
        percent = [100 * value for value in values]
        axes.plot(percent, style, color=colour(number), marker=marker(number), markersize=4, label=_title(name))
    axes.set(xlabel="last symbols seen, k", ylabel="accuracy of the best rule, %")
    axes.set_xticks(range(0, len(percent), 2))
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def _title(name: str) -> str:
    task, _, length = name.partition("_")
    return f"palindromes, n = {length}" if task == "palindrome" else f"{TITLES[name]}, n = {TOY_LENGTH}"


def measure(lengths: Iterable[int], symbols: int) -> dict[str, list[float]]:
    """Return the accuracies of the best rules of every task that see the last 0 … `symbols` symbols."""
    curves = {f"palindrome_{n}": palindrome_accuracies(n, symbols) for n in lengths}
    curves["baum_sweet"] = baum_sweet_accuracies(TOY_LENGTH, symbols)
    curves["random_combinations"] = [combination_accuracy(TOY_LENGTH, k) for k in range(symbols + 1)]
    return curves


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("toy_task_rules", __doc__)
    parser.add_argument("--lengths", type=whole_number(1), nargs="+", default=[5, 10, 20, 40],
                      help="n of the palindromes (default: 5 10 20 40)")  # fmt: skip
    parser.add_argument("--symbols", type=whole_number(0), default=16, help="the largest k (default: 16)")
    options = parser.parse_args(arguments)
    try:
        prepare_folder(options.out)
        curves = measure(options.lengths, options.symbols)
        write_csv(options.out / "toy_task_rules.csv", {"symbols": range(options.symbols + 1), **curves})
        chosen = [k for k in (0, 1, 2, 4, 8, 16) if k <= options.symbols]
        rows = [
            {"task": _title(name), **{f"k = {k}": f"{100 * values[k]:.2f}" for k in chosen}}
            for name, values in curves.items()
        ]
        write_whole(options.out / "toy_task_rules.md", markdown_table(rows) + "\n")
        draw(curves).savefig(options.out / "toy_task_rules.png", dpi=120)
        accuracies = {f"accuracy_{name}_{k}": values[k] for name, values in curves.items() for k in chosen}
        write_summary(options.out, accuracies)
    except UserError as error:
        return print_error("studies.toy_task_rules", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
