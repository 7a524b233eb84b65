"""One step of a cell as a person reads it: its program in larger operations, with names for gates and state parts.

Besides the program's operations:

    plus(a, b, ...)   a sum of any number of terms; a product that starts from a value is such a sum
    norm(a)           (a - mean) / sqrt(variance + attr), over the row
    mean softmax      over the row
    logsigmoid(a)
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine.dispatch import Direction
from unspool.errors import DataError, EngineError, bad_parameter, described
from unspool.nn import GRU, LSTM, RNN, Recurrent
from unspool.program.interpret import evaluate
from unspool.program.ir import Graph, Node, Program
from unspool.program.join import norm_of
from unspool.program.lowering import Unsupported
from unspool.program.simplify import reachable
from unspool.program.sources import resolve, used
from unspool.program.trace import Computed, Parameter, trace
from unspool.state import flatten

ACTIVATIONS = frozenset("sigmoid tanh relu exp softplus logsigmoid erf".split())
LEAVES = frozenset(["x", "state", "vector", "const"])

Rows = tuple[int, int, int]  # from, to, of how many


@dataclass(frozen=True)
class Step:
    """graph: the step; outputs: the nodes of the new state parts; states: their names; gates: node by name.

    sources: the tensors of the weights by their number in the program; shapes: of those and what they are made of.
    """

    program: Program
    graph: Graph
    outputs: list[int]
    states: tuple[str, ...]
    gates: dict[str, int]
    sources: dict[int, Tensor]
    shapes: dict[int, tuple[int, ...]]

    def run(self, x: Tensor, state: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """x (B, F), state: its parts (B, ·) -> (each gate's value (B, ·) by name, the new parts)."""
        values = evaluate(self.graph, [*self.gates.values(), *self.outputs], self.sources, x, state)
        return dict(zip(self.gates, values)), values[len(self.gates) :]


def read_step(cell: Any, input_size: int | None = None) -> Step:
    """The step of `cell`, a cell module or a direction of a layer.

    input_size: features of x; None: the cell's attribute `input_size`.
    Gates are named by the cell's attribute `gates`, the names of the equal blocks of rows of its first weights
    (`("i", "f", "g", "o")`); one that the step has as a logarithm is "log i", one named as a state part "h~".
    Without `gates` the sigmoids and tanhs of a product are s1, s2, ... and t1, t2, ...
    State parts are named h, c, p3, p4, ..., or by the cell's attribute `state_names`.

    Raises `EngineError` where the step cannot be traced, `InvalidParameterError` without any input_size.
    """
    direction = _direction_of(cell)
    module: Any = direction.cell
    if any(p.dtype == torch.float64 for p in module.parameters()):
        module = copy.deepcopy(module).float()  # programs are of float32; the values below are the cell's own
    like = module.initial_state(2)
    size = getattr(module, "input_size", None) if input_size is None else input_size
    if not isinstance(size, int):
        bad_parameter(
            "this function", "input_size", f"given, as {_name(module)} has no attribute of that name", size
        )
    own = getattr(module, "input_size", size)
    if isinstance(own, int) and own != size:
        bad_parameter("this function", "input_size", f"{own}, that of the {_name(module)}", size)
    try:
        program = trace(module, size, like)
    except Unsupported as reason:
        raise EngineError(
            f"{_name(module)} has no program to show: it uses {reason}. Write the step in other operations."
        ) from None
    every = list(range(len(program.sources)))
    tensors = {n: t.detach() for n, t in zip(every, resolve(program, every, direction.weight))}
    sources = {n: tensors[n] for n in used(program)}
    graph, outputs = _Reader(program).run()
    states = _state_names(module, len(flatten(like)))
    rows = _rows(graph, program, sources)
    gates = _find_gates(graph, outputs, rows, _declared_gates(module), states)
    return Step(
        program, graph, outputs, states, gates, sources, {n: tuple(t.shape) for n, t in tensors.items()}
    )


def _direction_of(cell: Any) -> Direction:
    """A cell, a direction, or the first direction of a layer's first; `DataError` for anything else."""
    if isinstance(cell, Direction):
        return cell
    if isinstance(cell, (LSTM, GRU, RNN)):
        return cell.directions(0)[0]
    if isinstance(cell, Recurrent):
        return cell.directions()[0]
    if isinstance(cell, nn.Module) and callable(getattr(cell, "initial_state", None)):
        return Direction(cell)
    hint = ""
    if isinstance(cell, (str, type)):
        hint = " Make one: unspool.cells.GRUCell(8, 16)."
    elif isinstance(cell, (nn.RNNBase, nn.RNNCellBase)):
        hint = f" unspool.nn.{type(cell).__name__} takes its arguments and its state_dict."
    elif hasattr(cell, "get_params"):
        hint = " That of a fitted one is model.network_.stack.layers[0].cell."
    got = f"the class {cell.__name__}" if isinstance(cell, type) else described(cell)
    raise DataError(
        f"This function takes a cell, a module with forward(x, state) and initial_state(batch_size). Got {got}.{hint}"
    )


def _name(module: nn.Module) -> str:
    return type(module).__name__


def _declared_gates(module: Any) -> tuple[str, ...]:
    return _names(module, "gates") or _names(getattr(module, "cell", None), "gates")


def _names(module: Any, attribute: str) -> tuple[str, ...]:
    found = getattr(module, attribute, ())
    plain = isinstance(found, (tuple, list)) and all(isinstance(name, str) for name in found)
    return tuple(found) if plain else ()


def _state_names(module: Any, parts: int) -> tuple[str, ...]:
    names = _names(module, "state_names")
    if len(names) == parts:
        return names
    return ("h", "c", *(f"p{k}" for k in range(3, parts + 1)))[:parts]


class _Reader:
    """Rewrites what the outputs of a program need into larger operations."""

    def __init__(self, program: Program) -> None:
        self.old, self.outputs, self.new = program.graph, program.outputs, Graph()
        self.order = reachable(self.old, self.outputs)
        self.uses: Counter[int] = Counter(self.outputs)
        self.sliced: Counter[int] = Counter()
        for i in self.order:
            node = self.old.nodes[i]
            self.uses.update(node.args)
            if node.op == "slice":
                self.sliced.update(node.args)
        self.made: dict[int, int] = {}

    def run(self) -> tuple[Graph, list[int]]:
        for i in self.order:
            self.made[i] = self.build(i, self.old.nodes[i])
        return self.new, [self.made[o] for o in self.outputs]

    def build(self, i: int, node: Node) -> int:
        for pattern in (self.norm, self.softmax, self.mean, self.log_sigmoid, self.clamp, self.lerp):
            found = pattern(node)
            if found is not None:
                return found
        args = tuple(self.made[a] for a in node.args)
        if node.op == "matmul" and len(args) == 2:
            product = self.new.node("matmul", args[:1], node.width, node.attr)
            return self.plus([product, *self.terms(node.args[1])], node.width)
        if node.op == "add":
            return self.plus([t for a in node.args for t in self.terms(a)], node.width)
        if node.op == "slice":
            return self.slice(node.args[0], *node.attr)
        if node.op == "sub" and self.old.constant(node.args[0]) == 0.0:
            return self.new.node("neg", args[1:], node.width)
        return self.new.node(node.op, args, node.width, node.attr)

    def terms(self, i: int) -> list[int]:
        made = self.new.nodes[self.made[i]]
        return list(made.args) if made.op == "plus" and self.uses[i] == 1 else [self.made[i]]

    def plus(self, terms: list[int], width: int) -> int:
        """Products of x, other products, the rest, vectors; without a product in the order written."""
        ops = [self.new.nodes[t].op for t in terms]
        if "matmul" in ops:
            terms = sorted(terms, key=self.rank)
        return self.new.node("plus", terms, width)

    def rank(self, term: int) -> int:
        node = self.new.nodes[term]
        if node.op == "matmul":
            return 0 if self.new.nodes[node.args[0]].op == "x" else 1
        return 3 if node.op == "vector" else 2

    def slice(self, i: int, start: int, stop: int) -> int:
        """A slice of a product, or of a sum of products and vectors that only slices use, is taken apart."""
        made, node = self.made[i], self.new.nodes[self.made[i]]
        if node.op in ACTIVATIONS and self.sliced[i] == self.uses[i]:
            return self.new.node(node.op, (self.new.slice(node.args[0], start, stop),), stop - start)
        if node.op == "matmul":
            return self.new.matmul(node.args[0], node.attr.take(width=(start, stop)))
        parts = node.args
        linear = node.op == "plus" and all(self.new.nodes[p].op in ("matmul", "vector") for p in parts)
        if linear and self.sliced[i] == self.uses[i] and all(self.new.width(p) == node.width for p in parts):
            return self.plus([self.cut(p, start, stop) for p in parts], stop - start)
        return self.new.slice(made, start, stop)

    def cut(self, part: int, start: int, stop: int) -> int:
        node = self.new.nodes[part]
        if node.op == "vector":
            return self.new.slice(part, start, stop)
        return self.new.matmul(node.args[0], node.attr.take(width=(start, stop)))

    # --- what one torch operation became: the old nodes that `_var`, `_softmax` ... of the lowerings write

    def is_op(self, i: int, op: str) -> Node | None:
        node = self.old.nodes[i]
        return node if node.op == op else None

    def mean_of(self, i: int) -> int | None:
        """v of mul(sum(v), 1 / width)."""
        node = self.is_op(i, "mul")
        total = self.is_op(node.args[0], "sum") if node else None
        if node is None or total is None or len(node.args) != 2:
            return None
        return (
            total.args[0] if self.old.constant(node.args[1]) == 1.0 / self.old.width(total.args[0]) else None
        )

    def mean(self, node: Node) -> int | None:
        if node.op != "mul":
            return None
        found = self.mean_of(self.old._known[node])
        return None if found is None else self.new.node("mean", (self.made[found],), 1)

    def norm(self, node: Node) -> int | None:
        found = norm_of(self.old, node)
        return None if found is None else self.new.node("norm", (self.made[found[0]],), node.width, found[1])

    def softmax(self, node: Node) -> int | None:
        """mul(e, div(1, sum(e))) with e = exp(v - amax(v))."""
        share = self.is_op(node.args[1], "div") if node.op == "mul" else None
        grown = self.is_op(node.args[0], "exp") if share else None
        shifted = self.is_op(grown.args[0], "sub") if grown else None
        if share is None or shifted is None or self.old.nodes[share.args[1]] != Node("sum", node.args[:1], 1):
            return None
        if self.old.nodes[shifted.args[1]] != Node("amax", shifted.args[:1], 1):
            return None
        return self.new.node("softmax", (self.made[shifted.args[0]],), node.width)

    def log_sigmoid(self, node: Node) -> int | None:
        """neg(softplus(neg(v)))."""
        soft = self.is_op(node.args[0], "softplus") if node.op == "neg" else None
        inner = self.is_op(soft.args[0], "neg") if soft else None
        if inner is None:
            return None
        return self.new.node("logsigmoid", (self.made[inner.args[0]],), node.width)

    def clamp(self, node: Node) -> int | None:
        """clamp(a, low, high) as max and min with the edges that it has."""
        if node.op != "clamp":
            return None
        made, *edges = (self.made[a] for a in node.args)
        for op, edge, none in zip(("max", "min"), edges, (-math.inf, math.inf)):
            if self.new.constant(edge) != none:
                made = self.new.node(op, (made, edge), node.width)
        return made

    def lerp(self, node: Node) -> int | None:
        """The first of where(|w| < 1/2, a + w (b - a), b - (1 - w) (b - a)), which are the same number."""
        small = self.is_op(node.args[0], "lt") if node.op == "where" else None
        if (
            small is None
            or self.old.nodes[small.args[0]].op != "abs"
            or self.old.constant(small.args[1]) != 0.5
        ):
            return None
        away = self.is_op(node.args[1], "add")
        back = self.is_op(node.args[2], "sub") if away else None
        return self.made[node.args[1]] if back else None


def _find_gates(
    graph: Graph, outputs: list[int], rows: Callable[[int], Rows | None], names: tuple[str, ...], states: Any
) -> dict[str, int]:
    """The gates by name. With `names`, the one of block k is the first activation of block k's pre-activation,
    or, where there is none, that pre-activation itself; the order is that of `names`."""
    inner = [i for i in reachable(graph, outputs) if i not in outputs]
    if not names:
        found: dict[str, int] = {}
        for letter, op in (("s", "sigmoid"), ("t", "tanh")):
            nodes = [i for i in inner if graph.nodes[i].op == op and rows(graph.nodes[i].args[0])]
            found |= {f"{letter}{k}": i for k, i in enumerate(nodes, 1)}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def block(i: int) -> int | None:
        part = rows(i)
        if part is None or (part[1] - part[0]) * len(names) != part[2]:
            return None
        return part[0] // (part[1] - part[0])

    def activates(i: int, k: int) -> bool:
        return graph.nodes[i].op in ACTIVATIONS and block(graph.nodes[i].args[0]) == k

    named: dict[str, int] = {}
    for k, name in enumerate(names):
        nodes = [i for i in inner if activates(i, k)]
        if not nodes and not any(activates(o, k) for o in outputs):
            nodes = [i for i in inner if graph.nodes[i].op in ("plus", "matmul") and block(i) == k][-1:]
        if nodes:
            log = "log " if graph.nodes[nodes[0]].op == "logsigmoid" else ""
            named[f"{log}{name}{'~' if name in states else ''}"] = nodes[0]
    return named


def turned_from(program: Program, source: int) -> int | None:
    """The source of which this one is the transpose, if it is one."""
    made = program.sources[source]
    if not isinstance(made, Computed):
        return None
    func: Any = made.func
    name = func.overloadpacket.__name__
    turns = name in ("t", "transpose") or (name == "permute" and list(made.args[1]) == [1, 0])
    return made.args[0].source if turns else None


def _rows(graph: Graph, program: Program, sources: dict[int, Tensor]) -> Callable[[int], Rows | None]:
    """For a value that is linear in a product: which rows of the weight it comes from."""

    def rows(i: int) -> Rows | None:
        node = graph.nodes[i]
        if node.op == "matmul":
            m = node.attr
            if not isinstance(program.sources[turned_from(program, m.source) or m.source], Parameter):
                return None
            part, axis = (m.rows, 0) if m.transposed else (m.columns, 1)
            return (*part, sources[m.source].shape[axis])
        if node.op == "slice":
            whole = rows(node.args[0])
            return None if whole is None else (whole[0] + node.attr[0], whole[0] + node.attr[1], whole[2])
        if node.op in ("plus", "norm", "neg", "sub"):
            return next((part for part in map(rows, node.args) if part is not None), None)
        if node.op == "mul":
            factors = [a for a in node.args if graph.nodes[a].op not in ("vector", "const")]
            return rows(factors[0]) if len(factors) == 1 else None
        return None

    return rows
