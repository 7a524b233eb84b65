"""An ONNX graph as it is built: operators, constants, inputs and outputs, and graphs inside of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unspool.errors import EngineError

OPSET, IR_VERSION = 18, 9
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
INSTALL = "pip install 'unspool[export]'"
INT32, INT64, FLOAT, DOUBLE, BOOL = "INT32", "INT64", "FLOAT", "DOUBLE", "BOOL"

Dims = Sequence["int | str"]


def onnx_ir() -> Any:
    """The library that writes ONNX; `EngineError` where it is not installed."""
    try:
        import onnx_ir as ir
    except ImportError as error:
        raise EngineError(
            f"Writing ONNX needs onnx-ir, which is not installed. Install it: {INSTALL}."
        ) from error
    return ir


class Graph:
    """Nodes, in the order in which they are added. A value is an `onnx_ir.Value`.

    outer: the graph that this one is inside of, as the body of a Scan is; its values can be read.
    """

    def __init__(self, outer: Graph | None = None) -> None:
        self.ir, self.outer = onnx_ir(), outer
        self.root: Graph = self if outer is None else outer.root
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.nodes: list[Any] = []
        self.constants: dict[Any, Any] = {}
        self.count = 0

    def input(self, name: str, kind: str, dims: Dims) -> Any:
        """A new input; a dimension that is a str is free."""
        value = self.ir.val(name, self.ir.DataType[kind], list(dims))
        self.inputs.append(value)
        return value

    def output(self, name: str, value: Any, kind: str, dims: Dims) -> None:
        """`value` as an output."""
        made = self.op("Identity", value)
        made.name, made.dtype, made.shape = name, self.ir.DataType[kind], self.ir.Shape(list(dims))
        self.outputs.append(made)

    def op(self, kind: str, *inputs: Any, domain: str = "", **attributes: Any) -> Any:
        """The first output of an operator. Arrays and numbers among the inputs become constants."""
        return self.several(kind, 1, *inputs, domain=domain, **attributes)[0]

    def several(self, kind: str, count: int, *inputs: Any, domain: str = "", **attributes: Any) -> list[Any]:
        """All `count` outputs of an operator."""
        given = [self.constant(i) if isinstance(i, (np.ndarray, np.generic)) else i for i in inputs]
        node = self.ir.node(
            kind, given, attributes, domain=domain, num_outputs=count, name=self.root.new_name(kind)
        )
        for value in node.outputs:
            value.name = self.root.new_name("v")
        self.nodes.append(node)
        return list(node.outputs)

    def new_name(self, stem: str) -> str:
        """A name that nothing else has, in this graph or inside of it."""
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: Any) -> Any:
        """An array; equal ones are one. All lie in the outermost graph."""
        if self.outer is not None:
            return self.root.constant(array)
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes() if array.dtype != object else tuple(array.flat)
        if key not in self.constants:
            name = self.new_name("c")
            tensor: Any
            if array.dtype == object:
                texts = [str(text).encode() for text in array.flat]
                tensor = self.ir.StringTensor(texts, shape=self.ir.Shape(array.shape), name=name)
            else:
                tensor = self.ir.tensor(np.asarray(array, order="C"), name=name)
            value = self.ir.Value(
                name=name,
                shape=self.ir.Shape(array.shape),
                type=self.ir.TensorType(tensor.dtype),
                const_value=tensor,
            )
            self.constants[key] = value
        return self.constants[key]

    def ints(self, *numbers: int) -> Any:
        """A constant (n,) of int64, as shapes and axes are."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def number(self, value: float) -> Any:
        """A float32 number (1, 1), which goes with any row."""
        return self.constant(np.full((1, 1), value, dtype=np.float32))

    def cast(self, value: Any, kind: str) -> Any:
        """`value` as another type of number."""
        return self.op("Cast", value, to=int(self.ir.DataType[kind]))

    def sizes(self, value: Any, *axes: int) -> Any:
        """(len(axes),) int64: the sizes of consecutive axes of `value`."""
        return self.op("Shape", value, start=axes[0], end=axes[-1] + 1)

    def shape(self, *parts: Any) -> Any:
        """A shape, out of ints and (n,) values of int64."""
        return self.op("Concat", *(self.ints(p) if isinstance(p, int) else p for p in parts), axis=0)

    def finished(self, name: str) -> Any:
        """The `onnx_ir.Graph`."""
        opsets = {"": OPSET, ML_DOMAIN: ML_OPSET} if self.outer is None else None
        return self.ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=list(self.constants.values()),
            opset_imports=opsets,
            name=name,
        )
