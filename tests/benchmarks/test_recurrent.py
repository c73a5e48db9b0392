"""The benchmark of the recurrent layers, on a case that takes no time."""

import csv
import functools
import itertools
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import recurrent, recurrent_cases
from benchmarks.recurrent_cases import Case, Shape
from kernels.processor import onednn_has
from kernels.triton import available, plan

needs_triton = pytest.mark.skipif(available.refusal(torch.float32, "cpu") is not None, reason="triton cannot run here")


def measure(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, list[dict[str, str]]]:
    monkeypatch.setitem(recurrent_cases.SHAPES, "book", Shape(2, 3, 4, 5, False))
    words = ("--shapes", "book", "--precisions", "float32", "--seconds", "0", "--out", "found", *words)
    monkeypatch.setattr(sys, "argv", ["recurrent", *words])
    status = recurrent.main()
    with Path("found/recurrent.csv").open() as file:
        return status, list(csv.DictReader(file))


def test_what_is_asked_for_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("kernels, auto", "torch.nn")
    status, rows = measure(monkeypatch, "--cells", "gru", "peephole_full", "--implementations", *asked)
    assert status == 0
    found = [(row["cell"], row["implementation"]) for row in rows]
    assert found == [("gru", "torch.nn"), ("gru", "kernels, auto"), ("peephole_full", "kernels, auto")]
    assert all(float(row["error"]) < 1e-6 and float(row["both_ms"]) > 0 for row in rows)
    assert Path("found/recurrent.png").exists()


def test_what_is_wrong_is_told_and_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(recurrent_cases.BOUND, "float32", 0.0)
    status, (row,) = measure(monkeypatch, "--cells", "rnn", "--implementations", "torch.nn")
    assert (status, row["both_ms"]) == (1, "")
    assert "WRONG: rnn, book, float32, torch.nn: error" in capsys.readouterr().err


def test_a_peer_that_this_cpu_lacks_is_left_out() -> None:
    """torch.nn.LSTM fails under autocast where oneDNN has no LSTM in 16 bits; no other peer does."""
    for cell, precision in itertools.product(("lstm", "gru"), ("float32", "bf16", "fp16")):
        case = Case(cell, Shape(2, 3, 4, 5, False), precision, "cpu")
        found = case.implementations(("torch.nn", "kernels, auto"))
        lacking = precision != "float32" and not onednn_has(recurrent_cases.LOW[precision])
        assert list(found) == ["kernels, auto"] if cell == "lstm" and lacking else ["torch.nn", "kernels, auto"]
        for make in found.values():
            case.both(make())


@needs_triton
def test_other_plans_are_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Case, "implementations", lambda case, asked: {asked[0]: partial(case.ours, "triton")})
    make_plan, held = plan.make_plan, []

    @functools.wraps(make_plan)
    def watched(*sizes: Any) -> plan.Plan:
        held.append(plan.RESIDENT_BYTES >> 10)
        return make_plan(*sizes)

    monkeypatch.setattr(plan, "make_plan", watched)
    watched.cache_clear = make_plan.cache_clear
    words = ("--cells", "rnn", "--implementations", "kernels, triton", "--plan", "32 KiB")
    status, rows = measure(monkeypatch, *words)
    assert (status, set(held), plan.RESIDENT_BYTES >> 10) == (0, {32}, 128)
    assert [row["implementation"] for row in rows] == ["kernels, triton, 32 KiB"]


@pytest.mark.parametrize("tokens", [False, True])
def test_flash_rnn_gets_what_it_expects(tokens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments as its package documents them; its place is taken by its equations."""

    def flashrnn(
        share: Tensor, weight: Tensor, bias: Tensor, states: Tensor, function: str, backend: str
    ) -> tuple[Tensor, Tensor]:
        B, T, G, N, D = share.shape
        assert (weight.shape, bias.shape, states.shape) == ((G, N, D, D), (G, N, D), (2, B, 1, N, D))
        assert (N, function, backend) == (1, "lstm", "cuda_fused")
        (h, c), found = states[:, :, 0], []
        for t in range(T):
            i, f, z, o = (share[:, t] + torch.einsum("gndp,bnp->bgnd", weight, h) + bias).unbind(1)
            c = f.sigmoid() * c + i.sigmoid() * z.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(torch.stack([h, c]))
        return torch.stack(found, 2), found[-1][:, :, None]

    module = ModuleType("flashrnn")
    module.flashrnn = flashrnn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashrnn", module)
    case = Case("lstm", Shape(3, 4, 5, 6, tokens), "float32", "cpu")
    run = case.with_input(*recurrent_cases.flash_rnn("lstm", case.layer))
    assert recurrent_cases.error(case.both(run), case.oracle()) < 1e-6
