"""The network of the estimators: embedding, recurrent stack, pooling, dense head."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import bad_parameter
from unspool.heads import DenseHead, Ordered, PerStep, Pooling
from unspool.nn import Recurrent, Stack, draws
from unspool.nn.characters import CharacterNet, WordsAndCharacters
from unspool.nn.given import GivenEmbedding
from unspool.ragged import Ragged
from unspool.summaries import cell_name
from unspool.text.words import UNKNOWN_ID

SMALL_VOCABULARY = 1000


class SequenceNetwork(nn.Module):
    """A Ragged of ids (N,) or of features (N, F) -> (B, output_size); with per_step a Ragged (N, output_size).

    vocabulary_size: rows of the embedding; None for sequences of features.
    hidden_size: of every layer, or a sequence with one for each; `num_layers` may then be 1.
    sparse_embedding: the gradient of the embedding holds only the rows that the batch has.
    given (V, E), trained: of a `GivenEmbedding`, in place of an embedding that starts at random.
    columns: numbers of a row that the head has beside the pooled sequence.
    thresholds (K - 1,): where those of K ordered classes begin; the output is then theirs, `unspool.heads.Ordered`.
    augment: of `unspool.nn.augment`, what varies sequences of features in training.
    word_dropout: probability of taking a token for an unknown one while training.
    characters: (kind, vocabulary size) of a `CharacterNet` beside the words; x is then of (N, 2 + L), see
        `WordsAndCharacters`.
    options: of `Stack`: merge, connection, input_dropout, recurrent_dropout, zoneout, weight_dropout, precision.
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
        given: Tensor | None = None,
        trained: int = 0,
        word_dropout: float = 0.0,
        characters: tuple[str, int] | None = None,
        columns: int = 0,
        augment: nn.Module | None = None,
        thresholds: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.word_dropout, self.augment = word_dropout, augment
        self.pooling: Pooling | None
        self.head: DenseHead | PerStep | Ordered
        self.embedding: nn.Embedding | WordsAndCharacters | None = None
        if given is not None:
            self.embedding = GivenEmbedding(given, trained, sparse_embedding)
            embedding_dim = given.shape[1]
        elif vocabulary_size is not None:
            self.embedding = nn.Embedding(vocabulary_size, embedding_dim, sparse=sparse_embedding)
            # Rare tokens keep the rows they start with. N(0, 1), torch's own, lets a network learn EmoBank's texts
            # by heart (test r .31 against .45); with few ids, seen often, it is the better start (the characters
            # of the valence demo: .84 against .81).
            if vocabulary_size > SMALL_VOCABULARY:
                nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        if characters is not None and self.embedding is not None:
            kind, size = characters
            self.embedding = WordsAndCharacters(self.embedding, CharacterNet(size, kind))
            embedding_dim = self.embedding.output_size
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
        if thresholds is not None:
            self.head = Ordered(DenseHead(self.pooling.output_size, 1, dense, dropout, columns), thresholds)
            return
        self.head = DenseHead(self.pooling.output_size, output_size, dense, dropout, columns)

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Tensor | Ragged:
        """x: a batch of B sequences, N steps in all; columns (B, columns). Gradients flow to every parameter."""
        output, state = self.recurrent(x)
        if self.pooling is None:
            return self.head(output)
        last = self.stack.final_output(output, state) if self.pools_last else None
        return self.head(self.pooling(output, state, last), *([] if columns is None else [columns]))

    def recurrent(self, x: Ragged) -> tuple[Ragged, Any]:
        """The stack's output (N, size) and state; varied while training."""
        if self.embedding is None:
            return self.stack(x if self.augment is None else self.augment(x))
        if self.training and self.word_dropout:
            x = x.with_values(without_words(x.values, self.word_dropout, x.offsets))
        return self.stack.embedded(x, self.embedding)

    def freeze(self, weights: str = "float32") -> Any:
        """A copy for prediction, its recurrent layers frozen: see `Stack.freeze`."""
        own = self.embedding
        embedding = own.merged() if isinstance(own, GivenEmbedding) else copy.deepcopy(own)
        embedding = embedding.merged() if isinstance(embedding, WordsAndCharacters) else embedding
        table = None if isinstance(embedding, WordsAndCharacters) else embedding
        there = {id(self.stack): self.stack.freeze(weights, table), id(own): embedding}  # not copied first
        return copy.deepcopy(self, there).eval().requires_grad_(False)


class Ensemble(nn.Module):
    """Networks of the same settings from different seeds, whose outputs are averaged."""

    def __init__(self, members: Sequence[SequenceNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def stack(self) -> Stack:
        """Of the first member, as `embedding` is: what is looked into."""
        return members_of(self)[0].stack

    @property
    def embedding(self) -> nn.Embedding | WordsAndCharacters | None:
        """None for series."""
        return members_of(self)[0].embedding

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Tensor | Ragged:
        outputs = [member(x, columns) for member in self.members]
        if isinstance(outputs[0], Ragged):
            return outputs[0].with_values(torch.stack([o.values for o in outputs]).mean(0))
        return torch.stack(outputs).mean(0)

    def freeze(self, weights: str = "float32") -> Ensemble:
        """A copy for prediction, every member frozen."""
        return Ensemble([member.freeze(weights) for member in members_of(self)])


def members_of(network: nn.Module) -> list[SequenceNetwork]:
    """The networks of an ensemble, or the one that it is."""
    found = network.members if isinstance(network, Ensemble) else [network]
    return [member for member in found if isinstance(member, SequenceNetwork)]


def without_words(ids: Tensor, rate: float, offsets: Tensor | None = None) -> Tensor:
    """ids (N,), each with probability `rate` that of an unknown word, so that its row is trained too; of steps
    (N, 2 + L) the first number, so that the characters stay. offsets (B + 1,): of the sequences; None: one."""
    offsets = torch.tensor([0, len(ids)]) if offsets is None else offsets
    drawn = draws.steps(lambda n: torch.rand(n, device=ids.device), offsets) < rate
    if ids.dim() == 1:
        return ids.masked_fill(drawn, UNKNOWN_ID)
    return torch.cat([ids[:, :1].masked_fill(drawn[:, None], UNKNOWN_ID), ids[:, 1:]], 1)


def count_parameters(module: nn.Module) -> int:
    """The number of trainable numbers in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def layer_table(network: SequenceNetwork, cell: Any) -> list[tuple[str, int, int]]:
    """One (name, output width, trainable numbers) a layer."""
    rows: list[tuple[str, int, int]] = []
    if network.embedding is not None:
        e = (
            network.embedding.embedding
            if isinstance(network.embedding, WordsAndCharacters)
            else network.embedding
        )
        known = f"{e.num_embeddings:,} tokens"
        if isinstance(e, GivenEmbedding):
            known = f"{len(e.given):,} given vectors"
        rows.append((f"embedding, {known}", e.embedding_dim, count_parameters(e)))
    if isinstance(network.embedding, WordsAndCharacters):
        characters = network.embedding.characters
        rows.append((f"characters, {characters.kind}", characters.output_size, count_parameters(characters)))
    name = cell_name(cell)
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
    if isinstance(head, Ordered):
        beyond = head.first.numel() + head.gaps.numel()
        rows.append(("thresholds", beyond + 1, beyond))
    return rows
