"""What a stream runs: a chain, how chunks are read, and what its outputs say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.errors import bad_parameter
from unspool.streaming.chain import Chain
from unspool.streaming.feeds import Feed, Numbers
from unspool.streaming.layers import chain_of


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


def stream_model(model: Any, weights: str = "float32", input_size: int | None = None) -> StreamModel:
    """`model` as a stream runs it: a fitted estimator, layers of `unspool.nn`, or a `StreamModel`.

    weights: the form of the weights in products, as of `Recurrent.freeze`. input_size: of layers whose cell does not
    say.
    Raises `DataError` for a model that reads sequences from their end, or otherwise as a whole.
    """
    if isinstance(model, StreamModel):
        return model
    if hasattr(model, "stream_model"):
        return model.stream_model(weights)
    if not isinstance(model, nn.Module):
        bad_parameter("Stream", "model", "a fitted estimator or layers of unspool.nn", model)
    with torch.no_grad():
        chain = chain_of(model, weights, input_size)
    return StreamModel(chain, Numbers(chain.input_size))
