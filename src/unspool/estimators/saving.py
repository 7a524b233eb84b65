"""A fitted estimator to the JSON content of a saved model, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.encode import Columns, TextInput, input_from_fields
from unspool.encode.vectors import as_list
from unspool.errors import ModelFileError, bad_parameter
from unspool.estimators import blending
from unspool.parameters import TABLE, check_parameters
from unspool.saved import Fields, Weights

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator

# Parameters that the first files do not hold, and what those models do.
ADDED = {p.name: p.default if p.before is ... else p.before for p in TABLE if p.later}


def content(model: SequenceEstimator) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    linear = {}
    if model.linear_ is not None and model.blend_ is not None:
        linear = {"linear": blending.content(model.linear_, model.blend_)}
    beside = {} if model.columns_ is None else {"columns": model.columns_.to_dict()}
    names = getattr(model, "feature_names_in_", None)
    return {
        **linear,
        **beside,
        **({} if names is None else {"feature_names": [*map(str, names)]}),
        "class": type(model).__name__,
        "parameters": _parameters(model),
        "input": model.input_.to_dict(),
        **({} if type(model.task_) is model.task else {"task": model.task_.name}),
        "target": model.task_.to_dict(),
        "training": {
            "history": model.history_,
            "best_epoch": model.best_epoch_,
            "interrupted": model.interrupted_,
            "members": model.ensemble_,
        },
    }


def tensors(model: SequenceEstimator) -> dict[str, torch.Tensor]:
    """The numbers of the network and of the linear part, by name."""
    linear = {} if model.linear_ is None else blending.tensors(model.linear_)
    return {**model.network_.state_dict(), **linear}


def restore(cls: type[SequenceEstimator], fields: Fields, weights: Weights) -> SequenceEstimator:
    """The estimator whose `content` and weights were saved.

    The network is first built without memory (torch's meta device), so that the file's tensors are compared
    with what the settings say before anything of the size of the settings is allocated.
    """
    model = cls(**_read_parameters(cls, fields.child("parameters")))
    model.input_ = input_from_fields(fields.child("input"))
    characters = getattr(model.input_, "characters", None)
    if (characters is None) != (model.characters is None):
        raise ModelFileError("its encoder has characters, or its parameters, but not both.")
    model.columns_ = Columns.from_fields(fields.child("columns")) if "columns" in fields.data else None
    named = [] if model.columns_ is None else [part.name for part in model.columns_.parts]
    if named != [*model.numeric, *model.categorical]:
        raise ModelFileError("its columns are not those that its parameters name.")
    kinds = {task.name: task for task in (cls.task, *cls.other_tasks)}
    kind = kinds[fields.choice("task", kinds)] if "task" in fields.data else cls.task
    model.task_ = kind.from_fields(fields.child("target"))
    training = fields.child("training")
    model.history_ = [_read_epoch(epoch) for epoch in training.items("history", dict)]
    model.best_epoch_ = training.get("best_epoch", int)
    model.interrupted_ = training.get("interrupted", bool)
    model.ensemble_ = training.get("members", int) if "members" in training.data else 1
    if not 1 <= model.ensemble_ <= len(weights.shapes):
        raise ModelFileError(
            f"it cannot have {model.ensemble_} members in the {len(weights.shapes)} tensors it holds."
        )
    widths = model.hidden_size if isinstance(model.hidden_size, tuple) else ()
    if max(model.num_layers, len(widths), len(model.dense)) > len(weights.shapes):
        raise ModelFileError(
            f"its settings have more layers than the {len(weights.shapes)} tensors it holds."
        )
    try:
        with torch.device("meta"):
            expected = model._build_network().state_dict()
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ModelFileError(f"its settings do not make a network ({error}).") from error
    beside = 0 if model.columns_ is None else model.columns_.width
    linear = fields.child("linear") if "linear" in fields.data else None
    if linear is not None:
        expected = {**expected, **blending.expected(linear, model.task_, beside)}
    tensors = weights.read(expected)
    model.linear_ = model.blend_ = None
    if linear is not None:
        if not isinstance(model.input_, TextInput):
            raise ModelFileError("it has a linear part, which only models of texts can have.")
        model.linear_, model.blend_ = blending.restore(model.input_.encoder, linear, tensors)
    with torch.random.fork_rng(devices=[]):
        model.network_ = model._build_network()
    model.network_.load_state_dict(tensors)
    model.network_.eval()
    model._finish()
    if "feature_names" in fields.data:
        model.feature_names_in_ = np.array(
            fields.items("feature_names", str, model.n_features_in_), dtype=object
        )
    return model


def _parameters(model: SequenceEstimator) -> dict[str, Any]:
    values = model.get_params(deep=False)
    if not isinstance(values["cell"], str):
        bad_parameter(
            type(model).__name__,
            "cell",
            "a name to be saved",
            values["cell"],
            "Put the factory into unspool.cells.registry['my-cell'] and fit with cell='my-cell'; "
            "a program that loads the model does the same first.",
        )
    if isinstance(values["random_state"], np.random.RandomState):
        values["random_state"] = None
    sources = [os.fspath(s) for s in as_list(values["vectors"]) if not isinstance(s, tuple)]
    values["vectors"] = sources if isinstance(values["vectors"], list) else sources[0] if sources else None
    if isinstance(values["class_weight"], dict):
        values["class_weight"] = list(values["class_weight"].items())
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(cls: type[SequenceEstimator], fields: Fields) -> dict[str, Any]:
    defaults = cls().get_params(deep=False)
    odd = sorted((set(defaults) ^ set(fields.data)) - set(ADDED)) or sorted(set(fields.data) - set(defaults))
    if odd:
        raise ModelFileError(
            f"its parameters are not those of {cls.__name__}: {odd[0]!r} is missing or unknown."
        )
    values = {name: fields.data.get(name, ADDED.get(name, defaults[name])) for name in defaults}
    values["cell"] = fields.get("cell", str)
    for p in TABLE:
        kind = p.many or p.repeat
        if kind is not None and p.name in fields.data and (p.repeat or isinstance(values[p.name], list)):
            values[p.name] = tuple(fields.items(p.name, kind))
    fields.get("pooling", str)
    if isinstance(values["class_weight"], list):
        pairs = values["class_weight"]
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise ModelFileError("class_weight must hold pairs of a class and its weight.")
        values["class_weight"] = dict(pairs)
    check_parameters(cls.__name__, values)
    return values


def _read_epoch(data: dict[str, Any]) -> dict[str, float]:
    if not all(type(value) in (int, float) for value in data.values()):
        raise ModelFileError("the training history must hold numbers.")
    return data
