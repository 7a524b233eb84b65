"""Keras' activations that are layers to ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unspool.importing.functions import FUNCTIONS
from unspool.importing.keras_config import KerasLayer
from unspool.importing.keras_settings import Settings

Arrays = list[np.ndarray]
#: (kind of our node, its settings, its weights); None: the layer does nothing in prediction.
Made = tuple[str, dict[str, Any], dict[str, np.ndarray]] | None


def activation(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """An `Activation` layer: a function of one argument, by its name."""
    settings = Settings(layer, version)
    name = settings.activation("activation", FUNCTIONS)
    settings.finish()
    return "activation", {"name": name, "slope": 0.0}, {}


def leaky_relu(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """`LeakyReLU`: its slope is called alpha before Keras 3."""
    settings = Settings(layer, version)
    slope = settings.first(("negative_slope", "alpha"), float)
    settings.finish()
    return "activation", {"name": "leaky_relu", "slope": slope}, {}


def relu(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """`ReLU` and `ThresholdedReLU`: a top, a slope and a threshold, or plain relu without them."""
    settings = Settings(layer, version)
    top = settings.optional("max_value", float, math.inf)
    slope, threshold = (settings.optional(name, float, 0.0) for name in ("negative_slope", "threshold"))
    if layer.kind == "ThresholdedReLU":
        threshold = settings.optional("theta", float, 1.0)
    settings.finish()
    if math.isinf(top) and slope == threshold == 0:
        return "activation", {"name": "relu", "slope": 0.0}, {}
    limit = None if math.isinf(top) else top
    return "rectifier", {"top": limit, "slope": slope, "threshold": threshold}, {}


def prelu(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """Slopes (features,), or (1, features) where the steps share them."""
    settings = Settings(layer, version)
    shared = settings.value("shared_axes", None)
    settings.finish()
    width = arrays[0].shape[-1] if arrays and arrays[0].ndim else 0
    if shared not in (None, 1, [1]) or not arrays or (arrays[0].ndim == 2 and shared is None):
        settings.refuse("shared_axes", "[1], the steps,")
    (slope,) = layer.shaped(arrays, (width,) if shared is None else (1, width))
    return "prelu", {"size": width}, {"slope": slope.reshape(-1)}


def elu(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """`ELU`, with its scale."""
    settings = Settings(layer, version)
    scale = settings.optional("alpha", float, 1.0)
    settings.finish()
    return "activation", {"name": "elu" if scale == 1.0 else "scaled_elu", "slope": scale}, {}


def softmax(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """`Softmax` over the features or over the steps."""
    settings = Settings(layer, version)
    axis = settings.optional("axis", int, -1)
    if axis not in (-1, 1, 2):
        settings.refuse("axis", "-1, the features, or 1, the steps,")
    settings.finish()
    return ("softmax_steps", {}, {}) if axis == 1 else ("activation", {"name": "softmax", "slope": 0.0}, {})


def unit_norm(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """`UnitNormalization` over the features."""
    settings = Settings(layer, version)
    if settings.value("axis", -1) not in (-1, 2, [-1], [2]):
        settings.refuse("axis", "-1, the features")
    settings.finish()
    return "activation", {"name": "unit", "slope": 0.0}, {}
