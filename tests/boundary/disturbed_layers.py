"""Registry: what is wrong, or unusual, with the layer of a call and its weights."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .disturbing import _learn, disturb, recurrent_weight
from .given import Given


def layer_of(name: str, wanted: str, *words: str) -> Callable[[Callable[[Any], Any]], Any]:
    def add(change: Callable[[Any], Any]) -> Any:
        def apply(given: Given) -> None:
            given.layer = change(given.layer)

        disturb(f"layer {name}", wanted, *words)(apply)
        return change

    return add


layer_of("deep-copied", "numbers")(copy.deepcopy)
layer_of("pickled", "numbers")(lambda layer: pickle.loads(pickle.dumps(layer)))
layer_of("of float64", "error", "float64", "dtype")(lambda layer: layer.double())
layer_of("of float16", "error", "float16", "Half", "dtype")(lambda layer: layer.half())
layer_of("of bfloat16", "error", "bfloat16", "dtype")(lambda layer: layer.bfloat16())
layer_of("on meta", "error", "meta")(lambda layer: layer.to("meta"))
layer_of("in shared memory", "numbers")(lambda layer: layer.share_memory())
layer_of("there and back", "numbers")(lambda layer: layer.double().float())


@layer_of("assigned weights", "numbers")
def _(layer: Any) -> Any:
    weights = {name: weight.clone() for name, weight in layer.state_dict().items()}
    layer.load_state_dict(weights, assign=True)
    return layer


@layer_of("with weights of one storage", "numbers")
def _(layer: Any) -> Any:
    flat = torch.cat([p.detach().flatten() for p in layer.parameters()])
    at = 0
    for weight in layer.parameters():
        weight.data = flat[at : at + weight.numel()].view(weight.shape)
        at += weight.numel()
    return layer


@layer_of("with a new Parameter", "numbers")
def _(layer: Any) -> Any:
    for module in layer.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                setattr(module, name, nn.Parameter(weight.detach() * 0.5, weight.requires_grad))
    return layer


@layer_of("with a weight missing", "error", "weight", "None", "attribute")
def _(layer: Any) -> Any:
    for module in layer.modules():
        for name in list(module._parameters):
            if name.startswith("weight_hh"):
                module._parameters[name] = None
                return layer
    return layer


@disturb("x of float64, and all else", "either", "float32")
def _(given: Given) -> None:
    """A whole call in double: torch's numbers from the plain loop; a frozen layer may refuse."""
    given.layer = given.layer.double()
    given.x = given.x.detach().double()
    given.state = [part.detach().double() for part in given.state]
    for tensor in (given.x, *given.state):
        _learn(given, tensor)


@disturb("weights changed in place before backward", "either", "inplace", "in place", "in-place", "modified")
def _(given: Given) -> None:
    """Gradients of weights that are no longer there: torch refuses."""
    flat = given.flat

    def changed(x: Any, state: Any) -> Any:
        results = flat(x, state)
        if given.train:
            with torch.no_grad():
                recurrent_weight(given).mul_(2)
        return results

    given.flat = changed  # type: ignore[method-assign]


@disturb("weights replaced before backward", "either", "shape", "size", "weight")
def _(given: Given) -> None:
    flat = given.flat

    def changed(x: Any, state: Any) -> Any:
        results = flat(x, state)
        if given.train:
            weight = recurrent_weight(given)
            weight.data = weight.data[:1, :1].clone()
        return results

    given.flat = changed  # type: ignore[method-assign]
