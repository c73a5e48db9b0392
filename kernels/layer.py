"""The base class of the recurrent layers: their parameters, and what a call does.

A call reads its arguments (`arguments.py`, with the checks of `checks.py`), runs all layers and directions, each by the
backend that the rules of `dispatch.py` choose (`stack.py`), and lays the results out as the caller does (`layout.py`).

Parameter names, shapes, gate order and initial values are torch.nn's, so a `state_dict` loads strictly in both
directions where the equations are the same.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary, L layers, D directions.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from kernels import checks, dispatch
from kernels.arguments import read_arguments
from kernels.cell import Cell
from kernels.dispatch import Backend, Case
from kernels.dtypes import compute_dtype
from kernels.reference import State
from kernels.stack import run_layers
from kernels.torch_attributes import TorchAttributes

Output = Literal["sequence", "last"]
Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


class RecurrentLayer(TorchAttributes):
    """Base class of the recurrent layers.

    A subclass defines its parameters by `shapes`, its equations by `step`, and how many states it has by `num_states`.
    Stacked layers, both directions, dropout, variable lengths, tokens and packed sequences are inherited. A subclass
    with hand-written loops or kernels has a `cell` instead of a `step`.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of stacked layers L; each takes the states of the one below.
        bias: whether the gates have biases.
        batch_first: whether batched input and output are [B, T, …] rather than [T, B, …].
        dropout: probability that a state is dropped on its way to the next layer, in training.
        bidirectional: whether a second network reads each sequence from its end; the two outputs are concatenated.
        proj_size: width P of the projected state of an LSTM, below `hidden_size`; 0 for none. Others must have 0.
        device: device of the weights.
        dtype: dtype of the weights.
        backend: "auto" takes the fastest that can run; a named one runs or raises.
        recompute: keep only the states for the backward pass and compute the gates again there, to save memory.
        zoneout: probability that a unit of a state keeps its value from before a step, in training (`zoneout.py`); one
            for all states, or (h, c) of an LSTM. Offered by RNN, GRU, LSTM and LayerNormLSTM.

    Raises:
        TypeError: if a size is no whole number.
        ValueError: if a size is not positive, `dropout` no probability, `proj_size` not below `hidden_size` or not 0
            for another layer than the LSTM, `zoneout` not in [0, 1) or not offered, or the backend unknown or unable
            to run the cell.
    """

    has_projection: ClassVar[bool] = False  # whether `proj_size` may be set
    cell: Cell | None = None  # None for a layer that has only its equations
    cell_options: tuple[Any, ...] = ()  # what the cell's functions take beside tensors
    weight_ih_l0: Tensor

    def __init__(  # noqa: PLR0913 - the arguments of torch.nn's layers
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
        zoneout: float | tuple[float, ...] = 0.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        checks.check_sizes(name, sizes, dropout)
        checks.check_projection(self, hidden_size, proj_size)
        self.proj_size = proj_size
        self.zoneout = checks.check_zoneout(self, zoneout)
        dispatch.check_backend(backend, self._cell, recompute)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.backend: Backend = backend
        self.recompute = recompute
        self._names = list(self.shapes(input_size))
        if "weight_ih" not in self._names:
            raise ValueError(f"{name}.shapes must have a weight_ih")
        D = 2 if bidirectional else 1
        self._suffixes = [f"_l{k}{direction}" for k in range(num_layers) for direction in ("", "_reverse")[:D]]
        for k, suffix in enumerate(self._suffixes):
            for parameter, shape in self.shapes(input_size if k < D else D * self.state_widths[0]).items():
                weight = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(parameter + suffix, nn.Parameter(weight))
        self.reset_parameters()

    def shapes(self, input_size: int) -> Shapes:
        """Return the shape of every parameter of one layer and direction by its name, such as weight_ih or bias_hh.

        The layer computes W_ih x + b_ih from `weight_ih` and, where there is one, `bias_ih`. `step` uses the others.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no shapes, so it is no layer yet")

    def step(self, weights: Weights, projected: Tensor, state: State) -> State:
        """Return the states after a step, a tuple of `num_states` tensors [B, H], the output first.

        Args:
            weights: the parameters by their names in `shapes`.
            projected: W_ih x + b_ih [B, G].
            state: the states before the step.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no step, so it is no layer yet")

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ±1/√H, as torch.nn does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        output: Output = "sequence",
        embedding: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run over a batch of sequences of vectors, or of tokens for `forward_ids`.

        Args:
            input: [T, B, I], [B, T, I] with `batch_first`, one sequence [T, I], or a PackedSequence.
            hx: initial state [L·D, B, H], or a tuple of them, (h_0, c_0) for the LSTMs; zeros by default. With a
                `proj_size` P the width of h_0 is P.
            lengths: number of valid steps of each row [B], 1 to T. A row keeps its state after its last valid step, and
                the outputs after it are zeros.
            resets: marks the steps at which a row starts anew, bool [T, B], or like the input without its vectors. The
                state that enters a marked step is zero, in every layer, also before the first step; no gradient passes.
                The reverse direction enters the step before a marked one with zeros. Marks after a row's end are
                ignored.
            output: "sequence" returns every state of the last layer, "last" the last valid one; for two directions
                that is [h→(T), h←(1)].
            embedding: vectors of the tokens, which `input` then holds; see `forward_ids`.

        Returns:
            The output, [T, B, D·H] or like the input, or [B, D·H] for the last one, with P for H where there is a
            projection; and the last state(s) as `hx`.

        Raises:
            RuntimeError: if a width, a device or a state's shape or dtype is wrong, or there are no steps.
            ValueError: if a rank, dtype, length, `resets` or `output` is wrong; the message names it. Lengths on a GPU
                are checked by an asynchronous device assert.
        """
        if output not in ("sequence", "last"):
            raise ValueError(f"output must be 'sequence' or 'last', got {output!r}")
        layout, sequences, state = read_arguments(self, input, hx, lengths, resets, embedding)
        outputs, final = run_layers(self, sequences, state, last=output == "last")
        final = layout.restore_states(final)
        result: Any
        if output == "last":  # a copy of the last layer's, both directions side by side
            h_n = final[0]
            result = torch.cat([h_n[-2], h_n[-1]], dim=-1) if self.bidirectional else h_n[-1].clone()
        else:
            result = layout.restore_sequence(outputs, sequences.lengths)
        return result, final[0] if self.num_states == 1 else final

    def forward_ids(
        self,
        ids: Tensor,
        embedding_weight: Tensor,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        output: Output = "sequence",
    ) -> tuple[Tensor, Any]:
        """Run over a batch of sequences of tokens; the same as calling with `embedding_weight[ids]`, and faster.

        Args:
            ids: int64 tokens [T, B], [B, T] with `batch_first`, or one sequence [T]; also after a row's end.
            embedding_weight: vectors of the tokens [V, I]; of an `nn.Embedding` its weight. padding_idx, max_norm,
                sparse and scale_grad_by_freq have no effect.
            hx: as in `forward`, like the rest.
            lengths: number of valid steps.
            resets: where rows start anew.
            output: what to return.

        Raises:
            RuntimeError: as in `forward`.
            ValueError: as in `forward`, and, where the tokens are on a CPU, if one is outside 0..V−1.
        """
        if embedding_weight is None:
            raise ValueError("embedding_weight must be a tensor, got None")
        # By a call, so that hooks run.
        return self(ids, hx, lengths=lengths, resets=resets, output=output, embedding=embedding_weight)

    def explain(self, T: int, B: int, tokens: bool = False, ragged: bool = False, resets: bool = False) -> None:
        """Print which backend would run the first layer over B sequences of T steps now, and why.

        Args:
            T: number of steps.
            B: number of sequences.
            tokens: whether the input is tokens, for `forward_ids`.
            ragged: whether rows have lengths of their own.
            resets: whether rows start anew inside the sequence.
        """
        learning = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        backend, reason = self.choose(B, tokens, ragged, learning, resets)
        dtype, device = compute_dtype(self._stored), self._stored.device.type
        kind = "tokens" if tokens else "vectors"
        print(f"{type(self).__name__}, {T} steps of {B} rows, {kind}, {dtype} on {device}: {backend}, {reason}")

    def choose(self, B: int, tokens: bool, ragged: bool, learning: bool, resets: bool = False) -> dispatch.Choice:
        """Return what `explain` prints; `learning` says whether there will be a backward pass."""
        dtype, device = compute_dtype(self._stored), str(self._stored.device)
        case = Case(
            cell=self._cell, tokens=tokens, ragged=ragged, resets=resets, learning=learning,
            recompute=self.recompute, B=B, H=self.hidden_size, dtype=dtype, device=device,
        )  # fmt: skip
        return dispatch.choose(self.backend, case)

    def result_dtype(self, given: torch.dtype) -> torch.dtype:
        """Return the dtype of the results for vectors of a dtype: under autocast what torch.nn's layer returns."""
        return compute_dtype(self._stored)

    def state_dtypes(self, dtype: torch.dtype) -> tuple[torch.dtype, ...]:
        """Return the dtypes of the last states, where the outputs have a dtype; torch.nn's have the same."""
        return (dtype,) * self.num_states

    def weights(self, suffix: str) -> Weights:
        """Return the parameters of one layer and direction by their names in `shapes`; `suffix` is such as "_l0"."""
        return {name: getattr(self, name + suffix) for name in self._names}

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Width of each state; the first is the output's."""
        return (self.proj_size or self.hidden_size,) + (self.hidden_size,) * (self.num_states - 1)

    @property
    def _cell(self) -> Cell:
        """The cell, with zoneout if the layer has it; for a layer that has only its equations, a cell without loops."""
        cell = self.cell or Cell(type(self).__name__)
        return cell.with_zoneout() if any(self.zoneout) else cell

    @property
    def _stored(self) -> Tensor:
        """A parameter as it is stored, for its device and dtype; reading a parametrised one would compute it."""
        own = self._parameters.get("weight_ih_l0")
        return next(self.parameters()) if own is None else own


def gate_shapes(I: int, H: int, gates: int, bias: bool) -> Shapes:
    """Return the parameters of one layer and direction of torch.nn's recurrent layers, in its order."""
    shapes: Shapes = {"weight_ih": (gates * H, I), "weight_hh": (gates * H, H)}
    return shapes | ({"bias_ih": (gates * H,), "bias_hh": (gates * H,)} if bias else {})
