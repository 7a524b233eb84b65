"""The network: token numbers to the scores of the next token, with its dropouts and tied weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.generation.streams import Carried
from unspool.nn import Stack, detach, draws, masks
from unspool.ragged import Ragged

SMALL_VOCABULARY = 1000


class Predicted(Ragged):
    """Scores (N, V) of the next token at each step. penalty: what is added to the loss, or None."""

    __slots__ = ("penalty",)

    def __init__(self, values: Tensor, offsets: Tensor, penalty: Tensor | None) -> None:
        super().__init__(values, offsets)
        self.penalty = penalty


class TokenEmbedding(nn.Embedding):
    """Token vectors; while training each token's is zero for a whole call with probability `rate`, else scaled.

    Embedding dropout of Gal & Ghahramani 2016, arXiv:1512.05287, as in Merity et al. 2017, section 4.3.
    """

    def __init__(self, tokens: int, width: int, rate: float = 0.0) -> None:
        super().__init__(tokens, width)
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        rows = super().forward(ids)
        if not self.training or not self.rate:
            return rows
        return rows * F.dropout(rows.new_ones(self.num_embeddings, 1), self.rate)[ids]


class LanguageModel(nn.Module):
    """Ragged token numbers (N,) -> `Predicted` scores (N, V) of the tokens that follow.

    embedding_dropout: see `TokenEmbedding`. input_dropout: of features of the first layer's input; dropout: of those
    of the other layers' inputs and of the output, each mask drawn once a sequence and chunk ("locked", "variational").
    tied: the output weights are the token vectors (Press & Wolf 2017, arXiv:1608.05859; Inan et al. 2017,
    arXiv:1611.01462); a linear layer comes between where the widths differ.
    activation, temporal_activation: alpha and beta of alpha mean(h²), h the output after dropout, and
    beta mean((h_t - h_t-1)²), before dropout, added to the loss while training (Merity, McCann & Socher 2017,
    arXiv:1708.01009, as a mean over all numbers).
    options: of `Stack`: connection, recurrent_dropout, zoneout, weight_dropout, precision.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str | Callable[[int, int], nn.Module],
        embedding_dim: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        tied: bool,
        embedding_dropout: float = 0.0,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        activation: float = 0.0,
        temporal_activation: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.dropout, self.tied = dropout, tied
        self.activation, self.temporal_activation = activation, temporal_activation
        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim, embedding_dropout)
        several = isinstance(hidden_size, (tuple, list))
        layers = len(hidden_size) if isinstance(hidden_size, (tuple, list)) else num_layers
        rates = (input_dropout, *[dropout] * (layers - 1))
        self.stack = Stack(
            cell,
            embedding_dim,
            hidden_size,
            None if several and num_layers == 1 else num_layers,
            input_dropout=rates,
            **options,
        )
        width = self.stack.output_size
        self.projection = nn.Linear(width, embedding_dim) if tied and width != embedding_dim else None
        if tied:
            self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        else:
            self.head = nn.Linear(width, vocabulary_size)
        # N(0, 1), torch's own, for few tokens, each seen often; rows of length 1 where they are output weights too, or
        # where rare tokens keep the rows they start with.
        if tied or vocabulary_size > SMALL_VOCABULARY:
            nn.init.normal_(self.embedding.weight, std=embedding_dim**-0.5)

    def forward(self, x: Ragged, carried: Carried | None = None) -> Predicted:
        """x: B sequences. carried: the state that they start from, which becomes the one they end with."""
        state = None if carried is None else carried.state
        output, state = self.stack.embedded(x, self.embedding, state)
        if carried is not None:
            carried.state = detach(state)
        hidden = self._locked(output)
        return Predicted(self.scores(hidden), x.offsets, self._penalty(output, hidden))

    def scores(self, hidden: Tensor) -> Tensor:
        """(N, width) of the last layer -> (N, V)."""
        if self.projection is not None:
            hidden = self.projection(hidden)
        return F.linear(hidden, *self.output_weights())

    def output_weights(self) -> tuple[Tensor, Tensor]:
        """(V, width), (V,)."""
        return (self.embedding.weight, self.bias) if self.tied else (self.head.weight, self.head.bias)

    def freeze(self, weights: str = "float32") -> LanguageModel:
        """A copy for prediction, its recurrent layers frozen: see `Stack.freeze`."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        twin.stack = self.stack.freeze(weights, twin.embedding)
        return twin

    def _locked(self, output: Ragged) -> Tensor:
        """(N, width), one mask a sequence."""
        if not self.training or not self.dropout:
            return output.values
        width, rate = self.stack.output_size, self.dropout
        mask = draws.sequences(lambda n: masks.kept(output.values, (n, width), rate), len(output))
        return output.values * mask[output.owners()]

    def _penalty(self, output: Ragged, hidden: Tensor) -> Tensor | None:
        total = None
        if not self.training:
            return None
        if self.activation:
            total = self.activation * hidden.square().mean()
        if self.temporal_activation and len(output.values) > 1:
            row = output.owners()
            differences = (output.values[1:] - output.values[:-1])[row[1:] == row[:-1]]
            if len(differences):
                fair = draws.fair(len(differences), lambda lengths: lengths - 1, output)
                temporal = fair * self.temporal_activation * differences.square().mean()
                total = temporal if total is None else total + temporal
        return total


def next_token_loss(predicted: Any, targets: Any, weights: Any = None) -> Tensor:
    """The mean of -log p(token) over all steps, in nats, and the penalty where there is one. weights (B,): of the
    sequences' tokens, None: 1."""
    if weights is None:
        loss = F.cross_entropy(predicted.values, targets.values)
    else:
        each = F.cross_entropy(predicted.values, targets.values, reduction="none")
        loss = (each * weights[targets.owners()]).mean()
    penalty = getattr(predicted, "penalty", None)
    return loss if penalty is None else loss + penalty
