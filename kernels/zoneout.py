"""Zoneout (Krueger et al. 2017, arXiv:1606.01305): units of a state that stay as they were before a step.

In training every unit stays with a probability p in every step, and otherwise takes its new value. In evaluation it
takes the expectation, p times the state before plus 1 − p times the new one.
"""

import torch
from torch import Tensor

STEPS = 1 << 16  # a probability is rounded to a multiple of 1 / STEPS below 1: each 64-bit draw gives four numbers


def draw(probability: float, training: bool, T: int, state: Tensor) -> Tensor:
    """Return how much of a state stays as it was in each step.

    Args:
        probability: p.
        training: whether units stay at random, drawn from torch's generator, rather than all of them in part.
        T: number of steps.
        state: the state before the first step [B, H].

    Returns:
        In training 1 for a unit that stays and 0 for another, uint8 [T, B, H], which becomes floating-point many times
        faster than bool does; in evaluation, or if p is 0, p in the same shape, float32 or float64.
    """
    B, H = state.shape
    if not training or probability == 0:
        dtype = torch.promote_types(state.dtype, torch.float32)
        return torch.full((1, 1, 1), probability, dtype=dtype, device=state.device).expand(T, B, H)
    words = torch.randint(-(1 << 63), (1 << 63) - 1, ((T * B * H + 3) // 4,), device=state.device)
    numbers = words.view(torch.int16)[: T * B * H].view(T, B, H)
    staying = min(round(probability * STEPS), STEPS - 1)  # of STEPS numbers; the bound is an int16, as they are
    return (numbers < staying - STEPS // 2).view(torch.uint8)
