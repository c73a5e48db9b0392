"""A recurrent loop as a torch operator: torch.compile sees one node, autograd a hand-written backward pass.

Tensors and options of an operator are read by the names in its schema. create_graph=True, which asks for gradients that
can be differentiated again, is answered by the reference.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from kernels.dtypes import accumulation_dtype, without_autocast

Named = Mapping[str, Any]  # tensors by name, None where there is none; or options by name
Results = tuple[Tensor, ...]
Grads = list[Tensor | None]
Forward = Callable[[Named, Named], Results]
Backward = Callable[[Grads, list[Tensor], Named, Named, Mapping[str, bool]], dict[str, Tensor | None]]


def recurrent_operator(
    name: str, schema: str, *, forward: Forward, fake: Forward, backward: Backward, reference: Forward
) -> Callable[..., Results]:
    """Register a recurrent loop as an operator with a backward pass.

    Args:
        name: such as "peephole::lstm"; the backward operator is "peephole::lstm_backward".
        schema: such as "(Tensor inputs, Tensor? bias, bool keep) -> (Tensor, Tensor)": tensors, then options.
        forward: computes the results from tensors and options. Autocast is off inside it and inside `backward`.
        fake: returns empty tensors of the results' shapes and dtypes.
        backward: takes the gradients of the results, the results, the tensors, the options, and by name which
            gradients are wanted; returns the gradients of the tensors by name. A missing one is zero.
        reference: the same function in differentiable operations. It may return the first results only; the others then
            have no gradients.

    Returns:
        The operator.
    """
    parsed = torch._C.parse_schema(name + schema)
    names = [argument.name for argument in parsed.arguments if "Tensor" in str(argument.type)]
    options = [argument.name for argument in parsed.arguments if argument.name not in names]

    def named(values: Sequence[Any]) -> tuple[Named, Named]:
        count = len(names)
        return dict(zip(names, values[:count], strict=True)), dict(zip(options, values[count:], strict=True))

    def run(*values: Any) -> Results:
        with without_autocast(values[0].device):
            return forward(*named(values))

    def run_backward(grads: Grads, results: list[Tensor], *values: Any) -> list[Tensor]:
        (tensors, own), wanted = named(values[:-1]), dict(zip(names, values[-1], strict=True))
        with without_autocast(results[0].device):
            gradients = backward(grads, results, tensors, own, wanted)
        return [
            _gradient(gradients.get(each), tensor) if tensor is not None and wanted[each] else results[0].new_empty(0)
            for each, tensor in tensors.items()
        ]

    def fake_backward(grads: Grads, results: list[Tensor], *values: Any) -> list[Tensor]:
        return [
            results[0].new_empty(0)
            if tensor is None or not want
            else torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for tensor, want in zip(named(values[:-1])[0].values(), values[-1], strict=True)
        ]

    operator = torch.library.custom_op(name, run, mutates_args=(), schema=schema)
    operator.register_fake(lambda *values: fake(*named(values)))
    arguments = schema.split(" -> ")[0].strip("()")
    backward_schema = f"(Tensor?[] grads, Tensor[] results, {arguments}, bool[] wanted) -> Tensor[]"
    backward_operator = torch.library.custom_op(
        f"{name}_backward", run_backward, mutates_args=(), schema=backward_schema
    )
    backward_operator.register_fake(fake_backward)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
        ctx.options = inputs[len(names) :]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output, *inputs[: len(names)])

    def differentiate(
        ctx: Any, *grads: Tensor | None, run_backward: Callable[..., list[Tensor]] = backward_operator
    ) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)  # read once: each reading unpacks it
        results, tensors = saved[: len(parsed.returns)], saved[len(parsed.returns) :]
        wanted = list(ctx.needs_input_grad[: len(names)])
        gradients: Any
        if torch.is_grad_enabled():  # create_graph=True
            gradients = _through_reference(reference, grads, *named([*tensors, *ctx.options]), wanted)
        else:
            gradients = run_backward(list(grads), results, *tensors, *ctx.options, wanted)
        found = [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]
        return (*found, *[None] * len(options))

    operator.register_autograd(differentiate, setup_context=save)

    class Eager(torch.autograd.Function):
        """The same function without the registered operator's dispatch, which takes longer than a short sequence."""

        @staticmethod
        def forward(ctx: Any, *values: Any) -> Results:
            results = _below_autograd(run, *values)
            save(ctx, values, results)
            return results

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            return differentiate(ctx, *grads, run_backward=partial(_below_autograd, run_backward))

    def call(*values: Any) -> Results:
        return operator(*values) if _is_observed(values[: len(names)]) else Eager.apply(*values)

    return call


def _below_autograd(function: Callable[..., Any], *values: Any) -> Any:
    """Return function(*values) without autograd's part of the dispatch, as torch computes a registered operator."""
    with torch._C._AutoDispatchBelowAutograd():
        return function(*values)


def _is_observed(tensors: Sequence[Tensor | None]) -> bool:
    """Return whether something wants to see one node: torch.compile, a trace, a dispatch mode, a tensor's subclass."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return True
    return any(tensor is not None and type(tensor) not in (Tensor, Parameter) for tensor in tensors)


def _through_reference(
    reference: Forward, grads: tuple[Tensor | None, ...], tensors: Named, options: Named, wanted: list[bool]
) -> list[Tensor | None]:
    """Return the gradients of the tensors as functions that can be differentiated again."""
    # Views, so that each gradient is of its argument only, even where one argument has been computed from another.
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


def _gradient(gradient: Tensor | None, tensor: Tensor) -> Tensor:
    """Return a gradient with the dtype and layout that the fake promises."""
    if gradient is None:
        return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    return gradient.to(tensor.dtype).contiguous()
