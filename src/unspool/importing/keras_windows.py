"""Keras' convolutions and pools over time to ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.importing.functions import FUNCTIONS
from unspool.importing.keras_config import KerasLayer
from unspool.importing.keras_settings import Settings

KINDS = ("Conv1D", "Convolution1D", "MaxPooling1D", "MaxPool1D", "AveragePooling1D", "AvgPool1D")


def convert(layer: KerasLayer, arrays: list[np.ndarray], version: str | None) -> Any:
    """(kind, settings, weights) of `Conv1D`, `MaxPooling1D` or `AveragePooling1D`."""
    settings = Settings(layer, version)
    if settings.optional("data_format", str, "channels_last") != "channels_last":
        settings.refuse("data_format", "'channels_last'")
    if layer.kind.startswith("Conv"):
        return _convolution(layer, settings, arrays)
    size = _one(settings, "pool_size", "pool_length")
    stride = (
        _one(settings, "strides", "stride")
        if settings.value("strides", settings.value("stride", 0))
        else size
    )
    if settings.optional("padding", str, settings.optional("border_mode", str, "valid")) != "valid":
        settings.refuse("padding", "'valid'")
    settings.finish()
    how = "max" if layer.kind.startswith("Max") else "mean"
    return "window_pool", {"how": how, "size": size, "stride": stride}, {}


def _convolution(layer: KerasLayer, settings: Settings, arrays: list[np.ndarray]) -> Any:
    filters = settings.first(("filters", "nb_filter"), int)
    width = _one(settings, "kernel_size", "filter_length")
    stride = _one(settings, "strides", "subsample_length")
    dilation = _one(settings, "dilation_rate") if settings.value("dilation_rate", 0) else 1
    if settings.value("groups", 1) != 1:
        settings.refuse("groups", "1")
    padding = settings.first(("padding", "border_mode"), str)
    if padding not in ("valid", "same", "causal") or (padding == "same" and stride > 1):
        settings.refuse("padding", "'valid', 'causal', or 'same' without strides,")
    bias = settings.first(("use_bias", "bias"), bool)
    activation = settings.activation("activation", FUNCTIONS)
    settings.ignore("input_dim", "lora_rank").finish()
    if len(arrays) > 0 and arrays[0].ndim == 4 and arrays[0].shape[1] == 1:  # Keras 1
        arrays = [arrays[0][:, 0], *arrays[1:]]
    inputs = arrays[0].shape[1] if arrays and arrays[0].ndim == 3 else 0
    found = layer.shaped(arrays, (width, inputs, filters), *([(filters,)] if bias else []))
    made = {"inputs": inputs, "filters": filters, "width": width, "stride": stride, "dilation": dilation}
    made |= {"padding": padding, "bias": bias, "activation": activation}
    tensors = {"weight": found[0].transpose(2, 1, 0), **({"bias": found[1]} if bias else {})}
    return "convolution", made, tensors


def _one(settings: Settings, *names: str) -> int:
    """A number, or a list of one number."""
    found = next((value for name in names if (value := settings.value(name, None)) is not None), None)
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    if type(found) is not int or not 1 <= found <= 100_000:
        settings.refuse(names[0], "an int in [1, 100,000]")
    return found
