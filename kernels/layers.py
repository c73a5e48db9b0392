"""The recurrent layers with torch.nn's interface. They own the weights; the loops are in the backends.

Legend: B batch, T time, I input, H hidden, L levels (torch.nn's layers).
"""

from typing import Literal

import torch
from torch import Tensor

from kernels.dispatch import Backend
from kernels.recurrent_layer import RecurrentLayer, Shapes, States, Weights


class RNN(RecurrentLayer):
    """Elman's network, h = tanh(W_ih x + b_ih + W_hh h′ + b_hh), or relu; torch.nn.RNN's twin.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of levels L.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases; like the rest, as of `RecurrentLayer`.
        batch_first: whether batched input and output are [B, T, …].
        dropout: probability of dropping between levels.
        bidirectional: whether a second network reads from the end.
        proj_size: must be 0; torch.nn.RNN has this argument, too.
        device: device of the weights.
        dtype: dtype of the weights.
        backend: "auto" or a name.
        recompute: makes no difference: this cell keeps nothing but its states anyway.

    Raises:
        ValueError: as of `RecurrentLayer`, if the nonlinearity is neither, and if `proj_size` is not 0.
    """

    cell = "rnn"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: Unknown nonlinearity {nonlinearity!r}; it must be 'tanh' or 'relu'")
        _refuse_projection(proj_size)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    @property
    def mode(self) -> str:
        """torch.nn's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.RNN's parameters."""
        return _shapes(input_size, self.hidden_size, 1, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity!r}" if self.nonlinearity != "tanh" else "")

    def run(
        self,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Return all states and the last."""
        own = (weights["weight_ih"], weights["weight_hh"], _bias(weights))
        return self._call(inputs, embedding, own, state, lengths, self.nonlinearity)


class GRU(RecurrentLayer):
    """Gated recurrent unit, torch.nn.GRU's twin: gates r, z, n, two biases; equations in `kernels.reference`.

    The arguments are those of `RecurrentLayer`, and `proj_size`, which must be 0.

    Raises:
        ValueError: as of `RecurrentLayer`, and if `proj_size` is not 0.
    """

    cell = "gru"
    mode = "GRU"  # torch.nn's name of the equations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        _refuse_projection(proj_size)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.GRU's parameters."""
        return _shapes(input_size, self.hidden_size, 3, self.bias)

    def result_dtype(self, given: torch.dtype) -> torch.dtype:
        """Return what torch.nn.GRU returns: on a CPU, unlike LSTM and RNN, the vectors' dtype under autocast."""
        return given if self._stored.device.type == "cpu" else super().result_dtype(given)

    def run(
        self,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Return all states and the last."""
        own = (weights["weight_ih"], weights["weight_hh"], weights.get("bias_ih"), weights.get("bias_hh"))
        return self._call(inputs, embedding, own, state, lengths)


class LSTM(RecurrentLayer):
    """Long short-term memory, torch.nn.LSTM's twin: gates i, f, g, o, two biases; equations in `kernels.reference`.

    The arguments are those of `RecurrentLayer`, but for `proj_size`, which must be 0: torch.nn.LSTM can shrink its
    state by a further matrix.

    Raises:
        ValueError: as of `RecurrentLayer`, and if `proj_size` is neither 0 nor below `hidden_size`.
        NotImplementedError: if `proj_size` is not 0.
    """

    num_states = 2
    cell = "lstm"
    mode = "LSTM"  # torch.nn's name of the equations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        if proj_size < 0 or proj_size >= hidden_size > 0:
            raise ValueError(f"LSTM: proj_size must be 0, or below hidden_size, got {proj_size}")
        if proj_size:
            raise NotImplementedError(f"LSTM: proj_size={proj_size} is not offered; put a Linear behind the layer")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    def shapes(self, input_size: int) -> Shapes:
        """Return torch.nn.LSTM's parameters."""
        return _shapes(input_size, self.hidden_size, 4, self.bias)

    def run(
        self,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Return all states, the last state and the last cell."""
        own = (weights["weight_ih"], weights["weight_hh"], _bias(weights), None)
        return self._call(inputs, embedding, own, state, lengths, "tanh")


class PeepholeLSTM(RecurrentLayer):
    """LSTM whose gates see the cell; equations in `kernels.reference`.

    "full": the study's variant, with full matrices on the previous cell and no state in any gate. Parameters
    `weight_ih_l0` [4H, I] and `bias_l0` [4H], gates i, f, g, o, and `weight_ch_l0` [3H, H], gates i, f, o. An h_0 is
    accepted and unused.

    "diagonal": Gers, Schraudolph & Schmidhuber (2002): torch.nn.LSTM's parameters and `weight_peephole_l0` [3, H],
    gates i, f, o. With zeros there it is the LSTM.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of levels L.
        bias: whether the gates have biases; like the rest, as of `RecurrentLayer`.
        batch_first: whether batched input and output are [B, T, …].
        dropout: probability of dropping between levels.
        bidirectional: whether a second network reads from the end.
        device: device of the weights.
        dtype: dtype of the weights.
        peephole: "full" or "diagonal".
        candidate: the candidate's function, "sigmoid" or "tanh"; by default the study's sigmoid for full, tanh for
            diagonal.
        backend: "auto" or a name.
        recompute: keep only the states for the backward pass.

    Raises:
        ValueError: as of `RecurrentLayer`, and if `peephole` or `candidate` is none of these.
    """

    num_states = 2
    plain = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        peephole: Literal["full", "diagonal"] = "full",
        candidate: Literal["sigmoid", "tanh"] | None = None,
        backend: Backend = "auto",
        recompute: bool = False,
    ) -> None:
        if peephole not in ("full", "diagonal"):
            raise ValueError(f"PeepholeLSTM: peephole must be 'full' or 'diagonal', got {peephole!r}")
        if candidate not in ("sigmoid", "tanh", None):
            raise ValueError(f"PeepholeLSTM: candidate must be 'sigmoid' or 'tanh', got {candidate!r}")
        self.peephole = peephole
        self.candidate = candidate or ("sigmoid" if peephole == "full" else "tanh")
        self.cell = "peephole_lstm" if peephole == "full" else "lstm"
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend, recompute=recompute,
        )  # fmt: skip

    def shapes(self, input_size: int) -> Shapes:
        """Return the parameters of either form."""
        H = self.hidden_size
        if self.peephole == "diagonal":
            return {**_shapes(input_size, H, 4, self.bias), "weight_peephole": (3, H)}
        bias: Shapes = {"bias": (4 * H,)} if self.bias else {}
        return {"weight_ih": (4 * H, input_size), "weight_ch": (3 * H, H), **bias}

    def run(
        self,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Return all states, the last state and the last cell."""
        if self.peephole == "diagonal":
            own = (weights["weight_ih"], weights["weight_hh"], _bias(weights), weights["weight_peephole"])
            return self._call(inputs, embedding, own, state, lengths, self.candidate)
        _, c_0 = state
        matrices = (weights["weight_ih"], weights["weight_ch"], weights.get("bias"))
        return self._call(inputs, embedding, matrices, (c_0,), lengths, self.candidate, last_only=last)

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults, and the form."""
        return f"{super().extra_repr()}, peephole={self.peephole!r}, candidate={self.candidate!r}"


def _refuse_projection(proj_size: int) -> None:
    if proj_size:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


def _shapes(I: int, H: int, gates: int, bias: bool) -> Shapes:
    """Return the parameters of one torch.nn layer, in its order."""
    shapes: Shapes = {"weight_ih": (gates * H, I), "weight_hh": (gates * H, H)}
    return shapes | ({"bias_ih": (gates * H,), "bias_hh": (gates * H,)} if bias else {})


def _bias(weights: Weights) -> Tensor | None:
    """Return the sum of torch.nn's two biases."""
    return weights["bias_ih"] + weights["bias_hh"] if "bias_ih" in weights else None
