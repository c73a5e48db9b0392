"""Errors for wrong arguments of a layer, with the types and, where torch.nn has them, the words of torch.nn."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kernels.dispatch import values_can_be_read
from kernels.dtypes import autocast_is_on

if TYPE_CHECKING:
    from kernels.layer import RecurrentLayer


def check_sizes(name: str, sizes: dict[str, Any], dropout: Any) -> None:
    """Raise if a size is no positive whole number, or `dropout` no probability."""
    for argument, value in sizes.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name}: {argument} must be a whole number, got {value!r}")
        if value <= 0:
            raise ValueError(f"{name}: {argument} must be positive, got {value!r}")
    if not _is_number(dropout) or not 0 <= dropout <= 1:
        raise ValueError(f"{name}: dropout must be a probability, got {dropout!r}")


def check_projection(layer: "RecurrentLayer", hidden_size: int, proj_size: int) -> None:
    """Raise if `proj_size` is not 0 and no width below `hidden_size`, or the layer is not the LSTM."""
    if proj_size and not layer.has_projection:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if not isinstance(proj_size, Integral) or isinstance(proj_size, bool):
        raise TypeError(f"LSTM: proj_size must be a whole number, got {proj_size!r}")
    if proj_size < 0 or proj_size >= hidden_size:
        raise ValueError(f"LSTM: proj_size must be 0, or below hidden_size, got {proj_size}")


def check_zoneout(layer: "RecurrentLayer", zoneout: Any) -> tuple[float, ...]:
    """Return the probability of zoneout of each state.

    Raises:
        ValueError: if one is not in [0, 1), there are not as many as states, or the layer has no zoneout.
    """
    name, count = type(layer).__name__, layer.num_states
    values = tuple(zoneout) if isinstance(zoneout, list | tuple) else (zoneout,) * count
    right = all(_is_number(p) and 0 <= p < 1 for p in values)
    if not right or len(values) != count:
        several = f", or {count} of them, one for each state" * (count > 1)
        raise ValueError(f"{name}: zoneout must be a probability below 1{several}, got {zoneout!r}")
    if any(values) and (layer.cell is None or layer.cell.zoneout is None):
        kind = f"{name} with proj_size" if layer.proj_size else name
        raise ValueError(f"{kind} has no zoneout; RNN, GRU, LSTM and LayerNormLSTM have it")
    return tuple(float(p) for p in values)


def check_vectors(layer: "RecurrentLayer", vectors: Tensor, ranks: set[int], name: str, shapes: str) -> None:
    """Raise if vectors of width I have a wrong rank, width, dtype or device, or no steps."""
    _check_rank(layer, vectors, ranks, name, shapes)
    if vectors.shape[-1] != layer.input_size:
        raise RuntimeError(
            f"{type(layer).__name__}: input must be [..., {layer.input_size}], got {list(vectors.shape)}"
        )
    _check_dtype(layer, vectors, "input")


def check_ids(layer: "RecurrentLayer", ids: Tensor, embedding: Tensor) -> None:
    """Raise if tokens or their vectors have a wrong type, rank, width, dtype or device, or a token is out of range."""
    for name, value in {"ids": ids, "embedding_weight": embedding}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    _check_rank(layer, ids, {1, 2}, "ids", "[T] or [T, B]")
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"ids must be int64 or int32, got {ids.dtype}")
    if embedding.dim() != 2 or 0 in embedding.shape or embedding.shape[1] != layer.input_size:
        raise ValueError(f"embedding_weight must be [V, {layer.input_size}], got {list(embedding.shape)}")
    if embedding.device != ids.device:
        raise RuntimeError(f"embedding_weight is on {embedding.device} and the ids are on {ids.device}")
    _check_dtype(layer, embedding, "embedding_weight")
    V = embedding.shape[0]
    if values_can_be_read() and ids.device.type == "cpu" and ids.numel():
        least, greatest = (int(bound) for bound in torch.aminmax(ids))
        if least < 0 or greatest >= V:
            raise ValueError(f"ids must be in 0..{V - 1}, got {least if least < 0 else greatest}")


def check_lengths(lengths: Tensor, T: int, B: int, device: torch.device) -> Tensor:
    """Return lengths [B] as int64 on a device.

    Raises:
        ValueError: if there are not B whole numbers, or, where they are on a CPU, one is not in 1..T. On a GPU an
            asynchronous device assert checks this.
    """
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (B,) or lengths.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"lengths must be {B} whole numbers, got {lengths.dtype} {list(lengths.shape)}")
    if values_can_be_read() and lengths.device.type == "cpu" and B:
        least, greatest = (int(bound) for bound in torch.aminmax(lengths))
        if least < 1 or greatest > T:
            raise ValueError(f"lengths must be in 1..{T}, got {least}..{greatest}")
    elif values_can_be_read() and lengths.device.type == "cuda":
        torch._assert_async(((lengths > 0) & (lengths <= T)).all(), f"lengths must be in 1..{T}")
    return lengths.to(device, torch.int64)


def check_resets(resets: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return resets on a device; they must be bool and have a shape, [T, B] as the caller lays out the input.

    Raises:
        ValueError: if they are no bool tensor of this shape.
    """
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool or resets.shape != shape:
        got = f"{resets.dtype} {list(resets.shape)}" if isinstance(resets, Tensor) else type(resets).__name__
        raise ValueError(f"resets must be torch.bool {list(shape)}, one for each step of the input, got {got}")
    return resets.to(device)


def initial_states(layer: "RecurrentLayer", hx: Any, B: int, batched: bool) -> tuple[Tensor, ...]:
    """Return the checked initial state(s) [L·D, B, H], zeros where `hx` is None.

    Raises:
        RuntimeError: if a shape, dtype or device is wrong.
        ValueError: if `hx` is no tensor or tuple of tensors.
    """
    weight, count, name = layer._stored, len(layer._suffixes), type(layer).__name__
    if hx is None:
        return tuple(weight.new_zeros(count, B, width) for width in layer.state_widths)
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx) if isinstance(hx, list | tuple) else ()
    several = {1: "", 2: "a pair of "}.get(layer.num_states, f"{layer.num_states} of ")
    if not states or not all(isinstance(state, Tensor) for state in states):
        kind = {1: "a tensor", 2: "a pair of tensors (h_0, c_0)"}.get(layer.num_states, several + "tensors")
        raise ValueError(f"{name}: hx must be {kind}, got {type(hx).__name__}")
    shapes = [(count, B, width) if batched else (count, width) for width in layer.state_widths]
    if [state.shape for state in states] != shapes:
        wanted = several + str(list(shapes[0])) if len(set(shapes)) == 1 else ", ".join(str(list(s)) for s in shapes)
        got = f"{len(states)}: " * (len(states) != layer.num_states)
        got += ", ".join(str(list(state.shape)) for state in states)
        raise RuntimeError(f"{name}: Expected hidden size of hx to be {wanted}, got {got}")
    for state in states:
        if state.device != weight.device:
            raise RuntimeError(f"{name}: hx is on {state.device} and the weights are on {weight.device}")
        _check_dtype(layer, state, "hx", RuntimeError)
    return tuple(state.reshape(count, B, width) for state, width in zip(states, layer.state_widths, strict=True))


def checked_weights(layer: "RecurrentLayer", suffix: str, device: torch.device) -> dict[str, Tensor]:
    """Return the parameters of one layer and direction by their names in `shapes`; `suffix` is such as "_l0".

    Raises:
        RuntimeError: if one is not on a device.
        ValueError: if they do not have one dtype.
    """
    weights, own = layer.weights(suffix), type(layer).__name__
    first, dtype = layer._names[0] + suffix, weights[layer._names[0]].dtype
    for name, weight in weights.items():
        if weight.device != device:
            raise RuntimeError(f"{own}: {name + suffix} is on {weight.device}, the input on {device}")
        if weight.dtype != dtype:
            raise ValueError(f"{own}: {name + suffix} is {weight.dtype} and {first} is {dtype}")
    return weights


def _is_number(value: Any) -> bool:
    """Return whether a value is a real number, also one of numpy's, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_rank(layer: "RecurrentLayer", tensor: Tensor, ranks: set[int], name: str, shapes: str) -> None:
    own, device = type(layer).__name__, layer._stored.device
    if tensor.dim() not in ranks:
        raise ValueError(f"{own}: {name} must be {shapes}, got {tensor.dim()}-D")
    if tensor.shape[1 if layer.batch_first and tensor.dim() == max(ranks) else 0] == 0:
        raise RuntimeError(
            f"{own}: {name} has no steps: {list(tensor.shape)}. Expected sequence length to be larger than 0 in RNN"
        )
    if tensor.device != device:
        raise RuntimeError(f"{own}: {name} is on {tensor.device} and the weights are on {device}")


def _check_dtype(layer: "RecurrentLayer", tensor: Tensor, name: str, error: type[Exception] = ValueError) -> None:
    weight, own = layer._stored, type(layer).__name__
    if not tensor.is_floating_point():
        raise error(f"{own}: {name} must be floating-point, got {tensor.dtype}")
    if tensor.dtype != weight.dtype and not autocast_is_on(weight.device):
        raise error(f"{own}: {name} is {tensor.dtype} and the weights are {weight.dtype}")
