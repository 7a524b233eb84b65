"""A vector a word out of its characters, and words and characters side by side."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import bad_parameter, check_choice, check_float, check_int
from unspool.nn.cells import LSTMCell
from unspool.nn.draws import apart
from unspool.nn.given import GivenEmbedding
from unspool.nn.recurrent import Recurrent, final_output
from unspool.ragged import Ragged

CHARACTER_NETS = ("cnn", "lstm")
NO_CHARACTER = 0


class CharacterNet(nn.Module):
    """ids of characters (W, L), a word a row and 0 where it has ended -> (W, output_size).

    kind: "cnn", `size` filters over 3 characters, the largest of each over the word (Ma, Hovy 2016,
    arXiv:1603.01354, section 2.1); "lstm", what `size` / 2 units of each direction end with (Lample et al. 2016,
    arXiv:1603.01360, section 4.1; `size` even). dim: numbers a character. dropout: of these, while training.

    A word of no characters gives zeros. No word's vector depends on another, nor on L.
    """

    def __init__(
        self, vocabulary_size: int, kind: str = "cnn", size: int = 50, dim: int = 30, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.kind = check_choice("CharacterNet", "kind", kind, CHARACTER_NETS)
        self.output_size = check_int("CharacterNet", "size", size)
        self.embedding = nn.Embedding(vocabulary_size, check_int("CharacterNet", "dim", dim))
        bound = (3 / dim) ** 0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        self.dropout = nn.Dropout(check_float("CharacterNet", "dropout", dropout, 0, 1))
        self.filters: nn.Linear | None = None
        self.recurrent: Recurrent | None = None
        if kind == "cnn":
            self.filters = nn.Linear(3 * dim, size)
            nn.init.xavier_uniform_(self.filters.weight)
            nn.init.zeros_(self.filters.bias)
            return
        if size % 2:
            bad_parameter("CharacterNet", "size", "even for 'lstm', half for each direction", size)
        self.recurrent = Recurrent(
            LSTMCell(dim, size // 2), bidirectional=True, reverse_cell=LSTMCell(dim, size // 2)
        )

    def forward(self, characters: Tensor) -> Tensor:
        """characters (W, L) int64 -> (W, output_size)."""
        x = Ragged.from_padded(characters, mask=characters != NO_CHARACTER)
        embedded = self.embedding(x.values)
        if self.training and self.dropout.p:
            embedded = apart(lambda: self.dropout(embedded))
        if self.recurrent is not None:
            _, state = self.recurrent(x.with_values(embedded))
            return final_output([state]) * (x.lengths > 0).to(embedded)[:, None]
        assert self.filters is not None
        # A product for each of the three places of a filter, then their sum at each character.
        before, here, after = (F.linear(embedded, part) for part in self.filters.weight.chunk(3, 1))
        found = here + _shifted(before, x, 1) + _shifted(after, x, -1) + self.filters.bias
        return _maximum(torch.tanh(found), x)


def _shifted(values: Tensor, x: Ragged, by: int) -> Tensor:
    """(N, F): at each step the row of the one before (by=1) or after (by=-1), zeros where a word begins or ends."""
    offsets = x.offsets.to(values.device)
    edges = (offsets[:-1] if by > 0 else offsets[1:] - 1)[(x.lengths > 0).to(values.device)]
    return values.roll(by, 0).index_fill(0, edges, 0)


def _maximum(values: Tensor, x: Ragged) -> Tensor:
    """(N, F) -> (W, F): the largest of each word; zeros for an empty one."""
    rows = torch.arange(len(values), device=values.device)
    return F.embedding_bag(rows, values, x.offsets[:-1].to(values.device), mode="max")


class WordsAndCharacters(nn.Module):
    """Steps (N, 2 + L) as `unspool.encode.characters.beside_ids` gives them -> (N, output_size): the word's vector
    of `embedding`, then that of its characters, which is computed once for each distinct word.
    """

    def __init__(self, embedding: nn.Embedding, characters: CharacterNet) -> None:
        super().__init__()
        self.embedding, self.characters = embedding, characters
        self.output_size = embedding.embedding_dim + characters.output_size

    def distinct(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(a step (W, 2 + L) of each form and id, for each of `steps` its row there (N,)). Word dropout gives a form
        the id of an unknown word at some of its steps."""
        ids, forms = steps[:, 0], steps[:, 1]
        keys = forms * (int(ids.max()) + 1) + ids if len(steps) else forms
        kinds, index = keys.unique(return_inverse=True)
        place = index.new_empty(len(kinds)).scatter_(0, index, torch.arange(len(index), device=index.device))
        return steps[place], index

    def forward(self, steps: Tensor) -> Tensor:
        """steps (N, 2 + L) int64."""
        rows, index = self.distinct(steps)
        spelt = self.characters(rows[:, 2:])
        return torch.cat([self.embedding(steps[:, 0]), F.embedding(index, spelt)], 1)

    def merged(self) -> WordsAndCharacters:
        """A twin with the same lookups, the words' from one table (`GivenEmbedding.merged`)."""
        twin = copy.copy(self)
        words = self.embedding.merged() if isinstance(self.embedding, GivenEmbedding) else self.embedding
        twin._modules = {**self._modules, "embedding": words}
        return twin
