"""The input projection W x + b of a chunk of steps, by one GEMM, and its gradients.

For tokens, embedding, weight and bias make a table of V rows. Taking rows from it replaces the GEMM over all steps, and
the gradient is a sum over equal tokens.

Legend: B batch, T time, I input, G gates · H, V vocabulary, k steps of a chunk.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear

from kernels.layout import selected_rows
from kernels.scripted.memory import workspace
from kernels.scripted.script import add_product


class Projection:
    """The input projection W x + b, written a chunk at a time. Arguments are as in `kernels.reference.project`."""

    def __init__(self, inputs: Tensor, embedding: Tensor | None, weight: Tensor, bias: Tensor | None) -> None:
        self.inputs, self.weight = inputs.contiguous(), weight
        self.bias = None if bias is None else bias.to(weight.dtype)
        self.weight_t = weight.T.contiguous()
        self.table = None if embedding is None else linear(embedding, weight, self.bias)

    def write(self, t: int, gates: Tensor) -> None:
        """Write the projection of steps t … t + k − 1 into `gates` [k, B, G]."""
        inputs = self.inputs[t : t + len(gates)].flatten(0, 1)
        source = self.weight if self.table is None else self.table
        out = gates.flatten(0, 1) if gates.dtype == source.dtype else None
        if self.table is not None:
            projected = torch.index_select(self.table, 0, inputs, out=out)
        elif self.bias is None:
            projected = torch.mm(inputs, self.weight_t, out=out)
        else:
            projected = torch.addmm(self.bias, inputs, self.weight_t, out=out)
        if out is None:
            gates.copy_(projected.view_as(gates))


class ProjectionGradients:
    """The gradients of the input projection, collected a chunk at a time.

    Args:
        inputs: vectors [T, B, I], or tokens [T, B].
        embedding: vectors of the tokens [V, I], or None.
        weight: takes gradients back to the inputs [G, I].
        has_bias: whether there is a bias, whose gradient is wanted.
        dtype: of the sums.
        inputs_wanted: whether the gradient of the inputs is wanted.
    """

    def __init__(
        self, inputs: Tensor, embedding: Tensor | None, weight: Tensor, has_bias: bool, dtype: torch.dtype,
        inputs_wanted: bool,
    ) -> None:  # fmt: skip
        self.inputs, self.embedding, self.weight, self.has_bias = inputs.contiguous(), embedding, weight, has_bias
        self.grad_inputs = workspace(inputs, *inputs.shape) if inputs_wanted and embedding is None else None
        self.grad_weight = torch.zeros_like(weight, dtype=dtype)
        self.grad_bias = torch.zeros_like(weight[:, 0], dtype=dtype)
        self.grad_table: Tensor | None = None

    def collect(self, t: int, grad_gates: Tensor, grad_gates_low: Tensor) -> None:
        """Add the gradients of steps t … t + k − 1, given those of the gates [k, B, G] in the dtype of the sums.

        `grad_gates_low` is the same in the dtype of the products. Both may be wider; columns from G on are left out.
        """
        inputs, G = self.inputs[t : t + len(grad_gates)].flatten(0, 1), len(self.weight)
        if self.embedding is None:
            low = grad_gates_low[..., :G].flatten(0, 1)
            add_product(self.grad_weight, low.T, inputs)
            if self.has_bias:
                self.grad_bias += grad_gates[..., :G].sum((0, 1))
            if self.grad_inputs is not None:
                torch.mm(low, self.weight, out=self.grad_inputs[t : t + len(grad_gates)].flatten(0, 1))
            return
        flat = grad_gates.flatten(0, 1)
        if self.grad_table is None:  # as wide as grad_gates: sums of parts of rows are slow
            self.grad_table = flat.new_zeros(len(self.embedding), flat.shape[1])
        if inputs.device.type == "cpu":
            self.grad_table.index_add_(0, inputs, flat)
        else:  # scattered sums are in no fixed order there
            one_hot = inputs == torch.arange(len(self.embedding), device=inputs.device)[:, None]  # [V, k B]
            add_product(self.grad_table, one_hot.to(grad_gates_low.dtype), grad_gates_low.flatten(0, 1))

    def results(self) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """Return the gradients of inputs, embedding, weight and bias."""
        if self.grad_table is None or self.embedding is None:
            return self.grad_inputs, None, self.grad_weight, self.grad_bias
        table, dtype = self.grad_table[:, : len(self.weight)], self.grad_table.dtype
        embedding = selected_rows(self.embedding, self.inputs).to(dtype)
        return None, table @ self.weight.to(dtype), table.T @ embedding, table.sum(0)
