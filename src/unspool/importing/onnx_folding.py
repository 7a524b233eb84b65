"""Numbers that a graph computes from constants alone: weights that an exporter casts, turns, joins or cuts."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.errors import ModelFileError

#: TensorProto's number of a type -> NumPy's.
CASTS: dict[int, Any] = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}
FOLDED = set("Identity Cast Transpose Unsqueeze Squeeze Reshape Concat Slice DequantizeLinear".split())


def fold(node: Any, given: list[np.ndarray]) -> np.ndarray | None:
    """The output of a node of `FOLDED` with constant inputs; None where it is another type's, `ModelFileError` where
    it cannot be."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    try:
        return _fold(node.op_type, attributes, given[0], given[1:])
    except (ValueError, IndexError, TypeError, OverflowError, KeyError) as error:
        raise ModelFileError(
            f"the node {node.name!r:.60} ({node.op_type}) cannot compute its constant ({error!s:.80})."
        ) from error


def _fold(operator: str, attributes: dict[str, Any], x: np.ndarray, rest: list[np.ndarray]) -> Any:
    ints = [array.ravel().tolist() for array in rest] if operator != "Concat" else []
    axes = tuple(attributes.get("axes") or (ints[0] if ints else ()))
    if operator == "Identity":
        return x
    if operator == "Cast":
        to = CASTS.get(int(attributes.get("to", 1)))
        return None if to is None else x.astype(to)
    if operator == "Transpose":
        return np.transpose(x, attributes.get("perm"))
    if operator == "Unsqueeze":
        return np.expand_dims(x, axes)
    if operator == "Squeeze":
        return np.squeeze(x, axes or None)
    if operator == "Reshape":
        zeros = [] if attributes.get("allowzero") else [i for i, n in enumerate(ints[0]) if n == 0]
        return x.reshape([x.shape[i] if i in zeros else n for i, n in enumerate(ints[0])])
    if operator == "Concat":
        return np.concatenate([x, *rest], int(attributes["axis"]))
    if operator == "Slice":
        starts, ends = (ints[0], ints[1]) if ints else (attributes["starts"], attributes["ends"])
        places = ints[2] if len(ints) > 2 else attributes.get("axes") or range(len(starts))
        steps = ints[3] if len(ints) > 3 else [1] * len(starts)
        if any(step < 1 for step in steps):
            return None
        for at, start, end, step in zip(places, starts, ends, steps):
            x = np.moveaxis(np.moveaxis(x, at, 0)[start:end:step], 0, at)
        return x
    scale, zero = rest[0], rest[1] if len(rest) > 1 else np.zeros((), x.dtype)
    if scale.ndim > 1 or attributes.get("block_size"):
        return None
    shape = [1] * x.ndim
    if scale.size > 1:
        shape[int(attributes.get("axis", 1))] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
    return (x.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
