"""A fitted generator to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.errors import ModelFileError, bad_parameter
from unspool.generation.settings import SETTINGS, check_settings
from unspool.generation.vocabulary import vocabulary_from_fields
from unspool.saved import Fields, Weights

if TYPE_CHECKING:
    from unspool.generation.estimator import SequenceGenerator


def content(model: SequenceGenerator) -> dict[str, Any]:
    """All of `model` but its weights, as JSON values."""
    values = model.get_params(deep=False)
    if not isinstance(values["cell"], str):
        hint = "Put the factory into unspool.cells.registry['my-cell'] and fit with cell='my-cell'."
        bad_parameter(type(model).__name__, "cell", "a name to be saved", values["cell"], hint)
    if isinstance(values["random_state"], np.random.RandomState):
        values["random_state"] = None
    return {
        "class": type(model).__name__,
        "parameters": {name: _plain(value) for name, value in values.items()},
        "vocabulary": model.vocabulary_.to_dict(),
        "ends": model.ends_,
        "training": {
            "history": model.history_,
            "best_epoch": model.best_epoch_,
            "interrupted": model.interrupted_,
        },
    }


def restore(cls: type[SequenceGenerator], fields: Fields, weights: Weights) -> SequenceGenerator:
    """The generator whose `content` and weights were saved.

    The network is first built without memory, so that the file's tensors are compared with what the settings say
    before anything of their size is allocated.
    """
    model = cls(**_read_parameters(cls, fields.child("parameters")))
    model.vocabulary_ = vocabulary_from_fields(fields.child("vocabulary"))
    model.ends_ = fields.get("ends", bool)
    training = fields.child("training")
    model.history_ = training.items("history", dict)
    if not all(type(v) in (int, float) for epoch in model.history_ for v in epoch.values()):
        raise ModelFileError("the training history must hold numbers.")
    model.best_epoch_ = training.get("best_epoch", int)
    model.interrupted_ = training.get("interrupted", bool)
    layers = len(model.hidden_size) if isinstance(model.hidden_size, tuple) else model.num_layers
    if layers > len(weights.shapes):
        raise ModelFileError(
            f"its settings have more layers than the {len(weights.shapes)} tensors it holds."
        )
    try:
        with torch.device("meta"):
            expected = model._build_network().state_dict()
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ModelFileError(f"its settings do not make a network ({error}).") from error
    tensors = weights.read(expected)
    with torch.random.fork_rng(devices=[]):
        model.network_ = model._build_network()
    model.network_.load_state_dict(tensors)
    model.network_.eval()
    model._finish()
    return model


def summary(model: SequenceGenerator) -> str:
    """The layers of a fitted generator, as a table."""
    network = model.network_
    parts: list[tuple[str, int, Any]] = [
        (f"embedding, {len(model.vocabulary_):,} tokens", network.embedding.embedding_dim, network.embedding)
    ]
    name = model.cell if isinstance(model.cell, str) else getattr(model.cell, "__name__", "cell")
    for depth, layer in enumerate(network.stack.layers, 1):
        parts.append((f"{name} {depth}", layer.output_size(), layer))  # type: ignore[operator]
    for depth, highway in enumerate(getattr(network.stack, "highways", ()), 2):
        parts.append((f"highway around {depth}", network.stack.output_size, highway))
    if network.projection is not None:
        parts.append(("projection", network.embedding.embedding_dim, network.projection))
    rows = [("layer", "width", "parameters")]
    rows += [(n, f"{w:,}", f"{sum(p.numel() for p in m.parameters()):,}") for n, w, m in parts]
    own = network.bias.numel() if network.tied else sum(p.numel() for p in network.head.parameters())
    rows.append(
        (
            "output, tied to the embedding" if network.tied else "output",
            f"{len(model.vocabulary_):,}",
            f"{own:,}",
        )
    )
    rows.append(("total", "", f"{model.n_parameters_:,}"))
    a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [f"{n:<{a}}  {w:>{b}}  {p:>{c}}" for n, w, p in rows]
    return "\n".join([f"{type(model).__name__}: {model.describe()}", *lines])


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(cls: type[SequenceGenerator], fields: Fields) -> dict[str, Any]:
    defaults = cls().get_params(deep=False)
    odd = sorted(set(defaults) ^ set(fields.data))
    if odd:
        raise ModelFileError(
            f"its parameters are not those of {cls.__name__}: {odd[0]!r} is missing or unknown."
        )
    values = {**fields.data, "cell": fields.get("cell", str)}
    for p in SETTINGS:
        if p.many is not None and isinstance(values[p.name], list):
            values[p.name] = tuple(fields.items(p.name, p.many))
    check_settings(cls.__name__, values)
    return values
