"""Time and memory that the word graph of each set of labelled texts takes, on one core.

    python -m benchmarks.word_graphs [--names R52 …] [--data.download true]

Prints a table. Each graph is made in a process of its own, whose peak memory includes Python and its libraries.
"""

import multiprocessing
import resource
import sys
import time

from benchmarks.named_data import make_parser, run
from datamodules.labelled_texts import LabelledTexts
from datamodules.text_files import PUBLISHED, read_texts
from studies.analysis import markdown_table


def measure(name: str) -> dict[str, object]:
    """Return the row of a set of texts: sizes, CPU seconds, and the peak memory of this process."""
    data = LabelledTexts(name=name)  # type: ignore[arg-type]
    data.numbers  # noqa: B018 - reads the texts, which is not measured
    start = time.process_time()
    edges, _ = data.edges
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # KiB on Linux
    sizes: dict[str, object] = {"texts": name, "words": f"{data.vocab_size:,}", "edges": f"{edges.shape[1]:,}"}
    return sizes | {"CPU seconds": f"{seconds:.1f}", "peak memory, GiB": f"{peak:.2f}"}


def main() -> int:
    """Print one row per data set."""
    parser = make_parser(__doc__)
    parser.add_argument("--names", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    options = parser.parse_args()
    rows = []
    for name in options.names:
        read_texts(name, None, options.download)  # so that missing data are one line
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (name,)))
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
