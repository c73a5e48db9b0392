"""What all recurrent layers share: arguments, checks, levels and directions, ragged batches, the choice of backend.

Parameter names, shapes, gate order and initial values are torch.nn's, so a `state_dict` loads strictly in both
directions where the equations are the same.

Legend: B batch, T time, I input, H hidden, V vocabulary, L levels (torch.nn's layers), D directions.
"""

import math
from contextlib import nullcontext
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kernels import dispatch, reference
from kernels.cell import Cell, Given
from kernels.dispatch import Backend, Case
from kernels.dtypes import autocast_is_on, compute_dtype
from kernels.lengths import reverse_rows
from kernels.torch_attributes import TorchAttributes

Output = Literal["sequence", "last"]
Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
States = tuple[Tensor, ...]


class RecurrentLayer(TorchAttributes):
    """What all recurrent layers share: sizes, checks, levels and directions, ragged batches, the choice of backend.

    A new cell defines `num_states`, `shapes` and `step`. A fast one defines `run` instead of `step`.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        num_layers: number of levels L; each takes the states of the one below.
        bias: whether the gates have biases.
        batch_first: whether batched input and output are [B, T, …] rather than [T, B, …].
        dropout: probability that a state is dropped on its way to the next level, in training.
        bidirectional: whether a second network reads each sequence from its end; outputs are the two side by side.
        device: device of the weights.
        dtype: dtype of the weights.
        backend: "auto" takes the fastest that can run; a name takes that one or raises.
        recompute: keep only the states for the backward pass and compute the gates anew there, to save memory.

    Raises:
        TypeError: if a size is no whole number.
        ValueError: if a size is not positive, `dropout` no probability, or the backend unknown or unfit.
    """

    num_states = 1
    cell: Cell | None = None  # None for a cell that has its `step` alone
    cell_options: tuple[Any, ...] = ()  # what the cell's implementations take beside tensors
    weight_ih_l0: Tensor

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
        recompute: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        sizes: dict[str, Any] = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for argument, value in sizes.items():
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise TypeError(f"{name}: {argument} must be a whole number, got {value!r}")
            if value <= 0:
                raise ValueError(f"{name}: {argument} must be positive, got {value!r}")
        if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout must be a probability, got {dropout!r}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = 0
        self.backend: Backend = backend
        self.recompute = recompute
        dispatch.check_backend(backend, self.cell, recompute)
        self._names = list(self.shapes(input_size))
        if self.cell is None:
            if backend not in ("auto", "reference") or recompute:
                raise ValueError(f"{name} has its equations alone: no backend but 'reference', and no recompute")
            if "weight_ih" not in self._names:
                raise ValueError(f"{name}.shapes must have a weight_ih")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        D = 2 if bidirectional else 1
        self._suffixes = [f"_l{level}{way}" for level in range(num_layers) for way in ("", "_reverse")[:D]]
        for k, suffix in enumerate(self._suffixes):
            for parameter, shape in self.shapes(input_size if k < D else D * hidden_size).items():
                self.register_parameter(parameter + suffix, nn.Parameter(torch.empty(shape, **factory)))
        self.reset_parameters()

    def shapes(self, input_size: int) -> Shapes:
        """Return the shape of every parameter of one level and direction; names begin with weight_ or bias_.

        `step` gets W_ih x + b_ih from `weight_ih` and, where there is one, `bias_ih`; any other is its own to use.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no shapes, so it is no layer yet")

    def step(self, weights: Weights, projected: Tensor, state: States) -> States:
        """Return the states after a step, a tuple of `num_states` tensors [B, H], the output first.

        Args:
            weights: the parameters by their names in `shapes`.
            projected: W_ih x + b_ih [B, G].
            state: the states before the step.
        """
        raise NotImplementedError

    def run(
        self,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Return all states of one level and direction [T, B, H], and the last valid state(s) [B, H].

        Args:
            weights: the parameters by their names in `shapes`.
            inputs: vectors [T, B, I], or tokens [T, B] where there is an embedding [V, I].
            embedding: vectors of the tokens, or None.
            state: state(s) before the first step [B, H].
            lengths: number of valid steps of each row [B], None for T.
            last: whether only the last states are wanted, so that the first result may be empty.
        """
        if self.cell is not None:
            return self._run_cell(self.cell, weights, inputs, embedding, state, lengths, last)

        def step(projected: Tensor, before: States) -> States:
            states = self.step(weights, projected, before)
            if not isinstance(states, tuple) or len(states) != self.num_states:
                got = f"{len(states)} of them" if isinstance(states, tuple) else type(states).__name__
                raise TypeError(
                    f"{type(self).__name__}.step must return a tuple of {self.num_states} state(s), got {got}"
                )
            return states

        projection = (weights["weight_ih"], weights.get("bias_ih"))
        return reference.run_steps(step, inputs, embedding, projection, (), state, lengths)

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
        output: Output = "sequence",
        embedding: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run over a batch of sequences of vectors, or of tokens for `forward_ids`.

        Args:
            input: [T, B, I], [B, T, I] with `batch_first`, one sequence [T, I], or a PackedSequence.
            hx: initial state [L·D, B, H], or a pair of them (h_0, c_0) for the LSTMs; zeros by default.
            lengths: number of valid steps of each row [B], 1 to T. A row's state stays after its last valid step, and
                the outputs after it are zeros.
            output: "sequence" returns every state of the last level, "last" the last valid one; for two directions
                that is [h→(T), h←(1)].
            embedding: vectors of the tokens, which `input` then holds; see `forward_ids`.

        Returns:
            The output, [T, B, D·H] or like the input, or [B, D·H] for the last one; and the last state(s) as `hx`.

        Raises:
            RuntimeError: if a width, a device or a state's shape or dtype is wrong, or there are no steps.
            ValueError: if a rank, dtype, length or `output` is; the message names it. Lengths that are on a GPU are
                asserted there, for which nobody waits.
        """
        if embedding is not None:
            self._check_ids(input, embedding)  # type: ignore[arg-type]
            return self._run_any_axes(input, embedding, hx, lengths, output, batched=input.dim() == 2)  # type: ignore
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx, lengths, output)
        self._check_rank(input, {2, 3}, "input", "[T, I] or [T, B, I]")
        self._check_vectors(input)
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
        """Run over a batch of sequences of tokens; the same as calling with `embedding_weight[ids]`, and faster.

        Args:
            ids: int64 tokens [T, B], [B, T] with `batch_first`, or one sequence [T], also after a row's end.
            embedding_weight: vectors of the tokens [V, I]; of an `nn.Embedding` its weight, without regard to
                padding_idx, max_norm, sparse and scale_grad_by_freq.
            hx: as in `forward`, like the rest.
            lengths: number of valid steps.
            output: what to return.

        Raises:
            RuntimeError: as in `forward`.
            ValueError: as in `forward`, and, where the tokens are on a CPU, if one is outside 0..V−1.
        """
        if embedding_weight is None:
            raise ValueError("embedding_weight must be a tensor, got None")
        return self(ids, hx, lengths=lengths, output=output, embedding=embedding_weight)  # hooks run, as they should

    def _check_ids(self, ids: Tensor, embedding_weight: Tensor) -> None:
        for name, value in {"ids": ids, "embedding_weight": embedding_weight}.items():
            if not isinstance(value, Tensor):
                raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
        self._check_rank(ids, {1, 2}, "ids", "[T] or [T, B]")
        if ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"ids must be int64 or int32, got {ids.dtype}")
        if embedding_weight.dim() != 2 or 0 in embedding_weight.shape or embedding_weight.shape[1] != self.input_size:
            raise ValueError(f"embedding_weight must be [V, {self.input_size}], got {list(embedding_weight.shape)}")
        if embedding_weight.device != ids.device:
            raise RuntimeError(f"embedding_weight is on {embedding_weight.device} and the ids are on {ids.device}")
        self._check_dtype(embedding_weight, "embedding_weight")
        V = embedding_weight.shape[0]
        if dispatch.values_can_be_read() and ids.device.type == "cpu" and ids.numel():
            least, greatest = (int(bound) for bound in torch.aminmax(ids))
            if least < 0 or greatest >= V:
                raise ValueError(f"ids must be in 0..{V - 1}, got {least if least < 0 else greatest}")

    def explain(self, T: int, B: int, tokens: bool = False, ragged: bool = False) -> None:
        """Print which backend would run the first level over B sequences of T steps now, and why.

        Args:
            T: number of steps.
            B: number of sequences.
            tokens: whether the input is tokens, for `forward_ids`.
            ragged: whether rows have lengths of their own.
        """
        learning = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        backend, reason = self._choose(T, B, self.input_size, tokens, ragged, learning)
        dtype, device = compute_dtype(self._stored), self._stored.device.type
        kind = "tokens" if tokens else "vectors"
        print(f"{type(self).__name__}, {T} steps of {B} rows, {kind}, {dtype} on {device}: {backend}, {reason}")

    def result_dtype(self, given: torch.dtype) -> torch.dtype:
        """Return the dtype of the results for vectors of a dtype: under autocast what torch.nn's layer returns."""
        return compute_dtype(self._stored)

    @property
    def _stored(self) -> Tensor:
        """A parameter as it is stored, for its device and dtype; reading `weight_ih_l0` may compute one anew."""
        own = self._parameters.get("weight_ih_l0")
        return next(self.parameters()) if own is None else own

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
            "backend": "auto", "recompute": False,
        }  # fmt: skip
        words = [f"{name}={getattr(self, name)!r}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *words])

    def _choose(self, T: int, B: int, I: int, tokens: bool, ragged: bool, learning: bool) -> dispatch.Choice:
        if self.cell is None:
            return dispatch.Choice("reference", "this cell has its equations alone")
        dtype, device = compute_dtype(self._stored), str(self._stored.device)
        case = Case(
            cell=self.cell, tokens=tokens, ragged=ragged, learning=learning,
            recompute=self.recompute, T=T, B=B, I=I, H=self.hidden_size, dtype=dtype, device=device,
        )  # fmt: skip
        return dispatch.choose(self.backend, case)

    def _run_cell(
        self,
        cell: Cell,
        weights: Weights,
        inputs: Tensor,
        embedding: Tensor | None,
        state: States,
        lengths: Tensor | None,
        last: bool,
    ) -> States:
        """Run the chosen implementation of a cell; arguments and results as in `run`."""
        T, B, I = *inputs.shape[:2], inputs.shape[2] if embedding is None else embedding.shape[1]
        own = cell.tensors(weights)
        tensors = (inputs, embedding, *own, *state)
        tracing = torch.jit.is_tracing()  # what is traced now may be differentiated when it runs
        wanted = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
        learning = wanted or tracing
        backend, _ = self._choose(T, B, I, embedding is not None, lengths is not None, learning)
        keep = learning and not self.recompute
        given = Given(inputs, embedding, own, state, lengths, self.cell_options, keep, last)
        # Under autograd a trace would hold a Python function in the place of the operator.
        bare = tracing and backend in ("torchscript", "triton")
        with torch.no_grad() if bare else nullcontext():
            return cell.implementation(backend)(given)[: 1 + self.num_states]

    def _check_rank(self, tensor: Tensor, ranks: set[int], name: str, shapes: str) -> None:
        if tensor.dim() not in ranks:
            raise ValueError(f"{type(self).__name__}: {name} must be {shapes}, got {tensor.dim()}-D")
        if tensor.shape[1 if self.batch_first and tensor.dim() == max(ranks) else 0] == 0:
            raise RuntimeError(
                f"{type(self).__name__}: {name} has no steps: {list(tensor.shape)}. "
                "Expected sequence length to be larger than 0 in RNN"
            )
        device = self._stored.device
        if tensor.device != device:
            raise RuntimeError(f"{type(self).__name__}: {name} is on {tensor.device} and the weights are on {device}")

    def _check_vectors(self, vectors: Tensor) -> None:
        if vectors.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{type(self).__name__}: input must be [..., {self.input_size}], got {list(vectors.shape)}"
            )
        self._check_dtype(vectors, "input")

    def _check_dtype(self, tensor: Tensor, name: str, error: type[Exception] = ValueError) -> None:
        weight, own = self._stored, type(self).__name__
        if not tensor.is_floating_point():
            raise error(f"{own}: {name} must be floating-point, got {tensor.dtype}")
        if tensor.dtype != weight.dtype and not autocast_is_on(weight.device):
            raise error(f"{own}: {name} is {tensor.dtype} and the weights are {weight.dtype}")

    def _run_packed(
        self, packed: PackedSequence, hx: Any, lengths: Tensor | None, output: Output
    ) -> tuple[PackedSequence | Tensor, Any]:
        """Run over a PackedSequence, in its own order of rows, and return the output packed like it."""
        if lengths is not None:
            raise ValueError("a PackedSequence has its own lengths; lengths= must be None")
        _check_output(output)
        data, batch_sizes, order, back = packed
        self._check_rank(data, {2}, "a PackedSequence's data", "[rows, I]")
        self._check_vectors(data)
        padded, sorted_lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))
        state = self._initial_state(hx, padded.shape[1], batched=True)
        if order is not None:
            state = tuple(value[:, order] for value in state)
        sequence, final = self._run_levels(padded, None, state, sorted_lengths.to(data.device), output == "last")
        if back is not None:
            final = tuple(value[:, back] for value in final)
        result: PackedSequence | Tensor
        if output == "last":
            result = self._last(final)
        else:
            result = PackedSequence(pack_padded_sequence(sequence, sorted_lengths).data, batch_sizes, order, back)
        return result, final[0] if self.num_states == 1 else final

    def _run_any_axes(
        self, inputs: Tensor, embedding: Tensor | None, hx: Any, lengths: Tensor | None, output: Output, batched: bool
    ) -> tuple[Tensor, Any]:
        """Run over batched, batch-first or single sequences, and give the results the same axes."""
        _check_output(output)
        if not batched:
            inputs = inputs.unsqueeze(1)
        elif self.batch_first:
            inputs = inputs.transpose(0, 1)
        T, B = inputs.shape[:2]
        if lengths is not None:
            lengths = self._check_lengths(lengths, T, B)
        state = self._initial_state(hx, B, batched)
        sequence, final = self._run_levels(inputs, embedding, state, lengths, output == "last")
        result = self._last(final) if output == "last" else sequence
        if not batched:
            result = result.squeeze(0 if output == "last" else 1)
            final = tuple(value.squeeze(1) for value in final)
        elif self.batch_first and output == "sequence":
            result = result.transpose(0, 1)
        return result, final[0] if self.num_states == 1 else final

    def _run_levels(
        self, inputs: Tensor, embedding: Tensor | None, state: States, lengths: Tensor | None, last: bool
    ) -> tuple[Tensor, States]:
        """Run all levels and directions: inputs [T, B, …], states [L·D, B, H] in; outputs [T, B, D·H], states out."""
        T, D = inputs.shape[0], 2 if self.bidirectional else 1
        padding = None
        if lengths is not None:
            padding = (torch.arange(T, device=inputs.device)[:, None] >= lengths)[..., None]  # [T, B, 1]
            # Nothing may depend on what is after the end of a row: vectors become 0, tokens the first one of the row.
            # A NaN there would reach the gradients, since 0 · NaN is NaN.
            if embedding is None:
                inputs = inputs.masked_fill(padding, 0)
            else:
                inputs = torch.where(padding[..., 0], inputs[:1], inputs)
        dtype = self.result_dtype(inputs.dtype if embedding is None else embedding.dtype)
        finals: list[States] = []
        for level in range(self.num_layers):
            only_last = last and level == self.num_layers - 1
            outputs = []
            for k in range(level * D, level * D + D):
                weights = self._weights(self._suffixes[k], inputs.device)
                backward = k % D == 1
                given = reverse_rows(inputs, lengths) if backward else inputs
                own = tuple(value[k] for value in state)
                sequence, *final = self.run(weights, given, embedding, own, lengths, only_last)
                finals.append(tuple(value.to(dtype) for value in final))
                if not only_last:
                    sequence = sequence.to(dtype)
                    sequence = sequence if padding is None else sequence.masked_fill(padding, 0)
                    outputs.append(reverse_rows(sequence, lengths) if backward else sequence)
            if not only_last:
                inputs, embedding = outputs[0] if D == 1 else torch.cat(outputs, dim=2), None
            if level < self.num_layers - 1:
                inputs = dropout(inputs, self.dropout, self.training)
        return inputs, tuple(torch.stack(values) for values in zip(*finals, strict=True))

    def _weights(self, suffix: str, device: torch.device) -> Weights:
        """Return the parameters of one level and direction, of one dtype and on one device."""
        weights = {name: getattr(self, name + suffix) for name in self._names}
        dtype = weights[self._names[0]].dtype
        for name, weight in weights.items():
            if weight.device != device:
                raise RuntimeError(
                    f"{type(self).__name__}: {name + suffix} is on {weight.device}, the input on {device}"
                )
            if weight.dtype != dtype:
                first = self._names[0] + suffix
                raise ValueError(f"{type(self).__name__}: {name + suffix} is {weight.dtype} and {first} is {dtype}")
        return weights

    def _last(self, final: States) -> Tensor:
        """Return the last states of the last level [B, D·H] from those of all levels [L·D, B, H]."""
        return torch.cat([final[0][-2], final[0][-1]], dim=1) if self.bidirectional else final[0][-1].clone()

    def _check_lengths(self, lengths: Tensor, T: int, B: int) -> Tensor:
        lengths = torch.as_tensor(lengths)
        if lengths.shape != (B,) or lengths.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"lengths must be {B} whole numbers, got {lengths.dtype} {list(lengths.shape)}")
        if dispatch.values_can_be_read() and lengths.device.type == "cpu" and B:
            least, greatest = (int(bound) for bound in torch.aminmax(lengths))
            if least < 1 or greatest > T:
                raise ValueError(f"lengths must be in 1..{T}, got {least}..{greatest}")
        elif dispatch.values_can_be_read() and lengths.device.type == "cuda":  # looked at there: nobody waits for it
            torch._assert_async(((lengths > 0) & (lengths <= T)).all(), f"lengths must be in 1..{T}")
        return lengths.to(self._stored.device, torch.int64)

    def _initial_state(self, hx: Any, B: int, batched: bool) -> States:
        """Return the checked initial state(s) [L·D, B, H]."""
        weight, count, own = self._stored, len(self._suffixes), type(self).__name__
        if hx is None:
            return (weight.new_zeros(count, B, self.hidden_size),) * self.num_states
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx) if isinstance(hx, list | tuple) else ()
        if not states or not all(isinstance(state, Tensor) for state in states):
            kind = "a tensor" if self.num_states == 1 else "a pair of tensors (h_0, c_0)"
            raise ValueError(f"{own}: hx must be {kind}, got {type(hx).__name__}")
        shape = (count, B, self.hidden_size) if batched else (count, self.hidden_size)
        if len(states) != self.num_states or any(state.shape != shape for state in states):
            got = ", ".join(str(list(state.shape)) for state in states)
            need = str(list(shape)) if self.num_states == 1 else f"a pair of {list(shape)}"
            raise RuntimeError(f"{own}: hx must be {need}, got {got}")
        for state in states:
            if state.device != weight.device:
                raise RuntimeError(f"{own}: hx is on {state.device} and the weights are on {weight.device}")
            self._check_dtype(state, "hx", RuntimeError)
        return tuple(state.reshape(count, B, self.hidden_size) for state in states)


def _check_output(output: str) -> None:
    if output not in ("sequence", "last"):
        raise ValueError(f"output must be 'sequence' or 'last', got {output!r}")


def gate_shapes(I: int, H: int, gates: int, bias: bool) -> Shapes:
    """Return the parameters of one layer and direction of torch.nn's recurrent layers, in its order."""
    shapes: Shapes = {"weight_ih": (gates * H, I), "weight_hh": (gates * H, H)}
    return shapes | ({"bias_ih": (gates * H,), "bias_hh": (gates * H,)} if bias else {})


def refuse_projection(proj_size: int) -> None:
    """Refuse `proj_size`, which torch.nn's RNN and GRU have among their arguments, and refuse as well.

    Raises:
        ValueError: if it is not 0.
    """
    if proj_size:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
