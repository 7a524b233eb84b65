"""A fitted forecaster to the JSON content and the tensors of a saved model, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.forecasting.building import build_network
from unspool.forecasting.calendar import Calendar, Stamps
from unspool.forecasting.conformal import Scores
from unspool.forecasting.panel import KINDS, Panel
from unspool.forecasting.parameters import TABLE
from unspool.forecasting.prepare import Preparation
from unspool.saved import Fields, Weights, models

if TYPE_CHECKING:
    from unspool.forecasting.forecaster import Forecaster

_SERIES = "series."  # prefix of the tensors that are no weights


def content(model: Forecaster) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(JSON values, tensors): all of `model`, the end of each series included."""
    tail, scores = model.tail_, model.scores_
    known = model.preparation_.ids
    text = tail.id_type == pl.String
    place = {name: i for i, name in enumerate(known)}
    document = {
        "class": "Forecaster",
        "parameters": models.parameters_of(model),
        "calendar": model.calendar_.to_dict(),
        "stamps": {"kind": tail.stamps.kind, "form": tail.stamps.form, "zone": tail.stamps.zone},
        "table": tail.kind,
        "ids": [str(i) for i in known] if text else [int(i) for i in known],
        "static": [models.plain(row) for row in tail.static],
        "preparation": model.preparation_.to_dict(),
        "sizes": [model.season_, model.segment_length_, model.input_size_],
        "training": {
            **models.training_of(model),
            "validation": model.validation_,
        },
    }
    numbers = {
        "values": np.concatenate(tail.values),
        "tails": np.array([place[name] for name in tail.ids], np.int64),
        "counts": tail.counts,
        "firsts": tail.firsts,
        "offsets": model.preparation_.offsets,
        "scales": model.preparation_.scales,
        "scores": np.zeros((0, model.horizon)) if scores is None else scores.values,
        "scored": np.zeros(0, np.int64) if scores is None else scores.series,
    }
    tensors = {_SERIES + name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in numbers.items()}
    return document, {**model.network_.state_dict(), **tensors}


def restore(cls: type[Forecaster], fields: Fields, weights: Weights) -> Forecaster:
    """The forecaster whose `content` was saved; `ModelFileError` where the file does not hold."""
    model = cls(**models.read_parameters(cls, fields.child("parameters"), TABLE))
    model._check()
    ids = _ids(fields)
    model.season_, model.segment_length_, model.input_size_ = fields.items("sizes", int, 3)
    if min(model.season_, model.segment_length_, model.input_size_) < 1:
        raise ModelFileError("its sizes must be positive.")
    model.unit_ = model.segment_length_ if model.model == "segments" else 1
    names = model._names()
    shapes, columns = weights.shapes, 1 + len(names.past) + len(names.future)
    empty = Preparation.from_fields(fields.child("preparation"), ids, np.ones(len(ids)), np.ones(len(ids)))
    if len(empty.covariates) != columns - 1 or [p.name for p in empty.static] != list(names.static):
        raise ModelFileError("its covariates are not those that its parameters name.")
    model.preparation_ = empty
    counted = [shapes.get(_SERIES + n, (None, (0,)))[1] for n in ("values", "scores", "tails")]
    steps, scored, tails = (shape[0] if shape else 0 for shape in counted)
    kinds = {
        "values": ((steps, columns), torch.float64),
        "tails": ((tails,), torch.int64),
        "counts": ((tails,), torch.int64),
        "firsts": ((tails,), torch.int64),
        "offsets": ((len(ids),), torch.float64),
        "scales": ((len(ids),), torch.float64),
        "scores": ((scored, model.horizon), torch.float64),
        "scored": ((scored,), torch.int64),
    }
    own = {_SERIES + n: torch.empty(shape, dtype=kind, device="meta") for n, (shape, kind) in kinds.items()}
    model.network_, numbers = models.read_network(lambda: build_network(model), weights, own)
    found = {name: numbers[_SERIES + name].numpy() for name in kinds}
    model.preparation_ = Preparation.from_fields(
        fields.child("preparation"), ids, found["offsets"], found["scales"]
    )
    _restore_series(model, fields, ids, found)
    _restore_training(model, fields.child("training"))
    model.n_parameters_ = sum(p.numel() for p in model.network_.parameters() if p.requires_grad)
    return model


def _restore_series(model: Forecaster, fields: Fields, ids: list[Any], found: dict[str, np.ndarray]) -> None:
    stamps = fields.child("stamps")
    kind = stamps.choice("kind", ("int", "date", "datetime", "text"))
    calendar = Calendar.from_fields(fields.child("calendar"))
    counts, tails = found["counts"], found["tails"]
    if not len(tails) or tails.min() < 0 or tails.max() >= len(ids) or len(set(tails.tolist())) < len(tails):
        raise ModelFileError("the ends of its series are of series that it does not have.")
    if (counts < 1).any() or counts.sum() != len(found["values"]):
        raise ModelFileError("the ends of its series do not add up.")
    static = [tuple(row) for row in fields.items("static", list)]
    if len(static) != len(tails) or any(len(row) != len(model.static) for row in static):
        raise ModelFileError("it must hold the static columns of each series.")
    model.calendar_ = calendar
    model.tail_ = Panel(
        model._names(),
        fields.choice("table", KINDS),
        Stamps(kind, stamps.get("form", str), stamps.optional("zone", str)),
        calendar,
        [ids[i] for i in tails.tolist()],
        found["firsts"],
        np.split(found["values"], np.cumsum(counts)[:-1]),
        static,
        pl.String if ids and isinstance(ids[0], str) else pl.Int64,
    )
    _check_stamps(model.tail_, int(counts.max()) + model.horizon)
    model.scores_ = None
    if len(found["scores"]):
        if found["scored"].min() < 0 or found["scored"].max() >= len(ids):
            raise ModelFileError("its scores are of series that it does not have.")
        model.scores_ = Scores(found["scores"], found["scored"], model.calibration == "pooled")


def _check_stamps(panel: Panel, steps: int) -> None:
    """`ModelFileError` where the time stamps of the next `steps` cannot be written as they are said to be."""
    try:
        for first in (panel.firsts.min(), panel.firsts.max()):
            panel.stamps.column("time", panel.calendar.stamps(int(first), np.array([0, steps])))
    except (pl.exceptions.PolarsError, ValueError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(f"its time stamps cannot be written ({reason}).") from error


def _restore_training(model: Forecaster, training: Fields) -> None:
    models.read_training(model, training)
    validation = training.optional("validation", dict)
    model.validation_ = None if validation is None else models.numbers(validation)


def _ids(fields: Fields) -> list[Any]:
    raw = fields.get("ids", list)
    ids = fields.items("ids", str if raw and isinstance(raw[0], str) else int)
    if not ids or len(set(ids)) < len(ids):
        raise ModelFileError("the ids of its series must be one or more, all different.")
    return ids
