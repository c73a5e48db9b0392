"""The study of the claims: what is chosen, what fits into a budget, what is stored and printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import UserError
from studies import results
from studies.claim_list import list_claims
from studies.claim_study import affordable, run_claims
from studies.claims import Analysis, Bounds, Published, Runs
from studies.jobs import StudyJobs
from studies.options import parse
from studies.runs import StudyRun
from tests.conftest import SUMMARY, finish
from tests.studies.test_jobs import claim
from tests.studies.test_runner import FakeExecutor

SHORT = Runs("palindrome_lstm.yaml", [1], {"data.length": 4})
LONG = Runs("palindrome_lstm.yaml", [1, 2], {"data.length": 6})
CLAIMS = [
    claim(
        "short", runs=SHORT, minutes=2.0, unit="%", published=Published(70, "the report", 10), holds=Bounds(at_least=70)
    ),
    claim("short-loss", runs=SHORT, minutes=2.0, metric="loss"),
    claim("long", runs=LONG, minutes=20.0),
    claim("analysis", part="recurrent", analysis=Analysis("studies.x", needs=["short"]), minutes=1.0),
]
KNOWN = {each.id: each for each in CLAIMS}


def finished(name: str, version: int = 0, **summary: Any) -> None:
    """Make the runs of a claim as if they had finished."""
    jobs = StudyJobs(KNOWN, Path("runs/study"))
    for number, run in enumerate(jobs.of(KNOWN[name])):
        assert isinstance(run, StudyRun)
        finish(run, version + number, json.dumps(SUMMARY | summary))


@pytest.fixture(autouse=True)
def own_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("claim_list", "claim_study", "page"):
        monkeypatch.setattr(f"studies.{module}.load", lambda: CLAIMS)
    monkeypatch.setattr("studies.page.load_tables", lambda _: {})
    for module in ("claim_list", "claim_study"):
        monkeypatch.setattr(f"studies.{module}.PUBLISHED_FOLDER", Path("published"))


def within(budget: float) -> list[str]:
    return [each.id for each in affordable(CLAIMS, StudyJobs(KNOWN, Path("runs/study")), budget)]


def test_a_budget_takes_the_shortest_and_counts_shared_and_finished_runs_once() -> None:
    assert within(1.9) == []
    assert within(2) == ["short", "short-loss"]
    assert within(3) == ["short", "short-loss", "analysis"]
    assert within(22.9) == ["short", "short-loss", "analysis"]
    assert within(23) == ["short", "short-loss", "analysis", "long"]
    finished("short")
    assert within(1) == ["short", "short-loss", "analysis"]


def test_finished_runs_are_stored_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    finished("short", loss=0.4)
    assert run_claims(parse(["--only", "short", "short-loss"], None)[0]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["short", "holds", "75.00", "%", "70", "±", "10", "%", "≥", "70", "%"] in rows
    assert ["short-loss", "differs", "0.400", "–", "≥", "0.5"] in rows
    assert "1 holds, 1 differs" in out
    stored = results.read_results(Path("runs/study/results"))
    assert set(stored) == {"short", "short-loss"}
    assert "It holds." in Path("runs/study/results/README.md").read_text()


def test_the_list_has_every_claim_with_state_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    finished("short", loss=0.6, cpu_seconds=30)
    run_claims(parse(["--only", "short"], None)[0])
    finished("long", version=1)
    results.store_runs(Path("published"), KNOWN["long"], {1: Path("runs/palindrome_lstm/version_1")})
    Path("runs/study/failed.json").write_text('{"analysis": "runs/study/logs/analysis.log"}')
    capsys.readouterr()
    assert list_claims(parse(["--list"], None)[0]) == 0
    out = capsys.readouterr().out
    assert "short: holds\n  It holds.\n  published 70 ± 10 % (the report) · ours 75.00 % · holds if ≥ 70 %\n" in out
    assert "  30 s of CPU time · README.md\n  python study.py --config palindrome_lstm.yaml --seeds 1 --data.le" in out
    assert "short-loss: holds\n" in out, "it needs the same runs"
    assert "long: not all seeds, in docs/results\n" in out
    assert "  published – · ours 75.00 (1 of 2 seeds) · holds if ≥ 0.5\n  about 20 min of CPU time" in out
    assert "analysis: failed, see runs/study/logs/analysis.log\n" in out
    assert "  python study.py --only analysis\n" in out
    assert "4 claims, 22 min on one core" in out


def test_claims_outside_of_the_budget_are_only_counted(capsys: pytest.CaptureFixture[str]) -> None:
    finished("short")
    assert study_with(Executor(), "--budget", "0.5") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.split("\n\n")[1].splitlines()] == ["claim", "short", "short-loss"]
    assert "1 holds, 1 differs, 2 not run\n" in out


def test_the_list_is_as_wide_as_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    list_claims(parse(["--list"], None)[0])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "study.py" not in line) <= 50
    assert any("python study.py --config" in line and len(line) > 50 for line in lines), "a command can be copied"


def test_a_stored_result_is_kept_when_other_claims_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    finished("short")
    run_claims(parse(["--only", "short"], None)[0])
    finished("long", version=1)
    run_claims(parse(["--only", "long"], None)[0])
    assert set(results.read_results(Path("runs/study/results"))) == {"short", "short-loss", "long"}


class Executor(FakeExecutor):
    """Finishes runs as train.py would, but those whose log says that they fail."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, job: Any, log: Path) -> str:
        self.started.append(str(job))
        self.seen = []
        if str(job) in self.failing:
            log.write_text(self.failing[str(job)])
        else:
            finish(job, version=len(self.started))
        return str(job)


def study_with(executor: Executor, *words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.claim_study.make_executor", lambda *_: executor)
        return run_claims(parse(list(words), None)[0])


def test_a_failed_claim_is_named_with_its_log_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    failing = {"long seed 2": "Traceback: …\n", "short seed 1": "error: …; --data.download true fetches it\n"}
    assert study_with(Executor(failing=failing), "--only", "palindromes") == 1
    out, err = capsys.readouterr()
    assert "failed: long seed 2, see runs/study/logs/long_seed_2.log\n" in err
    assert "no data: short seed 1, see runs/study/logs/short_seed_1.log\n" in err
    assert "with --download the same command fetches the data" in err
    assert "1 failed" in out.splitlines()[-2]
    list_claims(parse(["--list"], None)[0])
    assert "long: failed, see runs/study/logs/long_seed_2.log" in capsys.readouterr().out
    again = Executor()
    assert study_with(again, "--only", "long") == 0
    assert again.started == ["long seed 2"], "the other had finished"
    list_claims(parse(["--list"], None)[0])
    assert "long: holds\n" in capsys.readouterr().out


def test_measured_minutes_replace_estimated_ones_in_a_budget() -> None:
    finished("long", cpu_seconds=30)
    Path("runs/palindrome_lstm").rename("aside")
    results.store_runs(Path("published"), KNOWN["long"], {1: Path("aside/version_0")})
    executor = Executor()
    assert study_with(executor, "--budget", "1") == 0
    assert executor.started == ["long seed 1", "long seed 2"], "30 s each, where claims.yaml says 20 min"


def test_an_interrupted_study_stores_what_has_finished() -> None:
    class Interrupted(Executor):
        def submit(self, job: Any, log: Path) -> str:
            if self.started:
                raise KeyboardInterrupt
            return super().submit(job, log)

    with pytest.raises(SystemExit) as stop:
        study_with(Interrupted(), "--only", "long")
    assert stop.value.code == 130
    assert results.read_results(Path("runs/study/results"))["long"].seeds == [1]


def test_results_that_could_not_be_stored_are_refused_before_a_run() -> None:
    Path("file").touch()
    options = parse(["--out", "file", "--only", "short"], None)[0]
    with pytest.raises(UserError, match="cannot make the folder file"):
        run_claims(options)
    assert not options.started, "it is a mistake in the command"


def test_a_quick_study_without_short_runs_is_refused() -> None:
    with pytest.raises(UserError, match=r"--quick: none of these claims has a short run"):
        run_claims(parse(["--quick"], None)[0])
    assert not Path("runs").exists()
