"""A program as text, JSON on one line: the same in every process, for graphs that are compiled, saved and loaded.

    {"unspool": 1, "input": F, "states": [...], "sources": [[name, shape], ...],
     "nodes": [[op, args, width, attr], ...], "outputs": [...]}

Sources are numbered 0, 1, ... in the order of `sources.used`: a text knows operands by their place in a call alone.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from unspool import _native
from unspool.errors import EngineError
from unspool.program import sources
from unspool.program.ir import AXES, EACH, ROWS, Graph, Matrix, Node, Program
from unspool.program.origins import Parameter
from unspool.program.patterns import Contraction, Pattern

VERSION = 1
_KINDS = (Matrix, Pattern, Contraction)
OPS = (
    EACH
    | ROWS
    | AXES
    | frozenset(_native.OPS)
    | frozenset("x state vector const matmul norm slice cat".split())
)


def to_text(program: Program) -> str:
    """The program as text. Made once."""
    if "text" not in program.plans:
        place = {source: at for at, source in enumerate(sources.used(program))}
        nodes = program.graph.nodes
        needed = sources.reachable(program.graph, program.outputs)
        number = {i: at for at, i in enumerate(needed)}
        found = {
            "unspool": VERSION,
            "input": program.input_size,
            "states": list(program.state_sizes),
            "sources": [[_name(program.sources[s]), list(program.shapes[s])] for s in place],
            "nodes": [_node(nodes[i], number, place) for i in needed],
            "outputs": [number[i] for i in program.outputs],
        }
        program.plans["text"] = json.dumps(found, separators=(",", ":"))
    return program.plans["text"]


def _name(source: Any) -> str:
    if isinstance(source, str):
        return source
    return source.name if isinstance(source, Parameter) else "computed"


def _node(node: Node, number: dict[int, int], place: dict[int, int]) -> list[Any]:
    attr = node.attr
    if node.op == "vector":
        attr = tuple((place[source], start, stop) for source, start, stop in attr)
    elif isinstance(attr, Matrix):
        attr = replace(attr, source=place[attr.source])
    return [node.op, [number[a] for a in node.args], node.width, _plain(attr)]


def _plain(attr: Any) -> Any:
    if isinstance(attr, _KINDS):
        return {type(attr).__name__: [_plain(getattr(attr, f.name)) for f in fields(attr)]}
    return [_plain(part) for part in attr] if isinstance(attr, tuple) else attr


@lru_cache(maxsize=64)
def of_text(text: str) -> Program:
    """The program of a text; `EngineError` where it is none. The 64 used last are kept, with their plans."""
    try:
        return _program(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise EngineError(
            f"The operator unspool::forward was given a program that it cannot read: {error}. "
            "Export the model again with this version of unspool."
        ) from None


def _program(found: dict[str, Any]) -> Program:
    if found["unspool"] != VERSION:
        raise ValueError(f"it has version {found['unspool']}, and this unspool reads version {VERSION}")
    graph, count = Graph(), len(found["sources"])
    names, shapes = (
        [str(name) for name, _ in found["sources"]],
        [tuple(map(_whole, s)) for _, s in found["sources"]],
    )
    sizes = [_whole(size, 1) for size in found["states"]]
    for at, (op, args, width, attr) in enumerate(found["nodes"]):
        if op not in OPS:
            raise ValueError(f"operation {op!r} is unknown")
        if any(_whole(a) >= at for a in args):
            raise ValueError(f"node {at} reads a later one")
        if graph.node(op, args, _whole(width, 1), _attribute(attr)) != at:
            raise ValueError(f"node {at} is there twice")
        _check(graph.nodes[at], count, found["input"], sizes)
    outputs = [_whole(o) for o in found["outputs"]]
    if [graph.width(o) for o in outputs] != sizes:
        raise ValueError("its outputs are not as wide as its state")
    return Program(graph, outputs, _whole(found["input"]), sizes, names, shapes)


def _whole(value: Any, low: int = 0) -> int:
    if type(value) is not int or value < low:
        raise ValueError(f"{value!r} is not an int from {low} on")
    return value


def _attribute(value: Any) -> Any:
    if isinstance(value, dict):
        ((name, given),) = value.items()
        kind = {kind.__name__: kind for kind in _KINDS}[name]
        return kind(*map(_attribute, given))
    return tuple(map(_attribute, value)) if isinstance(value, list) else value


def _check(node: Node, sources_: int, input_size: int, sizes: list[int]) -> None:
    """What native code, which checks the tapes made of a program, does not see."""
    if node.op == "x" and node.width != input_size:
        raise ValueError(f"the input has {input_size} features, and a node {node.width}")
    if node.op == "state" and node.width != sizes[_whole(node.attr)]:
        raise ValueError(f"state part {node.attr} has another width")
    if node.op == "const" and type(node.attr) is not float:
        raise ValueError(f"a constant is {node.attr!r}")
    if node.op == "matmul" and not (
        isinstance(node.attr, Matrix)
        and _whole(node.attr.source) < sources_
        and all(_whole(end) >= 0 for end in (*node.attr.rows, *node.attr.columns))
        and node.attr.inner > 0
        and node.attr.width == node.width
    ):
        raise ValueError(f"a product by {node.attr!r} of {sources_} sources")
    if node.op == "vector" and any(
        _whole(source) >= sources_ or _whole(start) >= _whole(stop) for source, start, stop in node.attr
    ):
        raise ValueError(f"a vector of {node.attr!r}")
