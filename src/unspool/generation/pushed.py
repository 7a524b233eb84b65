"""A fitted language model as a stream runs it: text in, the probabilities of the token that follows out."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.engine.frozen import FORMS
from unspool.errors import DataError, check_choice, check_fitted
from unspool.generation.network import LanguageModel
from unspool.generation.vocabulary import END_ID, Characters, Vocabulary, Words
from unspool.nn.rows import OfRows
from unspool.streaming import StreamModel
from unspool.streaming.chain import INPUT, Chain
from unspool.streaming.feeds import Feed
from unspool.streaming.layers import add, copied, engine_of
from unspool.streaming.text import check_length, checked

if TYPE_CHECKING:
    from unspool.generation.estimator import SequenceGenerator


def stream_model(
    model: SequenceGenerator, weights: str = "float32", look_ahead: int | None = None
) -> StreamModel:
    """`model` as `unspool.streaming` runs it; its answers: float64 (V,), the probability of each token to be next."""
    check_fitted(model)
    if look_ahead is not None:
        raise DataError(
            "look_ahead is for a model with a backward direction. A language model has none: leave look_ahead out."
        )
    check_choice("Stream", "weights", weights, list(FORMS))
    network, vocabulary = copied(model.network_), model.vocabulary_
    table = network.embedding.weight.detach().clone()
    with torch.no_grad():
        chain = _chain(network, weights)
        rows, steps = chain.start()[None], torch.zeros(1, dtype=torch.int64)
        mark, out = torch.tensor([END_ID]), torch.empty(1, chain.output_size)
        chain.run(rows, steps, torch.tensor([0]), torch.tensor([0, 1]), table, mark, out, 1)
    chain.opened, chain.opened_steps = rows[0], 1
    names = [vocabulary.decode([k]) for k in range(len(vocabulary))]

    def probabilities(outputs: np.ndarray) -> np.ndarray:
        return scipy.special.softmax(outputs.astype(np.float64), axis=1)

    def columns(outputs: np.ndarray) -> dict[str, np.ndarray]:
        likeliest = probabilities(outputs)
        best = likeliest.argmax(1)
        return {"next": np.array([names[k] for k in best]), "probability": likeliest.max(1)}

    about = json.dumps([type(model).__name__, vocabulary.to_dict()]).encode()
    return StreamModel(chain, Pieces(vocabulary, table), probabilities, columns, about)


class Scores(OfRows):
    """x (B, H), the last layer's output -> (B, V), the scores of the next token."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__()
        self.projection = network.projection
        self.weight, self.bias = (nn.Parameter(w.detach().clone(), False) for w in network.output_weights())

    def of(self, x: Tensor, *others: Tensor) -> Tensor:
        return F.linear(x if self.projection is None else self.projection(x), self.weight, self.bias)


def _chain(network: Any, weights: str) -> Chain:
    size = network.embedding.embedding_dim
    chain = Chain(size, weights, engine_of(network.stack))
    top, width = add(chain, network.stack, (INPUT, 0), size)
    count = len(network.embedding.weight)
    out = chain.room(count)
    chain.between(Scores(network), top, width, [(None, out, count)], ends=True)
    return chain.finish(out, count, every=False)


class Pieces(Feed):
    """Pieces of a text to the token numbers of the whole, as a `Vocabulary` has them.

    What is held is the text from the last place on at which a token ends whatever follows.
    """

    def __init__(self, vocabulary: Vocabulary, table: Tensor) -> None:
        self.vocabulary, self.table = vocabulary, table
        self._ends: Callable[[str], bool] = lru_cache(1 << 16)(self._ends_a_token)

    def _ends_a_token(self, character: str) -> bool:
        split = self.vocabulary.rust.pre_tokenizer.pre_tokenize_str  # type: ignore[attr-defined]
        return len(split(f"a{character}a")) > 1

    def _safe(self, whole: str, place: int) -> bool:
        """Whether a token ends before `place`, and the next one starts there, whatever follows."""
        before, here = whole[place - 1], whole[place]
        if isinstance(self.vocabulary, Words):  # a space goes with what follows
            return here in " \n\t" or (before != " " and self._ends(here))
        return here in " \n\t" and not before.isspace()

    def nothing(self) -> str:
        return ""

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        whole = held + checked(chunk)
        cut = len(whole)
        if not isinstance(self.vocabulary, Characters):
            places = range(len(whole) - 1, max(len(held), 1) - 1, -1)
            cut = next((place for place in places if self._safe(whole, place)), 0)
        return self._ids(whole[:cut]), check_length(whole[cut:]), False

    def finish(self, held: str) -> Tensor:
        return self._ids(held)

    def check_held(self, held: str) -> None:
        if held and (isinstance(self.vocabulary, Characters) or self.read(held, "")[1] != held):
            raise DataError("The text in the state is not an unfinished token.")

    def _ids(self, text: str) -> Tensor:
        return torch.from_numpy(self.vocabulary.encode(text).astype(np.int64))
