"""A fitted generator to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unspool.generation.settings import SETTINGS
from unspool.generation.vocabulary import vocabulary_from_fields
from unspool.parameters import check_parameters
from unspool.saved import Fields, Weights, models
from unspool.summaries import cell_name, layers_text

if TYPE_CHECKING:
    from unspool.generation.estimator import SequenceGenerator


def content(model: SequenceGenerator) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    return {
        "class": type(model).__name__,
        "parameters": models.parameters_of(model),
        "vocabulary": model.vocabulary_.to_dict(),
        "ends": model.ends_,
        "training": models.training_of(model),
    }


def restore(cls: type[SequenceGenerator], fields: Fields, weights: Weights) -> SequenceGenerator:
    """The generator whose `content` and weights were saved; `ModelFileError` where they do not hold."""
    values = models.read_parameters(cls, fields.child("parameters"), SETTINGS)
    check_parameters(cls.__name__, values, SETTINGS)
    model = cls(**values)
    model.vocabulary_ = vocabulary_from_fields(fields.child("vocabulary"))
    model.ends_ = fields.get("ends", bool)
    models.read_training(model, fields.child("training"))
    layers = len(model.hidden_size) if isinstance(model.hidden_size, tuple) else model.num_layers
    models.check_depth(layers, weights)
    model.network_, _ = models.read_network(model._build_network, weights)
    model._finish()
    return model


def summary(model: SequenceGenerator) -> str:
    """The layers of a fitted generator, as a table."""
    network = model.network_
    parts: list[tuple[str, int, Any]] = [
        (f"embedding, {len(model.vocabulary_):,} tokens", network.embedding.embedding_dim, network.embedding)
    ]
    name = cell_name(model.cell)
    for depth, layer in enumerate(network.stack.layers, 1):
        parts.append((f"{name} {depth}", layer.output_size(), layer))  # type: ignore[operator]
    for depth, highway in enumerate(getattr(network.stack, "highways", ()), 2):
        parts.append((f"highway around {depth}", network.stack.output_size, highway))
    if network.projection is not None:
        parts.append(("projection", network.embedding.embedding_dim, network.projection))
    rows = [(n, w, sum(p.numel() for p in m.parameters())) for n, w, m in parts]
    own = network.bias.numel() if network.tied else sum(p.numel() for p in network.head.parameters())
    rows.append(("output, tied to the embedding" if network.tied else "output", len(model.vocabulary_), own))
    return layers_text(f"{type(model).__name__}: {model.describe()}", rows, model.n_parameters_)
