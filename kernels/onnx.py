"""Our layers in ONNX: what `torch.onnx.export` makes of their operators. It needs the packages onnx and onnxscript.

    T, B = torch.export.Dim("T"), torch.export.Dim("B")
    torch.onnx.export(
        layer.eval(), (x,), "layer.onnx", dynamo=True,
        dynamic_shapes=({0: T, 1: B},), custom_translation_table=kernels.onnx.translation_table(),
    )

RNN, GRU, LSTM and the diagonal peephole LSTM become one operator of ONNX for each layer and direction. For other cells
ONNX has none: `kernels/dispatch.py` takes the reference, whose loop becomes a Scan over the equations.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary. ONNX adds an axis of directions, here of size 1.
"""

from collections.abc import Callable
from typing import Any

import torch

from kernels.operator import Named

Values = tuple[Any, ...]  # of a graph of onnxscript, which has no public type for them


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the `custom_translation_table` of `torch.onnx.export`: an operator of ours, and the function for ONNX's.

    Raises:
        ImportError: if onnxscript is not installed.
    """
    import onnxscript

    op = onnxscript.opset18
    own, aten = torch.ops.peephole, torch.ops.aten
    translations = {own.rnn: _rnn, own.gru: _gru, own.lstm: _lstm, aten.log_sigmoid: _log_sigmoid}
    return {packet.default: _named(packet.default, translation, op) for packet, translation in translations.items()}


def _named(operator: Any, translation: Callable[[Any, Named], Values], op: Any) -> Callable[..., Values]:
    """Return a translation as a function of the operator's arguments in their order."""
    names = [argument.name for argument in operator._schema.arguments]

    def translate(*arguments):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202 - the exporter reads annotations
        return translation(op, dict(zip(names, arguments, strict=True)))

    translate.__name__ = operator._schema.name.split("::")[1]
    return translate


def _rnn(op: Any, given: Named) -> Values:
    activation = {"tanh": "Tanh", "relu": "Relu"}[given["nonlinearity"]]
    inputs = _inputs(op, given, order=(0,), bias_hh=None)
    return _results(op, op.RNN(*inputs, _batch(op, given["h_0"]), hidden_size=_H(given), activations=[activation]))


def _gru(op: Any, given: Named) -> Values:
    """Translate gates r, z, n to z, r, h; `linear_before_reset` means r ⊙ (W_hn h′ + b_hn), as here."""
    inputs = _inputs(op, given, order=(1, 0, 2), bias_hh=given["bias_hh"])
    return _results(op, op.GRU(*inputs, _batch(op, given["h_0"]), hidden_size=_H(given), linear_before_reset=1))


def _lstm(op: Any, given: Named) -> Values:
    """Translate gates i, f, g, o to i, o, f, c, and peepholes i, f, o to i, o, f."""
    peephole = given["weight_peephole"]
    if peephole is not None:  # [3, H] to [1, 3H]
        peephole = _batch(op, op.Reshape(_reordered(op, peephole, (0, 2, 1), rows=1), op.Constant(value_ints=[-1])))
    inputs = _inputs(op, given, order=(0, 3, 1, 2), bias_hh=None)
    candidate = {"tanh": "Tanh", "sigmoid": "Sigmoid"}[given["candidate"]]
    states = (_batch(op, given["h_0"]), _batch(op, given["c_0"]))
    results = op.LSTM(
        *inputs, *states, peephole, hidden_size=_H(given), activations=["Sigmoid", candidate, "Tanh"]
    )  # fmt: skip
    return _results(op, results)


def _log_sigmoid(op: Any, given: Named) -> Any:
    """Translate log σ(x), the sLSTM's, to −log(1 + exp(−x)); the exporter's own log(σ(x)) is −∞ from −104 downwards."""
    return op.Neg(op.Softplus(op.Neg(given["self"])))


def _inputs(op: Any, given: Named, order: tuple[int, ...], bias_hh: Any) -> Values:
    """Return the first inputs of ONNX's recurrent operators: vectors, W [1, G, I], R [1, G, H], B [1, 2G], lengths.

    Args:
        op: makes the nodes.
        given: the arguments of our operator.
        order: where ONNX's gates are among ours.
        bias_hh: the recurrent bias [G]; None for zeros.
    """
    vectors, bias, lengths = given["inputs"], given.get("bias", given.get("bias_ih")), given["lengths"]
    if given["embedding"] is not None:
        vectors = op.Gather(given["embedding"], vectors, axis=0)
    weights = [_batch(op, _reordered(op, given[name], order, _H(given))) for name in ("weight_ih", "weight_hh")]
    if bias is not None:
        bias_hh = op.Sub(bias, bias) if bias_hh is None else bias_hh
        biases = (_reordered(op, each, order, _H(given)) for each in (bias, bias_hh))
        bias = _batch(op, op.Concat(*biases, axis=0))
    lengths = None if lengths is None else op.Cast(lengths, to=6)  # int32
    return vectors, *weights, bias, lengths


def _results(op: Any, results: Values) -> Values:
    """Return ONNX's results [T, 1, B, H] and [1, B, H] without the axis of the directions."""
    first, *states = results
    return op.Squeeze(first, op.Constant(value_ints=[1])), *(
        op.Squeeze(state, op.Constant(value_ints=[0])) for state in states
    )


def _reordered(op: Any, weight: Any, order: tuple[int, ...], rows: int) -> Any:
    """Return a weight with its gates, which have so many rows each, in another order."""
    if len(order) == 1:
        return weight
    return op.Gather(weight, op.Constant(value_ints=[k * rows + row for k in order for row in range(rows)]), axis=0)


def _batch(op: Any, tensor: Any) -> Any:
    """Return a tensor with an axis of size 1 in front."""
    return op.Unsqueeze(tensor, op.Constant(value_ints=[0]))


def _H(given: Named) -> int:
    return int(given["weight_hh"].shape[1])
