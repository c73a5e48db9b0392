"""The layers in ONNX: onnxruntime against the layers, for other numbers of steps and rows than the exported ones."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kernels import LSTM, SLSTM, LayerNormLSTM
from kernels.layer import RecurrentLayer
from kernels.onnx import translation_table
from tests.kernels.all_cells import CELLS

onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install -c constraints.txt '.[onnx]'")
pytest.importorskip("onnxscript", reason="needs pip install -c constraints.txt '.[onnx]'")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning"),  # of torch's own exporter
    pytest.mark.filterwarnings("ignore:. The axis name.*shares the same shape:UserWarning"),  # B of the input and of hx
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(torch|onnxscript|onnx)"),
]
OPERATORS = ("LSTM", "GRU", "RNN", "Scan")
QUICK = ("lstm", "gru", "rnn_relu", "peephole_diagonal_sigmoid")  # the others are slow
ONE_OPERATOR = [name for name in CELLS if CELLS[name](2, 3).cell.onnx]
SCANS = [name for name in CELLS if name not in ONE_OPERATOR]
T, B = torch.export.Dim("T"), torch.export.Dim("B")


def marked(names: list[str], quick: tuple[str, ...]) -> list[Any]:
    """Return the names, the slow ones with their mark."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


def hx_of(layer: RecurrentLayer, rows: int) -> Any:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    states = tuple(torch.randn(count, rows, width) for width in layer.state_widths)
    return states if len(states) > 1 else states[0]


def flat(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else [each for value in values for each in flat(value)]


def check(module: nn.Module, inputs: Any, shapes: Any) -> Counter[str]:
    """Export, run onnxruntime on sequences of several sizes, and return how often each operator occurs.

    Args:
        module: is called with keyword arguments.
        inputs: returns the keyword arguments for T steps and B rows.
        shapes: which axes of them are free.
    """
    program = torch.onnx.export(
        module.eval(), (), kwargs=inputs(7, 4), dynamo=True, verbose=False, dynamic_shapes=shapes,
        custom_translation_table=translation_table(),
    )  # fmt: skip
    assert program is not None
    program.save("layer.onnx")
    session = onnxruntime.InferenceSession("layer.onnx")
    for steps, rows in ((11, 2), (1, 1), (5, 6)):
        given = inputs(steps, rows)
        feed = {
            node.name: value.numpy()
            for node, value in zip(session.get_inputs(), flat(tuple(given.values())), strict=True)
        }
        with torch.no_grad():
            expected = flat(module(**given))
        for actual, value in zip(session.run(None, feed), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(actual), value, rtol=1e-5, atol=1e-5)
    return Counter(node.op_type for node in program.model.graph if node.op_type in OPERATORS)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


@pytest.mark.parametrize("cell", marked(ONE_OPERATOR, QUICK))
def test_a_layer_and_direction_is_one_operator(cell: str) -> None:
    layer = CELLS[cell](3, 5, num_layers=2 if cell == "lstm" else 1, bidirectional=True)
    free = {1: B}
    count = check(
        layer,
        lambda steps, rows: {"input": torch.randn(steps, rows, 3), "hx": hx_of(layer, rows)},
        {"input": {0: T, 1: B}, "hx": (free,) * layer.num_states if layer.num_states > 1 else free},
    )
    name = {"gru": "GRU", "rnn_relu": "RNN", "rnn_tanh": "RNN"}.get(cell, "LSTM")
    assert count == {name: 2 * layer.num_layers}


@pytest.mark.parametrize("cell", marked(SCANS, ("leaky", "slstm")))
def test_other_cells_are_a_scan(cell: str) -> None:
    layer = CELLS[cell](3, 6 if cell == "slstm" else 5, bias=True)
    if isinstance(layer, SLSTM):  # gates of ±100 before their functions
        layer.weight_ih_l0.data = 100 * torch.eye(3).repeat(8, 1)[torch.randperm(24)][: 4 * layer.hidden_size]
    count = check(layer, lambda steps, rows: {"input": torch.randn(steps, rows, 3)}, {"input": {0: T, 1: B}})
    assert count == {"Scan": 1}


@pytest.mark.parametrize("zoneout", [0.2, pytest.param((0.0, 0.3), marks=pytest.mark.slow)], ids=["h and c", "c"])
@pytest.mark.parametrize("kind", [LSTM, pytest.param(LayerNormLSTM, marks=pytest.mark.slow)])
def test_zoneout_is_its_expectation_in_a_scan(kind: type[RecurrentLayer], zoneout: Any) -> None:
    layer = kind(3, 5, zoneout=zoneout)
    count = check(layer, lambda steps, rows: {"input": torch.randn(steps, rows, 3)}, {"input": {0: T, 1: B}})
    assert count == {"Scan": 1}


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"num_layers": 2, "bidirectional": True}, marks=pytest.mark.slow)]
)
def test_inputs_and_initial_states_that_are_trained(options: dict[str, Any]) -> None:
    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.layer = nn.Linear(3, 3), SLSTM(3, 4, num_heads=2, **options)
            self.states = nn.ParameterList(hx_of(self.layer, 1))

        def forward(self, input: Tensor) -> Any:
            return self.layer(self.linear(input), tuple(each.expand(-1, input.shape[1], -1) for each in self.states))

    count = check(Trained(), lambda steps, rows: {"input": torch.randn(steps, rows, 3)}, {"input": {0: T, 1: B}})
    assert count == {"Scan": 4 if options else 1}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LSTM, {}),
        pytest.param(LSTM, {"bias": False, "bidirectional": True}, marks=pytest.mark.slow),
        pytest.param(LSTM, {"proj_size": 2}, marks=pytest.mark.slow),
        pytest.param(SLSTM, {"num_layers": 2}, marks=pytest.mark.slow),
    ],
    ids=["plain", "both ways", "projected", "sLSTM"],
)
def test_tokens_with_lengths(kind: type[RecurrentLayer], options: dict[str, Any]) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.layer = nn.Embedding(9, 3), kind(3, 5, **options)

        def forward(self, ids: Tensor, lengths: Tensor) -> Any:
            return self.layer.forward_ids(ids, self.embedding.weight, lengths=lengths)

    check(
        Tokens(),
        lambda steps, rows: {
            "ids": torch.randint(0, 9, (steps, rows)),
            "lengths": torch.randint(1, steps + 1, (rows,)),
        },
        {"ids": {0: T, 1: B}, "lengths": {0: B}},
    )


@pytest.mark.slow
def test_resets_are_a_scan() -> None:
    count = check(
        LSTM(3, 5, bidirectional=True),
        lambda steps, rows: {"input": torch.randn(steps, rows, 3), "resets": torch.rand(steps, rows) < 0.3},
        {"input": {0: T, 1: B}, "resets": {0: T, 1: B}},
    )
    assert count == {"Scan": 2}


@pytest.mark.parametrize(("backend", "cell"), [("torchscript", "leaky"), ("native", "lstm")])
def test_a_backend_without_a_translation_is_refused(backend: Any, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = CELLS[cell](3, 5, backend=backend)
    monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
    monkeypatch.setattr("torch.onnx.is_in_onnx_export", lambda: True)
    with pytest.raises(ValueError, match=f"^backend='{backend}' cannot run here: "):
        layer(torch.randn(4, 2, 3))


def test_zoneout_in_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
    monkeypatch.setattr("torch.onnx.is_in_onnx_export", lambda: True)
    with pytest.raises(ValueError, match=r"^zoneout in training cannot be exported to ONNX; call eval\(\)"):
        LSTM(3, 5, zoneout=0.1)(torch.randn(4, 2, 3))
