"""Keras' layers that change the shape of sequences to ours."""

from __future__ import annotations

from typing import Any

from unspool.importing.keras_config import KerasLayer
from unspool.importing.keras_settings import Settings

MAX_STEPS = 100_000


def convert(layer: KerasLayer, version: str | None) -> Any:
    """(kind, settings, weights) of a layer of `KINDS`."""
    settings = Settings(layer, version)
    if settings.optional("data_format", str, "channels_last") != "channels_last":
        settings.refuse("data_format", "'channels_last'")
    kind, made = KINDS[layer.kind](settings)
    settings.finish()
    return kind, made, {}


def _reshape(settings: Settings) -> Any:
    target = settings.get("target_shape", list)
    if len(target) not in (1, 2) or not all(type(n) is int and (n == -1 or 1 <= n < 2**31) for n in target):
        settings.refuse("target_shape", "(features,) or (steps, features)")
    return "reshape", {"target": target}


def _permute(settings: Settings) -> Any:
    if settings.get("dims", list) != [2, 1]:
        settings.refuse("dims", "(2, 1)")
    return "permute", {}


def _dot(settings: Settings) -> Any:
    axes = settings.value("axes", None)
    both = axes if isinstance(axes, list) else [axes, axes]
    if len(both) != 2 or any(type(axis) is not int or axis not in (1, 2, -1) for axis in both):
        settings.refuse("axes", "1, the steps or the features of rows, or 2 or -1, the features,")
    return "dot", {"axes": both, "normalize": settings.optional("normalize", bool, False)}


def _padding(settings: Settings) -> Any:
    before, after = _both_sides(settings, "padding")
    return "pad", {"before": before, "after": after}


def _cropping(settings: Settings) -> Any:
    before, after = _both_sides(settings, "cropping")
    return "pad", {"before": -before, "after": -after}


def _both_sides(settings: Settings, name: str) -> list[int]:
    steps = settings.value(name, None)
    both = steps if isinstance(steps, list) else [steps, steps]
    if len(both) != 2 or any(type(n) is not int or not 0 <= n <= MAX_STEPS for n in both):
        settings.refuse(name, f"one or two ints in [0, {MAX_STEPS:,}]")
    return both


def _upsampling(settings: Settings) -> Any:
    size = settings.value("size", settings.value("length", None))
    if type(size) is not int or not 1 <= size <= MAX_STEPS:
        settings.refuse("size", f"an int in [1, {MAX_STEPS:,}]")
    return "upsample", {"count": size}


KINDS = {
    "Reshape": _reshape,
    "Permute": _permute,
    "Dot": _dot,
    "ZeroPadding1D": _padding,
    "Cropping1D": _cropping,
    "UpSampling1D": _upsampling,
}
