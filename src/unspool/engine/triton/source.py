"""Kernels as Triton source text, around the lines of one step."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.engine.triton.body import Body, padded

HEAD = """\
row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
here = row < count
sequence = tl.load(batch + row, mask=here, other=0)
start = tl.load(batch + count + row, mask=here, other=0)
length = tl.load(batch + 2 * count + row, mask=here, other=0)
longest = tl.max(length, 0)
"""
OPTIONS = (
    "batch, count, REVERSE: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr"
)


@dataclass(frozen=True)
class Kernel:
    """text: a function `kernel` of the tensors `pointers` and of `OPTIONS`.

    batch (3, count): sequences, the longest first, with their first tokens and lengths. width: numbers a row of the
    buffer that it writes to (`tape` or `grads`). widest: columns of its widest block. sums: numbers a row of `sums`.
    """

    text: str
    pointers: tuple[str, ...]
    width: int
    widest: int
    sums: int = 0


def forward(body: Body) -> Kernel:
    """From initial states to the output and final states."""
    loop = body.loop
    states = [(k, body.graph.width(s)) for k, s in enumerate(loop.states)]
    start = [f"s{k} = load(state{k}, sequence * {w}, here, {w}, {padded(w)})" for k, w in states]
    step = ["live = t < length", "token = start + (length - 1 - t if REVERSE else t)"]
    new = [f"n{k} = tl.where(live[:, None], {body.full(v)}, s{k})" for k, v in enumerate(loop.outputs)]
    step += [*body.lines, *new, *(f"s{k} = n{k}" for k, _ in states)]
    if body.width and body.scratch.row == "row":
        step.append("tl.debug_barrier()")  # the row is written again at the next step
    end = [f"store(final{k}, sequence * {w}, here, s{k}, {w}, {padded(w)})" for k, w in states]
    written = ["output", *(f"final{k}" for k, _ in states), "tape"]
    lines = [*start, *body.heads.values(), "for t in range(longest):", *_indented(step), *end]
    return _kernel(body, lines, [*(f"state{k}" for k, _ in states), *written])


def backward(body: Body, carry: list[int], sums: list[int]) -> Kernel:
    """From the gradients of the output and of final states to those of initial states, and to `grads` and `sums`."""
    g = body.graph
    states = [(k, g.width(s)) for k, s in enumerate(body.loop.states)]
    start = [f"a{k} = load(d_final{k}, sequence * {w}, here, {w}, {padded(w)})" for k, w in states]
    start += [f"c{j} = tl.zeros((ROWS, {padded(g.width(v))}), tl.float32)" for j, v in enumerate(sums)]
    step = ["t = longest - 1 - i", "live = t < length"]
    step += ["token = start + (length - 1 - t if REVERSE else t)"]
    new = [f"c{j} += tl.where(live[:, None], {body.full(v)}, 0.0)" for j, v in enumerate(sums)]
    new += [f"b{k} = tl.where(live[:, None], {body.full(v)}, a{k})" for k, v in enumerate(carry)]
    step += [*body.lines, *new, *(f"a{k} = b{k}" for k, _ in states)]
    end = [f"store(d_state{k}, sequence * {w}, here, a{k}, {w}, {padded(w)})" for k, w in states]
    column = 0
    for j, value in enumerate(sums):
        width = g.width(value)
        end.append(f"store(sums + {column}, row * SUMS, here, c{j}, {width}, {padded(width)})")
        column += width
    end = [line.replace("SUMS", str(column)) for line in end]
    lines = [*start, *body.heads.values(), "for i in range(longest):", *_indented(step), *end]
    read = ["output", "tape", "d_output", *(f"d_final{k}" for k, _ in states)]
    return _kernel(body, lines, [*read, *(f"d_state{k}" for k, _ in states), "grads", "sums"], column)


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _kernel(body: Body, lines: list[str], pointers: list[str], sums: int = 0) -> Kernel:
    loop = body.loop
    pointers = [
        *(f"edge{j}" for j in range(len(loop.edges))),
        *(f"fixed{j}" for j in range(len(loop.fixed))),
        *(f"matrix{s}" for s in loop.matrices(loop.nodes)),
        *pointers,
    ]
    head = f"@triton.jit\ndef kernel({', '.join(pointers)}, {OPTIONS}):\n"
    text = head + "".join(f"    {line}\n" for line in [*HEAD.splitlines(), *lines])
    widest = max(padded(body.graph.width(v)) for v in [*loop.nodes, *loop.states])
    return Kernel(text, tuple(pointers), body.width, widest, sums)
