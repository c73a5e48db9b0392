"""The gradient of a shift of m, which the backward loops carry in the place of ∂m.

c and n lack the common factor exp(m). Adding a number to m changes them, but no output: the gradient of such a shift,
μ = ∂m − ∂c ⊙ c − ∂n ⊙ n, is 0 unless a loss depends on the last c, n or m itself. Going back a step, μ goes to the
larger one in m = max(l + m′, ĩ): to ĩ, or to l and m′, so that μ′ = μ.
"""

from typing import Any

import torch

from kernels.operator import Grads, Named, Results


def with_shift(grads: Grads, results: Results | list[torch.Tensor]) -> Grads:
    """Return the gradients of an operator's results with μ for m_n; they begin with the outputs, h_n, c_n, n_n, m_n."""
    if all(grad is None for grad in grads[2:5]):
        return grads
    shift = torch.zeros_like(results[4]) if grads[4] is None else grads[4].clone()
    for grad, value in zip(grads[2:4], results[2:4], strict=True):
        if grad is not None:
            shift.addcmul_(grad, value, value=-1.0)
    return [*grads[:4], shift, *grads[5:]]


def without_shift(gradients: dict[str, Any], tensors: Named) -> dict[str, Any]:
    """Return gradients by name with ∂m for m_0, where there has been μ."""
    added = gradients["c_0"] * tensors["c_0"] + gradients["n_0"] * tensors["n_0"]
    return {**gradients, "m_0": gradients["m_0"] + added}
