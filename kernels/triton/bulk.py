"""Products over all steps at once, before and after the time loops.

The input projection W x + b is one GEMM; for tokens it is a table with V rows, and the kernels read the rows they need.
Gates are not kept for the backward pass. It computes them for all steps with one more GEMM from the stored states. Each
gradient of a weight is one GEMM with the gradients of the gates. No sum uses atomics, so results are deterministic.

Legend: B batch, T time, I input, H hidden, G gates · H, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as take_rows
from torch.nn.functional import linear, pad

from kernels.dtypes import accumulation_dtype
from kernels.layout import selected_rows
from kernels.operator import Named


def project(tensors: Named) -> tuple[Tensor, Tensor | None]:
    """Return W x + b of the inputs [T, B, G] and None; or of tokens the table [V, G], and the tokens.

    The embedding has the accumulation dtype. A token that is not in 0…V − 1 raises an IndexError, on a GPU an assert of
    the device.
    """
    inputs, embedding, weight, bias = (tensors[name] for name in ("inputs", "embedding", "weight_ih", "bias"))
    if embedding is None:
        return linear(inputs, weight, bias), None
    bias = None if bias is None else bias.to(embedding.dtype)
    take_rows(inputs, embedding[:, :1])  # refuses tokens outside the table, also on a GPU; the kernels do not check
    return linear(embedding, weight.to(embedding.dtype), bias), inputs


def project_all(tensors: Named, dtype: torch.dtype) -> Tensor:
    """Return W x + b of all steps [T, B, G] in a dtype, also for tokens. The arguments are those of `project`."""
    projected, tokens = project(tensors)
    return projected if tokens is None else take_rows(tokens, projected.to(dtype))


def input_gradients(grad_gates: Tensor, tensors: Named, wanted: bool) -> dict[str, Any]:
    """Return the gradients of inputs, if `wanted`, embedding, weight_ih and bias by name.

    `grad_gates` is the gradient of the gates [T, B, G], in the dtype of the products.
    """
    inputs, embedding, weight = (tensors[name] for name in ("inputs", "embedding", "weight_ih"))
    flat = grad_gates.flatten(0, 1)
    if embedding is None:
        return {
            "inputs": (flat @ weight).view_as(inputs) if wanted else None,
            "weight_ih": flat.T @ inputs.flatten(0, 1),
            "bias": flat.sum(0, dtype=accumulation_dtype(grad_gates.dtype)),
        }
    one_hot = inputs.flatten() == torch.arange(len(embedding), device=inputs.device)[:, None]  # [V, T B]
    table = (one_hot.to(flat.dtype) @ flat).to(embedding.dtype)
    return {
        "embedding": table @ weight.to(table.dtype),
        "weight_ih": table.T @ selected_rows(embedding, inputs),
        "bias": table.sum(0),
    }


def states_before(states: Tensor, first: Tensor, dtype: torch.dtype, resets: Tensor | None) -> Tensor:
    """Return the states that enter each step [T, B, H] in a dtype: `first` [B, H], then all of [T, B, H] but the last.

    They are zero where a row starts anew, at `resets` [T, B].
    """
    before = torch.empty_like(states, dtype=dtype)
    before[0] = first
    before[1:] = states[:-1]
    return before if resets is None else before.masked_fill_(resets[..., None], 0)


def kernel_resets(resets: Tensor | None) -> Tensor | None:
    """Return resets [T, B] as the time loops take them: int8, with a step T at which no row starts anew."""
    return None if resets is None else pad(resets.to(torch.int8), (0, 0, 0, 1))


def kernel_zoneout(stays: Tensor) -> Tensor:
    """Return how much of a state stays [T, B, H], as `zoneout.draw` returns it, as the time loops take it.

    That is a mask as it is, and a probability, of which every element is the same, in float32 [1].
    """
    return stays if stays.dtype == torch.uint8 else stays[0, 0, :1].float()


def add_recurrent(gates: Tensor, before: Tensor, weight: Tensor) -> None:
    """Add W s(t − 1) to the gates [T, B, G] of all steps; `before` [T, B, H] are these states, W is [G, H]."""
    gates.view(-1, len(weight)).addmm_(before.flatten(0, 1), weight.T)


def first_product(product: Tensor, resets: Tensor | None) -> Tensor:
    """Return the gradient of the first states through their recurrent product [B, H]: 0 in rows that start anew."""
    return product if resets is None else product.masked_fill(resets[0][:, None], 0)


def recurrent_gradient(grad_gates: Tensor, before: Tensor) -> Tensor:
    """Return Σ_t δ(t)ᵀ s(t − 1) [G, H], from δ of all gates [T, B, G] and s before each step [T, B, H]."""
    return grad_gates.flatten(0, 1).T @ before.flatten(0, 1)


def last_gradient(grad: Tensor | None, states: Tensor) -> Tensor:
    """Return a new tensor with the gradient of the last of some states [T, B, H], zeros for None, in float32."""
    start = states.new_zeros(states.shape[1:], dtype=accumulation_dtype(states.dtype))
    return start if grad is None else start.copy_(grad)
