"""Runs and results of two small claims, for the tests of what is made of them."""

import json
from pathlib import Path

from lightning_modules.environment import environment
from studies.claims import Analysis, Bounds, Claim, Published, Runs

LSTM = Claim(
    id="palindromes-lstm-10",
    part="palindromes",
    claim="An LSTM remembers one bit.",
    metric="accuracy",
    holds=Bounds(at_least=99.9),
    minutes=1.0,
    shown="docs/palindromes.md",
    runs=Runs("palindrome_lstm.yaml", [40, 42], {"data.length": 10, "model.network.layer": "kernels.GRU"}),
    published=Published(99.92, "report, Table 1", 0.11),
    unit="%",
    why="The report is older.",
)
SPECTRA = Claim(
    id="spectra",
    part="recurrent",
    claim="Gradients vanish.",
    metric="ratio",
    holds=Bounds(at_most=0.1),
    minutes=1.0,
    shown="docs/palindromes.md",
    analysis=Analysis("studies.spectra", ["--steps", "40"]),
)
ENVIRONMENT = environment() | {"commit": "a10fbe2"}  # also where there is no git


def run_folder(folder: Path, accuracy: float = 1.0, steps: int = 1000, solved_at: int | None = 7) -> Path:
    """Make and return the folder of a finished run whose accuracy rises from 0.5 to a value after 600 steps."""
    folder.mkdir(parents=True)
    rows = [f"{step},{0.5 if step < 600 else accuracy},{1 / (1 + step)!r}" for step in range(steps)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/accuracy,train/loss", *rows, ""]))
    facts = {"steps": steps, "primary_metric": "accuracy", "accuracy": accuracy, "solved_at": solved_at}
    text = json.dumps(facts | {"steps_per_second": 9.0, "environment": ENVIRONMENT})
    (folder / "summary.json").write_text(text)
    return folder


def analysis_folder(folder: Path, ratio: float = 0.01) -> Path:
    """Make and return the folder of a finished analysis."""
    folder.mkdir(parents=True)
    (folder / "spectra.csv").write_text("step,norm\n1,0.5\n")
    (folder / "spectra.md").write_text("| radius | ratio |\n| --- | --- |\n| 0.5 | 0.01 |\n")
    (folder / "spectra.png").write_bytes(b"\x89PNG")
    (folder / "summary.json").write_text(json.dumps({"ratio": ratio, "environment": ENVIRONMENT}))
    return folder
