"""An embedding of given vectors, which training may change."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class GivenEmbedding(nn.Embedding):
    """ids (N,) below V -> given[ids] + change[ids], (N, E).

    `given` (V, E) is a buffer. The change is `weight` (trained, E), at first 0, for the first `trained` ids; further
    ids have none. So weight decay draws towards the given vectors, and an optimiser's work grows with the words of
    the training texts, not with V. Id 0 is no word, and must not occur while training.
    """

    given: Tensor

    def __init__(self, given: Tensor, trained: int, sparse: bool = False) -> None:
        super().__init__(trained, given.shape[1], sparse=sparse)
        self.register_buffer("given", given)

    def reset_parameters(self) -> None:
        """No change at all."""
        nn.init.zeros_(self.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.given) + super().forward(ids.where(ids < self.num_embeddings, 0))

    def merged(self) -> nn.Embedding:
        """(V, E): the same lookups from one table."""
        table = self.given.detach().clone()
        table[: self.num_embeddings] += self.weight.detach()
        return nn.Embedding.from_pretrained(table)

    def extra_repr(self) -> str:
        return f"{len(self.given)}, {self.embedding_dim}, trained={self.num_embeddings}"
