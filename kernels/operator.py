"""A recurrent loop as a torch operator: torch.compile sees one node, autograd a hand-written backward pass.

An operator takes named tensors, some of which may be None, then named options; its schema is made from these names.
create_graph=True, which asks for a gradient that can be differentiated again, is answered through the reference.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kernels.dtypes import accumulation_dtype, without_autocast

Named = Mapping[str, Any]  # tensors by name, None where there is none; or options by name
Results = tuple[Tensor, ...]
Grads = list[Tensor | None]
Backward = Callable[[Grads, list[Tensor], Named, Named, Mapping[str, bool]], dict[str, Tensor | None]]


def recurrent_operator(
    name: str,
    tensors: tuple[str, ...],
    options: Mapping[str, str],
    results: int,
    *,
    forward: Callable[[Named, Named], Results],
    fake: Callable[[Named, Named], Results],
    backward: Backward,
    reference: Callable[[Named, Named], Results],
) -> Callable[..., Results]:
    """Register a recurrent loop as an operator with a backward pass.

    Args:
        name: such as "peephole::lstm"; the backward operator has "_backward" behind it.
        tensors: names of its tensors, in order; one that ends in "?" may be None.
        options: type of each option by its name, such as {"candidate": "str"}.
        results: number of its results.
        forward: computes the results from tensors and options. Autocast is off inside it, as it is inside `backward`.
        fake: returns empty tensors of the results' shapes and dtypes.
        backward: takes the gradients of the results, the results, the tensors, the options, and by name which
            gradients are wanted; returns the gradients of the tensors by name. A missing one is zero.
        reference: the same function in differentiable operations. It may return the first results only; the others then
            have no gradients.

    Returns:
        The operator: operator(*tensors, *options).
    """
    names = [tensor.removesuffix("?") for tensor in tensors]
    types = {tensor.removesuffix("?"): "Tensor?" if tensor.endswith("?") else "Tensor" for tensor in tensors}
    option_schema = ", ".join(f"{kind} {option}" for option, kind in options.items())
    schema = ", ".join([*(f"{kind} {tensor}" for tensor, kind in types.items()), *filter(None, [option_schema])])

    def named(arguments: tuple[Any, ...]) -> tuple[Named, Named]:
        return dict(zip(names, arguments, strict=False)), dict(zip(options, arguments[len(names) :], strict=True))

    def run(*arguments: Any) -> Results:
        with without_autocast(arguments[0].device):
            return forward(*named(arguments))

    operator = torch.library.custom_op(
        name, run, mutates_args=(), schema=f"({schema}) -> ({', '.join(['Tensor'] * results)})"
    )
    operator.register_fake(lambda *arguments: fake(*named(arguments)))
    order = ["grads", "results", "tensors", *options, "wanted"]

    def run_backward(*arguments: Any) -> list[Tensor]:
        given = dict(zip(order, arguments, strict=True))
        inputs, wanted = (dict(zip(names, given[each], strict=True)) for each in ("tensors", "wanted"))
        with without_autocast(given["results"][0].device):
            gradients = backward(
                given["grads"], given["results"], inputs, {option: given[option] for option in options}, wanted
            )
        return [
            _as(gradients.get(each), tensor)
            if tensor is not None and wanted[each]
            else _no_gradient(given["results"][0])
            for each, tensor in inputs.items()
        ]

    def fake_backward(*arguments: Any) -> list[Tensor]:
        given = dict(zip(order, arguments, strict=True))
        return [
            _no_gradient(given["results"][0])
            if tensor is None or not want
            else torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for tensor, want in zip(given["tensors"], given["wanted"], strict=True)
        ]

    backward_schema = ", ".join(
        ["Tensor?[] grads", "Tensor[] results", "Tensor?[] tensors", *filter(None, [option_schema]), "bool[] wanted"]
    )
    backward_operator = torch.library.custom_op(
        f"{name}_backward", run_backward, mutates_args=(), schema=f"({backward_schema}) -> Tensor[]"
    )
    backward_operator.register_fake(fake_backward)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
        ctx.options = inputs[len(names) :]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output, *inputs[: len(names)])

    def differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)  # once: each reading unpacks it
        values, inputs = saved[:results], saved[results:]
        wanted = list(ctx.needs_input_grad[: len(names)])
        gradients: Any
        if torch.is_grad_enabled():  # create_graph=True
            gradients = _through_reference(reference, grads, *named((*inputs, *ctx.options)), wanted)
        else:
            gradients = backward_operator(list(grads), values, inputs, *ctx.options, wanted)
        found = [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]
        return (*found, *[None] * len(options))

    operator.register_autograd(differentiate, setup_context=save)
    return operator


def _through_reference(
    reference: Callable[[Named, Named], Results],
    grads: tuple[Tensor | None, ...],
    tensors: Named,
    options: Named,
    wanted: list[bool],
) -> list[Tensor | None]:
    """Return the gradients of the tensors as functions that can be differentiated again."""
    # Views, so that a gradient is that of the argument alone, even where one argument has been computed from another.
    views = {name: None if tensor is None else tensor.view_as(tensor) for name, tensor in tensors.items()}
    precise = {
        name: view.to(accumulation_dtype(view.dtype)) if view is not None and view.is_floating_point() else view
        for name, view in views.items()
    }
    with without_autocast(tensors["inputs"].device):
        results = reference(precise, options)
    given = [
        (result, grad.to(result.dtype))
        for result, grad in zip(results, grads, strict=False)
        if grad is not None and result.requires_grad
    ]
    leaves = [view for view, want in zip(views.values(), wanted, strict=True) if want and view is not None]
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
