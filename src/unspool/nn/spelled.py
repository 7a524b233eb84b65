"""Word vectors with a vector of each word's characters beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import check_choice
from unspool.nn.given import GivenEmbedding
from unspool.nn.recurrent import Recurrent, final_output
from unspool.ragged import Ragged

KINDS = ("cnn", "recurrent")
CHARACTER_SIZE = 30  # numbers a character
FILTERS, WIDTH = 50, 3  # of the convolution
UNITS = 25  # of the recurrent layer, in each direction


class CharacterCnn(nn.Module):
    """m_j = max_t ReLU(b_j + Σ_k w_jk · c_(t+k)), k = -1, 0, 1: filters over a word's characters, the largest answer of
    each (Kim, Jernite, Sontag, Rush 2016, arXiv:1508.06615, eq. 2-3); beyond the word's ends c is 0.

    A Ragged (N,) of characters -> (B, `output_size`); zeros for an empty word.
    """

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, CHARACTER_SIZE)
        self.filters = nn.Linear(WIDTH * CHARACTER_SIZE, FILTERS)
        self.output_size = FILTERS

    def forward(self, x: Ragged) -> Tensor:
        # What a character gives at each place of a filter, (V, WIDTH, FILTERS), is computed once.
        weight = self.filters.weight.view(FILTERS, WIDTH, CHARACTER_SIZE)
        table = torch.einsum("vc,fkc->vkf", self.embedding.weight, weight)
        total = self.filters.bias + table[x.values, 1]
        starts, ends = (edge.to(x.values.device) for edge in (x.offsets[:-1], x.offsets[1:]))
        filled = ends > starts
        inside = torch.ones(len(x.values), dtype=torch.bool, device=x.values.device)
        first, last = inside.clone(), inside.clone()
        first[starts[filled]], last[ends[filled] - 1] = False, False
        before, after = x.values.roll(1), x.values.roll(-1)
        total = total + table[before, 0] * first[:, None] + table[after, 2] * last[:, None]
        rows = torch.arange(len(x.values), device=x.values.device)
        return F.embedding_bag(rows, total.relu(), starts, mode="max")


class CharacterRnn(nn.Module):
    """The last states of a recurrent layer that reads a word's characters both ways, side by side (Lample et al. 2016,
    arXiv:1603.01360, section 4.1).

    cell: (input_size, hidden_size) -> cell module. A Ragged (N,) of characters -> (B, `output_size`).
    """

    def __init__(self, characters: int, cell: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, CHARACTER_SIZE)
        both = [cell(CHARACTER_SIZE, UNITS) for _ in range(2)]
        self.layer = Recurrent(both[0], bidirectional=True, reverse_cell=both[1])
        self.output_size = self.layer.output_size()

    def forward(self, x: Ragged) -> Tensor:
        return final_output([self.layer(x.with_values(self.embedding(x.values)))[1]])


class SpelledEmbedding(nn.Module):
    """(N, 1 + L) int -> (N, E + C): of each row the vector of its word, column 0, by `words`, and what `spelling` makes
    of its characters, the other columns, which a 0 ends.

    kind: "cnn" or "recurrent". characters: numbers of characters are below it. cell: of the recurrent kind.
    """

    def __init__(
        self, words: nn.Embedding, kind: str, characters: int, cell: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        check_choice("SpelledEmbedding", "kind", kind, KINDS)
        self.words = words
        self.spelling = CharacterCnn(characters) if kind == "cnn" else CharacterRnn(characters, cell)
        self.num_embeddings = words.num_embeddings
        self.embedding_dim = words.embedding_dim + self.spelling.output_size

    def forward(self, rows: Tensor) -> Tensor:
        lengths = (rows[:, 1:] != 0).sum(1)
        letters = Ragged.from_padded(rows[:, 1:].long(), lengths.cpu())
        return torch.cat([self.words(rows[:, 0].long()), self.spelling(letters)], 1)

    def merged(self) -> SpelledEmbedding:
        """The same lookups, the words' from one table; this object, changed."""
        if isinstance(self.words, GivenEmbedding):
            self.words = self.words.merged()
        return self

    def extra_repr(self) -> Any:
        """The width."""
        return f"{self.embedding_dim}"
