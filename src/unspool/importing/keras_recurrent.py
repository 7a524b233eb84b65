"""Keras' recurrent layers to our cells: gate orders, biases, cuDNN's layout, directions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from unspool.cells import ACTIVATIONS
from unspool.errors import ModelFileError
from unspool.importing import gates
from unspool.importing.keras_config import KerasLayer, layer_of
from unspool.importing.keras_settings import Settings
from unspool.saved import Fields

Tensors = dict[str, np.ndarray]
CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
STACK = "StackedRNNCells"
KINDS = (*CELLS, "RNN", "Bidirectional")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
ORDERS = {"lstm": gates.KERAS_LSTM, "gru": gates.KERAS_GRU, "rnn": gates.PLAIN}
MERGES = {"concat": "concat", "sum": "sum", "mul": "product", "ave": "mean"}


def convert(layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> Any:
    """(kind, settings, weights) of a recurrent layer or of `Bidirectional` around one."""
    if layer.kind == "Bidirectional":
        return _bidirectional(layer, arrays, version)
    direction = _direction(_around_a_cell(layer), arrays, version)
    outputs = "last"
    if direction.return_sequences:
        outputs = "reversed_steps" if direction.go_backwards else "steps"
    settings = {
        "cells": [direction.cell],
        "merge": "concat",
        "reverse": direction.go_backwards,
        "outputs": outputs,
        "zeros_at_skipped": direction.zeros_at_skipped,
        "stateful": direction.stateful,
    }
    return "recurrent", settings, {f"layer.cell.{name}": t for name, t in direction.tensors.items()}


def _around_a_cell(layer: KerasLayer) -> KerasLayer:
    """`RNN` around one of Keras' cells is the layer of that cell; another layer comes back as it is."""
    if layer.kind != "RNN":
        return layer
    cell = layer_of(Fields(layer.config.get("cell", dict), f"{layer.where}, 'cell',"))
    if cell.kind == STACK:
        own = {name: value for name, value in layer.config.data.items() if name != "cell"}
        where = f"the layer {layer.name!r} ({STACK})"
        return KerasLayer(STACK, layer.name, Fields({**cell.config.data, **own}, where))
    kind = cell.kind.removesuffix("Cell")
    if kind == cell.kind or kind not in CELLS:
        raise ModelFileError(f"{layer.where} goes around {cell.kind!r}, which is not supported.")
    own = {name: value for name, value in layer.config.data.items() if name != "cell"}
    return KerasLayer(
        kind, layer.name, Fields({**cell.config.data, **own}, f"the layer {layer.name!r} ({kind})")
    )


def _bidirectional(layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> Any:
    settings = Settings(layer, version)
    merge = settings.value("merge_mode", "concat")
    if merge not in MERGES:
        settings.refuse("merge_mode", f"one of {list(MERGES)}")
    inner = [_inner(layer, settings, "layer")]
    second = settings.value("backward_layer", None)
    inner.append(inner[0] if second is None else _inner(layer, settings, "backward_layer"))
    settings.finish()
    half = _count(inner[0], len(arrays))
    forward = _direction(inner[0], arrays[:half], version)
    backward = _direction(inner[1], arrays[half:], version)
    if forward.go_backwards or (second is not None and not backward.go_backwards):
        raise ModelFileError(f"{layer.where} must have a forward layer and a backward one.")
    if forward.return_sequences != backward.return_sequences or forward.stateful != backward.stateful:
        raise ModelFileError(f"{layer.where} must have two layers of the same outputs.")
    made = {
        "cells": [forward.cell, backward.cell],
        "merge": MERGES[merge],
        "reverse": False,
        "outputs": "steps" if forward.return_sequences else "last",
        "zeros_at_skipped": forward.zeros_at_skipped
        or (forward.return_sequences and _of_tensorflow(version)),
        "stateful": forward.stateful,
    }
    tensors = {f"layer.cell.{name}": t for name, t in forward.tensors.items()}
    return (
        "recurrent",
        made,
        {
            **tensors,
            **{f"layer.reverse_cell.{name}": t for name, t in backward.tensors.items()},
        },
    )


def _of_tensorflow(version: str | None) -> bool:
    """Whether tf.keras of TensorFlow 2.2 to 2.15 wrote the file: there, and since Keras 3 by a setting of its own, a
    bidirectional layer's outputs at skipped steps are zeros."""
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    if numbers is None or numbers.group(1) != "2":
        return False
    return int(numbers.group(2)) >= 4 or (int(numbers.group(2)) == 3 and str(version).endswith("-tf"))


def _inner(layer: KerasLayer, settings: Settings, name: str) -> KerasLayer:
    found = _around_a_cell(layer_of(Fields(settings.get(name, dict), f"{layer.where}, {name!r},")))
    if found.kind not in CELLS and found.kind != STACK:
        raise ModelFileError(f"{layer.where} goes around {found.kind!r}, which is not supported.")
    place = f"{layer.name}/{found.name}"
    return KerasLayer(found.kind, place, Fields(found.config.data, f"the layer {place!r} ({found.kind})"))


def _count(layer: KerasLayer, total: int) -> int:
    """How many of the arrays belong to the forward layer: two kernels and a bias, but in Keras 1 those of each gate."""
    if layer.kind == STACK:
        return sum(_count(cell, 0) for cell in cells_of(layer))
    if total > 6:
        return total // 2
    return 2 if layer.config.data.get("use_bias") is False else 3


def cells_of(layer: KerasLayer) -> list[KerasLayer]:
    """The layers of the cells of a stack, first to last."""
    found = []
    for number, entry in enumerate(layer.config.items("cells", dict)):
        cell = layer_of(Fields(entry, f"{layer.where}, cell {number},"))
        kind = cell.kind.removesuffix("Cell")
        if kind == cell.kind or kind not in CELLS:
            raise ModelFileError(f"{layer.where} has a cell {cell.kind!r}, which is not supported.")
        place = f"{layer.name}/{cell.name}"
        found.append(KerasLayer(kind, place, Fields(cell.config.data, f"the layer {place!r} ({kind})")))
    return found


def _direction(layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> _Direction | _Stacked:
    return (_Stacked if layer.kind == STACK else _Direction)(layer, arrays, version)


class _Stacked:
    """Cells one after the other within one step, and their surroundings."""

    stateful = False

    def __init__(self, layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> None:
        settings = Settings(layer, version).ignore("unroll", "cells", "return_state")
        self.return_sequences = settings.optional("return_sequences", bool, False)
        self.go_backwards = settings.optional("go_backwards", bool, False)
        self.zeros_at_skipped = settings.optional("zero_output_for_mask", bool, False)
        settings.require_off("time_major", "stateful", "reverse_state_order")
        settings.finish()
        self.tensors: Tensors = {}
        cells = []
        for number, one in enumerate(cells_of(layer)):
            count = _count(one, 0)
            direction = _Direction(one, arrays[:count], version)
            arrays = arrays[count:]
            cells.append(direction.cell)
            self.tensors |= {f"cells.{number}.{name}": tensor for name, tensor in direction.tensors.items()}
        if not cells or arrays:
            raise ModelFileError(f"{layer.where} has {len(cells)} cells, and {len(arrays)} weights too many.")
        ends = {"input_size": cells[0]["input_size"], "hidden_size": cells[-1]["hidden_size"]}
        self.cell = {"cell": "stack", "cells": cells, **ends}


class _Direction:
    """One layer's cell, weights and surroundings."""

    def __init__(self, layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> None:
        settings = Settings(layer, version).ignore(
            *(
                "dropout recurrent_dropout dropout_W dropout_U implementation unroll consume_less seed".split()
            ),
            *("unit_forget_bias use_cudnn input_dim".split()),
        )
        self.layer, self.kind = layer, CELLS[layer.kind]
        self.cudnn = layer.kind.startswith("CuDNN")
        self.units = settings.first(("units", "output_dim"), int)
        self.bias = True if self.cudnn else settings.value("use_bias", True) is True
        self.return_sequences = settings.optional("return_sequences", bool, False)
        self.go_backwards = settings.optional("go_backwards", bool, False)
        self.stateful = settings.optional("stateful", bool, False)
        self.zeros_at_skipped = settings.optional("zero_output_for_mask", bool, False)
        settings.ignore("return_state").require_off("time_major")  # no layer may read the states: `history`
        options = self._options(settings)
        self.tensors, inputs = self._weights(arrays, settings)
        if self.kind == "gru":
            options["reset_after"] = self._reset_after
        settings.finish()
        self.cell = {
            "cell": self.kind,
            "input_size": inputs,
            "hidden_size": self.units,
            "bias": self.bias,
            **options,
        }

    def _options(self, settings: Settings) -> dict[str, Any]:
        if self.cudnn:
            return {}
        activation = settings.activation("activation", ACTIVATIONS)
        if self.kind == "rnn":
            return {"nonlinearity": activation}
        recurrent = settings.activation("recurrent_activation", "inner_activation", ACTIVATIONS)
        return {"activation": activation, "recurrent_activation": recurrent}

    def _weights(self, arrays: list[np.ndarray], settings: Settings) -> tuple[Tensors, int]:
        """Weights as our cells name them, and the width of the input."""
        count, rows = GATES[self.kind], GATES[self.kind] * self.units
        if not 1 <= self.units < 2**24:
            settings.refuse("units", "an int in [1, 2**24)")
        if len(arrays) == 3 * count and count > 1:
            arrays = self._of_keras_1(arrays)
        inputs = arrays[0].shape[0] if arrays and arrays[0].ndim == 2 else 0
        expected: list[tuple[int, ...]] = [(inputs, rows), (self.units, rows)]
        bias = arrays[2].shape if len(arrays) > 2 else ()
        reset_after = settings.optional("reset_after", bool, self.cudnn or bias == (2, rows))
        self._reset_after = reset_after
        if self.cudnn:
            expected.append((2 * rows,))
        elif self.bias:
            expected.append((2, rows) if self.kind == "gru" and reset_after else (rows,))
        if [a.shape for a in arrays] != expected or not inputs:
            raise ModelFileError(
                f"{self.layer.where} must have weights of shapes {expected}. Got {[a.shape for a in arrays]}."
            )
        order = ORDERS[self.kind]
        weight_ih, weight_hh = arrays[0].T, arrays[1].T
        if self.cudnn:
            weight_ih, weight_hh = _from_cudnn(arrays[0], count), _from_cudnn(arrays[1], count)
        found = {
            "weight_ih": gates.reordered(weight_ih, order),
            "weight_hh": gates.reordered(weight_hh, order),
        }
        if self.bias:
            first, second = _biases(arrays[2], rows)
            found["bias_ih"], found["bias_hh"] = gates.reordered(first, order), gates.reordered(second, order)
        return found, inputs

    def _of_keras_1(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Keras 1 has three arrays a gate: kernel, recurrent kernel, bias."""
        order = gates.KERAS_1_LSTM if self.kind == "lstm" else (0, 1, 2)
        shapes = [(arrays[0].shape[0], self.units), (self.units, self.units), (self.units,)] * len(order)
        if [a.shape for a in arrays] != shapes:
            raise ModelFileError(
                f"{self.layer.where} must have weights of shapes {shapes}. Got {[a.shape for a in arrays]}."
            )
        return [np.concatenate([arrays[3 * gate + part] for gate in order], axis=-1) for part in range(3)]


def _from_cudnn(kernel: np.ndarray, count: int) -> np.ndarray:
    """(F, G * H): each gate's (F, H) block holds, in its memory's order, cuDNN's (H, F) matrix -> (G * H, F)."""
    blocks = np.split(kernel, count, axis=1)
    return np.concatenate([np.ascontiguousarray(b).reshape(b.shape[1], b.shape[0]) for b in blocks])


def _biases(bias: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The input's and the state's, of (2, rows), (2 * rows,), or (rows,): then the state's is 0."""
    if bias.size == 2 * rows:
        first, second = bias.reshape(2, rows)
        return first, second
    return bias, np.zeros_like(bias)
