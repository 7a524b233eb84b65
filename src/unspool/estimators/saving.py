"""A fitted estimator to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.encode import Columns, TextInput, input_from_fields
from unspool.encode.vectors import names_of
from unspool.errors import ModelFileError
from unspool.estimators import blending
from unspool.parameters import TABLE, check_parameters
from unspool.saved import Fields, Weights, models

if TYPE_CHECKING:
    from unspool.estimators.fitted import FittedSequences

# Parameters that the first files do not hold, and what those models do.
ADDED = {p.name: p.default if p.before is ... else p.before for p in TABLE if p.later}


def content(model: FittedSequences) -> dict[str, Any]:
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
        "training": {**models.training_of(model), "members": model.ensemble_},
    }


def tensors(model: FittedSequences) -> dict[str, torch.Tensor]:
    """The numbers of the network and of the linear part, by name."""
    linear = {} if model.linear_ is None else blending.tensors(model.linear_)
    return {**model.network_.state_dict(), **linear}


def restore(cls: type[FittedSequences], fields: Fields, weights: Weights) -> FittedSequences:
    """The estimator whose `content` and weights were saved; `ModelFileError` where they do not hold."""
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
    models.read_training(model, training)
    model.ensemble_ = training.get("members", int) if "members" in training.data else 1
    if not 1 <= model.ensemble_ <= len(weights.shapes):
        raise ModelFileError(
            f"it cannot have {model.ensemble_} members in the {len(weights.shapes)} tensors it holds."
        )
    widths = model.hidden_size if isinstance(model.hidden_size, tuple) else ()
    models.check_depth(max(model.num_layers, len(widths), len(model.dense)), weights)
    beside = 0 if model.columns_ is None else model.columns_.width
    linear = fields.child("linear") if "linear" in fields.data else None
    others = {} if linear is None else blending.expected(linear, model.task_, beside)
    model.network_, found = models.read_network(model._build_network, weights, others)
    model.linear_ = model.blend_ = None
    if linear is not None:
        if not isinstance(model.input_, TextInput):
            raise ModelFileError("it has a linear part, which only models of texts can have.")
        model.linear_, model.blend_ = blending.restore(model.input_.encoder, linear, found)
    model._finish()
    if "feature_names" in fields.data:
        model.feature_names_in_ = np.array(
            fields.items("feature_names", str, model.n_features_in_), dtype=object
        )
    return model


def _parameters(model: FittedSequences) -> dict[str, Any]:
    values = {**models.parameters_of(model), "vectors": names_of(model.vectors)}
    if isinstance(model.class_weight, dict):
        values["class_weight"] = models.plain(list(model.class_weight.items()))
    return values


def _read_parameters(cls: type[FittedSequences], fields: Fields) -> dict[str, Any]:
    values = models.read_parameters(cls, fields, TABLE, ADDED)
    fields.get("pooling", str)
    if isinstance(values["class_weight"], list):
        pairs = values["class_weight"]
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise ModelFileError("class_weight must hold pairs of a class and its weight.")
        values["class_weight"] = dict(pairs)
    check_parameters(cls.__name__, values)
    return values
