"""From raw functions to operations: torch.library for torch.compile, autograd for both, no op boundary in eager calls.

Crossing torch.library's boundary costs tens of microseconds a call, more than many of these kernels run on a GPU; so
eager calls go straight to an autograd.Function, and only a compiler sees the registered operation. Both share the
same forward, the same setup_context and the same backward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pylm_kernels import autocast, transforms

LIBRARY: Any = torch.library.Library("pylm_kernels", "DEF")  # type: ignore[no-untyped-call]


def define(name: str, schema: str, body: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register an operation without a gradient of its own, and return the callable that a compiler can see."""
    LIBRARY.define(f"{name}{schema}")
    LIBRARY.impl(name, body, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pylm_kernels::{name}", fake, lib=LIBRARY)
    operation: Callable[..., Any] = getattr(torch.ops.pylm_kernels, name).default
    return operation


def differentiable(
    name: str,
    *,
    schema: str,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[..., None],
    backward_schema: str,
    backward_body: Callable[..., Any],
    backward_fake: Callable[..., Any],
    backward: Callable[..., Any],
    composite: Callable[..., Any],
) -> Callable[..., Any]:
    """Register an operation and its gradient, and return the function that public code calls.

    Args:
        name: the operation's name under torch.ops.pylm_kernels; its gradient is called `<name>_backward`.
        schema: the operation's arguments and results in torch's notation; no result may alias an argument.
        forward: the raw function, which takes the arguments of the schema.
        fake: gives empty results of the right shapes.
        setup: called as setup_context(ctx, inputs, output), by both autograds.
        backward_schema: the gradient's arguments and results in the same notation.
        backward_body: the raw gradient function.
        backward_fake: gives empty gradients of the right shapes.
        backward: called as backward(ctx, run, *gradients); it calls `run` (backward_body or its operation).
        composite: called as composite(ctx, *gradients) for double backward; gives the same by differentiable steps.
    """
    operation = define(name, schema, forward, fake)
    gradient = define(f"{name}_backward", backward_schema, backward_body, backward_fake)
    torch.library.register_autograd(
        f"pylm_kernels::{name}",
        lambda ctx, *grads: backward(ctx, gradient, *grads),
        setup_context=setup,
        lib=LIBRARY,
    )

    class Eager(torch.autograd.Function):
        """The operation for eager calls, which do not cross the boundary of torch.library."""

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            # create_graph=True runs backward with gradients enabled: only then is the slow, differentiable way taken,
            # or where many gradients come at once (is_grads_batched, jacrev)
            if torch.is_grad_enabled() or transforms.active() or transforms.batched(grads):
                return composite(ctx, *grads)
            return backward(ctx, backward_body, *grads)

    Eager.forward = staticmethod(forward)  # type: ignore[method-assign]
    Eager.setup_context = staticmethod(setup)  # type: ignore[method-assign]
    Eager.__name__ = name

    def call(*args: Any) -> Any:
        if transforms.traced(*args):
            return operation(*args)
        if torch.is_grad_enabled() and any(isinstance(a, torch.Tensor) and a.requires_grad for a in args):
            return Eager.apply(*args)  # type: ignore[no-untyped-call]
        return forward(*args)

    return call


def gathered(flat: Any, *kinds: Any) -> tuple[Any, ...]:
    """Return the named tuples that stand one after the other in an operation's arguments, and what follows them."""
    found, at = [], 0
    for kind in kinds:
        found.append(kind(*flat[at : at + len(kind._fields)]))
        at += len(kind._fields)
    return (*found, *flat[at:])


def keep(ctx: Any, inputs: Any, outputs: Any) -> None:
    """Save an operation's arguments for its backward: tensors and outputs as autograd wants them, the rest on ctx."""
    ctx.numbers = [None if isinstance(x, torch.Tensor) else (x,) for x in inputs]
    ctx.save_for_backward(*(x for x in inputs if isinstance(x, torch.Tensor)), *outputs)


def kept(ctx: Any) -> tuple[list[Any], list[Any]]:
    """Return the arguments that `keep` saved, and the outputs."""
    saved = list(ctx.saved_tensors)  # once: under checkpointing each look unpacks, and a second one is an error
    inputs = [saved.pop(0) if number is None else number[0] for number in ctx.numbers]
    return inputs, saved


def gradients(names: tuple[str, ...], found: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a gradient for each argument of these names: the one that was found, else None."""
    return tuple(found.get(name) for name in names)


class Refused(ValueError):
    """An error about an argument or a backend that cannot be: a whole sentence, which names it."""


def _refuse(x: torch.Tensor, message: str) -> torch.Tensor:
    raise Refused(message)


_refuse_operation = define(
    "refuse", "(Tensor x, str message) -> Tensor", _refuse, lambda x, message: torch.empty_like(x)
)


def refuse(x: torch.Tensor, message: str) -> torch.Tensor:
    """Raise ValueError with this message, in compiled code too.

    A ValueError raised while torch.compile traces reaches the user as an internal error with a page of advice; an
    operation that raises when the compiled code runs arrives as the one sentence that it is.
    """
    if torch.compiler.is_compiling():
        refused: torch.Tensor = _refuse_operation(x, message)
        return refused
    raise Refused(message)


def differentiate(
    function: Callable[..., Any], inputs: tuple[torch.Tensor | None, ...], gradients: tuple[Any, ...]
) -> list[torch.Tensor | None]:
    """Return the gradients of a composite, which can be differentiated again; None where an input needs none.

    An input that is None needs no gradient.

    Args:
        function: takes the inputs alone, and computes in steps that torch can differentiate.
        inputs: the tensors, and None where one is absent.
        gradients: the gradients of the function's outputs; None for one that nobody used.
    """
    wanted = [x is not None and x.requires_grad for x in inputs]
    used = [number for number, gradient in enumerate(gradients) if gradient is not None]

    def part(*own: torch.Tensor) -> tuple[torch.Tensor, ...]:
        names = iter(own)
        outputs = function(*(next(names) if want else x for want, x in zip(wanted, inputs, strict=True)))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(outputs[number] for number in used)

    if not used or not any(wanted):
        return [None] * len(inputs)
    # each input by a name of its own: one may be made from another (tied weights, q that is k), and what reaches it by
    # way of that other is not this operation's to count. vjp also takes what a transform that has returned left behind
    given = [x for x, want in zip(inputs, wanted, strict=True) if want and x is not None]
    with torch.enable_grad(), autocast.off(given[0]):
        pull = torch.func.vjp(part, *given)[1]
        found = iter(pull(tuple(gradients[number] for number in used)))
    return [next(found) if want else None for want in wanted]
