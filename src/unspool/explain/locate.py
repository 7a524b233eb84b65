"""One recurrent layer of a model: its directions, what goes into it, and what it starts from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.encode import read_rows
from unspool.engine.dispatch import Direction, run
from unspool.errors import DataError, bad_parameter, check_fitted, check_int, described
from unspool.nn import GRU, LSTM, RNN, Recurrent, Stack
from unspool.nn.layout import to_ragged
from unspool.ragged import Ragged


@dataclass(frozen=True)
class Layer:
    """One or two directions, each with its initial state (B, ·); x: the layer's input, a Ragged (N, F)."""

    directions: list[Direction]
    states: list[Any]
    x: Ragged

    def direction(self, backward: bool) -> tuple[Direction, Any]:
        """The direction and its initial state; `InvalidParameterError` where there is no second one."""
        if backward and len(self.directions) == 1:
            bad_parameter("this function", "backward", "False for a layer with one direction", backward)
        return self.directions[int(backward)], self.states[int(backward)]


def layer_count(model: Any) -> int:
    """The recurrent layers of a fitted estimator, a layer of `unspool.nn` or a cell (1)."""
    stack = model.network_.stack if hasattr(model, "network_") else model
    return len(stack.layers) if isinstance(stack, Stack) else getattr(stack, "num_layers", 1)


def locate(model: Any, X: Any, layer: int = 1) -> Layer:
    """The layer with this number, from 1, and what reaches it from the sequences X, in evaluation mode.

    model: a fitted estimator, with X as its `predict` takes it; or a layer of `unspool.nn` or a cell, with X a Ragged,
    a list of tensors (T, F), or one tensor (B, T, F).
    """
    _check_model(model)
    if check_int("this function", "layer", layer) > layer_count(model):
        bad_parameter("this function", "layer", f"a layer from 1 to {layer_count(model)}", layer)
    with torch.no_grad():
        if hasattr(model, "network_"):
            return _in_stack(model.network_.stack, _embedded(model, X), layer)
        module: Any = copy.deepcopy(model).eval() if model.training else model
        x = X if isinstance(X, Ragged) else Ragged.from_list(list(X))
        x = x.with_values(x.values.to(next(module.parameters()).dtype))
        if isinstance(module, Stack):
            return _in_stack(module, x, layer)
        if isinstance(module, (LSTM, GRU, RNN)):
            return _in_drop_in(module, x, layer)
        if isinstance(module, Recurrent):
            return _of_recurrent(module, x)
        return Layer([Direction(module)], [module.initial_state(len(x))], x)


def _check_model(model: Any) -> None:
    """`DataError` for what has no layers to look at here, `NotFittedError` for an estimator before its fit."""
    if hasattr(model, "get_params"):
        check_fitted(model)
    if hasattr(model, "network_"):
        good, hint = hasattr(model.network_, "stack") and "text_column" in model.get_params(), ""
        if hasattr(model.network_, "stack"):
            hint = (
                " Its network alone is a layer of unspool.nn: pass model.network_.stack and a tensor (T, F)."
            )
    else:
        good = isinstance(model, nn.Module) and callable(getattr(model, "initial_state", None))
        good, hint = good or isinstance(model, Stack), ""
        if isinstance(model, (nn.RNNBase, nn.RNNCellBase)):
            hint = f" unspool.nn.{type(model).__name__} takes its arguments and its state_dict."
    if not good:
        raise DataError(
            "This function takes a fitted SequenceRegressor or SequenceClassifier, a layer of unspool.nn or a cell. "
            f"Got {described(model)}.{hint}"
        )


def layer_input(model: Any, X: Any, layer: int = 1) -> Ragged:
    """What reaches a recurrent layer from sequences X, in evaluation mode: a Ragged (N, F), such as token vectors.

    model: a fitted estimator, with X as its `predict` takes it; or a layer of `unspool.nn` with X a Ragged, a list of
    tensors (T, F), or one tensor (B, T, F). layer: its number, from 1.

    Raises `InvalidParameterError` for a layer that the model has not.
    """
    return locate(model, X, layer).x


def _embedded(model: Any, X: Any) -> Ragged:
    ids = model.input_.encode(
        read_rows(type(model).__name__, X, model.get_params(deep=False), model.input_.kind), warn=True
    )
    embedding = model.network_.embedding
    return ids if embedding is None else ids.with_values(embedding(ids.values))


def _in_stack(stack: Stack, x: Ragged, layer: int) -> Layer:
    """What the layers below give is what a stack of those alone gives."""
    if layer > 1:
        below = copy.copy(stack)
        below._modules = {**stack._modules, "layers": stack.layers[: layer - 1]}
        x = below(x)[0]
    found: Any = stack.layers[layer - 1]
    return _of_recurrent(found, x)


def _of_recurrent(layer: Recurrent, x: Ragged) -> Layer:
    start = layer.initial_state(len(x))
    states = list(start) if layer.bidirectional else [start]
    directions = layer._call(x.values, x.offsets, states, None)[0]
    return Layer(directions, states, x)


def _in_drop_in(module: Any, x: Ragged, layer: int) -> Layer:
    given = module._initial(x.values, len(x), None, True)
    for k in range(layer):
        directions = module.directions(k)
        states = [module._state(given, k * len(directions) + d) for d in range(len(directions))]
        if k == layer - 1:
            break
        x = x.with_values(run(directions, x.values, x.offsets, states)[0])
    return Layer(directions, states, x)


def sequences(x: Any) -> Ragged:
    """A tensor (B, T, F), a Ragged or a PackedSequence as a Ragged; `DataError` for anything else."""
    return to_ragged(x, True, "this function")[0]


def one_sequence(model: Any, x: Any) -> Any:
    """`x`, one sequence as `activations` takes it, as a batch of one for `locate`."""
    _check_model(model)
    if hasattr(model, "network_"):
        if isinstance(x, (list, tuple)) and any(isinstance(part, (str, np.ndarray, Tensor)) for part in x):
            raise DataError(f"Give one sequence, such as X[0]. Got {described(x)}.")
        return [x]
    if not isinstance(x, Tensor) or x.dim() != 2:
        got = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"The sequence must be a tensor (steps, features). Got {got}.")
    return [x]
