"""A cell's program carried out by torch, one operation after the other: every value on the way can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.program.ir import COMPARISONS, TIES, Graph, Node
from unspool.program.patterns import Pattern
from unspool.program.simplify import reachable

_EACH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "softplus": F.softplus,
    "stop": torch.Tensor.detach,
    "clamp": torch.clamp,
    "through": lambda y, a, d: y,
    "plus": lambda *terms: sum(terms[1:], terms[0]),
    "logsigmoid": F.logsigmoid,
}

_ROW: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda a: a.sum(1, keepdim=True),
    "amax": lambda a: a.amax(1, keepdim=True),
    "mean": lambda a: a.mean(1, keepdim=True),
    "softmax": lambda a: a.softmax(1),
}


def evaluate(
    graph: Graph, wanted: Iterable[int], sources: Mapping[int, Tensor], x: Tensor, state: Sequence[Tensor]
) -> list[Tensor]:
    """The values of the nodes `wanted`, (B, width) each, in the order asked for.

    sources: the tensors of parameters by their number in the program. x (B, F), state: its parts (B, ·).
    Operations are those of `unspool.program.ir` and of `unspool.explain.step`; of a step, not of its gradient.
    """
    wanted = list(wanted)
    made: dict[int, Tensor] = {}
    for i in reachable(graph, wanted):
        node = graph.nodes[i]
        if node.op == "x":
            made[i] = x
        elif node.op == "state":
            made[i] = state[node.attr]
        else:
            made[i] = _value(node, [made[a] for a in node.args], sources, x)
    return [made[i].expand(len(x), graph.width(i)) for i in wanted]


def _value(node: Node, args: list[Tensor], sources: Mapping[int, Tensor], x: Tensor) -> Tensor:
    if node.op == "const":
        return x.new_full((1, 1), node.attr)
    if node.op == "vector":
        rows = [sources[s].reshape(-1)[low:high] for s, low, high in node.attr]
        return sum(rows[1:], rows[0])[None]
    if node.op == "matmul":
        m = node.attr
        block = sources[m.source][slice(*m.rows), slice(*m.columns)]
        product = args[0].expand(len(x), -1) @ (block.t() if m.transposed else block)
        return product if len(args) == 1 else product + args[1]
    if node.op == "slice":
        return args[0][:, slice(*node.attr)]
    if node.op == "cat":
        return torch.cat([a.expand(len(x), -1) for a in args], dim=1)
    if node.op == "copy":
        return args[0].expand(-1, node.width)
    if node.op == "take":
        return args[0].expand(len(x), -1)[:, torch.from_numpy(node.attr.places())]
    if node.op == "put":
        places = torch.from_numpy(node.attr.places())
        return x.new_zeros(len(x), node.width).index_add(1, places, args[0].expand(len(x), -1))
    if node.op == "gmax":
        return args[0].expand(len(x), -1).unflatten(1, (node.width, -1)).amax(2)
    if node.op == "order":
        return _order(node, args[0].expand(len(x), -1))
    if node.op == "pick":
        row, places = (a.expand(len(x), -1) for a in args)
        inside = (places >= 0) & (places < row.shape[1])
        return torch.where(inside, row.gather(1, torch.where(inside, places, 0).long()), torch.nan)
    if node.op == "drop":
        row, places = (a.expand(len(x), -1) for a in args)
        return x.new_zeros(len(x), node.width).scatter_add(1, places.long(), row)
    if node.op == "contract":
        return _contract(node, *(a.expand(len(x), -1) for a in args))
    if node.op == "norm" and len(args) == 3:
        return (args[0] - args[1]) * args[2]
    if node.op == "norm":
        return F.layer_norm(args[0], args[0].shape[1:], eps=node.attr)
    if node.op == "rstd":
        a, mean, epsilon = args
        return torch.rsqrt((a - mean).square().mean(1, keepdim=True) + epsilon)
    if node.op in COMPARISONS:
        compare: Any = getattr(torch, node.op)
        return compare(*args).to(x.dtype)
    if node.op in _ROW:
        return _ROW[node.op](args[0])
    function: Any = _EACH.get(node.op) or getattr(torch, node.op)
    return function(*args)


def _order(node: Node, a: Tensor) -> Tensor:
    size, kept, largest, ties = node.attr
    groups = a.unflatten(1, (-1, size))
    if TIES[ties] == "stable":
        places = groups.sort(dim=2, descending=bool(largest), stable=True)[1][..., :kept]
    else:
        places = groups.topk(kept, 2, bool(largest), TIES[ties] == "topk")[1]
    return places.flatten(1).to(a.dtype)


def _contract(node: Node, a: Tensor, b: Tensor) -> Tensor:
    how = node.attr
    n, i, j, k = how.sizes

    def seen(row: Tensor, sizes: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        places = Pattern(0, tuple(zip(sizes, steps))).places()
        return row[:, torch.from_numpy(places)].unflatten(1, sizes)

    product = seen(a, (n, i, k), how.a) @ seen(b, (n, k, j), how.b)
    places = torch.from_numpy(Pattern(0, tuple(zip((n, i, j), how.out))).places())
    return torch.zeros_like(product.flatten(1)).index_copy(1, places, product.flatten(1))
