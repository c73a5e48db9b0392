"""A recurrent loop as an operator: torch.compile sees one node, autograd a hand-written backward pass.

An operator takes tensors, then one word and one flag, and returns its results. A backward function takes the gradients
of the results, the results, the tensors, the word and which gradients are wanted; it returns one gradient a tensor.
create_graph=True, which asks for a gradient that can be differentiated again, is answered through the reference.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.dtypes import accumulation_dtype, without_autocast

Backward = Callable[[list[Tensor | None], list[Tensor], list[Tensor | None], str, list[bool]], list[Tensor | None]]


def recurrent_operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function of (*tensors, word, flag): make it an operator, inside which autocast chooses no dtype."""

    def register(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def run(inputs: Tensor, *arguments: Any) -> Any:
            with without_autocast(inputs.device):
                return function(inputs, *arguments)

        return torch.library.custom_op(name, mutates_args=())(run)

    return register


def register_backward(
    operator: Any, name: str, backward: Backward, reference: Callable[..., tuple[Tensor, ...]]
) -> None:
    """Give an operator its derivative.

    Args:
        operator: a `torch.library.custom_op`, called as operator(*tensors, word, flag).
        name: of the backward operator.
        backward: computes the gradients of the tensors; None, also for those that are not wanted, is zero.
        reference: the same function of (*tensors, word) in differentiable operations; it may return the first results
            only, of which alone there are gradients.
    """

    @torch.library.custom_op(name, mutates_args=())
    def backward_operator(
        grads: list[Tensor | None], results: list[Tensor], tensors: list[Tensor | None], word: str, wanted: list[bool]
    ) -> list[Tensor]:
        with without_autocast(results[0].device):
            gradients = backward(grads, results, tensors, word, wanted)
        return [
            _no_gradient(results[0]) if tensor is None or not want else _as(gradient, tensor)
            for gradient, tensor, want in zip(gradients, tensors, wanted, strict=True)
        ]

    @backward_operator.register_fake
    def _(
        grads: list[Tensor | None], results: list[Tensor], tensors: list[Tensor | None], word: str, wanted: list[bool]
    ) -> list[Tensor]:
        return [
            _no_gradient(results[0])
            if tensor is None or not want
            else torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for tensor, want in zip(tensors, wanted, strict=True)
        ]

    def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.word, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.count = len(output)
        ctx.save_for_backward(*output, *tensors)

    def differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)  # once: each reading unpacks it
        results, tensors = saved[: ctx.count], saved[ctx.count :]
        wanted = list(ctx.needs_input_grad[: len(tensors)])
        if torch.is_grad_enabled():  # create_graph=True
            gradients = _through_reference(reference, grads, tensors, ctx.word, wanted)
        else:
            gradients = backward_operator(list(grads), results, tensors, ctx.word, wanted)
        return (*(gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)), None, None)

    operator.register_autograd(differentiate, setup_context=save)


def _through_reference(
    reference: Callable[..., tuple[Tensor, ...]],
    grads: tuple[Tensor | None, ...],
    tensors: list[Tensor | None],
    word: str,
    wanted: list[bool],
) -> list[Tensor | None]:
    """Return the gradients of the tensors as functions that can be differentiated again."""
    # Views, so that a gradient is that of the argument alone, even where one argument has been computed from another.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    precise = [
        view.to(accumulation_dtype(view.dtype)) if view is not None and view.is_floating_point() else view
        for view in views
    ]
    with without_autocast(next(tensor.device for tensor in tensors if tensor is not None)):
        results = reference(*precise, word)
    given = [
        (result, grad.to(result.dtype))
        for result, grad in zip(results, grads, strict=False)
        if grad is not None and result.requires_grad
    ]
    leaves = [view for view, want in zip(views, wanted, strict=True) if want and view is not None]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in given], leaves, [grad for _, grad in given], create_graph=True, allow_unused=True
        )
    )
    return [next(found) if want else None for want in wanted]


def _as(gradient: Tensor | None, tensor: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    return gradient.to(tensor.dtype).contiguous()  # as the fake says


def _no_gradient(like: Tensor) -> Tensor:
    return like.new_empty(0)
