"""What the parameters of a tagger become: its network, and the settings of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.encode.vectors import rate_of
from unspool.tagging.network import TaggerNetwork
from unspool.tagging.schemes import legal
from unspool.training import Settings

if TYPE_CHECKING:
    from unspool.tagging.tagger import SequenceTagger

GIVEN_ON = (
    "cell embedding_dim hidden_size num_layers bidirectional dropout input_dropout recurrent_dropout zoneout "
    "weight_dropout word_dropout merge connection precision"
).split()


def settings(model: SequenceTagger) -> Settings:
    """Of the training."""
    return Settings.of(model, rate_of(model.vectors, model.vectors_rate))


def network(model: SequenceTagger) -> TaggerNetwork:
    """A fresh one, for the tokens, tags and labels that were learnt."""
    tags, labels, encoder = model.numbers_.tags, model.numbers_.labels, model.input_.characters
    return TaggerNetwork(
        tags=len(tags),
        crf=model.crf,
        allowed=None if model.scheme_ is None else legal(tags.tolist(), model.scheme_),
        labels=0 if labels is None else len(labels),
        pooling=model.pooling,
        dense=model.dense,
        given=model.input_.given_table() if model.input_.trained else None,
        trained=model.input_.trained,
        characters=None if encoder is None else (model.characters or "", encoder.vocabulary_size),
        vocabulary_size=model.input_.vocabulary_size,
        n_features=1,
        sparse_embedding=False,
        **{name: getattr(model, name) for name in GIVEN_ON},
    )
