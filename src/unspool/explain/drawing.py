"""The data flow of a cell's step, drawn from its program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from unspool.explain.formulas import Writer
from unspool.explain.layered import Layout, lay_out
from unspool.explain.step import read_step
from unspool.explain.symbols import Names
from unspool.figures import save

ROW, GAP, PAD = 0.62, 0.42, 0.2  # inches: height of a row, between columns, around
BOX, CIRCLE = 0.36, 0.15  # inches: height of a box, radius of a circle
NOTE = 0.16  # inches above the first row
FONT = 10.5  # points
COLOURS = {
    "end": ("#ffffff", "#444444"),
    "linear": ("#dbe7f5", "#1f5fa8"),
    "gate": ("#fbe6c2", "#b9770e"),
    "function": ("#ece7f2", "#6a51a3"),
    "circle": ("#ffffff", "#222222"),
}
_SIGNS = {"plus": "+", "add": "+", "mul": r"\odot", "sub": "-", "div": "/"}
_NAMES = {"sigmoid": r"\sigma", "logsigmoid": r"\log\,\sigma", "amax": r"\mathrm{max}"}


@dataclass(frozen=True)
class Box:
    """kind: a key of `COLOURS`; label, note: mathtext; note: the name of a gate or value."""

    kind: str
    label: str
    needs: tuple[str, ...]
    note: str = ""

    @property
    def width(self) -> float:
        """Inches."""
        if self.kind == "circle":
            return 2 * CIRCLE
        text = TextPath((0, 0), f"${self.label}$", size=FONT).get_extents().width / 72
        return max(BOX, text + PAD)


def diagram(cell: Any, path: str | Path, input_size: int | None = None) -> None:
    """Draw one step of `cell` to `path`, in the format of its ending (.svg, .png, .pdf), read left to right.

    The input and the state on the left, the new state on the right; products with weights in blue, gates in
    orange, other functions in violet. Names are those of `unspool.study.equations(cell)`.

    cell: a cell module, ours or a user's. input_size: features of x; None: the cell's attribute `input_size`.
    Raises as `equations` does.
    """
    boxes = _Boxes(Names(read_step(cell, input_size))).boxes
    ends = [name for name in boxes if name.startswith("new ")]
    layout = lay_out({name: box.needs for name, box in boxes.items()}, ends)
    _draw(boxes, layout, Path(path))


class _Boxes:
    """What is drawn, by name, each after what it needs: one box for W x + U h + b, none for a copy."""

    def __init__(self, names: Names) -> None:
        self.names, self.step, self.graph = names, names.step, names.step.graph
        self.writer = Writer(names, latex=True)
        self.boxes: dict[str, Box] = {}
        for i in names.order:
            if self.graph.nodes[i].op in ("x", "state"):
                self.value(i)
        for node in [*(line for _, line in names.lines), *self.step.outputs]:
            self.value(node)
        for k, (state, node) in enumerate(zip(self.step.states, self.step.outputs)):
            label = self.writer.line_name(f"{state}'")
            self.boxes[f"new {k}"] = Box("end", label, (self.value(node),))

    def value(self, i: int) -> str:
        """The box of a node, made with all that it needs where it is not there yet."""
        node = self.graph.nodes[i]
        if node.op == "copy":
            return self.value(node.args[0])
        name = f"%{i}"
        if name not in self.boxes:
            box = self.box(i, node, name)
            self.boxes[name] = box
        return name

    def box(self, i: int, node: Any, name: str) -> Box:
        note = self.note(i)
        if node.op in ("x", "state"):
            return Box("end", self.writer.expression(i)[0], ())
        if node.op == "matmul":
            return self.linear((i,), note)
        if node.op in ("plus", "add"):
            return self.sum(i, node, name, note)
        fixed = [a for a in node.args if self.graph.nodes[a].op in ("const", "vector")]
        given = [a for a in node.args if a not in fixed]
        needs = tuple(self.value(a) for a in given)
        if node.op == "mul" and len(node.args) == 2 and node.args[0] == node.args[1]:
            return Box("function", r"(\,\cdot\,)^2", needs[:1], note)
        if node.op in _SIGNS and len(fixed) == 1:
            return self.with_fixed(node, fixed[0], needs, note)
        if node.op in _SIGNS and not fixed:
            return Box("circle", _SIGNS[node.op], needs, note)
        if node.op == "slice":
            return Box("function", f"[{node.attr[0]}:{node.attr[1]}]", needs, note)
        if node.op == "cat":
            return Box("function", r"\mathrm{concatenate}", needs, note)
        kind = "gate" if i in self.step.gates.values() else "function"
        label = _NAMES.get(node.op, rf"\mathrm{{{node.op}}}")
        label += "".join(rf",\,{self.writer.expression(a)[0]}" for a in fixed)
        return Box(kind, label, needs, note)

    def sum(self, i: int, node: Any, name: str, note: str) -> Box:
        linear = [a for a in node.args if self.graph.nodes[a].op == "matmul" and a not in self.names.of_node]
        vectors = [a for a in node.args if self.graph.nodes[a].op in ("vector", "const")]
        others = [a for a in node.args if a not in linear and a not in vectors]
        if not others:
            return self.linear((*linear, *vectors), note)
        needs = [self.value(a) for a in others]
        if linear:
            self.boxes[f"{name} linear"] = self.linear((*linear, *vectors), "")
            needs.insert(0, f"{name} linear")
        if linear or not vectors:
            return Box("circle", "+", tuple(needs), note)
        if len(needs) > 1:
            self.boxes[f"{name} sum"] = Box("circle", "+", tuple(needs))
            needs = [f"{name} sum"]
        return Box(
            "function", "+" + "+".join(self.writer.expression(v)[0] for v in vectors), tuple(needs), note
        )

    def linear(self, terms: tuple[int, ...], note: str) -> Box:
        """W x + U h + b; a factor that has a box of its own and no name is a dot."""
        labels, needs = [], []
        for t in terms:
            node = self.graph.nodes[t]
            if node.op != "matmul":
                labels.append(self.writer.expression(t)[0])
                continue
            factor = node.args[0]
            needs.append(self.value(factor))
            named = self.graph.nodes[factor].op in ("x", "state") or factor in self.names.of_node
            shown = self.writer.expression(factor)[0] if named else r"\cdot"
            labels.append(f"{self.writer.symbol(self.names.symbols[node.attr])}\\,{shown}")
        return Box("linear", " + ".join(labels), tuple(needs), note)

    def with_fixed(self, node: Any, fixed: int, needs: tuple[str, ...], note: str) -> Box:
        """An operation with a number or a weight: 1 -, w ⊙."""
        label, sign = self.writer.expression(fixed)[0], _SIGNS[node.op]
        if node.op == "mul" and self.graph.nodes[fixed].op == "const":
            sign = r"\times"
        before = node.args[0] == fixed or node.op == "mul"
        return Box("function", f"{label}\\,{sign}" if before else f"{sign}\\,{label}", needs, note)

    def note(self, i: int) -> str:
        name = self.names.of_node.get(i, "")
        return "" if not name or name.endswith("'") else self.writer.line_name(name)


def _draw(boxes: dict[str, Box], layout: Layout, path: Path) -> None:
    widths = [0.0] * (1 + max(layout.column.values()))
    for name, box in boxes.items():
        widths[layout.column[name]] = max(widths[layout.column[name]], box.width)
    centre, at = [], PAD
    for width in widths:
        centre.append(at + width / 2)
        at += width + GAP
    heights = [*layout.height.values(), *(y for bends in layout.bends.values() for y in bends)]
    right, top = at - GAP + PAD, (max(heights) + 1) * ROW + NOTE
    figure = Figure(figsize=(right, top))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right), ylim=(top, 0))
    axes.axis("off")

    def place(height: float) -> float:
        return (height + 0.5) * ROW + NOTE

    y_of = {name: place(height) for name, height in layout.height.items()}
    for (a, b), bends in layout.bends.items():
        first, last = layout.column[a], layout.column[b]
        levels = [(centre[first] + boxes[a].width / 2, centre[first] + widths[first] / 2, y_of[a])]
        for c, bend in enumerate(bends, first + 1):
            levels.append((centre[c] - widths[c] / 2, centre[c] + widths[c] / 2, place(bend)))
        levels.append((centre[last] - widths[last] / 2, centre[last] - boxes[b].width / 2, y_of[b]))
        _arrow(axes, levels)
    for name, box in boxes.items():
        _box(axes, box, centre[layout.column[name]], y_of[name])
    save(figure, path, dpi=160)


def _arrow(axes: Any, levels: list[tuple[float, float, float]]) -> None:
    """Level within the columns, (from x, to x, y) each; curved between them."""
    start, x, y = levels[0]
    vertices, codes = [(start, y), (x, y)], [Curve.MOVETO, Curve.LINETO]
    for left, right, height in levels[1:]:
        middle = (x + left) / 2
        vertices += [(middle, y), (middle, height), (left, height), (right, height)]
        codes += [Curve.CURVE4] * 3 + [Curve.LINETO]
        x, y = right, height
    style = {"edgecolor": "#666666", "linewidth": 1.0}
    axes.add_patch(PathPatch(Curve(vertices, codes), facecolor="none", zorder=1, **style))
    axes.add_patch(
        FancyArrowPatch(
            (x - 0.06, y), (x + 0.005, y), arrowstyle="-|>", mutation_scale=8, color="#666666", zorder=1
        )
    )


def _box(axes: Any, box: Box, x: float, y: float) -> None:
    fill, edge = COLOURS[box.kind]
    style: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": 1.2, "zorder": 2}
    if box.kind == "circle":
        axes.add_patch(Circle((x, y), CIRCLE, **style))
    else:
        width, corner = box.width, 0.16 if box.kind == "end" else 0.05
        shape = f"round,pad=0,rounding_size={corner}"
        axes.add_patch(FancyBboxPatch((x - width / 2, y - BOX / 2), width, BOX, boxstyle=shape, **style))
    axes.text(x, y, f"${box.label}$", ha="center", va="center", fontsize=FONT, zorder=3)
    if box.note:
        lift = CIRCLE if box.kind == "circle" else BOX / 2
        axes.text(
            x + 0.02,
            y - lift - 0.03,
            f"${box.note}$",
            ha="center",
            va="bottom",
            fontsize=9,
            color=edge,
            zorder=3,
        )
