"""Time of a training step of train.py in 32-true and in bf16-mixed: the basis of `--trainer.precision auto`.

    python -m benchmarks.precisions [palindrome_lstm.yaml book_lstm.yaml …]
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.precisions --steps 2 --rounds 1

Each time is the median over the steps of one process on the CPU. Processes alternate in both orders.
"""

import argparse
import statistics

from benchmarks.training_step import in_a_process
from kernels.processor import computes
from lightning_modules.cli.parser import CONFIGS

PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    """Print a table with one row per config."""
    import torch

    known = sorted(path.name for path in CONFIGS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", metavar="config", default=["palindrome_lstm.yaml", "book_lstm.yaml"])
    parser.add_argument("--rounds", type=int, default=2, help="number of processes for each precision")
    parser.add_argument("--steps", type=int, default=20, help="number of timed steps per process, at least 2")
    options = parser.parse_args()
    if options.rounds < 1 or options.steps < 2:
        parser.error("--rounds must be at least 1, --steps at least 2")
    for config in options.configs:
        if config not in known:
            parser.error(f"there is no {config}; configs/ has {', '.join(known)}")
    print(f"bfloat16 instructions: {'yes' if computes(torch.bfloat16, 'cpu') else 'no'}")
    print("| config | 32-true, ms | bf16-mixed, ms | ratio |\n| --- | --- | --- | --- |")
    for config in options.configs:
        times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for turn in range(options.rounds):
            for precision in PRECISIONS[:: 1 if turn % 2 == 0 else -1]:
                # The task only chooses the plain script, which is not measured here.
                times[precision].append(in_a_process("palindromes", config, precision, options.steps))
        exact, low = (1000 * statistics.median(times[precision]) for precision in PRECISIONS)
        print(f"| {config} | {exact:.1f} | {low:.1f} | {low / exact:.2f} |", flush=True)


if __name__ == "__main__":
    main()
