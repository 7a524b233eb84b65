"""Keras' convolutions and pools over time to ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing.functions import FUNCTIONS
from unspool.importing.keras_config import KerasLayer
from unspool.importing.keras_settings import Settings

MAX_NUMBERS = 2**26  # of a kernel
CONVOLUTIONS = ("Conv1D", "Convolution1D", "SeparableConv1D", "SeparableConvolution1D", "DepthwiseConv1D")
KINDS = (*CONVOLUTIONS, "MaxPooling1D", "MaxPool1D", "AveragePooling1D", "AvgPool1D")


def convert(layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> Any:
    """(kind, settings, weights) of a convolution or a pool over windows."""
    settings = Settings(layer, version)
    if settings.optional("data_format", str, "channels_last") != "channels_last":
        settings.refuse("data_format", "'channels_last'")
    if layer.kind in CONVOLUTIONS:
        return _convolution(layer, settings, arrays)
    size = _one(settings, "pool_size", "pool_length")
    stride = (
        _one(settings, "strides", "stride")
        if settings.value("strides", settings.value("stride", 0))
        else size
    )
    padding = settings.optional("padding", str, settings.optional("border_mode", str, "valid"))
    if padding not in ("valid", "same"):
        settings.refuse("padding", "'valid' or 'same'")
    settings.finish()
    how = "max" if layer.kind.startswith("Max") else "mean"
    return "window_pool", {"how": how, "size": size, "stride": stride, "padding": padding}, {}


def _convolution(layer: KerasLayer, settings: Settings, arrays: list[np.ndarray]) -> Any:
    width = _one(settings, "kernel_size", "filter_length")
    stride = _one(settings, "strides", "subsample_length")
    dilation = _one(settings, "dilation_rate") if settings.value("dilation_rate", 0) else 1
    padding = settings.first(("padding", "border_mode"), str)
    if padding not in ("valid", "same", "causal"):
        settings.refuse("padding", "'valid', 'same' or 'causal'")
    bias = settings.first(("use_bias", "bias"), bool)
    activation = settings.activation("activation", FUNCTIONS)
    kernels, rest = _kernel(layer, settings, width, arrays)
    settings.ignore("input_dim", "lora_rank").finish()
    inputs, filters = kernels.shape[1:]
    found = layer.shaped(rest, *([(filters,)] if bias else []))
    made = {"inputs": inputs, "filters": filters, "width": width, "stride": stride, "dilation": dilation}
    made |= {"padding": padding, "bias": bias, "activation": activation}
    return "convolution", made, {"weight": kernels.transpose(2, 1, 0), **({"bias": found[0]} if bias else {})}


def _kernel(
    layer: KerasLayer, settings: Settings, width: int, arrays: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(width, inputs, filters) of every kind of convolution, and the weights that are left."""
    if arrays and arrays[0].ndim == 4 and arrays[0].shape[1] == 1:  # Keras 1
        arrays = [arrays[0][:, 0], *arrays[1:]]
    inputs = arrays[0].shape[1] if arrays and arrays[0].ndim == 3 else 0
    if layer.kind.startswith("Conv"):
        filters, groups = settings.first(("filters", "nb_filter"), int), settings.value("groups", 1)
        if type(groups) is not int or groups < 1 or filters % groups:
            settings.refuse("groups", "an int that divides the filters")
        (kernel,) = layer.shaped(arrays[:1], (width, inputs, filters))
        if groups == 1:
            return kernel, arrays[1:]
        parts = np.split(kernel, groups, axis=2)
        whole = _zeros(layer, width, inputs * groups, filters)
        for group, part in enumerate(parts):
            each = part.shape[2]
            whole[:, group * inputs : (group + 1) * inputs, group * each : (group + 1) * each] = part
        return whole, arrays[1:]
    # of each feature by itself, then, in a separable one, of these together
    many = settings.optional("depth_multiplier", int, 1)
    if settings.value("groups", 1) != 1:  # Keras 2 writes it
        settings.refuse("groups", "1")
    separable = layer.kind.startswith("Separable")
    expected: list[tuple[int, ...]] = [(width, inputs, many)]
    if separable:
        expected.append((1, inputs * many, settings.first(("filters", "nb_filter"), int)))
    deep, *point = layer.shaped(arrays[: len(expected)], *expected)
    if point:
        _zeros(layer, width, inputs, point[0].shape[2])
        mixed = point[0][0].reshape(inputs, many, -1)
        return np.einsum("wim,imf->wif", deep, mixed, dtype=np.float64).astype(np.float32), arrays[2:]
    whole = _zeros(layer, width, inputs, inputs, many)
    whole[:, np.arange(inputs), np.arange(inputs)] = deep
    return whole.reshape(width, inputs, -1), arrays[1:]


def _zeros(layer: KerasLayer, *shape: int) -> np.ndarray:
    """A kernel of all features for all filters; `ModelFileError` where it were much larger than the file's."""
    if math.prod(shape) > MAX_NUMBERS:
        raise ModelFileError(
            f"{layer.where} makes a kernel of {shape}; {MAX_NUMBERS:,} numbers at most are supported."
        )
    return np.zeros(shape, np.float32)


def _one(settings: Settings, *names: str) -> int:
    """A number, or a list of one number."""
    found = next((value for name in names if (value := settings.value(name, None)) is not None), None)
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    if type(found) is not int or not 1 <= found <= 100_000:
        settings.refuse(names[0], "an int in [1, 100,000]")
    return found
