"""The jobs of claims: what is shared, what a quick run changes, and when an analysis has finished."""

import json
from pathlib import Path
from typing import Any

from studies.claims import Analysis, Bounds, Claim, Runs
from studies.jobs import AnalysisJob, StudyJobs
from studies.runs import StudyRun
from tests.conftest import finish

ROOT = Path("runs/study")
RUNS = Runs("palindrome_lstm.yaml", [40, 42], {"data.length": 4})


def claim(name: str, **values: Any) -> Claim:
    given: dict[str, Any] = {
        "id": name, "part": "palindromes", "claim": "It holds.", "metric": "accuracy", "holds": Bounds(at_least=0.5),
        "minutes": 6.0, "shown": "README.md",
    }  # fmt: skip
    return Claim(**given | values)


def study(*claims: Claim, **options: bool) -> StudyJobs:
    return StudyJobs({each.id: each for each in claims}, ROOT, **options)


def test_claims_with_the_same_runs_share_them() -> None:
    first, second = claim("a", runs=RUNS), claim("b", runs=Runs(RUNS.config, [42, 44], RUNS.overrides))
    jobs = study(first, second)
    assert jobs.of(first)[1] is jobs.of(second)[0]
    assert [str(job) for job in jobs.all_of([first, second])] == [f"a seed {seed}" for seed in (40, 42, 44)]
    run = jobs.of(first)[0]
    assert isinstance(run, StudyRun)
    assert run.words == ["--config", "palindrome_lstm.yaml", "--data.length", "4", "--seed_everything", "40"]
    assert run.minutes == 3
    assert run.folder == Path("runs/palindrome_lstm")


def test_the_same_settings_in_other_words_are_the_same_runs() -> None:
    first = claim("a", runs=Runs(RUNS.config, [40, 42]))
    second = claim("b", runs=Runs(RUNS.config, [42], {"data.length": 10}))
    jobs = study(first, second)
    assert jobs.of(first)[1] is jobs.of(second)[0]


def test_a_quick_run_is_short_and_apart() -> None:
    quick = claim("a", runs=RUNS, quick={"trainer.max_steps": 2})
    (run,) = study(quick, quick=True).of(quick)
    assert isinstance(run, StudyRun)
    assert (run.steps, run.seed) == (2, 40)
    assert run.folder == ROOT / "runs/palindrome_lstm"


def test_only_named_data_can_be_downloaded() -> None:
    palindromes, cora = claim("a", runs=RUNS), claim("b", runs=Runs("cora_gcn.yaml", [1]))
    jobs = study(palindromes, cora, download=True)
    words = [run.words for run in (jobs.of(palindromes)[0], jobs.of(cora)[0]) if isinstance(run, StudyRun)]
    assert ["--data.download" in each for each in words] == [False, True]


def test_an_analysis_reads_the_runs_that_it_needs_and_is_shared() -> None:
    analysis = Analysis("studies.palindrome_tables", ["--steps", "40"], ["a"])
    needed, first, second = claim("a", runs=RUNS), claim("b", analysis=analysis), claim("c", analysis=analysis)
    jobs = study(needed, first, second)
    job = jobs.of(first)[0]
    assert isinstance(job, AnalysisJob)
    assert job is jobs.of(second)[0]
    assert jobs.all_of([first, second]) == [*jobs.of(needed), job]
    short = claim("b", analysis=analysis, quick=["--steps", "2"])
    quick = study(needed, short, quick=True).of(short)[0]
    assert isinstance(quick, AnalysisJob)
    assert quick.arguments == ["--steps", "40", "--steps", "2"]


def test_an_analysis_has_finished_with_the_same_arguments_and_runs() -> None:
    needed = claim("a", runs=Runs("palindrome_lstm.yaml", [1]))
    analysed = claim("b", analysis=Analysis("studies.palindrome_tables", needs=["a"]))
    jobs = study(needed, analysed)
    job, run = jobs.of(analysed)[0], jobs.of(needed)[0]
    assert isinstance(job, AnalysisJob)
    assert isinstance(run, StudyRun)
    folder = finish(run)
    assert job.finished() is None
    words = job.command()
    assert words[1:4] == ["-P", "-m", "studies.palindrome_tables"]
    assert words[4:] == ["--out", str(job.folder), "--runs", str(folder)]
    assert job.finished() is None, "begun, not finished"
    (job.folder / "summary.json").write_text("{}")
    assert job.finished() == job.folder
    newer = finish(run, version=1)
    assert job.finished() is None, "there is a newer run"
    job.command()
    assert not (job.folder / "summary.json").exists()
    assert json.loads((job.folder / "command.json").read_text())[-1] == str(newer)
