"""What a model answers, out of its network's outputs: numbers in the target's units, classes, labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.exporting.graph import BOOL, DOUBLE, FLOAT, INT64, Graph
from unspool.tasks import Classification, MultiLabel, Ordinal, Regression
from unspool.tasks.log_link import LogLink
from unspool.training.likelihoods import DEVIATIONS, LARGEST_LOG, LogNormal


def answer(g: Graph, task: Any, outputs: Any) -> None:
    """Outputs of the graph for the task; outputs (B, output size) of the network.

    Numbers: `prediction` float64 (B,) or (B, K). Classes: `label` (B,), of the classes' own type or text, and
    `probabilities` float32 (B, C). Labels: `labels` int64 (B, C) of 0 and 1, and `probabilities`.
    """
    if isinstance(task, Regression):
        numbers = _numbers(g, task, g.cast(outputs, DOUBLE))
        if task.ndim == 1:
            numbers = g.op("Squeeze", numbers, g.ints(1))
        g.output("prediction", numbers, DOUBLE, ["batch", *([] if task.ndim == 1 else [len(task.mean)])])
    elif type(task) in (Classification, Ordinal, MultiLabel):
        cooled = g.op("Div", g.cast(outputs, DOUBLE), np.float64(task.temperature))
        several = isinstance(task, MultiLabel)
        shares = g.op("Sigmoid", cooled) if several else g.op("Softmax", cooled, axis=1)
        if several:
            given = g.cast(g.op("GreaterOrEqual", shares, task.thresholds), INT64)
            g.output("labels", given, INT64, ["batch", len(task.classes)])
        else:
            best = g.op("ArgMax", outputs, axis=1, keepdims=0)
            if isinstance(task, Ordinal):  # the median
                reached = g.op("GreaterOrEqual", g.op("CumSum", shares, np.int64(1)), np.float64(0.5 - 1e-12))
                best = g.op("ArgMax", g.cast(reached, INT64), axis=1, keepdims=0)
            classes, kind = labels_of(task.classes)
            g.output("label", g.op("Gather", classes, best, axis=0), kind, ["batch"])
        g.output("probabilities", g.cast(shares, FLOAT), FLOAT, ["batch", len(task.classes)])
    else:
        raise DataError(f"There is no ONNX form of the answers of the task {task.name!r}.")


def _numbers(g: Graph, task: Regression, outputs: Any) -> Any:
    """(B, K) in the targets' units; outputs (B, output size) float64."""
    if type(task) is Regression:
        return g.op("Add", g.op("Mul", outputs, task.scale), task.mean)
    if not isinstance(task, LogLink):
        raise DataError(f"There is no ONNX form of the answers of the task {task.name!r}.")
    count = len(task.scale)
    logs = outputs
    if task.criterion.outputs > 1:
        logs = g.op("Slice", outputs, g.ints(0), g.ints(count), g.ints(1))
    if isinstance(task.criterion, LogNormal):  # of the median, and half the variance
        second = g.op("Slice", outputs, g.ints(count), g.ints(2 * count), g.ints(1))
        deviation = g.op("Clip", second, *map(np.float64, DEVIATIONS))
        variance = g.op("Exp", g.op("Mul", deviation, np.float64(2)))
        logs = g.op("Add", logs, g.op("Div", variance, np.float64(2)))
    means = g.op("Exp", g.op("Clip", logs, np.float64(-LARGEST_LOG), np.float64(LARGEST_LOG)))
    return g.op("Mul", means, task.scale)


def labels_of(classes: np.ndarray) -> tuple[np.ndarray, str]:
    """(the labels as ONNX holds them, their type there): ints, floats and bools as such, any other as text."""
    kinds = {"i": (np.int64, INT64), "u": (np.int64, INT64), "f": (np.float64, DOUBLE), "b": (np.bool_, BOOL)}
    if classes.dtype.kind in kinds:
        wanted, kind = kinds[classes.dtype.kind]
        return classes.astype(wanted), kind
    return np.array([str(c) for c in classes.tolist()], dtype=object), "STRING"


def expected(task: Any, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Our own answers for the network's outputs (B, output size) float64, by the names of the graph's."""
    found = task.decode(outputs)
    if isinstance(task, Regression):
        return {"prediction": found}
    shares = task.probabilities(outputs).astype(np.float32)
    if isinstance(task, MultiLabel):
        return {"labels": found, "probabilities": shares}
    labels, _ = labels_of(found)
    return {"label": labels, "probabilities": shares}


def units(task: Any) -> dict[str, np.ndarray]:
    """The size of a difference that counts as 1."""
    return (
        {"prediction": task.scale[0] if task.ndim == 1 else task.scale}
        if isinstance(task, Regression)
        else {}
    )
