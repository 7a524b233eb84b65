"""The equations of a cell, written from its program."""

from __future__ import annotations

import re
from typing import Any

from unspool.explain.step import Step, read_step
from unspool.explain.symbols import Names, Symbol

SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly an expression binds

_TEXT = {
    "sigmoid": "\N{GREEK SMALL LETTER SIGMA}",
    "logsigmoid": "log \N{GREEK SMALL LETTER SIGMA}",
    "times": " ⊙ ",
    "where": "where",
    "amax": "max",
}
_LATEX = {
    "sigmoid": r"\sigma",
    "logsigmoid": r"\log\sigma",
    "times": r" \odot ",
    "where": r"\mathrm{where}",
    "amax": r"\max",
    "max": r"\max",
    "min": r"\min",
    **{name: rf"\{name}" for name in "log exp tanh sinh cosh sin cos tan".split()},
    **{f"a{name}": rf"\arc{name}" for name in "sin cos tan".split()},
}
_COMPARE = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}
_LATEX_COMPARE = {**_COMPARE, "ge": r"\geq", "le": r"\leq", "ne": r"\neq"}


def equations(cell: Any, input_size: int | None = None, latex: bool = False) -> str:
    """One step of `cell` as equations, one a line, written from the program that the engine runs.

    cell: a cell module with `forward(x, state)`, ours or a user's; or a direction of a layer.
    input_size: features of x; None: the cell's attribute `input_size`.
    latex: False: text; a new state part is marked by ', and a list below tells which parameter each weight is.
        True: an `aligned` environment, with the list as comments.

    Names: x the input; h, c, p3, ... the state parts (the cell's attribute `state_names`, where it has one); gates
    as in the attribute `gates`, otherwise s1, s2, ... for sigmoids and t1, t2, ... for tanhs; a, u, ... other values
    that are used more than once. W is applied to x, U to anything else; b is added, w is a factor for each unit.

    Raises `EngineError` where the step has an operation without an equation, `InvalidParameterError` without any
    input_size.
    """
    names = Names(read_step(cell, input_size))
    writer = Writer(names, latex)
    lines = writer.lines()
    legend = [f"{', '.join(map(writer.symbol, symbols))} = {meaning}" for symbols, meaning in names.legend()]
    if latex:
        body = " \\\\\n".join(f"  {left} &= {right}" for left, right in lines)
        return "\n".join([*(f"% {line}" for line in legend), r"\begin{aligned}", body, r"\end{aligned}"])
    width = max(len(left) for left, _ in lines)
    body = "\n".join(f"{left:<{width}} = {right}" for left, right in lines)
    return body + ("\n\n" + "\n".join(legend) if legend else "")


class Writer:
    """Expressions of a step's nodes, as text or LaTeX."""

    def __init__(self, names: Names, latex: bool) -> None:
        self.names, self.latex = names, latex
        self.step: Step = names.step
        self.graph = self.step.graph

    def lines(self) -> list[tuple[str, str]]:
        """(left, right) of each equation; a state part that is another value as it stands comes last."""
        made = [(self.line_name(name), self.expression(node, True)[0]) for name, node in self.names.lines]
        for name, node in zip(self.step.states, self.step.outputs):
            left = self.line_name(f"{name}'")
            if left not in [line[0] for line in made]:
                made.append((left, self.expression(node)[0]))
        return made

    def line_name(self, name: str) -> str:
        """A gate, a shared value, or with ' a new state part."""
        if not self.latex:
            return name
        if name.startswith("log "):
            return rf"\log {self.line_name(name[4:])}"
        if name.endswith("~"):
            return rf"\tilde{{{self.line_name(name[:-1])}}}"
        stem, mark = _split(name.rstrip("'"))
        if name.rstrip("'") in self.step.states and name.endswith("'"):
            return f"{stem}_t" if not mark else f"{stem}_{{{mark},t}}"
        return stem if not mark else f"{stem}_{{{mark}}}"

    def symbol(self, symbol: Symbol) -> str:
        """A weight with its mark below."""
        if not symbol.mark:
            return symbol.letter
        return f"{symbol.letter}_{{{symbol.mark}}}" if self.latex else f"{symbol.letter}_{symbol.mark}"

    def expression(self, i: int, whole: bool = False) -> tuple[str, int]:
        """(text, how it binds); `whole`: the right side of its own line, not its name."""
        node = self.graph.nodes[i]
        if i in self.names.of_node and not whole:
            return self.line_name(self.names.of_node[i]), ATOM
        write = getattr(self, f"_{node.op}", None)
        if write is not None:
            return write(node)
        if node.op in _COMPARE:
            sign = (_LATEX_COMPARE if self.latex else _COMPARE)[node.op]
            return f" {sign} ".join(self.inside(a, PRODUCT) for a in node.args), SUM
        return self.call(node.op, node.args), ATOM

    def inside(self, i: int, least: int) -> str:
        """In brackets where it binds less than `least`."""
        text, binds = self.expression(i)
        return text if binds >= least else self.brackets(text)

    def brackets(self, text: str) -> str:
        """In round brackets."""
        return rf"\left({text}\right)" if self.latex else f"({text})"

    def call(self, op: str, args: tuple[int, ...]) -> str:
        """A function of its arguments."""
        name = _LATEX.get(op, rf"\mathrm{{{op}}}") if self.latex else _TEXT.get(op, op)
        return name + self.brackets(", ".join(self.expression(a)[0] for a in args))

    # --- one method for each operation that is not written as a function

    def _x(self, node: Any) -> tuple[str, int]:
        return ("x_t" if self.latex else "x"), ATOM

    def _state(self, node: Any) -> tuple[str, int]:
        name = self.step.states[node.attr]
        if not self.latex:
            return name, ATOM
        stem, mark = _split(name)
        return (f"{stem}_{{{mark},t-1}}" if mark else f"{stem}_{{t-1}}"), ATOM

    def _const(self, node: Any) -> tuple[str, int]:
        return f"{node.attr:.4g}", ATOM if node.attr >= 0 else SUM

    def _vector(self, node: Any) -> tuple[str, int]:
        return self.symbol(self.names.symbols[node.attr]), ATOM

    def _matmul(self, node: Any) -> tuple[str, int]:
        return f"{self.symbol(self.names.symbols[node.attr])} {self.inside(node.args[0], ATOM)}", PRODUCT

    def _plus(self, node: Any) -> tuple[str, int]:
        text = self.expression(node.args[0])[0]
        for a in node.args[1:]:
            term = self.expression(a)[0]
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
        return text, SUM

    _add = _plus

    def _sub(self, node: Any) -> tuple[str, int]:
        return f"{self.expression(node.args[0])[0]} - {self.inside(node.args[1], PRODUCT)}", SUM

    def _neg(self, node: Any) -> tuple[str, int]:
        return f"-{self.inside(node.args[0], PRODUCT)}", SUM

    def _mul(self, node: Any) -> tuple[str, int]:
        """A number or a weight comes first; a number stands without a sign."""
        first, second = node.args
        if self.graph.nodes[second].op in ("const", "vector"):
            first, second = second, first
        if first == second:
            return f"{self.inside(first, ATOM)}{'^2' if self.latex else '²'}", ATOM
        narrow = 1 in (self.graph.width(first), self.graph.width(second))
        sign = " " if narrow else (_LATEX if self.latex else _TEXT)["times"]
        return f"{self.inside(first, PRODUCT)}{sign}{self.inside(second, PRODUCT)}", PRODUCT

    def _div(self, node: Any) -> tuple[str, int]:
        if self.latex:
            return rf"\frac{{{self.expression(node.args[0])[0]}}}{{{self.expression(node.args[1])[0]}}}", ATOM
        return f"{self.inside(node.args[0], PRODUCT)} / {self.inside(node.args[1], ATOM)}", PRODUCT

    def _pow(self, node: Any) -> tuple[str, int]:
        base, exponent = self.inside(node.args[0], ATOM), self.expression(node.args[1])[0]
        if self.latex:
            return f"{base}^{{{exponent}}}", ATOM
        return f"{base}^{self.inside(node.args[1], ATOM)}", PRODUCT

    def _slice(self, node: Any) -> tuple[str, int]:
        low, high = node.attr
        part = f"{low}:{high}"
        inner = self.inside(node.args[0], ATOM)
        return (f"{inner}_{{[{part}]}}" if self.latex else f"{inner}[{part}]"), ATOM

    def _copy(self, node: Any) -> tuple[str, int]:
        return self.expression(node.args[0])

    def _take(self, node: Any) -> tuple[str, int]:
        strides = [stride for _, stride in node.attr.axes]
        turned = node.attr.inverse(self.graph.width(node.args[0])) is not None
        return self.call("spread" if 0 in strides else "turned" if turned else "part", node.args), ATOM

    def _put(self, node: Any) -> tuple[str, int]:
        return self.call(
            "sums" if any(stride == 0 for _, stride in node.attr.axes) else "placed", node.args
        ), ATOM

    def _gmax(self, node: Any) -> tuple[str, int]:
        return self.call("maxima", node.args), ATOM

    def _order(self, node: Any) -> tuple[str, int]:
        return self.call("order", node.args), ATOM

    def _pick(self, node: Any) -> tuple[str, int]:
        return self.call("chosen", node.args), ATOM

    def _drop(self, node: Any) -> tuple[str, int]:
        return self.call("placed", node.args), ATOM

    def _through(self, node: Any) -> tuple[str, int]:
        return self.expression(node.args[0])

    def _contract(self, node: Any) -> tuple[str, int]:
        return self.call("product", node.args), ATOM

    def _cat(self, node: Any) -> tuple[str, int]:
        return "[" + "; ".join(self.expression(a)[0] for a in node.args) + "]", ATOM


def _split(name: str) -> tuple[str, str]:
    """A letter and what stands below it: "s1" -> ("s", "1"); a longer word stays whole."""
    found = re.fullmatch(r"([A-Za-z])_?(\d*)", name)
    return (found[1], found[2]) if found else (rf"\mathrm{{{name}}}", "")
