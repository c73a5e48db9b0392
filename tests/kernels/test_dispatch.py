"""The choice of backend, and its overrides."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kernels
from kernels import LSTM, PeepholeLSTM, choose, dispatch, forced, processor, unscripted
from kernels.cell import Cell
from kernels.cells.gru.layer import GRU_CELL
from kernels.cells.layer_norm_lstm.layer import LAYER_NORM_CELL
from kernels.cells.lstm.layer import LSTM_CELL
from kernels.cells.peephole_lstm.layer import FULL_CELL
from kernels.cells.projected_lstm.cell import PROJECTED_CELL
from kernels.cells.rnn.layer import RNN_CELL
from kernels.cells.slstm.layer import SLSTM_CELL
from kernels.dispatch import Case
from kernels.layer import RecurrentLayer
from kernels.processor import onednn_has
from kernels.scripted import script
from kernels.triton import available, plan

CASE = Case(
    cell=LSTM_CELL, tokens=False, ragged=False, learning=True, recompute=False,
    B=256, H=256, dtype=torch.float32, device="cpu",
)  # fmt: skip


@pytest.fixture
def loops_are_scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a choice be that of a Python which TorchScript supports."""
    monkeypatch.setattr(script, "refusal", lambda: None)


@pytest.mark.usefixtures("loops_are_scripted")
def test_auto_says_why() -> None:
    assert choose("auto", CASE) == ("native", "oneDNN's LSTM is the fastest here")
    for change in ({"tokens": True}, {"ragged": True}, {"dtype": torch.float64}, {"cell": GRU_CELL}):
        assert choose("auto", CASE._replace(**change)) == ("torchscript", "the fastest here")
    for change in ({"B": 64}, {"learning": False}):
        assert choose("auto", CASE._replace(tokens=True, **change)).backend == "native"
    assert choose("auto", CASE._replace(cell=FULL_CELL)) == ("torchscript", "the fastest that has these equations")
    assert choose("auto", CASE._replace(recompute=True)).backend == "torchscript"


def test_a_named_backend_is_taken() -> None:
    assert choose("reference", CASE) == ("reference", "asked for by name")


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without bfloat16"])
def has_bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let oneDNN have an LSTM in bfloat16, or in no 16 bits, whatever this machine is."""
    low = {torch.bfloat16} if request.param else set()
    monkeypatch.setattr(dispatch, "onednn_has", lambda dtype: dtype in {torch.float32, *low})
    return request.param


@pytest.mark.usefixtures("loops_are_scripted")
def test_auto_asks_for_an_lstm_in_16_bits(has_bfloat16: bool) -> None:
    lack = "the fastest here: oneDNN has no LSTM in torch.{} on this CPU"
    for learning in (True, False):
        case = CASE._replace(learning=learning)
        low = (
            ("native", "oneDNN's LSTM is the fastest here")
            if has_bfloat16
            else ("torchscript", lack.format("bfloat16"))
        )
        assert choose("auto", case) == ("native", "oneDNN's LSTM is the fastest here")
        assert choose("auto", case._replace(dtype=torch.bfloat16)) == low
        assert choose("auto", case._replace(dtype=torch.float16)) == ("torchscript", lack.format("float16"))
        assert choose("auto", case._replace(cell=GRU_CELL, dtype=torch.bfloat16)) == ("torchscript", "the fastest here")


@pytest.mark.usefixtures("loops_are_scripted")
def test_what_a_cpu_emulates_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "computes", lambda dtype, device: dtype == torch.float16)
    low, high = (choose("auto", CASE._replace(cell=GRU_CELL, dtype=dtype)) for dtype in (torch.bfloat16, torch.float16))
    assert high == ("torchscript", "the fastest here")
    assert (
        low.reason == f"{high.reason}; products are in float32, since this CPU has no instructions for torch.bfloat16"
    )


@pytest.mark.parametrize("kind", [LSTM, PeepholeLSTM])
def test_torch_compile_asks_the_processor_once(kind: type[RecurrentLayer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the processor itself is asked
    torch.compiler.reset()
    layer, x = kind(3, 5), torch.randn(4, 2, 3)

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)[0]

    torch.testing.assert_close(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x), rtol=0.02, atol=0.02)


def test_native_by_name_is_refused_where_it_would_fail(has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {dtype: CASE._replace(dtype=dtype) for dtype in (torch.bfloat16, torch.float16)}
    assert choose("native", cases[torch.bfloat16]).backend == "native", "torch has loops of its own"
    monkeypatch.setattr(script.sys, "version_info", (3, 14))  # whether loops are scripted makes no difference
    for dtype, case in cases.items():
        with torch.autocast("cpu", dtype):
            assert choose("native", case._replace(ragged=True)).backend == "native"
            assert choose("native", case._replace(cell=GRU_CELL)).backend == "native"
            with monkeypatch.context() as off:
                off.setattr(dispatch, "onednn_is_on", lambda: False)
                assert choose("native", case).backend == "native"
            if dtype == torch.bfloat16 and has_bfloat16:
                assert choose("native", case).backend == choose("auto", case).backend == "native"
                continue
            assert choose("auto", case).backend == "torchscript"
            message = (
                f"'native' cannot run here: oneDNN has no LSTM in {dtype} on this CPU; use 'auto' or 'torchscript'"
            )
            with pytest.raises(ValueError, match=message):
                choose("native", case)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
def test_torch_runs_its_lstm_where_it_is_said_to(dtype: torch.dtype, learning: bool) -> None:
    """What is asked is what torch does: its own layer under autocast fails exactly where native is refused."""
    peer, layer, x = torch.nn.LSTM(3, 5), LSTM(3, 5, backend="native"), torch.randn(4, 2, 3)
    with torch.autocast("cpu", dtype), torch.set_grad_enabled(learning):
        for module in (peer, layer):
            if onednn_has(dtype):
                module(x)
            else:
                with pytest.raises(
                    (RuntimeError, ValueError), match=r"could not create a primitive|oneDNN has no LSTM"
                ):
                    module(x)


@pytest.mark.parametrize("cell", [SLSTM_CELL, LAYER_NORM_CELL, PROJECTED_CELL], ids=lambda cell: cell.name)
def test_kernels_that_have_not_run_on_a_gpu_must_be_asked_for(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "refusal", lambda dtype, device: None)
    monkeypatch.setattr(plan, "device_limits", lambda device: plan.Device(processors=132, memory=227 << 10))
    case = CASE._replace(cell=cell, device="cuda:0", recompute=True)  # cuDNN has the projection, but cannot recompute
    assert choose("triton", case).backend == "triton"
    assert choose("auto", case._replace(cell=cell._replace(triton_checked=True))).backend == "triton"
    backend, reason = choose("auto", case)
    assert backend == "torchscript"
    assert reason.endswith(f"have not run on a GPU for this cell, {cell.name}; backend='triton' asks for them")
    if cell is PROJECTED_CELL:
        assert choose("auto", case._replace(recompute=False)) == ("native", "cuDNN has these equations")


def test_unknown_backends_are_listed() -> None:
    with pytest.raises(ValueError, match="must be one of auto, reference, torchscript, native, triton, got 'cudnn'"):
        choose("cudnn", CASE)
    with pytest.raises(ValueError, match="must be one of"), forced("oneDNN"):
        pass


def test_forced_overrides_and_gives_back() -> None:
    with forced("reference"):
        assert choose("torchscript", CASE) == ("reference", "forced by dispatch.forced()")
    assert choose("torchscript", CASE).backend == "torchscript"


@pytest.mark.usefixtures("loops_are_scripted")
def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    LSTM(3, 5).explain(41, 8)
    PeepholeLSTM(3, 5).explain(41, 8, tokens=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "LSTM, 41 steps of 8 rows, vectors, torch.float32 on cpu: native, oneDNN's LSTM is the fastest here",
        "PeepholeLSTM, 41 steps of 8 rows, tokens, torch.float32 on cpu: torchscript, the fastest that has these"
        " equations",
    ]


def test_forced_reaches_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the reference ran")

    layer, x = LSTM(2, 3), torch.zeros(2, 1, 2)
    monkeypatch.setattr("kernels.cells.lstm.layer.LSTM_CELL", LSTM_CELL._replace(step=fail))
    layer(x)
    with pytest.raises(AssertionError, match="the reference ran"), forced("reference"):
        layer(x)


def test_where_scripting_is_refused_loops_run_unscripted(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = PeepholeLSTM(2, 3), torch.randn(4, 1, 2)
    expected = layer(x)
    monkeypatch.setattr(script.sys, "version_info", (3, 14))
    monkeypatch.setattr(script, "_scripted", None)  # calling it would fail
    assert "Python 3.14" in choose("auto", CASE._replace(cell=FULL_CELL)).reason
    for change in ({"tokens": True}, {"cell": GRU_CELL}, {"cell": RNN_CELL}):  # faster than torch.nn's even so
        choice = choose("auto", CASE._replace(**change))
        assert choice.backend == "torchscript"
        assert "the fastest here, though unscripted: TorchScript does not support Python 3.14" in choice.reason
    assert choose("auto", CASE) == ("native", "oneDNN's LSTM is the fastest here")
    torch.testing.assert_close(layer(x), expected)
    with unscripted():
        torch.testing.assert_close(layer(x), expected)


def test_importing_scripts_nothing_and_needs_no_lightning() -> None:
    code = """
import sys
import kernels
from kernels.scripted import script
from kernels.triton import available, plan
print(script._scripted.cache_info().currsize, "pytorch_lightning" in sys.modules)
"""
    root = Path(kernels.__path__[0]).parent
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.stdout.split() == ["0", "False"], result.stderr
