"""A cell's program with masks in it: on the state where weights multiply it, on those weights, and zoneout's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool.nn.products import FREE, Products, Units, weighted
from unspool.program.ir import Node, Program
from unspool.program.simplify import Rewrite
from unspool.program.sources import resolve
from unspool.program.trace import Captured, Computed, Parameter, Ref

# Operations that only move a weight's entries; of anything else the result is the matrix that loses entries.
MOVES = frozenset(
    "t transpose permute slice select split split_with_sizes unbind view _unsafe_view reshape unsqueeze squeeze expand "
    "cat stack clone alias detach _to_copy index_select flip roll tril triu diagonal lift_fresh".split()
)


@dataclass(frozen=True)
class Drop:
    """A weight under weight dropout: its source in the program, and True for the entries that multiply the state."""

    source: int
    entries: Tensor


def find_drops(found: Products, weight: Callable[[str], Tensor]) -> list[Drop]:
    """The weights that multiply the state. Parts, transposes and joins of a parameter are that parameter's entries."""
    program, places = found.program, _Places(found.program, weight)
    for i, units in found.recurrent.items():
        node, of_state = program.graph.nodes[i], torch.from_numpy(units != FREE)
        if node.op == "matmul":
            m = node.attr
            block = places.of(m.source)[slice(*m.rows), slice(*m.columns)]
            places.mark(block[:, of_state] if m.transposed else block[of_state])
        else:
            inner = program.graph.nodes[node.args[0]]
            factor = weighted(program, i)
            (vector,) = (a for a in inner.args if a != factor)
            for source, low, high in program.graph.nodes[vector].attr:
                places.mark(places.of(source).reshape(-1)[low:high][of_state.expand(high - low)])
    return places.drops()


class _Places:
    """Numbers the entries of weights from 1, so that what a step takes of them tells where it comes from."""

    def __init__(self, program: Program, weight: Callable[[str], Tensor]) -> None:
        self.program, self.weight = program, weight
        self.numbered: dict[int, Tensor] = {}
        self.roots: dict[int, Tensor] = {}
        self.marked: list[Tensor] = []
        self.count = 0

    def of(self, source: int) -> Tensor:
        """The numbers of a source's entries, of its shape; 0 for a number that no weight holds."""
        if source not in self.numbered:
            made = self.program.sources[source]
            if isinstance(made, Computed) and _name(made) in MOVES:
                self.numbered[source] = self._moved(made)
            else:
                value = self._value(source)
                held = torch.zeros(value.shape, dtype=torch.int64, device="cpu")
                if not isinstance(made, Computed) or _has_weights(self.program, made):
                    first = self.count + 1
                    self.count += value.numel()
                    held = torch.arange(first, self.count + 1, device="cpu").view(value.shape)
                    self.roots[source] = held
                self.numbered[source] = held
        return self.numbered[source]

    def _value(self, source: int) -> Tensor:
        with torch.no_grad():
            return resolve(self.program, [source], self.weight)[0]

    def _moved(self, made: Computed) -> Tensor:
        def numbers(tree: Any) -> Any:
            if isinstance(tree, Ref):
                value = self._value(tree.source)
                return self.of(tree.source) if value.is_floating_point() else value.cpu()
            return type(tree)(map(numbers, tree)) if isinstance(tree, (tuple, list)) else tree

        name = _name(made)
        args = [numbers(arg) for arg in made.args]
        if name == "_to_copy":
            return args[0]
        if name in ("view", "_unsafe_view"):
            return args[0].reshape(*args[1:])
        result = made.func(*args, **made.kwargs)
        return result if made.item is None else result[made.item]

    def mark(self, numbers: Tensor) -> None:
        self.marked.append(numbers.flatten())

    def drops(self) -> list[Drop]:
        flags = torch.zeros(self.count + 1, dtype=torch.bool, device="cpu")
        flags[torch.cat(self.marked)] = True
        flags[0] = False
        found = [Drop(source, flags[numbers]) for source, numbers in self.roots.items()]
        return [drop for drop in found if bool(drop.entries.any())]


def _name(made: Computed) -> str:
    func: Any = made.func
    return func.overloadpacket.__name__


def _has_weights(program: Program, tree: Any) -> bool:
    if isinstance(tree, Ref):
        return _has_weights(program, program.sources[tree.source])
    if isinstance(tree, Computed):
        return _has_weights(program, (tree.args, tuple(tree.kwargs.values())))
    if isinstance(tree, (tuple, list)):
        return any(_has_weights(program, part) for part in tree)
    return isinstance(tree, (Parameter, Captured))


@dataclass(frozen=True)
class Zones:
    """Zoneout's masks: columns of the input, `input_size` wide itself, from `first` on: for each of `parts` in turn."""

    input_size: int
    first: int
    parts: tuple[int, ...]


def masked_program(
    found: Products, masked: Sequence[int], drops: Sequence[Drop], zones: Zones, input_size: int, prefix: str
) -> Program:
    """The program of the step with its masks.

    masked: the parts of the state whose masks follow the state, as parts that pass on unchanged.
    drops: the masks of weights are parameters "drop0", "drop1", ... beside the cell's, whose names begin with `prefix`.
    input_size: the width of the input with zoneout's masks beside it.
    """
    old = found.program
    rewrite = _Masks(found, masked, input_size)
    graph, outputs = rewrite.run()
    wide, at = graph.node("x", (), input_size), zones.first
    for k in zones.parts:
        width = old.state_sizes[k]
        kept = graph.each("gt", graph.slice(wide, at, at + width), graph.const(0.5))
        outputs[k] = graph.each("where", kept, graph.node("state", (), width, k), outputs[k])
        at += width
    sizes = [*old.state_sizes, *(old.state_sizes[k] for k in masked)]
    outputs += [rewrite.mask(k) for k in masked]
    sources = [Parameter(prefix + s.name) if isinstance(s, Parameter) else s for s in old.sources]
    shapes = list(old.shapes)
    for j, drop in enumerate(drops):
        shapes += [shapes[drop.source]] * 2
        sources += [sources[drop.source], Parameter(f"drop{j}")]
        refs = Ref(len(sources) - 2), Ref(len(sources) - 1)
        sources[drop.source] = Computed(torch.ops.aten.mul.Tensor, refs, {}, None)
    return Program(graph, outputs, input_size, sizes, sources, shapes)


class _Masks(Rewrite):
    """Multiplies the units of the state that enter a product by their masks."""

    def __init__(self, found: Products, masked: Sequence[int], input_size: int) -> None:
        super().__init__(found.program.graph, found.program.outputs)
        self.found, self.input_size = found, input_size
        self.masks = {k: len(found.program.state_sizes) + j for j, k in enumerate(masked)}

    def mask(self, part: int) -> int:
        return self.new.node("state", (), self.found.program.state_sizes[part], self.masks[part])

    def build(self, i: int, node: Node) -> int:
        if node.op == "x":
            return self.new.slice(self.new.node("x", (), self.input_size), 0, node.width)
        if i in self.found.recurrent and self.masks:
            if node.op == "matmul":
                args = (self.masked(node.args[0]), *(self.made[a] for a in node.args[1:]))
                return self.new.node("matmul", args, node.width, node.attr)
            factor = weighted(self.found.program, i)
            inner = self.old.nodes[node.args[0]]
            factors = [self.masked(a) if a == factor else self.made[a] for a in inner.args]
            return self.new.node(node.op, (self.new.each("mul", *factors),), node.width, node.attr)
        return self.copy(node)

    def masked(self, value: int) -> int:
        units, node = self.found.units[value], self.old.nodes[value]
        if (units < 0).all():
            return self.made[value]
        if node.op == "cat":
            return self.new.cat([self.masked(arg) for arg in node.args])
        if node.op == "take":
            return self.new.take(self.masked(node.args[0]), node.attr)
        return self.new.each("mul", self.made[value], self.mask_of(units))

    def mask_of(self, units: Units) -> int:
        """The masks of these units, 1 for those that have none."""
        parts, at = [], 0
        while at < len(units):
            stop, step = at + 1, 0
            if stop < len(units) and units[stop] - units[at] in (0, 1):
                step = int(units[stop] - units[at]) if units[at] >= 0 else 0
            while stop < len(units) and units[stop] == units[at] + step * (stop - at):
                if step and self.found.part(int(units[stop]))[0] != self.found.part(int(units[at]))[0]:
                    break
                stop += 1
            parts.append(self.run_of(int(units[at]), step, stop - at))
            at = stop
        return self.new.cat(parts)

    def run_of(self, unit: int, step: int, count: int) -> int:
        """`count` masks from `unit` on, step 1, or of the one unit, step 0."""
        if unit < 0:
            return self.new.spread(self.new.const(1.0), count)
        part, place = self.found.part(unit)
        if step:
            return self.new.slice(self.mask(part), place, place + count)
        return self.new.spread(self.new.slice(self.mask(part), place, place + 1), count)
