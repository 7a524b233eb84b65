"""Answers of a model on one part: measured, printed and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import typer

from unspool.cli.console import print_table
from unspool.cli.data import Data, Part
from unspool.study.metrics import (
    METRICS,
    Metrics,
    Verdict,
    classification_metrics,
    number,
    regression_metrics,
    verdict,
)
from unspool.tables import write_table


@dataclass(frozen=True)
class Result:
    """What a model or a baseline answered on a part.

    predicted: (B, K) numbers for K targets, or (B,) labels. probabilities (B, C) for classes (C,): None for
    regression. metrics: one a target.
    """

    name: str
    predicted: np.ndarray
    metrics: list[Metrics]
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None


def measure(name: str, model: Any, part: Part, task: str) -> Result:
    """Predict the texts of `part` with an estimator or a baseline, and measure it against `part.y`."""
    if task == "regression":
        predicted = np.asarray(model.predict(part.texts), dtype=float).reshape(len(part.texts), -1)
        true = part.y.reshape(len(part.texts), -1)
        return Result(
            name, predicted, [regression_metrics(true[:, k], predicted[:, k]) for k in range(true.shape[1])]
        )
    probabilities, classes = np.asarray(model.predict_proba(part.texts)), np.asarray(model.classes_)
    metrics = classification_metrics(part.y, probabilities, classes)
    return Result(name, classes[probabilities.argmax(1)], [metrics], probabilities, classes)


def measure_baselines(data: Data, level: str, seed: int) -> list[tuple[Result, dict[str, Any]]]:
    """Both baselines of the task, fitted on the training part, and the settings that were chosen for each."""
    from unspool.study.baselines import classification_baselines, regression_baselines

    fit = regression_baselines if data.task == "regression" else classification_baselines
    validation = None if data.validation is None else (data.validation.texts, data.validation.y)
    baselines = fit(data.train.texts, data.train.y, level=level, validation=validation, seed=seed)
    return [(measure(b.name, b, data.test, data.task), b.settings) for b in baselines]


def print_metrics(
    targets: Sequence[str], rows: int, model: Result, others: Sequence[Result] = ()
) -> list[Verdict]:
    """Print a table a target, the model above the baselines; with baselines, also say which is better."""
    verdicts = []
    for k, target in enumerate(targets):
        header = (f"{target}: {rows} test rows", *(METRICS[key][0] for key in model.metrics[k]))
        print_table(header, [(r.name, *map(number, r.metrics[k].values())) for r in (model, *others)])
        if others:
            named = {other.name: other.metrics[k] for other in others}
            verdicts.append(verdict(model.metrics[k], named, target if len(targets) > 1 else ""))
            typer.echo(verdicts[-1].sentence)
    return verdicts


def write_report(
    folder: Path, input: str, targets: Sequence[str], part: Part, model: Result, facts: Mapping[str, Any]
) -> None:
    """Write `metrics.json` (metrics and `facts`), the plot and the predictions of the part to `folder`."""
    from unspool.study.plots import plot_confusion, plot_regression

    folder.mkdir(parents=True, exist_ok=True)
    metrics = dict(zip(targets, model.metrics, strict=True))
    text = json.dumps({"metrics": metrics, **facts}, indent=2, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    plot = folder / "predicted_vs_true.png"
    if model.classes is None:
        plot_regression(plot, part.y.reshape(len(part.texts), -1), model.predicted, targets, model.metrics)
    else:
        plot_confusion(plot, part.y, model.predicted, sorted({*model.classes.tolist(), *part.y.tolist()}))
    true = dict(zip(targets, part.y.reshape(len(part.texts), -1).T, strict=True))
    columns = {"row": part.rows, input: part.texts, **true, **prediction_columns(targets, model)}
    write_table(pl.DataFrame(columns), folder / "test_predictions.csv")


def prediction_columns(targets: Sequence[str], result: Result) -> dict[str, np.ndarray]:
    """predicted_<target> for each target, and probability_<class> for each class."""
    predicted = result.predicted.reshape(len(result.predicted), -1).T
    columns = {f"predicted_{name}": values for name, values in zip(targets, predicted, strict=True)}
    if result.classes is not None and result.probabilities is not None:
        columns |= {
            f"probability_{c}": p for c, p in zip(result.classes, result.probabilities.T, strict=True)
        }
    return columns
