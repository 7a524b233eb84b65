"""Words with their characters, and tokens that come as they are: to ids, or to rows of numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.encode import Raw, TextInput
from unspool.errors import DataError
from unspool.streaming.feeds import Feed
from unspool.streaming.text import Words

KNOWN = 1 << 14  # words whose rows are remembered


class Spelling:
    """Steps (N, 2 + L) as `WordsAndCharacters` takes them -> rows (N, F), those of several networks side by side.

    Each word alone, so that its numbers do not depend on those beside it; the latest ones are remembered.
    """

    def __init__(self, embeddings: Sequence[nn.Module]) -> None:
        self.embeddings = [embedding.merged() for embedding in embeddings]  # type: ignore[operator]
        self.width = sum(embedding.output_size for embedding in self.embeddings)
        self.known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, steps: Tensor) -> Tensor:
        """(N, F) float32."""
        rows = [self._row(step) for step in steps]
        return torch.stack(rows) if rows else torch.zeros(0, self.width)

    def _row(self, step: Tensor) -> Tensor:
        step = step.clone()
        step[1] = 0  # the number of its form among those of a batch
        key = step.numpy().tobytes()
        row = self.known.get(key)
        if row is None:
            with torch.no_grad():
                row = torch.cat([embedding(step[None]) for embedding in self.embeddings], 1)[0]
            self.known[key] = row
            while len(self.known) > KNOWN:
                self.known.popitem(last=False)
        return row


class SpelledWords(Words):
    """As `Words`, with characters: to rows."""

    def __init__(self, input_: TextInput, spelling: Spelling) -> None:
        super().__init__(input_.encoder, torch.empty(0))
        self.input_, self.spelling, self.table = input_, spelling, None

    @property
    def width(self) -> int:
        return self.spelling.width

    def ids(self, texts: Sequence[str]) -> tuple[Tensor, list[int]]:
        """The rows of these texts, and the number of each."""
        steps = self.input_.encode(Raw(self.input_.kind, list(texts)))
        return self.spelling(steps.values), steps.lengths.tolist()


class Tokens(Feed):
    """A token (str), or a chunk of them, as a sentence of `TokenInput` has them; with characters to rows."""

    def __init__(self, input_: TextInput, table: Tensor | None, spelling: Spelling | None) -> None:
        self.input_, self.table, self.spelling = input_, table, spelling

    @property
    def width(self) -> int:
        assert self.spelling is not None
        return self.spelling.width

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        tokens = [chunk] if isinstance(chunk, str) else chunk
        if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
            raise DataError(
                f"A step of this model is a token (str), a chunk a list of them. Got {chunk!r:.60}."
            )
        steps = self.input_.encode(Raw(self.input_.kind, [list(tokens)])).values
        return (steps if self.spelling is None else self.spelling(steps)), held, isinstance(chunk, str)
