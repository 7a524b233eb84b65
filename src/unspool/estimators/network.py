"""The network of the estimators: embedding, recurrent stack, pooling, dense head."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from unspool.errors import bad_parameter
from unspool.heads import DenseHead, PerStep, Pooling
from unspool.nn import Recurrent, Stack
from unspool.ragged import Ragged

SMALL_VOCABULARY = 1000


class SequenceNetwork(nn.Module):
    """A Ragged of ids (N,) or of features (N, F) -> (B, output_size); with per_step a Ragged (N, output_size).

    vocabulary_size: rows of the embedding; None for sequences of features.
    hidden_size: of every layer, or a sequence with one for each; `num_layers` may then be 1.
    sparse_embedding: the gradient of the embedding holds only the rows that the batch has.
    options: of `Stack`: merge, connection, input_dropout, recurrent_dropout, zoneout, weight_dropout.
    """

    def __init__(
        self,
        *,
        cell: str | Callable[[int, int], nn.Module],
        vocabulary_size: int | None,
        n_features: int,
        embedding_dim: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        bidirectional: bool,
        pooling: str,
        dense: Sequence[int],
        dropout: float,
        output_size: int,
        sparse_embedding: bool,
        per_step: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.pooling: Pooling | None
        self.head: DenseHead | PerStep
        self.embedding = None
        if vocabulary_size is not None:
            self.embedding = nn.Embedding(vocabulary_size, embedding_dim, sparse=sparse_embedding)
            # Rare tokens keep the rows they start with. N(0, 1), torch's own, lets a network learn EmoBank's texts
            # by heart (test r .31 against .45); with few ids, seen often, it is the better start (the characters
            # of the valence demo: .84 against .81).
            if vocabulary_size > SMALL_VOCABULARY:
                nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        width = n_features if self.embedding is None else embedding_dim
        layers = None if isinstance(hidden_size, (tuple, list)) and num_layers == 1 else num_layers
        self.stack = Stack(cell, width, hidden_size, layers, bidirectional, dropout, **options)
        if per_step:
            self.pooling, self.pools_last = None, False
            self.head = PerStep(DenseHead(self.stack.output_size, output_size, dense, dropout))
            return
        self.pooling = Pooling(pooling, self.stack.output_size)
        self.pools_last = "last" in self.pooling.names
        merge, connection = options.get("merge", "concat"), options.get("connection")
        if self.pools_last and bidirectional and connection is not None and merge != "concat":
            expected = f"'concat' for pooling {pooling!r} with connection={connection!r}"
            hint = "The two directions end at different steps: use it, or pool over the steps."
            bad_parameter("SequenceNetwork", "merge", expected, merge, hint)
        self.head = DenseHead(self.pooling.output_size, output_size, dense, dropout)

    def forward(self, x: Ragged) -> Tensor | Ragged:
        """x: a batch of B sequences, N steps in all. Gradients flow to every parameter."""
        if self.embedding is None:
            output, state = self.stack(x)
        else:
            output, state = self.stack.embedded(x, self.embedding)
        if self.pooling is None:
            return self.head(output)
        last = self.stack.final_output(output, state) if self.pools_last else None
        return self.head(self.pooling(output, state, last))

    def freeze(self, weights: str = "float32") -> SequenceNetwork:
        """A copy for prediction, its recurrent layers frozen: see `Stack.freeze`."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        twin.stack = self.stack.freeze(weights, self.embedding)
        return twin


def count_parameters(module: nn.Module) -> int:
    """The number of trainable numbers in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def layer_table(network: SequenceNetwork, cell: Any) -> list[tuple[str, int, int]]:
    """One (name, output width, trainable numbers) a layer."""
    rows: list[tuple[str, int, int]] = []
    if network.embedding is not None:
        e = network.embedding
        rows.append((f"embedding, {e.num_embeddings:,} tokens", e.embedding_dim, count_parameters(e)))
    name = cell if isinstance(cell, str) else getattr(cell, "__name__", type(cell).__name__)
    for depth, layer in enumerate(network.stack.layers, 1):
        assert isinstance(layer, Recurrent)
        both = ", both directions" if layer.bidirectional else ""
        rows.append((f"{name} {depth}{both}", layer.output_size(), count_parameters(layer)))
        if depth > 1 and network.stack.connection == "highway":
            highway = network.stack.highways[depth - 2]
            rows.append((f"highway around {depth}", layer.output_size(), count_parameters(highway)))
    pooling, head = network.pooling, network.head
    if pooling is not None:
        rows.append((f"pooling, {'+'.join(pooling.names)}", pooling.output_size, count_parameters(pooling)))
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(linear):
        kind = "output" if i == len(linear) - 1 else "dense, relu"
        rows.append((kind, layer.out_features, count_parameters(layer)))
    return rows
