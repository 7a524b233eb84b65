"""A fitted tagger as a stream runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.engine.frozen import FORMS
from unspool.errors import DataError, check_choice, check_fitted
from unspool.streaming import AheadModel, StreamModel
from unspool.streaming.network import chain_of_networks, layers_of_networks, spelling_of
from unspool.streaming.spelled import Tokens

if TYPE_CHECKING:
    from unspool.tagging.tagger import SequenceTagger


def stream_model(
    model: SequenceTagger, weights: str = "float32", look_ahead: int | None = None
) -> StreamModel:
    """`model` as `unspool.streaming` runs it: the tag of each token that comes; raises as `SequenceTagger.stream`."""
    check_fitted(model)
    check_choice("Stream", "weights", weights, list(FORMS))
    if model.network_.crf is not None:
        raise DataError(
            "The model has a CRF: the best tags of tokens that came depend on those to come. Fit it with crf=False."
        )
    if model.labels_ is not None:
        raise DataError(
            "The model also labels whole sentences, which a stream of tags does not. Fit it without labels."
        )
    layers: list[Any] = []
    with torch.no_grad():
        if look_ahead is None:
            chain, table = chain_of_networks([model.network_], weights)
        else:
            layers, chain, table = layers_of_networks([model.network_], weights, look_ahead)
    names = model.classes_.tolist()

    def tags(outputs: np.ndarray) -> list[str]:
        return [names[k] for k in outputs.argmax(1)]

    about = json.dumps([type(model).__name__, model.input_.to_dict(), names]).encode()
    feed = Tokens(model.input_, table, spelling_of([model.network_]))
    if look_ahead is None:
        return StreamModel(chain, feed, tags, None, about)
    return AheadModel(chain, feed, tags, None, about, members=layers, look_ahead=look_ahead)
