"""Operations between layers, as Keras 3 writes them down (`x[:, -1]`, `a + b`, `ops.mean(x, axis=1)`), to our layers.

They are names and numbers, not code. What they make has no mask.
"""

from __future__ import annotations

from typing import Any, NoReturn

from unspool.errors import ModelFileError
from unspool.importing.keras_config import TENSOR, KerasLayer, Read, history
from unspool.saved import Fields

SLICE = "__slice__"
PAIRS = {"Add": "sum", "Subtract": "difference", "Multiply": "product", "Maximum": "max", "Minimum": "min"}
POOLS = {"Mean": "mean", "Sum": "sum", "Max": "max"}
FUNCTIONS = {
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Exp": "exponential",
}
FULL = (None, None, None)


def tensors(layer: KerasLayer, entry: Any) -> list[tuple[Read, int]]:
    """What a call reads, and how many axes each has; `ModelFileError` for an operation that is not supported."""
    return [given for given in _Call(layer, entry).args if isinstance(given, tuple)]


def convert(layer: KerasLayer) -> Any:
    """(kind, settings, weights) of an operation, by its first call."""
    kind, settings = _Call(layer, layer.calls[0]).node()
    return kind, settings, {}


class _Call:
    """One call. args: of each tensor (what it reads, its number of axes), of other arguments their values."""

    def __init__(self, layer: KerasLayer, entry: Any) -> None:
        self.layer = layer
        data = Fields(entry, layer.where)
        given = data.get("args", list)
        if any(
            value is not None for value in Fields(data.data.get("kwargs") or {}, layer.where).data.values()
        ):
            self._refuse()
        if layer.kind == "Concatenate" and len(given) == 1 and isinstance(given[0], list):
            given = given[0]
        self.args = [self._argument(value) for value in given]
        self.settings = {
            name: value
            for name, value in layer.config.data.items()
            if name not in ("name", "dtype", "trainable")
        }

    def _argument(self, value: Any) -> Any:
        if not (isinstance(value, dict) and value.get("class_name") == TENSOR):
            return value
        config = Fields(value, self.layer.where).child("config")
        shape = config.data.get("shape")
        return history(config.data.get("keras_history"), self.layer.where), len(shape) if isinstance(
            shape, list
        ) else 0

    def _refuse(self) -> NoReturn:
        shown = {
            name: value for name, value in self.layer.config.data.items() if name not in ("name", "dtype")
        }
        raise ModelFileError(
            f"{self.layer.where} is an operation between layers, and in this form not supported: {str(shown)[:200]}. "
            "Put a layer in its place, and save again."
        )

    def node(self) -> tuple[str, dict[str, Any]]:
        """(kind, settings) of our node."""
        kind = self.layer.kind
        axes = {one[1] for one in self.args if isinstance(one, tuple)}
        if len(axes) != 1:
            self._refuse()
        (rank,) = axes
        if kind == "GetItem":
            return self._item(rank)
        if kind in PAIRS or kind in ("TrueDivide", "Divide"):
            return self._pair(kind)
        axis, keepdims = self.settings.pop("axis", None), self.settings.pop("keepdims", False)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if keepdims or any(value is not None for value in self.settings.values()):
            self._refuse()
        if kind in POOLS and rank == 3 and axis in (1, -2):
            return "pool", {"how": POOLS[kind]}
        if kind == "Concatenate" and axis in (-1, rank - 1):
            return "merge", {"how": "concat"}
        if kind == "Concatenate" and rank == 3 and axis == 1:
            return "merge", {"how": "concat_steps"}
        if kind == "Softmax" and axis in (-1, rank - 1):
            return "activation", {"name": "softmax", "slope": 0.0}
        if kind == "Softmax" and rank == 3 and axis == 1:
            return "softmax_steps", {}
        if kind == "ExpandDims" and rank == 2 and axis == 1:
            return "repeat", {"count": 1}
        if kind in FUNCTIONS and axis is None and len(self.args) == 1:
            return "activation", {"name": FUNCTIONS[kind], "slope": 0.0}
        self._refuse()

    def _pair(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Two tensors, or one and a number."""
        if self.settings or len(self.args) != 2:
            self._refuse()
        one, other = self.args
        if isinstance(one, tuple) and isinstance(other, tuple) and kind in PAIRS:
            return "merge", {"how": PAIRS[kind]}
        first = isinstance(one, tuple)
        number = other if first else one
        if isinstance(number, bool) or not isinstance(number, (int, float)) or abs(number) > 1e30:
            self._refuse()
        if kind in ("Add", "Multiply"):
            scale, shift = (1.0, number) if kind == "Add" else (number, 0.0)
        elif kind == "Subtract":
            scale, shift = (1.0, -number) if first else (-1.0, number)
        elif kind.endswith("Divide") and first and abs(number) > 1e-30:
            scale, shift = 1.0 / number, 0.0
        else:
            self._refuse()
        return "rescale", {"scale": float(scale), "shift": float(shift)}

    def _item(self, rank: int) -> tuple[str, dict[str, Any]]:
        """`x[:, k]` of the first or last step, `x[:, a:-b]` steps, `x[:, :, a:b]` or, of rows, `x[:, a:b]` features."""
        index = self.args[1] if len(self.args) == 2 else None
        if self.settings or not isinstance(index, list) or not 2 <= len(index) <= rank:
            self._refuse()
        parts = [_slice(one) for one in index]
        if parts[0] != FULL or (len(parts) == 3 and FULL not in parts[1:]):
            self._refuse()
        at = parts[2] if len(parts) == 3 and parts[1] == FULL else parts[1]
        if rank == 3 and type(at) is int and at in (0, -1) and (len(parts) == 2 or parts[2] == FULL):
            return "pool", {"how": "first" if at == 0 else "last"}
        if not isinstance(at, tuple) or at[2] not in (None, 1):
            self._refuse()
        start, stop = at[0] or 0, at[1]
        if rank == 2 or (len(parts) == 3 and parts[1] == FULL and parts[2] != FULL):
            if stop is not None and 0 <= start < stop:
                return "part", {"start": start, "stop": stop}
            self._refuse()
        if start < 0 or (stop is not None and stop >= 0):
            self._refuse()
        return "pad", {"before": -start, "after": stop or 0}


def _slice(value: Any) -> Any:
    """An int, (start, stop, step), or None for anything else."""
    if not (isinstance(value, dict) and value.get("class_name") == SLICE):
        return value if type(value) is int else None
    config = value.get("config")
    found = tuple(config.get(name) for name in ("start", "stop", "step")) if isinstance(config, dict) else ()
    right = all(number is None or (type(number) is int and abs(number) < 2**31) for number in found)
    return found if len(found) == 3 and right else None
