"""A fitted `Seq2Seq` to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unspool.errors import ModelFileError
from unspool.parameters import check_parameters
from unspool.saved import Fields, Weights, models
from unspool.seq2seq.settings import SETTINGS
from unspool.seq2seq.sides import Side
from unspool.summaries import cell_name, layers_text

if TYPE_CHECKING:
    from unspool.seq2seq.estimator import Seq2Seq


def content(model: Seq2Seq) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    return {
        "class": type(model).__name__,
        "parameters": models.parameters_of(model),
        "source": model.source_.to_dict(),
        "target": model.target_.to_dict(),
        "longest": model.longest_,
        "training": models.training_of(model),
    }


def restore(cls: type[Seq2Seq], fields: Fields, weights: Weights) -> Seq2Seq:
    """The model whose `content` and weights were saved; `ModelFileError` where they do not hold."""
    values = models.read_parameters(cls, fields.child("parameters"), SETTINGS)
    check_parameters(cls.__name__, values, SETTINGS)
    model = cls(**values)
    model.source_ = Side.from_fields(fields.child("source"))
    model.target_ = Side.from_fields(fields.child("target"))
    if (model.source_.level, model.target_.level) != (model.source_level, model.target_level):
        raise ModelFileError("its vocabularies are not of the levels that its parameters name.")
    model.longest_ = fields.get("longest", int)
    if model.longest_ < 1:
        raise ModelFileError(f"its longest target must have a token or more. Got {model.longest_}.")
    models.read_training(model, fields.child("training"))
    models.check_depth(model.num_layers, weights)
    model.network_, _ = models.read_network(model._build_network, weights)
    model._finish()
    return model


def summary(model: Seq2Seq) -> str:
    """The layers of a fitted model, as a table."""
    network = model.network_
    name = cell_name(model.cell)
    width = network.decoder.output_size
    parts: list[tuple[str, int, Any]] = [
        (f"embedding, {len(model.source_):,} source tokens", model.embedding_dim, network.source_embedding)
    ]
    for depth, layer in enumerate(network.encoder.layers, 1):
        parts.append((f"encoder {name} {depth}, both directions", layer.output_size(), layer))  # type: ignore[operator]
    parts.append(("state handed over", width, network.hand_over))
    parts.append((f"embedding, {len(model.target_):,} target tokens", model.embedding_dim, network.embedding))
    parts.append((f"decoder {name} 1", width, network.decoder))
    parts.append((f"attention, {model.attention}", network.encoder.output_size, network.attention))
    parts.append(("attended and own output", width, network.combine))
    for depth, layer in enumerate([] if network.upper is None else network.upper.layers, 2):
        parts.append((f"decoder {name} {depth}", width, layer))
    parts.append(("output", len(model.target_), network.head))
    rows = [(n, w, sum(p.numel() for p in m.parameters())) for n, w, m in parts]
    return layers_text(f"{type(model).__name__}: {model.describe()}", rows, model.n_parameters_)
