"""--trainer.precision auto, and the warning of a slow precision."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from kernels import processor
from lightning_modules.cli import precision
from lightning_modules.cli.precision import faster_precision, slowness
from lightning_modules.cli.settings import parse_settings

Train = Callable[..., tuple[int, str, str]]
RUN = Path("runs/palindrome_lstm/version_0")
BF16, FP16 = torch.bfloat16, torch.float16


def has(monkeypatch: pytest.MonkeyPatch, *found: tuple[torch.dtype, str]) -> None:
    """Let this machine have instructions for these dtypes, on devices of these kinds."""
    monkeypatch.setattr(precision, "computes", lambda dtype, device: (dtype, device) in found)


@pytest.mark.parametrize(("gpu", "mps"), [(False, False), (True, False), (False, True)])
def test_auto_goes_by_the_device_that_is_taken(gpu: bool, mps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.CUDAAccelerator, "is_available", lambda: gpu)
    monkeypatch.setattr(precision.MPSAccelerator, "is_available", lambda: mps)
    has(monkeypatch, (BF16, "cuda"))
    assert faster_precision("auto", True) == ("bf16-mixed" if gpu else "32-true")
    assert faster_precision("gpu", True) == ("bf16-mixed" if gpu else "32-true")
    assert faster_precision("cpu", True) == "32-true"
    has(monkeypatch, (BF16, "cpu"))
    assert faster_precision("auto", True) == ("32-true" if gpu or mps else "bf16-mixed")
    assert faster_precision("cpu", True) == "bf16-mixed"
    assert faster_precision("cpu", False) == faster_precision("mps", True) == faster_precision("tpu", True) == "32-true"


@pytest.mark.parametrize("found", [True, False])
def test_auto_of_recurrent_networks_and_of_graphs(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, *([(BF16, "cpu")] if found else []))

    def chosen(config: str) -> str:
        words = ["--config", config, "--trainer.accelerator", "cpu", "--trainer.precision", "auto"]
        return parse_settings(words)[1]["trainer"]["precision"]

    assert {chosen(name) for name in ("palindrome_rnn.yaml", "book_gru.yaml")} == {"bf16-mixed" if found else "32-true"}
    assert {chosen(name) for name in ("karate_gcn.yaml", "molecules.yaml")} == {"32-true"}


def test_a_cpu_is_asked_for_instructions_not_for_an_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN has an LSTM in bfloat16 for all of AVX-512; a processor that imitates the products is slower with it."""
    monkeypatch.setattr(processor, "onednn_has", lambda dtype: dtype == BF16)
    for machine, instructions, expected in (("x86_64", True, True), ("x86_64", False, False), ("aarch64", False, True)):
        monkeypatch.setattr(processor.platform, "machine", lambda machine=machine: machine)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda instructions=instructions: instructions)
        assert processor.computes(BF16, "cpu") == expected
        assert not processor.computes(FP16, "cpu")


def test_what_is_slow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch)
    assert slowness("32-true", "cpu") is slowness("64-true", "cpu") is None
    assert "bf16-mixed is at best as fast as 32-true here: this CPU has no bfloat16 instruct" in str(
        slowness("bf16-mixed", "cpu")
    )
    assert "16-true is at best as fast as 32-true here: this CPU has no float16 instruct" in str(
        slowness("16-true", "cpu")
    )
    assert "this GPU has no bfloat16" in str(slowness("bf16-true", "cuda"))
    has(monkeypatch, (BF16, "cpu"), (FP16, "cuda"))
    assert slowness("bf16-mixed", "cpu") is slowness("16-mixed", "cuda") is None


@pytest.mark.parametrize("found", [True, False], ids=["with bfloat16", "without"])
def test_a_run_says_and_keeps_what_was_chosen(found: bool, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, *([(BF16, "cpu")] if found else []))
    taken, other = ("bf16-mixed", "32-true") if found else ("32-true", "bf16-mixed")
    auto = ("--trainer.precision", "auto")
    status, out, err = train("--trainer.max_steps", "6", *auto)
    assert (status, err) == (0, "")
    assert f"cpu, {taken} ·" in out.splitlines()[0]
    unbroken = (RUN / "metrics.csv").read_text()
    assert yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["precision"] == taken

    train("--trainer.max_steps", "3", *auto)
    status, out, _ = train("--trainer.max_steps", "6", "--ckpt_path", "last", *auto)
    assert status == 0
    assert f"cpu, {taken} · from step 3" in out.splitlines()[0]
    assert (RUN.parent / "version_1/metrics.csv").read_text() == unbroken

    has(monkeypatch, *([] if found else [(BF16, "cpu")]))  # another machine
    status, _, err = train("--trainer.max_steps", "9", "--ckpt_path", "last", *auto)
    assert status == 2
    assert f"another config: trainer.precision ({taken}, here {other})" in err
    status, _, err = train("--trainer.max_steps", "7", "--ckpt_path", "last", "--trainer.precision", taken)
    assert status == 0
    assert err.startswith("train.py: warning: bf16-mixed is at best as fast") == found


def test_another_precision_is_refused_in_one_line(train: Train) -> None:
    status, _, err = train("--trainer.precision", "fast")
    assert (status, err.count("\n")) == (2, 1)
    assert "precision" in err
    assert "auto" in err
