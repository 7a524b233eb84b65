"""The linear part of a text model: fitted beside the network, mixed in by a weight found on held-back rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unspool.encode import TextInput
from unspool.errors import ModelFileError, bad_parameter
from unspool.evaluation.blend import Blend, blend_labels, blend_logits, blend_numbers
from unspool.evaluation.linear import LinearText, fit_linear
from unspool.evaluation.terms import Texts
from unspool.saved import Fields
from unspool.text import TextEncoder

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator
    from unspool.tasks import Task
    from unspool.training import SequenceData

ARRAYS = ("weights", "bias", "penalty", "idf")
PREFIX = "linear."
FEWEST = 20  # held-back rows from which a weight can be told


def wanted(model: SequenceEstimator, kind: str, training: int, held_back: int) -> bool:
    """Whether to blend; `InvalidParameterError` where blend=True asks for what cannot be."""
    loss = model.get_params(deep=False).get("loss", "squared")
    obstacles = {
        f"texts. Got {kind}": kind != "text",
        "one target a sequence": model.task.per_step,
        f"loss='squared' or 'huber'. Got {loss!r}": loss not in ("squared", "huber"),
        f"two training rows or more. Got {training}": training < 2,
        f"{FEWEST} held-back rows or more, by early_stopping or validation_data. Got {held_back}": held_back
        < FEWEST,
    }
    missing = next((what for what, there in obstacles.items() if there), None)
    if model.blend and missing:
        bad_parameter(type(model).__name__, "blend", f"False or None here: a blend needs {missing}", True)
    if model.blend is None:
        return missing is None
    return bool(model.blend)


def fit_blend(
    model: SequenceEstimator,
    texts: Texts,
    training: SequenceData,
    held_texts: Texts,
    held: SequenceData,
    seed: int,
    everything: Texts | None,
) -> tuple[LinearText, Blend, np.ndarray]:
    """(the linear part, the blend, what it gives for the held-back rows).

    everything: `texts` and `held_texts`, where the held-back rows are the estimator's own: on them the linear part is
    fitted again once the weight is found."""
    kind = model.task_.outputs_are
    of: dict[str, Any] = {
        "classes": model.task_.output_size if kind == "classes" else None,
        "labels": kind == "labels",
    }
    assert isinstance(model.input_, TextInput)
    encoder = model.input_.encoder
    beside, others = matrix(training.columns), matrix(held.columns)
    y, weight = _numbers(training.targets), _weights(model, training)
    z = _numbers(held.targets)
    part = fit_linear(encoder, texts, y, **of, columns=beside, sample_weight=weight, seed=seed)
    outputs, other = model._network_outputs(held.inputs, held.columns), part.outputs(held_texts, others)
    weigh = {"classes": blend_logits, "labels": blend_labels, "numbers": blend_numbers}[kind]
    blend = weigh(outputs, other, z, _weights(model, held))
    found = blend(outputs, other)
    if everything is not None:
        both = None
        if weight is not None:
            beyond = _weights(model, held)
            both = np.concatenate([weight, np.ones(len(z)) if beyond is None else beyond])
        part = fit_linear(
            encoder,
            everything,
            np.concatenate([y, z]),
            **of,
            columns=None if beside is None or others is None else np.concatenate([beside, others]),
            sample_weight=both,
            penalty=part.penalty,
            seed=seed,
        )
    return part, blend, found


def matrix(columns: Tensor | None) -> np.ndarray | None:
    """(n, C) float64 for the linear part."""
    return None if columns is None else columns.numpy().astype(np.float64)


def _numbers(targets: Any) -> np.ndarray:
    return targets.numpy().astype(np.float64) if targets.is_floating_point() else targets.numpy()


def _weights(model: SequenceEstimator, data: SequenceData) -> np.ndarray | None:
    """(n,): of the rows, times those of their classes."""
    weight = None if data.weights is None else data.weights.numpy().astype(np.float64)  # type: ignore[union-attr]
    of_classes = getattr(model.task_.criterion, "class_weight", None)
    if of_classes is None:
        return weight
    found = of_classes.numpy().astype(np.float64)[data.targets.numpy()]  # type: ignore[union-attr]
    return found if weight is None else found * weight


def describe(linear: LinearText, blend: Blend) -> str:
    """One sentence for a summary."""
    share = blend.share
    return (
        f"blend, weighed on held-back rows: {share:.0%} network, {1 - share:.0%} linear model on TF-IDF of "
        f"{len(linear.terms.names):,} terms"
    )


def content(linear: LinearText, blend: Blend) -> dict[str, Any]:
    """Both but the arrays, as JSON values."""
    return {"terms": linear.terms.names, "blend": blend.to_dict()}


def tensors(linear: LinearText) -> dict[str, Tensor]:
    """The arrays of the linear part, by the names that they are saved by."""
    return {PREFIX + name: torch.from_numpy(array) for name, array in linear.arrays().items()}


def expected(fields: Fields, task: Task, columns: int) -> dict[str, Tensor]:
    """Meta tensors of the shapes that `tensors` must have; columns: those beside the terms."""
    count, outputs = len(fields.items("terms", str)), task.output_size
    penalties = 1 if task.outputs_are == "classes" else outputs
    shapes = {
        "weights": (count + columns, outputs),
        "bias": (outputs,),
        "penalty": (penalties,),
        "idf": (count,),
    }
    return {PREFIX + name: torch.empty(shapes[name], device="meta", dtype=torch.float32) for name in ARRAYS}


def restore(encoder: TextEncoder, fields: Fields, found: dict[str, Tensor]) -> tuple[LinearText, Blend]:
    """Both from their saved `content` and `tensors`, which are taken out of `found`."""
    arrays = {name: found.pop(PREFIX + name).numpy() for name in ARRAYS}
    linear = LinearText.restored(encoder, fields.items("terms", str), arrays)
    own = fields.child("blend")
    first = own.items("first", float)
    second = own.items("second", float, len(first))
    if len(first) not in (1, len(linear.bias)):
        raise ModelFileError(f"a blend of {len(linear.bias)} outputs cannot have {len(first)} weights.")
    return linear, Blend(np.array(first), np.array(second), own.get("share", float))
