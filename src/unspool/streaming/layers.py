"""Layers of `unspool.nn` as links of a chain."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from unspool.engine.dispatch import Direction
from unspool.engine.frozen import FORMS
from unspool.errors import DataError, EngineError, bad_parameter, check_choice
from unspool.nn import GRU, LSTM, RNN, Recurrent, Stack
from unspool.nn.layout import check_can_freeze
from unspool.state import flatten, unflatten
from unspool.streaming.between import Sum
from unspool.streaming.chain import INPUT, Chain, Spot


def chain_of(module: nn.Module, weights: str = "float32", input_size: int | None = None) -> Chain:
    """A chain of a copy of `module`, a `Recurrent`, `Stack`, `LSTM`, `GRU` or `RNN`, as it is in evaluation: its
    outputs at every step.

    input_size: of a cell that does not say.
    Raises `DataError` for a layer that reads sequences from their end, `EngineError` for one that cannot be frozen.
    """
    check_layers("Stream", module, weights)
    check_forward(module)
    twin = copied(module)
    chain = Chain(input_size or size_of_input(twin), weights, engine_of(twin))
    output, size = add(chain, twin, (INPUT, 0), chain.input_size)
    return chain.finish(output, size, every=True)


def check_layers(owner: str, module: Any, weights: str) -> None:
    """`InvalidParameterError` for what is no layer of `unspool.nn`, or another form of weights."""
    check_choice(owner, "weights", weights, list(FORMS))
    if not isinstance(module, (Recurrent, Stack, LSTM, GRU, RNN)):
        bad_parameter(
            owner, "model", "a fitted estimator, a Recurrent, a Stack, an LSTM, a GRU or an RNN", module
        )


def copied(module: Any) -> Any:
    """`module` in evaluation, its weights as they are now; `EngineError` where they cannot be frozen."""
    for each in module.modules():
        if isinstance(each, (Recurrent, LSTM, GRU, RNN)):
            check_can_freeze(each)
    for name, weight in module.named_parameters():
        if weight.is_floating_point() and weight.dtype != torch.float32:
            raise EngineError(
                f"A stream computes in torch.float32. The weight {name!r} is {weight.dtype}. "
                "Convert the layer with .float()."
            )
    return copy.deepcopy(module).eval().requires_grad_(False)


def check_forward(module: nn.Module) -> None:
    """`DataError` for layers that read a sequence from its end."""
    for each in module.modules():
        if getattr(each, "bidirectional", False):
            raise DataError(
                f"{type(each).__name__} is bidirectional: its backward direction starts at the end of a sequence, "
                "which a stream does not have. Build and fit the model with bidirectional=False, or take "
                "stream(look_ahead=N), unspool.streaming.LookAheadStream or --look-ahead N, which see N steps ahead."
            )
        if getattr(each, "reverse", False):
            raise DataError(
                f"{type(each).__name__} has reverse=True: it starts at the end of a sequence, which a stream does not "
                "have. Build it without reverse, or take unspool.streaming.LookAheadStream."
            )


def engine_of(module: nn.Module) -> str:
    """What `engine` its layers ask for; "eager" before "native"."""
    asked = {layer.engine for layer in module.modules() if isinstance(layer, Recurrent)}
    return next((name for name in ("eager", "native") if name in asked), "auto")


def size_of_input(module: Any) -> int:
    """Features a step; `InvalidParameterError` for a cell that does not say."""
    layer = module.layers[0] if isinstance(module, Stack) else module
    found = getattr(layer.cell if isinstance(layer, Recurrent) else layer, "input_size", None)
    if not isinstance(found, int):
        bad_parameter("Stream", "input_size", "given for a cell without an attribute input_size", None)
    return found


def add(chain: Chain, module: Any, x: Spot, size: int) -> tuple[Spot, int]:
    """Add the links of a copied module; where its output lies, and its width."""
    if isinstance(module, Recurrent):
        return _add_recurrent(chain, module, x, size)
    if not isinstance(module, Stack):
        return _add_drop_in(chain, module, x)
    for depth, layer in enumerate(module._recurrent()):
        before = x, size
        x, size = _add_recurrent(chain, layer, x, size)
        if depth and module.connection is not None:
            out = chain.room(size)
            if module.connection == "residual":
                chain.between(Sum(), *before, [(x, out, size)])
            else:
                cell: Any = module.highways[depth - 1].cell
                chain.between(cell, *before, [(None, out, size), (x, None, size)])
            x = out
    return x, size


def _add_recurrent(chain: Chain, layer: Recurrent, x: Spot, size: int) -> tuple[Spot, int]:
    initial = layer._states(1, None, True)[0]
    return chain.layer(layer._still()[0], x, size, initial), flatten(initial)[0].shape[1]


def _add_drop_in(chain: Chain, module: Any, x: Spot) -> tuple[Spot, int]:
    size = 0
    given = module.initial_state(1)
    for depth in range(module.num_layers):
        (direction,) = module.directions(depth)
        initial = unflatten(given, [leaf[depth] for leaf in flatten(given)])
        input_size = int(module._cell(depth).input_size)
        x = chain.layer(Direction(direction.cell, False, direction.weights), x, input_size, initial)
        size = flatten(initial)[0].shape[1]
    return x, size
