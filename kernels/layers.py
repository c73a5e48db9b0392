"""Recurrent layers with torch.nn's interface. They own the weights; the loops are in the backends.

Parameter names, shapes, gate order and initial values are torch.nn's, so a `state_dict` loads strictly in both
directions where the equations are the same. In this first form a layer has one level and one direction.

Legend: B batch, T time, I input, H hidden, V vocabulary.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from kernels import dispatch
from kernels.dispatch import Backend
from kernels.dtypes import compute_dtype

Output = Literal["sequence", "last"]
State = Tensor | tuple[Tensor, Tensor]


class RecurrentLayer(nn.Module):
    """What all recurrent layers share: sizes, checks, the batch and time axes, the choice of backend.

    A new cell sets `cell`, `num_states` and its parameters, and computes in `run`.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: must be 1 for now.
        bias: whether the gates have biases.
        batch_first: whether batched input and output are [B, T, …] rather than [T, B, …].
        dropout: must be 0 for now; torch.nn's acts between layers.
        bidirectional: must be False for now.
        device: device of the weights.
        dtype: dtype of the weights.
        backend: "auto" takes the fastest that can run; a name takes that one or raises.

    Raises:
        ValueError: if a size is not positive or the backend is unknown.
        NotImplementedError: for several layers, two directions or dropout.
    """

    cell: str
    num_states = 2
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

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
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        for argument, value in {"input_size": input_size, "hidden_size": hidden_size}.items():
            if value <= 0:
                raise ValueError(f"{name}: {argument} must be positive, got {value}")
        for argument, given, built in (
            ("num_layers", num_layers, 1),
            ("dropout", dropout, 0.0),
            ("bidirectional", bidirectional, False),
        ):
            if given != built:
                raise NotImplementedError(f"{name}: {argument} must be {built}, got {given}; more is not built yet")
        dispatch.check_backend(backend)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.backend: Backend = backend
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        for parameter, shape in self.shapes().items():
            self.register_parameter(parameter, nn.Parameter(torch.empty(shape, **factory)))
        self.reset_parameters()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its name."""
        raise NotImplementedError

    def run(
        self, inputs: Tensor, embedding: Tensor | None, state: tuple[Tensor, ...], lengths: Tensor | None, last: bool
    ) -> tuple[Tensor, ...]:
        """Return all states [T, B, H] (unused if `last`, so they may be missing) and the last state(s) [B, H]."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ±1/√H, as torch.nn does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, input: Tensor, hx: Any = None, *, lengths: Tensor | None = None, output: Output = "sequence"
    ) -> tuple[Tensor, Any]:
        """Run over a batch of sequences of vectors.

        Args:
            input: [T, B, I], [B, T, I] with `batch_first`, or one sequence [T, I].
            hx: initial state [1, B, H], or a pair of them (h_0, c_0) for the LSTMs; zeros by default.
            lengths: number of valid steps of each row [B], 1 to T. A row's state stays after its last valid step, and
                the outputs after it are zeros.
            output: "sequence" returns every state, "last" the last valid one, [B, H].

        Returns:
            The output, [T, B, H] or like the input's axes, and the last state(s) as `hx`.

        Raises:
            TypeError: if the input is a PackedSequence, which is not built yet.
            ValueError: if a rank, width, dtype, device, length or `output` is wrong; the message names it.
        """
        if isinstance(input, PackedSequence):
            raise TypeError(f"{type(self).__name__}: PackedSequence is not built yet; pass lengths=")
        self._check_rank(input, {2, 3}, "input", "[T, I] or [T, B, I]")
        if input.shape[-1] != self.input_size:
            raise ValueError(f"input must have {self.input_size} features, got {input.shape[-1]}")
        weight = self.weight_ih_l0
        if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"input is {input.dtype} and the weights are {weight.dtype}")
        return self._run_any_axes(input, None, hx, lengths, output, batched=input.dim() == 3)

    def forward_ids(
        self,
        ids: Tensor,
        embedding_weight: Tensor,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        output: Output = "sequence",
    ) -> tuple[Tensor, Any]:
        """Run over a batch of sequences of tokens; the same as `forward(embedding_weight[ids])`, and faster.

        Args:
            ids: int64 tokens [T, B], [B, T] with `batch_first`, or one sequence [T].
            embedding_weight: vectors of the tokens [V, I].
            hx: as in `forward`, like the rest.
            lengths: number of valid steps.
            output: what to return.

        Raises:
            ValueError: as in `forward`, and if a token is outside 0..V−1.
        """
        self._check_rank(ids, {1, 2}, "ids", "[T] or [T, B]")
        if ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"ids must be int64 or int32, got {ids.dtype}")
        V = embedding_weight.shape[0]
        if embedding_weight.dim() != 2 or embedding_weight.shape[1] != self.input_size:
            raise ValueError(f"embedding_weight must be [V, {self.input_size}], got {list(embedding_weight.shape)}")
        if not torch.compiler.is_compiling() and ids.device.type == "cpu":
            least, greatest = (int(bound) for bound in torch.aminmax(ids)) if ids.numel() else (0, 0)
            if least < 0 or greatest >= V:
                raise ValueError(f"ids must be in 0..{V - 1}, got {least if least < 0 else greatest}")
        return self._run_any_axes(ids, embedding_weight, hx, lengths, output, batched=ids.dim() == 2)

    def flatten_parameters(self) -> None:
        """Do nothing: there is no flat buffer of weights here; torch.nn's layers have this method."""

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        words = [f"{self.input_size}, {self.hidden_size}"]
        words += [] if self.bias else ["bias=False"]
        words += ["batch_first=True"] if self.batch_first else []
        words += [f"backend={self.backend!r}"] if self.backend != "auto" else []
        return ", ".join(words)

    def _check_rank(self, tensor: Tensor, ranks: set[int], name: str, shapes: str) -> None:
        if tensor.dim() not in ranks:
            raise ValueError(f"{type(self).__name__}: {name} must be {shapes}, got {tensor.dim()}-D")
        if 0 in tensor.shape:
            raise ValueError(f"{type(self).__name__}: {name} has an empty axis: {list(tensor.shape)}")
        device = self.weight_ih_l0.device
        if tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device} and the weights are on {device}")

    def _run_any_axes(
        self, inputs: Tensor, embedding: Tensor | None, hx: Any, lengths: Tensor | None, output: Output, batched: bool
    ) -> tuple[Tensor, Any]:
        if output not in ("sequence", "last"):
            raise ValueError(f"output must be 'sequence' or 'last', got {output!r}")
        if not batched:
            inputs = inputs.unsqueeze(1)
        elif self.batch_first:
            inputs = inputs.transpose(0, 1)
        T, B = inputs.shape[:2]
        if lengths is not None:
            lengths = self._check_lengths(lengths, T, B)
        state = self._initial_state(hx, B, batched)
        dtype = compute_dtype(self.weight_ih_l0)  # under autocast the low one, as torch.nn's layers return it
        results = self.run(inputs, embedding, state, lengths, last=output == "last")
        sequence, *final = (result.to(dtype) for result in results)
        if output == "last":
            result = final[0] if batched else final[0].squeeze(0)
        else:
            if lengths is not None:
                padding = torch.arange(T, device=sequence.device)[:, None] >= lengths
                sequence = sequence.masked_fill(padding[..., None], 0)
            result = sequence.squeeze(1) if not batched else sequence.transpose(0, 1) if self.batch_first else sequence
        states = tuple(value.unsqueeze(0) if batched else value for value in final)  # [1, B, H], or [1, H] for one row
        return result, states[0] if self.num_states == 1 else states

    def _check_lengths(self, lengths: Tensor, T: int, B: int) -> Tensor:
        lengths = torch.as_tensor(lengths, device=self.weight_ih_l0.device)
        if lengths.shape != (B,) or lengths.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"lengths must be {B} whole numbers, got {lengths.dtype} {list(lengths.shape)}")
        if not torch.compiler.is_compiling() and not (int(lengths.min()) > 0 and int(lengths.max()) <= T):
            raise ValueError(f"lengths must be in 1..{T}, got {int(lengths.min())}..{int(lengths.max())}")
        return lengths.long()

    def _initial_state(self, hx: Any, B: int, batched: bool) -> tuple[Tensor, ...]:
        weight = self.weight_ih_l0
        if hx is None:
            return (weight.new_zeros(B, self.hidden_size),) * self.num_states
        states = (hx,) if self.num_states == 1 else tuple(hx)
        shape = (1, B, self.hidden_size) if batched else (1, self.hidden_size)
        if len(states) != self.num_states or any(state.shape != shape for state in states):
            got = [list(state.shape) for state in states]
            raise ValueError(f"hx must be {self.num_states} of {list(shape)}, got {got}")
        if any(state.device != weight.device for state in states):
            raise ValueError(f"hx is on {states[0].device} and the weights are on {weight.device}")
        return tuple(state.reshape(B, self.hidden_size) for state in states)


class RNN(RecurrentLayer):
    """Elman's network, h = tanh(W_ih x + b_ih + W_hh h′ + b_hh), or relu; torch.nn.RNN's twin.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: must be 1 for now.
        nonlinearity: "tanh" or "relu".
        **options: bias, batch_first, dropout, bidirectional, device, dtype, backend, as of `RecurrentLayer`.
    """

    cell = "rnn"
    num_states = 1

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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Backend = "auto",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
            backend=backend,
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return torch.nn.RNN's parameters."""
        return _shapes(self.input_size, self.hidden_size, 1, self.bias)

    def run(
        self, inputs: Tensor, embedding: Tensor | None, state: tuple[Tensor, ...], lengths: Tensor | None, last: bool
    ) -> tuple[Tensor, ...]:
        """Return all states and the last."""
        bias = self.bias_ih_l0 + self.bias_hh_l0 if self.bias else None
        function = dispatch.implementation(self.cell, self.backend)
        return function(
            inputs, embedding, self.weight_ih_l0, self.weight_hh_l0, bias, *state, self.nonlinearity, lengths
        )


class LSTM(RecurrentLayer):
    """Long short-term memory, torch.nn.LSTM's twin: gates i, f, g, o, two biases; equations in `kernels.reference`."""

    cell = "lstm"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return torch.nn.LSTM's parameters."""
        return _shapes(self.input_size, self.hidden_size, 4, self.bias)

    def run(
        self, inputs: Tensor, embedding: Tensor | None, state: tuple[Tensor, ...], lengths: Tensor | None, last: bool
    ) -> tuple[Tensor, ...]:
        """Return all states, the last state and the last cell."""
        return self._run_lstm(inputs, embedding, None, state, "tanh", lengths)

    def _run_lstm(
        self,
        inputs: Tensor,
        embedding: Tensor | None,
        weight_peephole: Tensor | None,
        state: tuple[Tensor, ...],
        candidate: str,
        lengths: Tensor | None,
    ) -> tuple[Tensor, ...]:
        bias = self.bias_ih_l0 + self.bias_hh_l0 if self.bias else None
        function = dispatch.implementation("lstm", self.backend)
        return function(
            inputs, embedding, self.weight_ih_l0, self.weight_hh_l0, bias, weight_peephole, *state, candidate, lengths
        )


class PeepholeLSTM(LSTM):
    """LSTM whose gates see the cell; equations in `kernels.reference`.

    "full": the study's variant, with full matrices on the previous cell and no state in any gate. Parameters
    `weight_ih_l0` [4H, I] and `bias_l0` [4H], gates i, f, g, o, and `weight_ch_l0` [3H, H], gates i, f, o. An h_0 is
    accepted and unused.

    "diagonal": Gers, Schraudolph & Schmidhuber (2002): torch.nn.LSTM's parameters and `weight_peephole_l0` [3, H],
    gates i, f, o. With zeros there it is the LSTM.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: must be 1 for now.
        bias: whether the gates have biases.
        batch_first: whether batched input and output are [B, T, …].
        dropout: must be 0 for now.
        bidirectional: must be False for now.
        device: device of the weights.
        dtype: dtype of the weights.
        peephole: "full" or "diagonal".
        candidate: the candidate's function, "sigmoid" or "tanh"; by default the study's sigmoid for full, tanh for
            diagonal.
        backend: "auto" takes the fastest that can run; a name takes that one or raises.
    """

    weight_ch_l0: Tensor
    weight_peephole_l0: Tensor
    bias_l0: Tensor

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
    ) -> None:
        if peephole not in ("full", "diagonal"):
            raise ValueError(f"PeepholeLSTM: peephole must be 'full' or 'diagonal', got {peephole!r}")
        if candidate not in ("sigmoid", "tanh", None):
            raise ValueError(f"PeepholeLSTM: candidate must be 'sigmoid' or 'tanh', got {candidate!r}")
        self.peephole = peephole
        self.candidate = candidate or ("sigmoid" if peephole == "full" else "tanh")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
            backend=backend,
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the parameters of either form."""
        I, H = self.input_size, self.hidden_size
        if self.peephole == "diagonal":
            return {**_shapes(I, H, 4, self.bias), "weight_peephole_l0": (3, H)}
        return {"weight_ih_l0": (4 * H, I), "weight_ch_l0": (3 * H, H), **({"bias_l0": (4 * H,)} if self.bias else {})}

    def run(
        self, inputs: Tensor, embedding: Tensor | None, state: tuple[Tensor, ...], lengths: Tensor | None, last: bool
    ) -> tuple[Tensor, ...]:
        """Return all states, the last state and the last cell."""
        if self.peephole == "diagonal":
            return self._run_lstm(inputs, embedding, self.weight_peephole_l0, state, self.candidate, lengths)
        bias = self.bias_l0 if self.bias else None
        function = dispatch.implementation("peephole_lstm", self.backend)
        _, c_0 = state
        return function(
            inputs, embedding, self.weight_ih_l0, self.weight_ch_l0, bias, c_0, self.candidate, lengths, last
        )

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        return f"{super().extra_repr()}, peephole={self.peephole!r}, candidate={self.candidate!r}"


def _shapes(I: int, H: int, gates: int, bias: bool) -> dict[str, tuple[int, ...]]:
    """Return the parameters of one torch.nn layer, in its order."""
    shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (gates * H, I), "weight_hh_l0": (gates * H, H)}
    return shapes | ({"bias_ih_l0": (gates * H,), "bias_hh_l0": (gates * H,)} if bias else {})
