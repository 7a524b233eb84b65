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
from unspool.evaluation.calibration import calibration_of
from unspool.evaluation.metrics import METRICS, BesideBaselines, Metrics, beside_baselines, shown
from unspool.files import write_text
from unspool.tables import write_table
from unspool.tasks import Measured, Task


@dataclass(frozen=True)
class Result:
    """What a model or a baseline, by its name, answered on a part."""

    name: str
    found: Measured

    @property
    def metrics(self) -> list[Metrics]:
        """One dict a target."""
        return self.found.metrics


def measure(name: str, model: Any, part: Part, task: type[Task]) -> Result:
    """Predict the texts of `part` with an estimator or a baseline, and measure it against `part.y`."""
    return Result(name, task.measure(model, part.inputs, part.y))


def measure_baselines(data: Data, settings: Mapping[str, Any]) -> list[tuple[Result, dict[str, Any]]]:
    """Both baselines of the task, fitted on the training part, and the settings that were chosen for each.

    settings: the estimator's parameters; the linear model has the same columns beside the texts.
    """
    validation = None if data.validation is None else (data.validation.inputs, data.validation.y)
    train = data.train
    found = data.task.baselines(
        train.inputs,
        train.y,
        level=settings["level"],
        validation=validation,
        seed=settings["random_state"],
        settings=settings,
    )
    return [(measure(b.name, b, data.test, data.task), b.settings) for b in found]


def print_calibration(model: Any, part: Part) -> dict[str, Any]:
    """Say how far the probabilities of a classifier are from how often they are right, before and after its
    temperature; of any other model nothing. What is said, for `write_report`."""
    if not hasattr(model, "uncalibrated"):
        return {}
    found = calibration_of(model, part.inputs, part.y)
    names = {"ece": "calibration error (ECE)", "brier": "Brier score"}
    same = found["temperature"] == 1.0
    told = [
        f"{names[key]} {shown(found['before'][key])}" + ("" if same else f" -> {shown(found['after'][key])}")
        for key in names
    ]
    how = (
        "as the model gives them" if same else f"before and after a temperature of {found['temperature']:.3g}"
    )
    typer.echo(f"Probabilities, {how}: {', '.join(told)}.")
    return {"calibration": found}


def tell(
    model: Any,
    part: Part,
    task: type[Task],
    names: Sequence[str],
    baselines: Sequence[tuple[Result, dict[str, Any]]],
    others: Sequence[Result] = (),
) -> tuple[Result, dict[str, Any]]:
    """Print the metrics of a trained model on the test part, beside those of its network alone, of `others` and of the
    baselines; (its answers, what `write_report` is told of this). names: what the metrics are of."""
    typer.echo(f"Model: {model.describe()}.")
    result = measure("this model", model, part, task)
    alone = []
    if model.blend_ is not None:
        alone = [measure("its network alone", model.network_alone(), part, task)]
    fitted = [other for other, _ in baselines]
    verdicts = print_metrics(names, len(part.texts), result, fitted, [*alone, *others])
    told = {
        "baselines": {
            other.name: {"settings": chosen, "metrics": dict(zip(names, other.metrics, strict=True))}
            for other, chosen in baselines
        },
        "network_alone": [dict(zip(names, found.metrics, strict=True)) for found in alone],
        **({"others": {o.name: dict(zip(names, o.metrics, strict=True)) for o in others}} if others else {}),
        "blend": None if model.blend_ is None else model.blend_.to_dict(),
        "verdicts": [v.sentence for v in verdicts],
        **print_calibration(model, part),
    }
    return result, told


def print_metrics(
    targets: Sequence[str],
    rows: int,
    model: Result,
    others: Sequence[Result] = (),
    parts: Sequence[Result] = (),
) -> list[BesideBaselines]:
    """Print a table a target, the model above its parts and the baselines; with baselines, also say which is better."""
    verdicts = []
    for k, target in enumerate(targets):
        header = (f"{target}: {rows} test rows", *(METRICS[key][0] for key in model.metrics[k]))
        print_table(header, [(r.name, *map(shown, r.metrics[k].values())) for r in (model, *parts, *others)])
        if others:
            named = {other.name: other.metrics[k] for other in others}
            verdicts.append(beside_baselines(model.metrics[k], named, target if len(targets) > 1 else ""))
            typer.echo(verdicts[-1].sentence)
    return verdicts


def write_report(
    folder: Path,
    task: type[Task],
    input: str,
    targets: Sequence[str],
    part: Part,
    model: Result,
    facts: Mapping[str, Any],
) -> None:
    """Write `metrics.json` (metrics and `facts`), the plot and the predictions of the part to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = dict(zip(task.measured(targets), model.metrics, strict=True))
    text = json.dumps({"metrics": metrics, **facts}, indent=2, ensure_ascii=False)
    write_text(folder / "metrics.json", text + "\n")
    task.plot(folder / "predicted_vs_true.png", part.y, model.found, targets)
    true = dict(zip(targets, part.y.reshape(len(part.texts), -1).T, strict=True))
    columns = {"row": part.rows, input: part.texts, **true, **prediction_columns(targets, model.found)}
    write_table(pl.DataFrame(columns), folder / "test_predictions.csv")


def prediction_columns(targets: Sequence[str], found: Measured) -> dict[str, np.ndarray]:
    """predicted_<target> for each target, and probability_<class> for each class."""
    predicted = found.predicted.reshape(len(found.predicted), -1).T
    columns = {f"predicted_{name}": values for name, values in zip(targets, predicted, strict=True)}
    if found.classes is not None and found.probabilities is not None:
        columns |= {f"probability_{c}": p for c, p in zip(found.classes, found.probabilities.T, strict=True)}
    return columns
