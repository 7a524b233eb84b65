"""A fitted tagger to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unspool.encode.tokens import TokenInput
from unspool.encode.vectors import names_of
from unspool.errors import DataError, ModelFileError
from unspool.parameters import check_parameters
from unspool.saved import Fields, Weights, models
from unspool.tagging import parameters
from unspool.tagging.reading import Numbers, decide_scheme

if TYPE_CHECKING:
    from unspool.tagging.tagger import SequenceTagger


def content(model: SequenceTagger) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    labels = model.labels_
    values = {**models.parameters_of(model), "vectors": names_of(model.vectors)}
    if isinstance(model.class_weight, dict):
        values["class_weight"] = models.plain(list(model.class_weight.items()))
    return {
        "class": type(model).__name__,
        "parameters": values,
        "input": model.input_.to_dict(),
        "tags": model.classes_.tolist(),
        "labels": None if labels is None else labels.tolist(),
        "scheme": model.scheme_,
        "training": models.training_of(model),
    }


def restore(cls: type[SequenceTagger], fields: Fields, weights: Weights) -> SequenceTagger:
    """The tagger whose `content` and weights were saved; `ModelFileError` where they do not hold."""
    values = models.read_parameters(cls, fields.child("parameters"), parameters.TABLE, {"class_weight": None})
    if isinstance(values["class_weight"], list):
        pairs = values["class_weight"]
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise ModelFileError("class_weight must hold pairs of a tag and its weight.")
        values["class_weight"] = dict(pairs)
    check_parameters(cls.__name__, values, parameters.TABLE)
    model = cls(**values)
    model.input_ = TokenInput.from_fields(fields.child("input"))
    if (model.input_.characters is None) != (model.characters is None):
        raise ModelFileError("its encoder has characters, or its parameters, but not both.")
    tags = fields.items("tags", str)
    labels = fields.get("labels", list) if fields.data.get("labels") is not None else None
    if not tags or tags != sorted(set(tags)):
        raise ModelFileError("its tags must be one or more, sorted, all different.")
    if labels is not None and (
        len(labels) < 2 or len({type(v) for v in labels}) > 1 or type(labels[0]) not in (str, int, bool)
    ):
        raise ModelFileError("its labels must be two or more, of one type.")
    if labels is not None and labels != sorted(set(labels)):
        raise ModelFileError("its labels must be sorted, all different.")
    model.numbers_ = Numbers(np.array(tags), None if labels is None else np.array(labels))
    model.scheme_ = fields.optional("scheme", str)
    if model.scheme_ not in (None, "BIO", "IOBES"):
        raise ModelFileError(f"its scheme must be BIO, IOBES or null. Got {model.scheme_!r}.")
    try:
        decide_scheme(model.scheme_, [[tag] for tag in tags])
    except DataError as error:
        raise ModelFileError(f"its tags are not of its scheme. {error}") from error
    models.read_training(model, fields.child("training"))
    model.network_, _ = models.read_network(model._build_network, weights)
    model._finish()
    return model
