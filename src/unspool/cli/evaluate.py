"""`unspool evaluate`: a saved model measured on a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.options import (
    Debug,
    Input,
    LabelSeparator,
    Model,
    Reading,
    Targets,
    Weights,
    load_model,
    source_options,
    with_options,
)
from unspool.errors import DataError
from unspool.files import check_place


@with_options(source_options(Reading))
def evaluate(
    model: Model,
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSON, Parquet or Excel.", show_default=False)],
    input: Input,
    target: Targets,
    label_separator: LabelSeparator = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write metrics, plot and predictions to this folder.")
    ] = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print the metrics of a saved model on every row of a table.

    unspool evaluate model new.csv --input text --target score
    """
    from unspool.cli.report import measure, print_calibration, print_metrics, write_report

    if report is not None:
        report = report.expanduser()
        check_place(report / "metrics.json")
    estimator = load_model(model, weights)
    task = type(estimator.task_)
    part, target = rows_for(estimator, Reading.of(options), table, input, target, label_separator)
    result = measure("this model", estimator, part, task)
    print_metrics(task.measured(target), len(part.texts), result)
    probabilities = print_calibration(estimator, part)
    if report is not None:
        facts = {"task": task.name, "rows": {"test": len(part.texts)}, **probabilities}
        write_report(report, task, input, target, part, result, facts)
        typer.echo(f"Metrics, plot and predictions: {report}.")


def rows_for(
    estimator: Any,
    reading: Reading,
    table: Path,
    input: str,
    target: list[str],
    label_separator: str | None,
) -> tuple[Any, list[str]]:
    """The rows of a table that a fitted regressor or classifier is measured on, and the names of its targets.

    Tells of rows that are left out, and of classes that the model does not know. Raises `DataError`.
    """
    from unspool.cli.data import Beside, Labels, read_part
    from unspool.tasks import MultiLabel

    task, labels = type(estimator.task_), None
    if label_separator is not None:
        if task is not MultiLabel or len(target) != 1:
            raise DataError(
                "--label-separator is for a model of several labels a sequence, and goes with one --target."
            )
        labels = Labels(target[0], label_separator)
        target = [str(label) for label in estimator.classes_]
    part, dropped = read_part(reading, table, input, target, task, Beside.of(estimator), labels)
    if dropped:
        typer.echo(f"{dropped} rows with missing values dropped.")
    if task.has_classes:
        part = replace(part, y=as_known(part.y, estimator))
    wanted = estimator.task_.columns_wanted
    if wanted != len(target):
        raise DataError(
            f"The model predicts {wanted} target{'s' * (wanted > 1)}. Got {len(target)} --target."
        )
    return part, target


def as_known(y: Any, estimator: Any) -> Any:
    """Labels (n,) of the type that the model's have; tells of those that it does not know."""
    import numpy as np

    from unspool.tasks.classification import like_classes

    y, known = like_classes(y, estimator.classes_), set(estimator.classes_.tolist())
    strange = np.array([label not in known for label in y.tolist()])
    if strange.any():
        typer.echo(
            f"warning: {int(strange.sum())} rows have a class that the model does not know, such as "
            f"{y[strange].tolist()[0]!r}; they count as wrong.",
            err=True,
        )
    return y
