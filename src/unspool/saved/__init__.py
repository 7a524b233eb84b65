"""Saved models: one folder, or one zip, of `model.json` and `weights.safetensors`. Data only, no code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from unspool.errors import ModelFileError, UnspoolError
from unspool.saved.document import Fields, decode, encode
from unspool.saved.store import read_parts, write_parts
from unspool.saved.weights import Weights, to_bytes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Fields", "Weights", "load", "save"]


def save(path: str | os.PathLike[str], content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model to `path`: a folder, or one file where `path` ends in ".zip".

    The model is written beside `path` and then renamed, so `path` never holds half of one; a model that is
    there already is replaced in one step. Raises `ModelFileError` where `path` holds anything else than a
    model, or where it cannot be written (no space, no permission); what was there is then unchanged.
    """
    weights = to_bytes(tensors)
    write_parts(path, encode(content, weights), weights)


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote to `path` (a folder or a zip), ready to predict.

    Nothing in the file is run, and no more memory is taken than the file itself accounts for. Raises
    `ModelFileError`, with the reason, where the model is missing, damaged, truncated, inconsistent or newer
    than this version of unspool reads.
    """
    from unspool.estimators import saved_classes

    name = os.fspath(path)
    try:
        with read_parts(name) as (document, stream, size):
            content, checksum = decode(document)
            classes = saved_classes()
            class_name = content.choice("class", classes)
            return classes[class_name].from_saved(content, Weights(stream, size, checksum))
    except ModelFileError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: {error}") from error
    except UnspoolError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: its settings do not hold. {error}") from error
    except MemoryError as error:
        raise ModelFileError(f"Cannot load the model {name!r}: it does not fit into memory.") from error
