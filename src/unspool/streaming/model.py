"""What a stream runs: a chain, how chunks are read, and what its outputs say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.errors import DataError, bad_parameter, check_int
from unspool.streaming.ahead import Layer, check_backward, digest_of, layers_of
from unspool.streaming.chain import INPUT, Chain
from unspool.streaming.feeds import Feed, Numbers
from unspool.streaming.layers import chain_of, check_layers, copied, engine_of, size_of_input


@dataclass
class StreamModel:
    """Frozen: what a model was when this was made. Streams and pools share it.

    answers: outputs (n, output size) float32 -> n answers, as an array or a list; None: the outputs themselves.
    columns: the same -> name -> (n,), as a row of a table has them. about: what else tells the model from others.
    """

    chain: Chain
    feed: Feed
    answers: Callable[[np.ndarray], Any] | None = None
    columns: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
    about: bytes = b""
    _digest: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        """32 bytes: that of the chain, its weights and what reads chunks."""
        if not self._digest:
            self._digest = self.chain.digest(self.about)
        return self._digest

    def say(self, outputs: np.ndarray) -> Any:
        """The answers for outputs (n, output size)."""
        return outputs if self.answers is None else self.answers(outputs)

    def source(self, read: Tensor) -> tuple[Tensor, Tensor | None]:
        """(rows, index) as `Chain.run` takes them, for what the feed read."""
        return (read, None) if self.feed.table is None else (self.feed.table, read)


@dataclass
class AheadModel(StreamModel):
    """Of a model of both directions. members: the layers of each of its networks (`unspool.streaming.ahead`), whose
    outputs the chain takes."""

    members: list[list[Layer]] = field(default_factory=list)
    look_ahead: int = 0

    @property
    def input_size(self) -> int:
        """Numbers of a row as it goes into the layers."""
        return self.feed.width if self.feed.table is None else self.feed.table.shape[1]

    @property
    def native(self) -> bool:
        """Whether no layer takes the plain loop."""
        passes = (each for layers in self.members for layer in layers for each in layer.passes)
        return all(each.frozen is not None for each in passes)

    def given(self, read: Tensor) -> Tensor:
        """The rows (N, input_size) of what the feed read."""
        rows, index = self.source(read)
        return rows if index is None else rows[index]

    @property
    def digest(self) -> bytes:
        if not self._digest:
            self._digest = digest_of(self.members, self.chain.digest(self.about))
        return self._digest


def ahead_model(
    model: Any, look_ahead: int, weights: str = "float32", input_size: int | None = None
) -> AheadModel:
    """`model` as `LookAheadStream` runs it; raises as `stream_model`, and `DataError` for one that has no backward
    direction."""
    look_ahead = check_int("LookAheadStream", "look_ahead", look_ahead, 0)
    if look_ahead >= 2**62:  # steps are counted in 64 bits
        bad_parameter("LookAheadStream", "look_ahead", "an int in [0, 2^62)", look_ahead)
    if isinstance(model, StreamModel):
        if not isinstance(model, AheadModel):
            raise DataError("The stream model has no look-ahead. Make it by ahead_model(model, look_ahead).")
        return model
    if hasattr(model, "stream_model"):
        return model.stream_model(weights, look_ahead)
    if not isinstance(model, nn.Module):
        bad_parameter("LookAheadStream", "model", "a fitted estimator or layers of unspool.nn", model)
    check_layers("LookAheadStream", model, weights)
    check_backward(model)
    with torch.no_grad():
        twin = copied(model)
        width = input_size or size_of_input(twin)
        layers = layers_of(twin, width, look_ahead, weights, engine_of(twin))
        size = layers[-1].output_size
        chain = Chain(size).finish((INPUT, 0), size, every=True)
    return AheadModel(chain, Numbers(width), members=[layers], look_ahead=look_ahead)


def stream_model(model: Any, weights: str = "float32", input_size: int | None = None) -> StreamModel:
    """`model` as a stream runs it: a fitted estimator, layers of `unspool.nn`, or a `StreamModel`.

    weights: the form of the weights in products, as of `Recurrent.freeze`. input_size: of layers whose cell does not
    say.
    Raises `DataError` for a model that reads sequences from their end, or otherwise as a whole.
    """
    if isinstance(model, StreamModel):
        if isinstance(model, AheadModel):
            raise DataError("A model with a look-ahead runs in a LookAheadStream or a LookAheadPool.")
        return model
    if hasattr(model, "stream_model"):
        return model.stream_model(weights)
    if not isinstance(model, nn.Module):
        bad_parameter("Stream", "model", "a fitted estimator or layers of unspool.nn", model)
    with torch.no_grad():
        chain = chain_of(model, weights, input_size)
    return StreamModel(chain, Numbers(chain.input_size))
