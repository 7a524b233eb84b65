"""A fitted `Seq2Seq` to the JSON content of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.errors import ModelFileError, bad_parameter
from unspool.saved import Fields, Weights
from unspool.seq2seq.settings import SETTINGS, check_settings
from unspool.seq2seq.sides import Side

if TYPE_CHECKING:
    from unspool.seq2seq.estimator import Seq2Seq


def content(model: Seq2Seq) -> dict[str, Any]:
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
        "source": model.source_.to_dict(),
        "target": model.target_.to_dict(),
        "longest": model.longest_,
        "training": {
            "history": model.history_,
            "best_epoch": model.best_epoch_,
            "interrupted": model.interrupted_,
        },
    }


def restore(cls: type[Seq2Seq], fields: Fields, weights: Weights) -> Seq2Seq:
    """The model whose `content` and weights were saved.

    The network is first built without memory, so that the file's tensors are compared with what the settings say
    before anything of their size is allocated.
    """
    model = cls(**_read_parameters(cls, fields.child("parameters")))
    model.source_ = Side.from_fields(fields.child("source"))
    model.target_ = Side.from_fields(fields.child("target"))
    if (model.source_.level, model.target_.level) != (model.source_level, model.target_level):
        raise ModelFileError("its vocabularies are not of the levels that its parameters name.")
    model.longest_ = fields.get("longest", int)
    if model.longest_ < 1:
        raise ModelFileError(f"its longest target must have a token or more. Got {model.longest_}.")
    training = fields.child("training")
    model.history_ = training.items("history", dict)
    if not all(type(v) in (int, float) for epoch in model.history_ for v in epoch.values()):
        raise ModelFileError("the training history must hold numbers.")
    model.best_epoch_ = training.get("best_epoch", int)
    model.interrupted_ = training.get("interrupted", bool)
    if model.num_layers > len(weights.shapes):
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
    model._finish()
    return model


def summary(model: Seq2Seq) -> str:
    """The layers of a fitted model, as a table."""
    network = model.network_
    name = model.cell if isinstance(model.cell, str) else getattr(model.cell, "__name__", "cell")
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
    rows = [("layer", "width", "parameters")]
    rows += [(n, f"{w:,}", f"{sum(p.numel() for p in m.parameters()):,}") for n, w, m in parts]
    rows.append(("total", "", f"{model.n_parameters_:,}"))
    a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [f"{n:<{a}}  {w:>{b}}  {p:>{c}}" for n, w, p in rows]
    return "\n".join([f"{type(model).__name__}: {model.describe()}", *lines])


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(cls: type[Seq2Seq], fields: Fields) -> dict[str, Any]:
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
