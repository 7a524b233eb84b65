"""ONNX files read within bounds, and the numbers in them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import onnx_folding

MAX_FILE = 2**31  # bytes: what one protocol buffer holds
MAX_STEPS = 100_000  # of a search through a graph
MAX_FOLDS = 200  # of one through the constants that a weight is made of
#: Operator -> inputs that it cannot do without; 1 of others.
FEWEST = {
    **dict.fromkeys(("Constant", "RandomNormal", "RandomUniform", "Loop", "Scan"), 0),
    **dict.fromkeys("MatMul Gemm Add Sub Mul Div Pow Mod Gather Expand Reshape And Or Xor Equal".split(), 2),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), 2),
    **dict.fromkeys(("Where", "ScatterElements", "LSTM", "GRU", "RNN"), 3),
}
#: Attributes -> their types.
TYPES = {
    **dict.fromkeys("axes perm starts ends split scan_input_axes scan_output_axes".split(), "INTS"),
    **dict.fromkeys(("scan_input_directions", "scan_output_directions", "value_ints"), "INTS"),
    **dict.fromkeys(
        "axis to num_scan_inputs hidden_size layout linear_before_reset input_forget".split(), "INT"
    ),
    **dict.fromkeys(
        "keepdims transA transB fmod detect_negative detect_positive start end value_int".split(), "INT"
    ),
    **dict.fromkeys(("alpha", "beta", "clip", "value_float"), "FLOAT"),
    **dict.fromkeys(("activation_alpha", "activation_beta", "value_floats"), "FLOATS"),
    **dict.fromkeys(("direction", "reduction", "approximate"), "STRING"),
    **{"activations": "STRINGS", "body": "GRAPH", "value": "TENSOR"},
}


def load(path: str) -> Any:
    """The graph of a file; `ModelFileError` where it is none, or keeps weights in other files than beside it."""
    try:
        import onnx_ir
    except ImportError as error:
        raise ModelFileError("Reading ONNX files needs onnx-ir: pip install 'unspool[import]'.") from error
    try:
        if os.path.getsize(path) > MAX_FILE:
            raise ModelFileError(f"it is larger than {MAX_FILE // 2**30} GiB.")
        graph = _inlined(onnx_ir.load(path))
        _check_nodes(graph, set())
        return graph
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error
    # A damaged file can end in any error of the reader; a protocol buffer holds data alone.
    except Exception as error:
        line = " ".join(str(error).split())[:160]
        raise ModelFileError(f"it is not a readable ONNX file ({type(error).__name__}: {line}).") from error


def _inlined(model: Any) -> Any:
    """The graph with the nodes of the file's own functions in the place of their calls."""
    if model.functions:
        from onnx_ir.passes.common import InlinePass

        _check_size(model)
        InlinePass()(model)
    return model.graph


def _check_size(model: Any) -> None:
    """`ModelFileError` where functions that call functions make more nodes than a network has."""
    sizes: dict[Any, int] = {}

    def size(nodes: Any, depth: int) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in model.functions and depth < 50:
                if key not in sizes:
                    sizes[key] = size(model.functions[key], depth + 1)
                total += sizes[key]
            total += 1
        return total

    if size(model.graph, 0) > MAX_STEPS:
        raise ModelFileError(f"its functions make more than {MAX_STEPS:,} nodes.")


def _check_nodes(graph: Any, before: set[int]) -> None:
    """Each node must have the inputs that its operator needs, made before it; `ModelFileError` for another."""
    before = set(before)
    for node in graph:
        place = f"the node {node.name!r:.60} ({node.op_type!s:.40})"
        known = node.domain in ("", "ai.onnx")
        fewest = FEWEST.get(node.op_type, 1) if known else 0
        given = [value is not None for value in node.inputs[:fewest]]
        if len(given) < fewest or not all(given) or not node.outputs:
            raise ModelFileError(f"{place} must have {fewest} inputs, and an output.")
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker is not None and id(maker) not in before:
                raise ModelFileError(f"{place} reads {value.name!r:.60}, which no node before it makes.")
        for attribute in node.attributes.values() if node.op_type != "ConstantFill" else ():
            wanted = TYPES.get(attribute.name, attribute.type.name)
            if known and (attribute.type.name != wanted or attribute.value is None):
                raise ModelFileError(f"{place} must have {attribute.name!r} of type {wanted}.")
            if attribute.type.name == "GRAPH":
                _check_nodes(attribute.value, before)
        before.add(id(node))


def constant(value: Any, name: str = "an input", budget: list[int] | None = None) -> np.ndarray | None:
    """The numbers of an initializer, of a Constant, or of what is made of these alone; None for another value.

    budget: the steps that are left to find them, in a list of one.
    """
    budget = [MAX_FOLDS] if budget is None else budget
    budget[0] -= 1
    tensor = value.const_value
    node = value.producer()
    if tensor is None and node is not None and node.op_type == "Constant":
        for kind in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            if kind in node.attributes:
                found = node.attributes[kind].value
                if kind != "value":
                    return np.asarray(found)
                tensor = found
    elif tensor is None and node is not None and node.op_type in onnx_folding.FOLDED and budget[0] > 0:
        if node.domain not in ("", "ai.onnx") or None in node.inputs or value is not node.outputs[0]:
            return None
        given = [constant(one, name, budget) for one in node.inputs]
        known = [one for one in given if one is not None]
        if len(known) < len(given) or sum(one.size for one in known) > MAX_FILE // 4:
            return None
        return onnx_folding.fold(node, known)
    return None if tensor is None else numbers(tensor, value.name or name)


def numbers(tensor: Any, name: str) -> np.ndarray:
    """The numbers of a tensor, once the file is found to hold them."""
    import onnx_ir

    if isinstance(tensor, onnx_ir.ExternalTensor):
        _check_external(tensor, name)
    try:
        size = int(np.prod([int(n) for n in tensor.shape], dtype=object))
        if size > MAX_FILE:
            raise ModelFileError(f"the weight {name!r} declares {size:,} numbers.")
        array = tensor.numpy()
    except ModelFileError:
        raise
    # As in `load`: a damaged tensor can end in any error.
    except Exception as error:
        line = " ".join(str(error).split())[:160]
        raise ModelFileError(
            f"the weight {name!r} cannot be read ({type(error).__name__}: {line})."
        ) from error
    if array.dtype.kind not in "fiub" or array.size != size:
        raise ModelFileError(f"the weight {name!r} must hold numbers. Got {array.dtype}.")
    return array


def _check_external(tensor: Any, name: str) -> None:
    """Weights beside the model, in the same folder, and there in full."""
    location = os.fspath(tensor.location).removeprefix("./")
    path = os.path.join(os.fspath(tensor.base_dir) or os.curdir, location)
    strange = location in ("", ".", "..") or "\0" in location
    if strange or os.path.basename(location) != location or os.path.islink(path):
        raise ModelFileError(
            f"the weight {name!r} lies in {location!r}, which is not a file beside the model."
        )
    try:
        held = os.path.getsize(path) - (tensor.offset or 0)
    except OSError as error:
        raise ModelFileError(f"the file {location!r} of the weight {name!r} cannot be read.") from error
    if tensor.nbytes > held:
        raise ModelFileError(
            f"the weight {name!r} takes {tensor.nbytes:,} bytes, and {location!r} holds {max(held, 0):,} of them."
        )


def is_given(value: Any) -> bool:
    """Whether a value is an input of the graph that has no default in the file."""
    return bool(value.is_graph_input()) and value.const_value is None


def is_zero(value: Any) -> bool:
    """Whether a value is all zeros, whatever its size: a constant, or one cut and shaped from zeros."""
    waiting, seen = [value], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MAX_STEPS:
            return False
        node = value.producer()
        if value.const_value is not None or (node is not None and node.op_type == "Constant"):
            array = constant(value)
            if array is None or bool(np.any(array != 0)):
                return False
        elif node is None:
            return False
        elif node.op_type == "ConstantOfShape":
            if "value" in node.attributes and np.any(numbers(node.attributes["value"].value, "value") != 0):
                return False
        elif node.op_type == "ConstantFill":  # of before opset 9
            if "value" in node.attributes and node.attributes["value"].value != 0:
                return False
        elif node.op_type == "Concat":
            waiting += list(node.inputs)
        elif node.op_type in (
            "Expand",
            "Slice",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Reshape",
            "Identity",
            "Cast",
        ):
            waiting.append(node.inputs[0])
        else:
            return False
    return True


#: What exporters cut the states of one layer out of those of all by.
OF_STATES = set("Slice Gather Split Identity Cast Squeeze Unsqueeze Transpose Reshape".split())


def states_behind(value: Any) -> Any:
    """The graph's input that a value is cut out of, or the value itself."""
    first = value
    for _ in range(20):
        node = None if value is None else value.producer()
        if node is None or node.op_type not in OF_STATES or not node.inputs:
            break
        value = node.inputs[0]
    return value if value is not None and is_given(value) else first


#: What exporters make of lengths on their way to an operator, or to a mask of the steps that are real.
OF_LENGTHS = set(
    "Max Min Clip Cast Identity Squeeze Unsqueeze Reshape Range Less LessOrEqual Greater GreaterOrEqual Expand".split()
)


def lengths_behind(value: Any) -> set[str] | None:
    """The graph's inputs that a value of lengths, or a mask, is computed from; None for anything else.

    Shapes are passed over: lengths are clamped to them.
    """
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value is None or id(value) in seen or value.const_value is not None:
            continue
        seen.add(id(value))
        node = value.producer()
        if node is None:
            found.add(value.name)
        elif node.op_type in OF_LENGTHS:
            waiting += list(node.inputs)
        elif node.op_type not in ("Shape", "Constant"):
            return None
    return found
