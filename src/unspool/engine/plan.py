"""A program as four tapes.

    prologue        what depends on the input alone, once an input row, outside the time loop
    loop            one step for each token
    loop_back       one step of the gradient, against time; leaves a row of gradients for each token
    prologue_back   from the prologue's gradients to the input's, once an input row

Gradients of parameters are sums over rows of what the backward tapes leave; values that they need from the forward
tapes are stashed there, unless they are cheap to compute again (`backward.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unspool import _native
from unspool.engine.backward import Backward
from unspool.engine.tape import BUFFERS, Place, Rows, Shared, Tape, aligned, row_stride, state_in, state_out
from unspool.program.ir import LOCK, ON_STATE, ON_X, Matrix, Program
from unspool.program.join import join
from unspool.program.simplify import reachable


@dataclass
class Plan:
    """A program ready to run: the native object, and floats a row of each per-row buffer."""

    program: Program
    native: Any
    training: bool
    widths: dict[str, int]
    tapes: dict[str, Tape]


class Planner:
    def __init__(self, program: Program, training: bool, input_gradient: bool) -> None:
        program = join(program)
        self.program, self.graph = program, program.graph
        self.training, self.input_gradient = training, input_gradient
        self.shared = Shared(self.graph)
        self.rows = {name: Rows(name) for name in ("pro", "pstash", "lstash", "bstash", "pgrad", "pbstash")}
        needed = reachable(self.graph, program.outputs)
        self.loop = [i for i in needed if self.graph.depends[i] & ON_STATE]
        used = {a for i in self.loop for a in self.graph.nodes[i].args} | set(program.outputs)
        self.edge = sorted({self._made(i) for i in used if self.graph.depends[i] == ON_X})
        self.prologue = [i for i in reachable(self.graph, self.edge) if self.graph.depends[i] == ON_X]
        self.states = [self.graph.node("state", (), w, k) for k, w in enumerate(program.state_sizes)]
        self.x = self.graph.node("x", (), program.input_size)

    def _made(self, value: int) -> int:
        """What the prologue computes where `value` is a view of it."""
        node = self.graph.nodes[value]
        inner = node.op == "slice" and self.graph.nodes[node.args[0]].op != "x"
        return self._made(node.args[0]) if inner else value

    def plan(self) -> Plan:
        pro = {value: self.rows["pro"].add(self.graph.width(value)) for value in self.edge}
        back = Backward(self) if self.training else None
        stash = back.stash if back else {}
        pstash = back.pstash if back else {}
        tapes = {
            "prologue": Tape(self.shared, {self.x: Place(BUFFERS["x"])}, _merge(pro, pstash)),
            "loop": self._loop_tape(pro, stash),
        }
        empty = Tape(self.shared, {}, {})
        tapes["loop_back"] = back.loop_tape() if back else empty
        tapes["prologue_back"] = back.prologue_tape() if back else empty
        outers, sums = back.parameter_gradients() if back else ([], [])
        widths = {name: row_stride(rows.width) for name, rows in self.rows.items()}
        widths["vectors"] = aligned(self.shared.vectors.width)
        native = _native.Program(
            state_widths=self.program.state_sizes,
            widths={"input": self.program.input_size, **widths},
            sources=[(str(s), shape) for s, shape in zip(self.program.sources, self.program.shapes)],
            tapes={name: (tape.code, tape.scratch) for name, tape in tapes.items()},
            matrices=[_matrix_row(m) for m in self.shared.matrices],
            vectors=self.shared.vector_parts,
            constants=self.shared.constants,
            outers=outers,
            sums=sums,
        )
        return Plan(self.program, native, self.training, widths, tapes)

    def _loop_tape(self, pro: dict[int, Place], stash: dict[int, Place]) -> Tape:
        readable = {**pro, **{s: state_in(k) for k, s in enumerate(self.states)}}
        targets: dict[int, list[Place]] = {}
        for k, value in enumerate(self.program.outputs):
            targets.setdefault(value, []).append(state_out(k))
        for value, place in stash.items():
            targets.setdefault(value, []).append(place)
        return Tape(self.shared, readable, targets)


def _merge(*places: dict[int, Place]) -> dict[int, list[Place]]:
    merged: dict[int, list[Place]] = {}
    for each in places:
        for value, place in each.items():
            merged.setdefault(value, []).append(place)
    return merged


def _matrix_row(m: Matrix) -> list[int]:
    return [m.source, m.rows[0], m.columns[0], m.inner, m.width, int(m.transposed)]


def make_plan(program: Program, training: bool, input_gradient: bool) -> Plan:
    """Tapes for prediction, or for a forward that can be followed by its backward."""
    with LOCK:
        return Planner(program, training, input_gradient).plan()
