"""`unspool shrink`: a saved model with narrower weights, and what that costs on a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.evaluate import rows_for
from unspool.cli.fit import not_itself
from unspool.cli.options import Debug, LabelSeparator, Model, Reading, source_options, with_options
from unspool.errors import DataError


@with_options(source_options(Reading))
def shrink(
    model: Model,
    table: Annotated[
        Path | None,
        typer.Argument(
            help="Rows to measure the loss on: a regressor's or a classifier's.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The model to write: a folder or a .zip.", show_default=False)
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="FORM", help="bfloat16 (half the bytes) or int8 (a quarter).")
    ] = "int8",
    input: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of texts.", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="The column to predict.", show_default=False)
    ] = None,
    label_separator: LabelSeparator = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write a saved model with narrower weights; on a table, print its metrics beside those of the whole model.

    unspool shrink model validation.csv --input text --target score --weights int8 --out small.zip
    """
    import unspool
    from unspool import saved

    if out is None:
        raise DataError("Name the model to write: --out small.zip.")
    if table is None and (input is not None or target or label_separator is not None):
        raise DataError("--input, --target and --label-separator are of a table to measure on: give one.")
    not_itself(out, model)
    whole = unspool.load(model)
    if table is not None and (not hasattr(whole, "task_") or whole.input_.kind != "text"):
        raise DataError(
            "A table is for regressors and classifiers of texts. Shrink without it, and measure with unspool evaluate."
        )
    if table is not None and (input is None or not target):
        raise DataError(f"To measure on {table}, name its columns: --input and --target.")
    saved.shrink(model, out, weights)
    typer.echo(f"{out}: {_size(out):,} bytes, {_size(out) / _size(model):.0%} of {model}.")
    small = unspool.load(out)
    if table is None or input is None or not target:
        typer.echo("Measure what it lost: give a table here, or unspool evaluate both models.")
        return
    _compare(
        whole, small, weights, rows_for(whole, Reading.of(options), table, input, target, label_separator)
    )


def _compare(whole: Any, small: Any, weights: str, rows: tuple[Any, list[str]]) -> None:
    from unspool.cli.report import measure, print_metrics

    part, target = rows
    task = type(whole.task_)
    found = measure(weights, small, part, task)
    before = measure("float32", whole, part, task)
    print_metrics(task.measured(target), len(part.texts), found, parts=[before])
    for name, now, then in zip(task.measured(target), found.metrics, before.metrics, strict=True):
        changes = [f"{key} {value - old:+.2g}" for key, value, old in _numbers(now, then)]
        typer.echo(f"Change of {name}: {', '.join(changes)}.")


def _numbers(now: Any, then: Any) -> list[tuple[str, float, float]]:
    """(name, value, value of the whole model) of the metrics that both have."""
    both = [(key, now[key], then[key]) for key in now]
    return [(key, value, old) for key, value, old in both if None not in (value, old)]


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    path = path.expanduser()
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
