"""Keras' layers to ours: settings and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import keras_activations, keras_recurrent, keras_shapes, keras_windows
from unspool.importing.functions import FUNCTIONS
from unspool.importing.keras_activations import Arrays, Made
from unspool.importing.keras_config import KerasLayer, layer_of
from unspool.importing.keras_settings import Settings
from unspool.saved import Fields

MAX_CATEGORIES = 4096  # of one-hot steps

MERGES = {
    "Concatenate": "concat",
    "Add": "sum",
    "Average": "mean",
    "Multiply": "product",
    "Maximum": "max",
    "Minimum": "min",
    "Subtract": "difference",
}
#: Layers that change nothing in prediction, and their settings.
ABSENT = {
    "InputLayer": "batch_shape batch_input_shape ragged optional",
    "Dropout": "rate p noise_shape seed",
    "SpatialDropout1D": "rate p noise_shape seed data_format",
    "GaussianDropout": "rate p seed",
    "GaussianNoise": "stddev sigma seed",
    "AlphaDropout": "rate p noise_shape seed",
    "ActivityRegularization": "l1 l2",
    "Identity": "",
}


def convert(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """Our form of a layer. Raises `ModelFileError`, with the layer's settings, for one that is not supported."""
    if layer.kind in ABSENT:
        Settings(layer, version).ignore(*ABSENT[layer.kind].split()).finish()
        return None
    if layer.kind in MERGES:
        return _merge(layer, version)
    if layer.kind in keras_recurrent.KINDS:
        return keras_recurrent.convert(layer, arrays, version)
    if layer.kind in keras_windows.KINDS:
        return keras_windows.convert(layer, arrays, version)
    if layer.kind in keras_shapes.KINDS:
        return keras_shapes.convert(layer, version)
    if layer.kind not in _LAYERS:
        _unsupported(layer)
    return _LAYERS[layer.kind](layer, arrays, version)


def _unsupported(layer: KerasLayer) -> NoReturn:
    if layer.kind == "Lambda":
        raise ModelFileError(
            f"{layer.where} is Python code, which is never run. Replace the layer, and save again."
        )
    shown = {
        k: v for k, v in layer.config.data.items() if isinstance(v, (int, float, str, list)) and k != "name"
    }
    raise ModelFileError(f"{layer.where} is not supported. Its settings: {str(shown)[:300]}.")


def _merge(layer: KerasLayer, version: str | None) -> Made:
    settings, how = Settings(layer, version), MERGES[layer.kind]
    if layer.kind == "Concatenate":
        axis = settings.optional("axis", int, -1)
        if axis not in (-1, 1, 2):
            settings.refuse("axis", "-1, the features, or 1, the steps or the features of rows")
        how = "concat_steps" if axis == 1 else how
    settings.finish()
    return "merge", {"how": how}, {}


def _embedding(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version).ignore("input_length", "dropout", "sparse")
    rows, size = settings.get("input_dim", int), settings.get("output_dim", int)
    mask = settings.optional("mask_zero", bool, False)
    settings.finish()
    (table,) = layer.shaped(arrays, (rows, size))
    return "embedding", {"vocabulary": rows, "size": size, "mask_zero": mask}, {"weight": table}


def _masking(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    value = settings.optional("mask_value", float, 0.0)
    settings.finish()
    return "masking", {"value": value}, {}


def _dense(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version).ignore("input_dim", "lora_rank")
    units = settings.first(("units", "output_dim"), int)
    bias = settings.first(("use_bias", "bias"), bool)
    activation = settings.activation("activation", FUNCTIONS)
    settings.finish()
    inputs = arrays[0].shape[0] if arrays and arrays[0].ndim == 2 else 0
    found = layer.shaped(arrays, (inputs, units), *([(units,)] if bias else []))
    tensors = {"weight": found[0].T, **({"bias": found[1]} if bias else {})}
    return "dense", {"inputs": inputs, "units": units, "bias": bias, "activation": activation}, tensors


def _rescaling(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    scale, shift = settings.get("scale", float), settings.optional("offset", float, 0.0)
    settings.finish()
    return "rescale", {"scale": scale, "shift": shift}, {}


def _normalization(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """Mean and variance from the settings, or as weights: mean, variance and how many they were measured on."""
    settings = Settings(layer, version)
    axis = settings.value("axis", -1)
    if axis not in (-1, 2, 1, [-1], [2], [1]) or isinstance(axis, bool):
        settings.refuse("axis", "the last one")
    given = [settings.value(name, None) for name in ("mean", "variance")]
    invert = settings.optional("invert", bool, False)
    settings.finish()
    if given[0] is not None:
        try:
            mean, variance = (np.asarray(one, np.float32).reshape(-1) for one in given)
        except (ValueError, TypeError, OverflowError):
            settings.refuse("mean", "and variance lists of numbers")
        layer.shaped([mean, variance], *[(mean.size,)] * 2)
        if mean.size == 1:  # of all features
            deviation, shift = max(float(variance[0]) ** 0.5, 1e-7), float(mean[0])
            scale, shift = (deviation, shift) if invert else (1 / deviation, -shift / deviation)
            return "rescale", {"scale": scale, "shift": shift}, {}
    else:
        width = arrays[0].shape[0] if arrays and arrays[0].ndim == 1 else 0
        mean, variance, *_ = layer.shaped(arrays[:2], (width,), (width,))
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    if invert:
        return "affine", {"size": mean.size}, {"scale": deviation, "shift": mean}
    return "standardize", {"size": mean.size}, {"mean": mean, "deviation": deviation}


def _category(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """One-hot steps are the rows of an embedding."""
    settings = Settings(layer, version)
    count, how = settings.get("num_tokens", int), settings.optional("output_mode", str, "multi_hot")
    if how != "one_hot":
        settings.refuse("output_mode", "'one_hot'")
    if not 1 <= count <= MAX_CATEGORIES:
        settings.refuse("num_tokens", f"an int in [1, {MAX_CATEGORIES:,}]")
    settings.finish()
    settings_of_ours = {"vocabulary": count, "size": count, "mask_zero": False}
    return "embedding", settings_of_ours, {"weight": np.eye(count, dtype=np.float32)}


def _attention(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """Attention and AdditiveAttention; weights: the scale, then that of "concat"."""
    settings = Settings(layer, version).ignore("dropout", "seed")
    settings.require_off("causal")
    additive = layer.kind == "AdditiveAttention"
    how, scaled = "additive", settings.optional("use_scale", bool, additive)
    if not additive:
        how = settings.optional("score_mode", str, "dot")
        if how not in ("dot", "concat"):
            settings.refuse("score_mode", "'dot' or 'concat'")
    settings.finish()
    width = arrays[0].shape[-1] if additive and scaled and arrays and arrays[0].ndim == 1 else 1
    shapes = [(width,) if additive else ()] if scaled else []
    found = layer.shaped(arrays, *shapes, *([()] if how == "concat" else []))
    scale = found[0].reshape(-1) if scaled else np.ones(1, np.float32)
    weight = found[-1].reshape(-1) if how == "concat" else np.ones(1, np.float32)
    return "attention", {"how": how, "size": width}, {"scale": scale, "weight": weight}


def _multi_head(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    """MultiHeadAttention; weights: kernel and bias of query, key, value and output."""
    settings = Settings(layer, version).ignore("dropout", "seed", "flash_attention")
    heads, size = settings.get("num_heads", int), settings.get("key_dim", int)
    value_size = settings.optional("value_dim", int, size)
    bias = settings.optional("use_bias", bool, True)
    axes = settings.value("attention_axes", None)
    if axes not in (None, 1, [1]):
        settings.refuse("attention_axes", "1, the steps,")
    settings.require_off("use_gate", "sliding_window", "output_shape")
    settings.ignore("query_shape", "key_shape", "value_shape").finish()
    kernels = arrays[:: 2 if bias else 1]
    if len(kernels) != 4 or any(kernel.ndim != 3 for kernel in kernels):
        raise ModelFileError(
            f"{layer.where} must have four kernels of three axes. Got {[a.shape for a in arrays]}."
        )
    widths = [*(kernel.shape[0] for kernel in kernels[:3]), kernels[3].shape[2]]
    shapes: list[tuple[int, ...]] = []
    for width, one in zip(widths, (size, size, value_size)):
        shapes += [(width, heads, one), *([(heads, one)] if bias else [])]
    shapes += [(heads, value_size, widths[3]), *([(widths[3],)] if bias else [])]
    found = iter(layer.shaped(arrays, *shapes))
    tensors = {}
    for name in ("query", "key", "value", "output"):
        kernel = next(found)
        tensors[f"{name}.weight"] = (
            kernel.reshape(-1, widths[3]).T if name == "output" else kernel.reshape(kernel.shape[0], -1).T
        )
        if bias:
            tensors[f"{name}.bias"] = next(found).reshape(-1)
    made = {
        "heads": heads,
        "size": size,
        "value_size": value_size,
        "widths": widths,
        "bias": bias,
        "causal": False,
    }
    return "multi_head", made, tensors


def _pool(how: str) -> Callable[[KerasLayer, Arrays, str | None], Made]:
    def pool(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
        settings = Settings(layer, version)
        if settings.optional("data_format", str, "channels_last") != "channels_last":
            settings.refuse("data_format", "'channels_last'")
        settings.require_off("keepdims")
        settings.finish()
        return "pool", {"how": how}, {}

    return pool


def _flatten(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    if settings.optional("data_format", str, "channels_last") != "channels_last":
        settings.refuse("data_format", "'channels_last'")
    settings.finish()
    return "flatten", {}, {}


def _repeat(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    count = settings.get("n", int)
    settings.finish()
    return "repeat", {"count": count}, {}


def _axis(settings: Settings) -> None:
    """Only the last axis, of inputs of two or three axes, can be normalised."""
    axis = settings.value("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 2, 1) or isinstance(axis, bool):
        settings.refuse("axis", "the last one")


def _batch_norm(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    settings.ignore(*"momentum renorm_momentum renorm_clipping virtual_batch_size mode synchronized".split())
    _axis(settings)
    epsilon = settings.get("epsilon", float)
    with_scale, with_center = settings.optional("scale", bool, True), settings.optional("center", bool, True)
    settings.require_off("renorm")
    settings.finish()
    size = arrays[0].shape[0] if arrays and arrays[0].ndim == 1 else 0
    names = [*(["gamma"] if with_scale else []), *(["beta"] if with_center else []), "mean", "variance"]
    found = dict(zip(names, layer.shaped(arrays, *[(size,)] * len(names))))
    scale = found.get("gamma", np.ones(size)).astype(np.float64)
    scale = scale / np.sqrt(found["variance"].astype(np.float64) + epsilon)
    shift = found.get("beta", np.zeros(size)) - found["mean"].astype(np.float64) * scale
    return "affine", {"size": size}, {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}


def _layer_norm(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    _axis(settings)
    epsilon = settings.get("epsilon", float)
    with_scale, with_center = settings.optional("scale", bool, True), settings.optional("center", bool, True)
    settings.require_off("rms_scaling")
    settings.finish()
    size = arrays[0].shape[0] if arrays and arrays[0].ndim == 1 else 0
    names = [*(["scale"] if with_scale else []), *(["shift"] if with_center else [])]
    if not names:
        _unsupported(layer)
    found = dict(zip(names, layer.shaped(arrays, *[(size,)] * len(names))))
    tensors = {"scale": np.ones(size, np.float32), "shift": np.zeros(size, np.float32), **found}
    return "layer_norm", {"size": size, "epsilon": epsilon}, tensors


#: Layers that do to each step what they do to a row.
PER_STEP = (
    "Dense",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Softmax",
    "LayerNormalization",
    "BatchNormalization",
    "UnitNormalization",
    "Rescaling",
)


def _time_distributed(layer: KerasLayer, arrays: Arrays, version: str | None) -> Made:
    settings = Settings(layer, version)
    inner = layer_of(Fields(settings.get("layer", dict), f"{layer.where}, 'layer',"))
    settings.finish()
    inner = KerasLayer(inner.kind, f"{layer.name}/{inner.name}", inner.config)
    if inner.kind not in PER_STEP and inner.kind not in ABSENT:
        _unsupported(inner)
    made = convert(inner, arrays, version)
    if made is not None and made[0] == "softmax_steps":  # axis 1 of what has no time
        return "activation", {"name": "softmax", "slope": 0.0}, {}
    return made


_LAYERS: dict[str, Callable[[KerasLayer, Arrays, str | None], Made]] = {
    "Embedding": _embedding,
    "Masking": _masking,
    "Dense": _dense,
    "TimeDistributedDense": _dense,
    "Activation": keras_activations.activation,
    "ReLU": keras_activations.relu,
    "ThresholdedReLU": keras_activations.relu,
    "PReLU": keras_activations.prelu,
    "UnitNormalization": keras_activations.unit_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "CategoryEncoding": _category,
    "LeakyReLU": keras_activations.leaky_relu,
    "ELU": keras_activations.elu,
    "Softmax": keras_activations.softmax,
    "GlobalMaxPooling1D": _pool("max"),
    "GlobalMaxPool1D": _pool("max"),
    "GlobalAveragePooling1D": _pool("mean"),
    "GlobalAvgPool1D": _pool("mean"),
    "Attention": _attention,
    "AdditiveAttention": _attention,
    "MultiHeadAttention": _multi_head,
    "Flatten": _flatten,
    "RepeatVector": _repeat,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "TimeDistributed": _time_distributed,
}
