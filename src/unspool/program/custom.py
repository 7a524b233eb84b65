"""A `torch.autograd.Function` of the step: its own value, and the gradient that its backward says.

The operations of its forward are in the program already, without a gradient. Its backward is run once on a gradient
that is followed through the operations: where it is g times something for each number alone, as surrogate gradients
and straight-through estimators are, that something becomes the factor d of `through(value, a, d)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.errors import EngineError
from unspool.program import failures
from unspool.program.inner import Inner
from unspool.program.ir import Graph
from unspool.program.layout import Unsupported, Value
from unspool.program.origins import Computed, Ref

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

_OF_ONE = frozenset(["neg", "copy", "stop"])


def is_custom(node: Any) -> bool:
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def name_of(node: Any) -> str:
    return f"a torch.autograd.Function ({node.name().removesuffix('Backward')})"


def follow(t: Tracer, tensor: Tensor) -> None:
    """From now on `tensor`, which a Function gave, has the gradient of its backward."""
    node: Any = tensor.grad_fn
    if node in t.followed:
        return
    t.followed.add(node)
    name, g = name_of(node), t.graph
    if len(node._input_metadata) != 1:
        raise Unsupported(f"{name} with several results")
    made = t.values.get(id(tensor))
    if made is None:
        return _of_parameters(t, tensor, node)
    inputs = [_input(t, edge) for edge in node.next_functions if edge[0] is not None]
    if any(part is None for part in inputs):
        raise Unsupported(f"{name} whose operands are not values of the batch")
    seed = torch.ones_like(tensor)
    start = g.node("seed", (), made.width, len(t.followed))
    t.add_value(seed, made.of(start))
    try:
        with Inner(t), torch.enable_grad():
            found = t.run(node.apply, (seed,), {})
    except (Unsupported, EngineError):
        raise
    except Exception as error:
        if failures.of_surroundings(error):
            raise
        raise Unsupported(
            f"{name} whose backward fails on zeros ({type(error).__name__}: {error})"
        ) from error
    found = found if isinstance(found, tuple) else (found,)
    wanted = [part for part, needed in zip(found, node.needs_input_grad) if needed]
    value = made.node
    for part, gradient in zip(inputs, wanted):
        assert part is not None
        if gradient is None:
            continue
        factor = _factor(g, t.find(gradient), start, name)
        if part.width != made.width or part.shape != made.shape:
            raise Unsupported(f"{name} whose gradient is not number by number")
        value = g.each("through", value, part.node, factor)
    t.values[id(tensor)] = made.of(value)


def _of_parameters(t: Tracer, tensor: Tensor, node: Any) -> None:
    """A Function of parameters alone is called at every call, and its gradient is autograd's."""
    tensors = [_origin(t, edge) for edge in node.next_functions]
    if not all(node.needs_input_grad) or any(part is None for part in tensors):
        raise Unsupported(f"{name_of(node)} of parameters and of something else")
    refs = tuple(Ref(t.source_of[id(part)]) for part in tensors)
    t.sources[t.source_of[id(tensor)]] = Computed(type(node)._forward_cls.apply, refs, {}, None)


def _origin(t: Tracer, edge: tuple[Any, int]) -> Tensor | None:
    """The parameter, or what is computed of some, that an edge of autograd's graph leads to."""
    leaf = getattr(edge[0], "variable", None)
    if leaf is not None:
        return leaf if id(leaf) in t.source_of else None
    for tensor in t.source_tensors:
        if tensor.grad_fn is edge[0] and tensor.output_nr == edge[1]:
            return tensor
    return None


def _input(t: Tracer, edge: tuple[Any, int]) -> Value | None:
    """The value of a Function's operand, known by the end of its history."""
    for tensor in t.alive:
        if isinstance(tensor, Tensor) and tensor.grad_fn is edge[0] and tensor.output_nr == edge[1]:
            found = t.values.get(id(tensor))
            if found is not None:
                return found
    return None


def _factor(g: Graph, gradient: Any, seed: int, name: str) -> int:
    """d, where the gradient is the seed times d."""

    def reaches(node: int) -> bool:
        return node == seed or any(reaches(a) for a in g.nodes[node].args if a >= seed)

    def refuse() -> Unsupported:
        return Unsupported(f"{name} whose backward is not a product for each number alone")

    def factor(i: int) -> int:
        node = g.nodes[i]
        if i == seed:
            return g.const(1.0)
        if not reaches(i):
            if g.constant(i) == 0.0 or (node.op == "copy" and g.constant(node.args[0]) == 0.0):
                return g.const(0.0)
            raise refuse()
        args = node.args
        if node.op in _OF_ONE:
            inner = factor(args[0])
            return g.each("neg", inner) if node.op == "neg" else inner
        if node.op in ("add", "sub"):
            return g.each(node.op, *map(factor, args))
        if node.op == "mul" and reaches(args[0]) != reaches(args[1]):
            a, b = args if reaches(args[0]) else args[::-1]
            return g.each("mul", factor(a), b)
        if node.op == "div" and not reaches(args[1]):
            return g.each("div", factor(args[0]), args[1])
        if node.op == "where" and not reaches(args[0]):
            return g.each("where", args[0], factor(args[1]), factor(args[2]))
        raise refuse()

    if not isinstance(gradient, Value):
        raise refuse()
    return factor(gradient.node)
