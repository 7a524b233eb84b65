"""Saved models: one folder, or one zip, of `model.json` and `weights.safetensors`. Data only, no code."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, TypeVar

from unspool.errors import ModelFileError, UnspoolError
from unspool.saved.document import decode, encode
from unspool.saved.fields import Fields
from unspool.saved.narrow import shrink
from unspool.saved.store import check_place, read_parts, write_parts
from unspool.saved.weights import FIELD, FORMS, Weights, to_bytes

if TYPE_CHECKING:
    from torch import Tensor

C = TypeVar("C", bound=type)

__all__ = ["Fields", "Weights", "check_place", "class_of", "content_of", "load", "register", "save", "shrink"]

#: The classes that a saved model may be of, by name; each enters itself by `register`.
registry: dict[str, Any] = {}

#: Name -> the module whose import registers it.
MODULES = {
    "SequenceRegressor": "unspool.estimators.regressor",
    "SequenceClassifier": "unspool.estimators.classifier",
    "SequenceTagger": "unspool.tagging.contract",
    "SequenceGenerator": "unspool.generation.contract",
    "Forecaster": "unspool.forecasting.contract",
    "Seq2Seq": "unspool.seq2seq.contract",
    "ImportedModel": "unspool.importing",
}

#: Name -> the module of a class of the same name that does without scikit-learn what a fitted model does.
FITTED = {
    "SequenceRegressor": "unspool.estimators.fitted",
    "SequenceClassifier": "unspool.estimators.fitted",
    "SequenceTagger": "unspool.tagging.tagger",
    "SequenceGenerator": "unspool.generation.estimator",
    "Forecaster": "unspool.forecasting.forecaster",
    "Seq2Seq": "unspool.seq2seq.estimator",
}


def register(cls: C) -> C:
    """Decorator of a class whose models can be loaded: it has `from_saved(content: Fields, weights: Weights)`."""
    registry[cls.__name__] = cls
    return cls


def save(path: str | os.PathLike[str], content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model to `path`: a folder, or one file where `path` ends in ".zip".

    The model is written beside `path` and then renamed, so `path` never holds half of one; a model that is
    there already is replaced in one step. Raises `ModelFileError` where `path` holds anything else than a
    model, or where it cannot be written (no space, no permission); what was there is then unchanged.
    """
    weights = to_bytes(tensors)
    write_parts(path, encode(content, weights), weights)


def content_of(path: str | os.PathLike[str]) -> Fields:
    """The document of a saved model; `ModelFileError` as of `load` where there is no readable one."""
    with read_parts(os.path.expanduser(os.fspath(path))) as (document, _, _):
        return decode(document)[0]


def class_of(path: str | os.PathLike[str]) -> str:
    """The name of the saved model's class; `ModelFileError` as of `content_of`."""
    return content_of(path).get("class", str)


def load(path: str | os.PathLike[str], to_fit: bool = True) -> Any:
    """The estimator that `save` wrote to `path` (a folder or a zip), ready to predict.

    to_fit: False: of the kinds in `FITTED` what predicts alone, of a class of the same name without scikit-learn's
    contract; scikit-learn, whose import takes a second and 120 MB, is then not loaded.

    Nothing in the file is run, and no more memory is taken than the file itself accounts for. Raises
    `ModelFileError`, with the reason, where the model is missing, damaged, truncated, inconsistent or newer
    than this version of unspool reads.
    """
    name = os.path.expanduser(os.fspath(path))
    try:
        with read_parts(name) as (document, stream, size):
            content, checksum = decode(document)
            name_of_class = content.choice("class", {**MODULES, **registry})
            form = content.choice(FIELD, FORMS) if FIELD in content.data else None
            model = _class(name_of_class, to_fit)
            return model.from_saved(content, Weights(stream, size, checksum, form))
    except ModelFileError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: {error}") from error
    except UnspoolError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: its settings do not hold. {error}") from error
    except MemoryError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: it does not fit into memory.") from error


def _class(name: str, to_fit: bool) -> Any:
    if name in FITTED and not to_fit:
        return getattr(importlib.import_module(FITTED[name]), name)
    if name not in registry:
        importlib.import_module(MODULES[name])
    return registry[name]
