"""The sLSTM: the equations, step by step, under autograd.

Legend: B batch, T time, I input, H hidden, N heads. ⊙ elementwise product, σ logistic, ′ the previous step.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kernels.reference import State


def slstm_step(projected: Tensor, state: State, weight_hh: Tensor, forget_gate: str, num_heads: int) -> State:
    """Return the next states h, c, n and m of the sLSTM (Beck et al. 2024, arXiv:2405.04517, equations 8 to 17).

    The input gate is exp(ĩ), which has no upper bound. So the cell c is divided by the normaliser n, the sum of the
    weights of all inputs in it, and both are stored without their common factor exp(m). As n ≥ 1, all numbers are
    moderate, however large the gates are.

    ĩ = W_ix x + R_i h′ + b_i,  and so f̃, z̃, õ
    l = log σ(f̃), or f̃ for an exponential forget gate
    m = max(l + m′, ĩ),  i = exp(ĩ − m),  f = exp(l + m′ − m)
    c = f ⊙ c′ + i ⊙ tanh(z̃)
    n = f ⊙ n′ + i
    h = σ(õ) ⊙ c / n

    Where n′ = 0 nothing has been stored yet, and m′ counts as −∞: so a state of zeros is an empty one.

    Args:
        projected: [B, 4H], gates i, f, z, o.
        state: previous output h, cell c, normaliser n ≥ 0 and stabiliser m [B, H].
        weight_hh: R [4H, H/N], the rows in the order (gate, head, unit): every head sees its own H/N units of h′ only.
        forget_gate: "sigmoid" or "exp".
        num_heads: N, which the shape of R also tells, but not while a program is exported: torch's scan hides it.
    """
    h, c, n, m = state
    N, D = num_heads, h.shape[1] // num_heads
    recurrent = torch.einsum("bnk,gndk->bgnd", h.unflatten(1, (N, D)), weight_hh.view(4, N, D, D))
    i, f, z, o = (projected + recurrent.flatten(1)).to(c.dtype).chunk(4, dim=1)
    kept = (logsigmoid(f) if forget_gate == "sigmoid" else f) + m.masked_fill(n == 0, -torch.inf)
    m = torch.maximum(kept, i)
    i, f = torch.exp(i - m), torch.exp(kept - m)
    c = f * c + i * torch.tanh(z)
    n = f * n + i
    return torch.sigmoid(o) * c / n, c, n, m
