"""Names for what a step is made of: its lines (gates, shared values, new state parts) and its weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from unspool.explain.step import LEAVES, Step, turned_from
from unspool.program.ir import Matrix
from unspool.program.simplify import reachable
from unspool.program.trace import Captured, Parameter, Ref

UNNAMED = frozenset([*LEAVES, "matmul", "slice", "mean", "neg"])


@dataclass(frozen=True, order=True)
class Symbol:
    """A weight: `letter` W (a product of x), U (any other), b (added), w (a factor); `mark` below it."""

    letter: str
    mark: str


@dataclass
class Names:
    """lines: (name, node), each after what it uses, gates in their order before new parts of the state;
    symbols: by matrix or vector; a symbol's mark is the line in which it first occurs."""

    step: Step
    lines: list[tuple[str, int]] = field(default_factory=list)
    symbols: dict[Any, Symbol] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.order = reachable(self.step.graph, self.step.outputs)
        self.of_node = self._named()
        self.lines = self._in_order()
        self._name_weights()

    def _named(self) -> dict[int, str]:
        """Gates, new state parts, and values that are used more than once."""
        graph, step = self.step.graph, self.step
        named = {node: name for name, node in step.gates.items()}
        for name, node in zip(step.states, step.outputs):
            if graph.nodes[node].op not in LEAVES and node not in named:
                named[node] = f"{name}'"
        uses = Counter(a for i in self.order for a in set(graph.nodes[i].args))
        shared = [i for i in self.order if uses[i] > 1 and i not in named and not self._short(i)]
        free = [letter for letter in "auvqyk" if letter not in (*named.values(), *step.states)]
        for k, i in enumerate(shared):
            named[i] = free[k] if len(shared) <= len(free) else f"{free[0]}{k + 1}"
        return named

    def _in_order(self) -> list[tuple[str, int]]:
        first = {node: at for at, node in enumerate(self.step.gates.values())}
        waiting = sorted(self.of_node, key=lambda i: (i in self.step.outputs, first.get(i, -1), i))
        needs = {i: (set(reachable(self.step.graph, [i])) & set(waiting)) - {i} for i in waiting}
        lines: list[tuple[str, int]] = []
        while waiting:
            done = {node for _, node in lines}
            line = next(i for i in waiting if needs[i] <= done)
            waiting.remove(line)
            lines.append((self.of_node[line], line))
        return lines

    def _short(self, i: int) -> bool:
        """One operation on leaves and constants, such as 1 - f."""
        graph = self.step.graph
        node = graph.nodes[i]
        if node.op in UNNAMED:
            return True
        ends = [a for a in node.args if graph.nodes[a].op not in LEAVES]
        return (
            node.op == "sub"
            and len(ends) <= 1
            and all(graph.nodes[a].op in ("sigmoid", "tanh") for a in ends)
        )

    def _name_weights(self) -> None:
        taken: dict[tuple[str, str], int] = {}
        for name, node in self.lines:
            for key, letter in self._weights_of(node):
                if key not in self.symbols:
                    mark = name.removeprefix("log ").rstrip("'~")
                    count = taken[letter, mark] = taken.get((letter, mark), 0) + 1
                    point = "." if mark[-1].isdigit() else ""
                    self.symbols[key] = Symbol(letter, mark if count == 1 else f"{mark}{point}{count}")
        letters = Counter(symbol.letter for symbol in self.symbols.values())
        for key, symbol in self.symbols.items():
            if letters[symbol.letter] == 1:
                self.symbols[key] = Symbol(symbol.letter, "")

    def _weights_of(self, line: int) -> list[tuple[Any, str]]:
        """(matrix or vector, letter) in the expression of a line, as they are met."""
        graph, found = self.step.graph, []

        def walk(i: int, role: str) -> None:
            node = graph.nodes[i]
            if i != line and i in self.of_node:
                return
            if node.op == "vector":
                found.append((node.attr, role))
            elif node.op == "matmul":
                found.append((node.attr, "W" if graph.nodes[node.args[0]].op == "x" else "U"))
            for a in sorted(node.args, key=lambda a: graph.nodes[a].op != "vector"):
                walk(a, "b" if node.op in ("plus", "sub") else "w")

        walk(line, "b")
        return found

    def legend(self) -> list[tuple[list[Symbol], str]]:
        """What each symbol is, in the names of the cell's parameters; blocks of one parameter together."""
        groups: dict[tuple[str, str], list[tuple[Symbol, str]]] = {}
        for key, symbol in self.symbols.items():
            name, part = self._meaning(key)
            groups.setdefault((symbol.letter, name), []).append((symbol, part))
        return [
            ([symbol for symbol, _ in group], name + ", ".join(part for _, part in group))
            for (_, name), group in sorted(groups.items(), key=lambda item: "WUwb".index(item[0][0]))
        ]

    def _meaning(self, key: Any) -> tuple[str, str]:
        """("weight_ih", "[0:4]")."""
        if isinstance(key, Matrix):
            inner = turned_from(self.step.program, key.source)
            if inner is not None:
                key = Matrix(inner, key.columns, key.rows, not key.transposed)
            name, start, height = self._source(key.source)
            rows = _range((start + key.rows[0], start + key.rows[1]), height)
            columns = _range(key.columns, self.step.shapes[key.source][1])
            part = rows if columns == ":" else f"{rows}, {columns}"
            where = "" if part == ":" else f"[{part}]"
            return (name, where) if key.transposed else (f"{name}{where}ᵀ", "")
        names, ranges = [], set()
        for number, low, high in key:
            name, start, whole = self._source(number)
            names.append(name)
            ranges.add(_range((start + low, start + high), whole))
        if len(ranges) > 1:
            return " + ".join(f"{name}[{part}]" for name, part in zip(names, ranges)), ""
        name = names[0] if len(names) == 1 else f"({' + '.join(names)})"
        part = ranges.pop()
        return (name, f"[{part}]") if part != ":" else (" + ".join(names), "")

    def _source(self, number: int) -> tuple[str, int, int]:
        """(name, first row in what the name means, rows of it)."""
        source, tensor = self.step.program.sources[number], self.step.shapes[number]
        rows = tensor[0] if tensor else 1
        if isinstance(source, Parameter):
            return source.name, 0, rows
        if isinstance(source, Captured):
            return f"constant of shape {tensor}", 0, rows
        operation = source.func.overloadpacket.__name__
        refs = [a.source for a in source.args if isinstance(a, Ref)]
        if operation in ("_to_copy", "alias", "detach"):
            return self._source(refs[0])
        if operation in ("split", "split_with_sizes") and len(source.args) == 2:
            name, start, whole = self._source(refs[0])
            size = source.args[1]
            return (
                name,
                start + (size * source.item if isinstance(size, int) else sum(size[: source.item])),
                whole,
            )
        args = [self._source(a.source)[0] if isinstance(a, Ref) else str(a) for a in source.args]
        if operation in ("unbind", "select"):
            return f"{args[0]}[{source.item if operation == 'unbind' else args[-1]}]", 0, rows
        turned = turned_from(self.step.program, number) is not None
        call = f"{args[0]}ᵀ" if turned else f"{operation}({', '.join(args)})"
        return call if source.item is None else f"{call}[{source.item}]", 0, rows


def _range(part: tuple[int, int], whole: int) -> str:
    return ":" if part == (0, whole) else f"{part[0]}:{part[1]}"
