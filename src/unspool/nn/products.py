"""Where a step multiplies its state by weights, decided on the cell's program.

Each unit of each value is one of these:

    a unit of the state   what single units make of it, alone or with things that are not the state: f(h), r ⊙ h, h + u
    FREE                  of the input and of weights, what a product gives, and a new state that is not the old alone
    PLAIN                 one number of several units of the state, such as the mean in a layer norm
    MIXED                 of two units of the state, such as h + c

A product is recurrent where units of the state enter it. A number of several units beside a unit leaves it that unit:
a normalised state is masked after the normalisation. PLAIN or MIXED in a product have no mask of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.program.ir import EACH, ROWS, Node, Program
from unspool.program.lowering import Unsupported
from unspool.program.signature import HOOKS
from unspool.program.simplify import reachable
from unspool.program.trace import Captured, trace

FREE, PLAIN, MIXED = -1, -2, -3
Units = np.ndarray[Any, np.dtype[np.int64]]


class Undecided(Exception):
    """The products of a step cannot be told; the message says why."""


@dataclass
class Products:
    """A cell's program, the units of its values, and those of what its recurrent products take, by node.

    A unit is numbered over all parts of the state, one part after the other.
    """

    program: Program
    units: dict[int, Units] = field(default_factory=dict)
    recurrent: dict[int, Units] = field(default_factory=dict)

    def part(self, unit: int) -> tuple[int, int]:
        """(part of the state, place in it) of a unit."""
        for k, width in enumerate(self.program.state_sizes):
            if unit < width:
                return k, unit
            unit -= width
        raise IndexError(unit)

    @property
    def parts(self) -> list[int]:
        """The parts of the state that weights multiply."""
        units = {int(u) for found in self.recurrent.values() for u in found if u >= 0}
        return sorted({self.part(u)[0] for u in units})

    def check_masks(self) -> None:
        """Raises `Undecided` where a product takes something that has no mask of its own."""
        for found in self.recurrent.values():
            if (found < FREE).any():
                what = "two units" if (found == MIXED).any() else "several units"
                raise Undecided(
                    f"a weight matrix multiplies numbers that {what} of the state went into, "
                    "so that no unit's mask is theirs"
                )


def find_products(cell: Any, input_size: int) -> Products:
    """The recurrent products of `cell` on inputs of this width. Raises `Undecided` where it has no program."""
    program = _program(cell, input_size)
    found = Products(program)
    graph, outputs, units = program.graph, set(program.outputs), found.units
    starts = np.cumsum([0, *program.state_sizes])
    alone: dict[int, bool] = {}  # nothing but the state and weights went in, by no product
    for i in reachable(graph, program.outputs):
        node = graph.nodes[i]
        if node.op == "state":
            units[i] = np.arange(starts[node.attr], starts[node.attr + 1])
        else:
            units[i] = _units(node, [units[a] for a in node.args])
        alone[i] = node.op not in ("x", "matmul") and all(alone[a] for a in node.args)
        factor = weighted(program, i)
        if factor is not None and (units[factor] != FREE).any():
            found.recurrent[i] = units[factor]
            units[i] = _united([units[a] for a in node.args[1:]], node.width)
            alone[i] = False
        if i in outputs and not alone[i]:
            units[i] = np.full(node.width, FREE)
    return found


def weighted(program: Program, i: int) -> int | None:
    """What a product multiplies by weights: a matrix' input, or a in a sum of a ⊙ w; None where `i` is no product."""
    node = program.graph.nodes[i]
    if node.op == "matmul":
        return node.args[0]
    if node.op in ("sum", "put"):
        inner = program.graph.nodes[node.args[0]]
        if inner.op == "mul" and inner.width > 1:
            for a, w in (inner.args, inner.args[::-1]):
                if program.graph.nodes[w].op == "vector" and program.graph.width(w) == inner.width:
                    return a
    return None


def _units(node: Node, args: list[Units]) -> Units:
    if node.op == "slice":
        return args[0][slice(*node.attr)]
    if node.op == "cat":
        return np.concatenate(args)
    if node.op == "matmul":
        return _united(args[1:], node.width)
    if node.op in EACH or node.op == "norm":
        return _united(args, node.width)
    if node.op == "take":
        return args[0][node.attr.places()]
    if node.op in ROWS:
        return np.array([_one_of(np.concatenate(args))])
    if node.op == "gmax":
        return np.array([_one_of(group) for group in args[0].reshape(node.width, -1)])
    if node.op == "order":
        size, kept, *_ = node.attr
        return np.repeat([_one_of(group) for group in args[0].reshape(-1, size)], kept)
    if node.op == "put":
        places = node.attr.places()
        return np.array([_one_of(args[0][places == i]) for i in range(node.width)])
    if any((arg != FREE).any() for arg in args):
        raise Undecided(
            f"its state meets numbers made of the input in a product ('{node.op}'), such as a bilinear form or a read "
            "of a memory, which may be weights or not"
        )
    return np.full(node.width, FREE)


def _one_of(units: Units) -> int:
    """The unit of a number that all of these went into."""
    met = np.unique(units[units != FREE])
    if len(met) == 0:
        return FREE
    return MIXED if MIXED in met else int(met[0]) if len(met) == 1 else PLAIN


def _united(args: Sequence[Units], width: int) -> Units:
    """The units of an operation on single units of each of its operands."""
    result = np.full(width, FREE)
    for arg in args:
        mixed = (result == MIXED) | (arg == MIXED) | ((result >= 0) & (arg >= 0) & (result != arg))
        one = np.where((result >= 0) | (arg >= 0), np.maximum(result, arg), np.minimum(result, arg))
        result = np.where(mixed, MIXED, one)
    return result


def _program(cell: Any, input_size: int) -> Program:
    for module in cell.modules():
        if any(getattr(module, name) for name in HOOKS):
            raise Undecided(
                f"{type(module).__name__} has hooks, which a program leaves out; torch.nn.utils.parametrizations "
                "computes weights without hooks"
            )
    try:
        twin, back = _single(cell)
        program = trace(twin, input_size, twin.initial_state(2))
    except Unsupported as reason:
        raise Undecided(f"{type(cell).__name__} uses {reason}, which has no place in a program") from reason
    except Exception as error:
        raise Undecided(f"one step of it on a batch of 2 failed: {type(error).__name__}: {error}") from error
    sources = [
        Captured(back.get(id(s.tensor), s.tensor)) if isinstance(s, Captured) else s for s in program.sources
    ]
    return replace(program, sources=sources, input_size=input_size, plans={})


def _single(cell: Any) -> tuple[Any, dict[int, Tensor]]:
    """(the cell with float32 weights on the CPU, by the id of a copied tensor its original)."""
    held = [*cell.parameters(), *cell.buffers()]
    if all(t.device.type == "cpu" and (t.dtype == torch.float32 or not t.is_floating_point()) for t in held):
        return cell, {}
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(cell, memo)
    back = {}
    for original in memo.get(id(memo), []):
        if isinstance(original, Tensor) and id(original) in memo and not original.is_meta:
            mine = memo[id(original)]
            mine.data = _as_single(mine.data)
            back[id(mine)] = original
    return twin._apply(_as_single), back


def _as_single(t: Tensor) -> Tensor:
    dtype = torch.float32 if t.is_floating_point() else t.dtype
    return torch.zeros(t.shape, dtype=dtype) if t.is_meta else t.to("cpu", dtype)
