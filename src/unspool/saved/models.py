"""What every saved estimator holds beside its own: its parameters, how it was trained, its network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.cells.base import unfilled
from unspool.errors import ModelFileError, bad_parameter
from unspool.nn.shapes import shapes_alone
from unspool.saved.fields import Fields
from unspool.saved.weights import Weights


def parameters_of(model: Any) -> dict[str, Any]:
    """The constructor's arguments as JSON values; `InvalidParameterError` for a `cell` that is no name."""
    values = model.get_params(deep=False)
    if not isinstance(values["cell"], str):
        hint = (
            "Put the factory into unspool.cells.registry['my-cell'] and fit with cell='my-cell'; a program that loads "
            "the model does the same first."
        )
        bad_parameter(type(model).__name__, "cell", "a name to be saved", values["cell"], hint)
    if isinstance(values["random_state"], (np.random.RandomState, np.random.Generator)):
        values["random_state"] = None
    return {name: plain(value) for name, value in values.items()}


def read_parameters(
    cls: type, fields: Fields, table: Iterable[Any], added: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The constructor's arguments that `parameters_of` wrote, with the types of `table` (`Parameter`), not yet checked.

    added: parameters that older files lack -> what those models do.
    """
    added = added or {}
    names = set(cls().get_params(deep=False))
    odd = sorted((names ^ set(fields.data)) - (names & set(added)))
    if odd:
        raise ModelFileError(
            f"its parameters are not those of {cls.__name__}: {odd[0]!r} is missing or unknown."
        )
    values = {**{name: added[name] for name in names & set(added)}, **fields.data}
    values["cell"] = fields.get("cell", str)
    for p in table:
        kind = p.many or p.repeat
        if kind is not None and isinstance(fields.data.get(p.name), list):
            values[p.name] = tuple(fields.items(p.name, kind))
    return values


def training_of(model: Any) -> dict[str, Any]:
    """The history and how it ended, as JSON values."""
    return {
        "history": model.history_,
        "best_epoch": model.best_epoch_,
        "interrupted": model.interrupted_,
    }


def read_training(model: Any, fields: Fields) -> None:
    """Give `model` what `training_of` wrote."""
    model.history_ = [numbers(epoch) for epoch in fields.items("history", dict)]
    model.best_epoch_ = fields.get("best_epoch", int)
    model.interrupted_ = fields.get("interrupted", bool)


def numbers(data: dict[str, Any]) -> dict[str, float]:
    """`data` if its values are numbers; otherwise `ModelFileError`."""
    if not all(type(value) in (int, float) for value in data.values()):
        raise ModelFileError("the training history must hold numbers.")
    return data


def check_depth(layers: int, weights: Weights) -> None:
    """`ModelFileError` for settings with more layers than the file has tensors."""
    if layers > len(weights.shapes):
        raise ModelFileError(
            f"its settings have more layers than the {len(weights.shapes)} tensors it holds."
        )


def read_network(
    build: Callable[[], Any], weights: Weights, others: Mapping[str, Tensor] | None = None
) -> tuple[Any, dict[str, Tensor]]:
    """(the network with the file's weights, in evaluation; the tensors of `others`).

    build() makes a new network. It is first built without memory (torch's meta device), so that the file's tensors are
    compared with what the settings say before anything of the size of the settings is allocated.
    others: name -> an example of each further tensor that the file must hold.
    """
    others = others or {}
    try:
        with shapes_alone():
            expected = build().state_dict()
    except (RuntimeError, OverflowError, TypeError, MemoryError) as error:
        raise ModelFileError(f"its settings do not make a network ({error}).") from error
    tensors = weights.read({**expected, **others})
    further = {name: tensors.pop(name) for name in others}
    with torch.random.fork_rng(devices=[]), unfilled():
        network: nn.Module = build()
    network.load_state_dict(tensors)
    network.eval()
    return network, further


def plain(value: Any) -> Any:
    """`value` as JSON has it: lists for tuples, Python's numbers for NumPy's, a path as text."""
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
