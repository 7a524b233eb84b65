"""A fitted estimator as a stream runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.encode import AudioInput, IdInput, SeriesInput, TextInput
from unspool.engine.frozen import FORMS
from unspool.errors import DataError, check_choice, check_fitted
from unspool.estimators.network import members_of
from unspool.streaming import AheadModel, StreamModel
from unspool.streaming.feeds import Feed, Ids, Series
from unspool.streaming.network import chain_of_networks, layers_of_networks, spelling_of
from unspool.streaming.spelled import SpelledWords, Spelling
from unspool.streaming.text import Characters, Words

if TYPE_CHECKING:
    from unspool.estimators.fitted import FittedSequences


def stream_model(
    model: FittedSequences, weights: str = "float32", look_ahead: int | None = None
) -> StreamModel:
    """`model` as `unspool.streaming` runs it; raises as `SequenceEstimator.stream`."""
    check_fitted(model)
    check_choice("Stream", "weights", weights, list(FORMS))
    _check(model)
    members = members_of(model.network_)
    layers: list[Any] = []
    with torch.no_grad():
        if look_ahead is None:
            chain, table = chain_of_networks(members, weights)
        else:
            layers, chain, table = layers_of_networks(members, weights, look_ahead)
    task, count = model.task_, len(members)

    def outputs(raw: np.ndarray) -> np.ndarray:
        if count == 1:
            return raw.astype(np.float64)
        each = torch.from_numpy(raw).unflatten(1, (count, -1)).unbind(1)
        return torch.stack(each).mean(0).numpy().astype(np.float64)

    parts = (
        chain,
        _feed(model.input_, table, spelling_of(members)),
        lambda raw: task.decode(outputs(raw)),
        lambda raw: task.columns(outputs(raw), task.default_names()),
        json.dumps([type(model).__name__, model.input_.to_dict(), task.to_dict()]).encode(),
    )
    return (
        StreamModel(*parts)
        if look_ahead is None
        else AheadModel(*parts, members=layers, look_ahead=look_ahead)
    )


def _check(model: FittedSequences) -> None:
    """`DataError` for what needs the whole sequence, or more than it."""
    if model.linear_ is not None:
        raise DataError(
            "The model has a linear part, which reads whole texts. Stream its network alone, "
            "model.network_alone().stream(), or fit it with blend=False."
        )
    if model.columns_ is not None:
        raise DataError("The model reads further columns beside a sequence, which a stream does not have.")
    if isinstance(model.input_, AudioInput):
        raise DataError(
            "Recordings are resampled and scaled as a whole, so a model of them cannot be streamed. Compute "
            "spectra step by step, and fit a model of series to them."
        )


def _feed(input_: Any, table: Any, spelling: Spelling | None) -> Feed:
    if isinstance(input_, SeriesInput):
        return Series(input_)
    if isinstance(input_, IdInput):
        return Ids(input_, table)
    assert isinstance(input_, TextInput)
    if spelling is not None:
        return SpelledWords(input_, spelling)
    return (Words if input_.encoder.level == "word" else Characters)(input_.encoder, table)
