"""Operators of ONNX to the operations of a `StepCell`, value by value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing.network import MAX_LAYERS
from unspool.importing.onnx_file import constant, is_zero
from unspool.importing.onnx_recurrent import attribute, where

Ref = str | float
ROWS = -2  # a size that is the number of rows, in a shape

PLAIN = """Neg neg Abs abs Exp exp Log log Tanh tanh Sigmoid sigmoid Sqrt sqrt Relu relu Erf erf Sin sin Cos cos Tan tan
Asin asin Acos acos Atan atan Sinh sinh Cosh cosh Asinh asinh Acosh acosh Atanh atanh Floor floor Ceil ceil Round round
Sign sign Reciprocal reciprocal IsNaN isnan Not logical_not Softplus softplus Softsign softsign Add add Sub sub Mul mul
Div div Pow pow Greater gt GreaterOrEqual ge Less lt LessOrEqual le Equal eq And logical_and Or logical_or
Xor logical_xor MatMul matmul""".split()
NAMES = dict(zip(PLAIN[::2], PLAIN[1::2]))
REDUCED = {"ReduceSum": "sum", "ReduceMax": "amax", "ReduceMean": "mean"}

#: (translation, node) -> the value that it makes, several, or None.
Maker = Callable[["Translation", Any], Any]
MAKERS: dict[str, Maker] = {}


def maker(*names: str) -> Callable[[Maker], Maker]:
    """Decorator of what these operators become."""

    def keep(function: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(names, function))
        return function

    return keep


class Translation:
    """The operations, weights and values of one cell. place: how errors name its Scan; source: the layer's input."""

    def __init__(self, builder: Any, place: str, source: Any) -> None:
        self.builder, self.place, self.source = builder, place, source
        self.operations: list[dict[str, Any]] = []
        self.weights: list[np.ndarray] = []
        self.of_constants: dict[str, Ref] = {}
        self.known: dict[str, Ref] = {}
        self.masks: set[str] = set()  # values that say which steps are real
        self.outer = {id(node): i for i, node in enumerate(builder.graph)}

    def weight(self, array: np.ndarray) -> Ref:
        """A constant: one finite number as such."""
        if array.dtype.kind not in "fiub":
            raise ModelFileError(f"{self.place}, with a constant of {array.dtype}")
        if array.size == 1 and np.isfinite(array).all():
            return float(array.ravel()[0])
        self.weights.append(np.asarray(array, np.float32))
        return f"w{len(self.weights) - 1}"

    def add(self, op: str, *inputs: Ref, **settings: Any) -> Ref:
        """A new operation."""
        self.operations.append({"op": op, "inputs": list(inputs), **settings})
        return f"v{len(self.operations) - 1}"

    def ref(self, value: Any) -> Ref:
        """A value that is there already, or a constant."""
        if value is None:
            raise ModelFileError(f"{self.place}, which leaves an input out")
        if value.name in self.known:
            return self.known[value.name]
        if value.name in self.masks:
            raise ModelFileError(f"{self.place}, which computes with the lengths of its sequences")
        array = constant(value)
        if array is not None:
            if value.name not in self.of_constants:
                self.of_constants[value.name] = self.weight(array)
            return self.of_constants[value.name]
        if id(value.producer()) in self.outer:
            return self.outside(value)
        raise ModelFileError(f"{self.place}, whose step reads {value.name!r}, which it does not make")

    def outside(self, value: Any) -> Ref:
        """A value that is computed before the Scan, of each step's features or of constants alone."""
        wanted, needed, waiting = value, {}, [value]
        while waiting:
            value = waiting.pop()
            node = None if value is None else value.producer()
            if value is not None and self._is_source(value):
                self.known[value.name] = "x"
            elif node is None or value.name in self.known or value.const_value is not None:
                continue
            elif id(node) not in needed and node.op_type not in ("Shape", "Constant"):
                needed[id(node)] = node
                waiting += [v for v in node.inputs if not _is_shape(node, v)]
        for key in sorted(needed, key=lambda key: self.outer.get(key, 0)):
            self.take(needed[key])
        if wanted.name not in self.known and constant(wanted) is None:
            raise ModelFileError(f"{self.place}, whose step reads {wanted.name!r}, which it does not make")
        return self.ref(wanted)

    def _is_source(self, value: Any) -> bool:
        flow = self.builder.flows.get(value.name)
        return flow is not None and flow.node == self.source.node and flow.axes == self.source.axes

    def take(self, node: Any) -> None:
        """One node."""
        if len(self.operations) > MAX_LAYERS or all(out.name in self.known for out in node.outputs):
            return
        make = MAKERS.get(node.op_type)
        if node.op_type in ("Constant", "Shape") or _makes_shape(node):
            return
        if node.domain not in ("", "ai.onnx") or (make is None and node.op_type not in NAMES):
            raise ModelFileError(
                f"{where(node)} in {self.place}, which is no operation of a step that is known"
            )
        if make is not None:
            made = make(self, node)
        else:
            made = self.add(NAMES[node.op_type], *map(self.ref, node.inputs))
        if isinstance(made, list):
            self.known |= {out.name: one for out, one in zip(node.outputs, made)}
        elif made is not None:
            self.known[node.outputs[0].name] = made

    # --- what makers use

    def ints(self, node: Any, number: int, name: str = "") -> list[int]:
        """Whole numbers: a constant input, or an attribute of that name in older files."""
        value = node.inputs[number] if number < len(node.inputs) else None
        found = None if value is None else constant(value)
        if found is None and name in node.attributes:
            found = np.asarray(attribute(node, name, None))
        if found is None or found.dtype.kind not in "iu":
            raise ModelFileError(f"{where(node)} in {self.place}, whose input {number} is no constant")
        return [int(n) for n in found.ravel()]

    def dims(self, node: Any, value: Any) -> list[int | str]:
        """A shape: numbers, and "rows", "time" and "batch" where sizes are those of a value."""
        array, producer = constant(value), value.producer()
        if array is not None:
            return [int(n) for n in array.ravel()]
        if producer is not None and producer.op_type == "Concat":
            return [n for part in producer.inputs for n in self.dims(node, part)]
        if producer is not None and producer.op_type == "Shape":
            return self._sizes(producer)
        raise ModelFileError(f"{where(node)} in {self.place}, whose shape is computed")

    def _sizes(self, shape: Any) -> list[int | str]:
        value = shape.inputs[0]
        flow = self.builder.flows.get(value.name)
        sizes: list[int | str]
        if flow is not None and flow.node != -2:
            sizes = [{self.builder.time: "time", "F": "features"}.get(axis, "batch") for axis in flow.axes]
        else:
            rank = None if value.shape is None else len(value.shape)
            sizes = ["rows", *["other"] * ((rank or 2) - 1)]
        return sizes[attribute(shape, "start", 0) : attribute(shape, "end", len(sizes))]

    def shape(self, node: Any, value: Any) -> list[int]:
        """As operations have it."""
        found = self.dims(node, value)
        if any(isinstance(n, str) and n not in ("rows", "batch") for n in found):
            raise ModelFileError(f"{where(node)} in {self.place}, whose shape is computed")
        return [ROWS if isinstance(n, str) else n for n in found]


def _is_shape(node: Any, value: Any) -> bool:
    """Whether `value` tells `node` a shape."""
    return node.op_type in ("Reshape", "Expand") and value is not None and value is node.inputs[1]


def _makes_shape(node: Any) -> bool:
    """A Concat of sizes."""
    parts = [v.producer() for v in node.inputs if v is not None] if node.op_type == "Concat" else []
    return any(p is not None and p.op_type == "Shape" for p in parts)


@maker("Identity")
def _identity(t: Translation, node: Any) -> Ref:
    return t.ref(node.inputs[0])


@maker("Where")
def _where(t: Translation, node: Any) -> Ref:
    """Of a mask the value of the steps that are real: sequences have no others here."""
    if node.inputs[0].name in t.masks:
        return t.ref(node.inputs[1])
    return t.add("where", *map(t.ref, node.inputs))


@maker("Cast")
def _cast(t: Translation, node: Any) -> Ref:
    kind = int(attribute(node, "to", 0))
    if kind == 7 and all(
        use.node.op_type in ("GatherElements", "ScatterElements") for use in node.outputs[0].uses()
    ):
        return t.ref(node.inputs[0])  # places, which are whole numbers already
    if kind not in (1, 9):
        raise ModelFileError(f"{where(node)} in {t.place}, to another type than float and bool")
    return t.add("float" if kind == 1 else "bool", t.ref(node.inputs[0]))


@maker("Max", "Min")
def _extreme(t: Translation, node: Any) -> Ref:
    found, *more = map(t.ref, node.inputs)
    for other in more:
        found = t.add(node.op_type.lower(), found, other)
    return found


@maker("Clip")
def _clip(t: Translation, node: Any) -> Ref:
    found = t.ref(node.inputs[0])
    for value, op in zip(node.inputs[1:], ("max", "min")):
        found = found if value is None else t.add(op, found, t.ref(value))
    return found


@maker("Mod")
def _mod(t: Translation, node: Any) -> Ref:
    if not attribute(node, "fmod", 0):
        raise ModelFileError(f"{where(node)} in {t.place}, of whole numbers")
    return t.add("fmod", *map(t.ref, node.inputs))


@maker("IsInf")
def _isinf(t: Translation, node: Any) -> Ref:
    if not (attribute(node, "detect_negative", 1) and attribute(node, "detect_positive", 1)):
        raise ModelFileError(f"{where(node)} in {t.place}, of one sign")
    return t.add("isinf", t.ref(node.inputs[0]))


@maker("Gemm")
def _gemm(t: Translation, node: Any) -> Ref:
    if (
        attribute(node, "alpha", 1.0) != 1
        or attribute(node, "beta", 1.0) != 1
        or attribute(node, "transA", 0)
    ):
        raise ModelFileError(f"{where(node)} in {t.place}, with alpha, beta or transA")
    matrix = t.ref(node.inputs[1])
    if attribute(node, "transB", 0):
        matrix = t.add("permute", matrix, axes=[1, 0])
    found = t.add("matmul", t.ref(node.inputs[0]), matrix)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    return found if given is None else t.add("add", found, t.ref(given))


@maker("Concat")
def _concat(t: Translation, node: Any) -> Ref:
    return t.add("cat", *map(t.ref, node.inputs), axis=int(attribute(node, "axis", 0)))


@maker("Slice")
def _slice(t: Translation, node: Any) -> Ref:
    starts, ends = t.ints(node, 1, "starts"), t.ints(node, 2, "ends")
    axes = (
        t.ints(node, 3, "axes")
        if len(node.inputs) > 3 or "axes" in node.attributes
        else [*range(len(starts))]
    )
    steps = t.ints(node, 4) if len(node.inputs) > 4 else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) or {*steps} != {1}:
        raise ModelFileError(f"{where(node)} in {t.place}, with steps")
    found = t.ref(node.inputs[0])
    for axis, start, stop in zip(axes, starts, ends):
        found = t.add("slice", found, axis=axis, start=start, stop=min(stop, 2**31))
    return found


@maker("Split")
def _split(t: Translation, node: Any) -> Any:
    value, axis, start, found = t.ref(node.inputs[0]), int(attribute(node, "axis", 0)), 0, []
    for size in t.ints(node, 1, "split"):
        found.append(t.add("slice", value, axis=axis, start=start, stop=start + size))
        start += size
    return found


@maker(*REDUCED)
def _reduce(t: Translation, node: Any) -> Ref:
    axes, keep = t.ints(node, 1, "axes"), bool(attribute(node, "keepdims", 1))
    return t.add(REDUCED[node.op_type], t.ref(node.inputs[0]), axes=axes, keep=keep)


@maker("TopK")
def _topk(t: Translation, node: Any) -> list[Ref]:
    """The places alone: nothing that is known reads the numbers."""
    (count,) = t.ints(node, 1, "k")
    axis, largest = int(attribute(node, "axis", -1)), bool(attribute(node, "largest", 1))
    if not attribute(node, "sorted", 1) or node.outputs[0].uses():
        raise ModelFileError(
            f"{where(node)} in {t.place}, of whose results not the places in order alone are read"
        )
    made = t.add("places", t.ref(node.inputs[0]), axis=axis, kept=count, largest=largest)
    return [made, made]


@maker("Softmax")
def _softmax(t: Translation, node: Any) -> Ref:
    return t.add("softmax", t.ref(node.inputs[0]), axis=int(attribute(node, "axis", -1)))


@maker("Transpose")
def _transpose(t: Translation, node: Any) -> Ref:
    return t.add("permute", t.ref(node.inputs[0]), axes=[int(n) for n in attribute(node, "perm", ())])


@maker("Gather")
def _gather(t: Translation, node: Any) -> Ref:
    axis, places = int(attribute(node, "axis", 0)), t.ints(node, 1)
    index = constant(node.inputs[1])
    if axis != 1 or index is None or index.ndim != 1 or min(places, default=-1) < 0:
        raise ModelFileError(f"{where(node)} in {t.place}, which is no choice of features")
    return t.add("gather", t.ref(node.inputs[0]), axis=axis, places=places)


@maker("GatherElements")
def _gather_elements(t: Translation, node: Any) -> Ref:
    if int(attribute(node, "axis", 0)) != 1:
        raise ModelFileError(f"{where(node)} in {t.place}, which is no choice of features")
    return t.add("pick", *map(t.ref, node.inputs))


@maker("ScatterElements")
def _scatter(t: Translation, node: Any) -> Ref:
    """Added to zeros, at the same places in each row."""
    zeros, at = node.inputs[0], node.inputs[1].producer()
    places = None if at is None or at.op_type != "Expand" else constant(at.inputs[0])
    chosen = at is not None and at.op_type == "Cast"
    made = attribute(node, "axis", 0) == 1 and attribute(node, "reduction", "none") == "add"
    if (
        not made
        or not is_zero(zeros)
        or zeros.producer() is None
        or (not chosen and (places is None or places.shape[:-1] != (1,)))
    ):
        raise ModelFileError(f"{where(node)} in {t.place}, which is no sum at places of a row")
    width = t.dims(node, zeros.producer().inputs[1])[-1]
    if chosen or places is None:
        return t.add("drop", t.ref(node.inputs[2]), t.ref(node.inputs[1]), width=width)
    return t.add("put", t.ref(node.inputs[2]), places=[int(n) for n in places[0]], width=width)


@maker("Expand")
def _expand(t: Translation, node: Any) -> Ref | None:
    value = constant(node.inputs[0])
    if value is not None and value.dtype.kind in "iu":
        return None  # places of a ScatterElements, which reads them itself
    return t.add("expand", t.ref(node.inputs[0]), shape=t.shape(node, node.inputs[1]))


@maker("Reshape")
def _reshape(t: Translation, node: Any) -> Ref:
    """Steps laid end to end, and back, are the same rows."""
    found, dims = t.ref(node.inputs[0]), t.dims(node, node.inputs[1])
    if found == "x" and dims in ([-1, t.source.width], ["time", "batch", t.source.width]):
        return found
    if dims[:-1] == ["time", "batch"] and isinstance(dims[-1], int):
        return found
    return t.add("reshape", found, shape=t.shape(node, node.inputs[1]))
