"""A fitted tagger to the JSON content of a saved model, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.encode.tokens import TokenInput
from unspool.encode.vectors import as_list
from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.saved import Fields, Weights
from unspool.tagging import parameters
from unspool.tagging.reading import Numbers, decide_scheme

if TYPE_CHECKING:
    from unspool.tagging.tagger import SequenceTagger


def content(model: SequenceTagger) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    labels = model.labels_
    return {
        "class": type(model).__name__,
        "parameters": _parameters(model),
        "input": model.input_.to_dict(),
        "tags": model.classes_.tolist(),
        "labels": None if labels is None else labels.tolist(),
        "scheme": model.scheme_,
        "training": {
            "history": model.history_,
            "best_epoch": model.best_epoch_,
            "interrupted": model.interrupted_,
        },
    }


def restore(cls: type[SequenceTagger], fields: Fields, weights: Weights) -> SequenceTagger:
    """The tagger whose `content` and weights were saved; `ModelFileError` where they do not hold.

    The network is first built on torch's meta device, so that nothing of the size that the settings tell is allocated
    before the file's tensors are found to have it.
    """
    model = cls(**_read_parameters(cls, fields.child("parameters")))
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
    training = fields.child("training")
    model.history_ = [_epoch(row) for row in training.items("history", dict)]
    model.best_epoch_, model.interrupted_ = training.get("best_epoch", int), training.get("interrupted", bool)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = model._build_network().state_dict()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"its settings do not make a network ({error}).") from error
    tensors = weights.read(expected)
    with torch.random.fork_rng(devices=[]):
        model.network_ = model._build_network()
    model.network_.load_state_dict(tensors)
    model.network_.eval()
    model._finish()
    return model


def _parameters(model: SequenceTagger) -> dict[str, Any]:
    values = model.get_params(deep=False)
    if not isinstance(values["cell"], str):
        hint = "Put the factory into unspool.cells.registry['my-cell'] and fit with cell='my-cell'."
        bad_parameter(type(model).__name__, "cell", "a name to be saved", values["cell"], hint)
    if isinstance(values["random_state"], np.random.RandomState):
        values["random_state"] = None
    values["vectors"] = [os.fspath(s) for s in as_list(values["vectors"]) if not isinstance(s, tuple)] or None
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(cls: type[SequenceTagger], fields: Fields) -> dict[str, Any]:
    odd = sorted(set(cls().get_params(deep=False)) ^ set(fields.data))
    if odd:
        raise ModelFileError(f"its parameters are not those of {cls.__name__}: {odd[0]!r}.")
    values = dict(fields.data)
    values["cell"] = fields.get("cell", str)
    for p in parameters.TABLE:
        kind = p.many or p.repeat
        if kind is not None and (p.repeat or isinstance(values[p.name], list)):
            values[p.name] = tuple(fields.items(p.name, kind))
    parameters.check(cls.__name__, values)
    return values


def _epoch(data: dict[str, Any]) -> dict[str, float]:
    if not all(type(value) in (int, float) for value in data.values()):
        raise ModelFileError("the training history must hold numbers.")
    return data
