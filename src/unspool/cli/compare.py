"""`unspool compare`: which cell, pooling and layout for a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import (
    SAVED,
    Debug,
    Source,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.errors import DataError

if TYPE_CHECKING:
    from unspool.cli.data import Data
    from unspool.study.comparison import Comparison

ARRANGEMENTS, STUDY = "Arrangements", "Study"
# What an arrangement sets itself.
VARIED = ("cell", "pooling", "num_layers", "bidirectional", "blend")
UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@with_options(source_options(), setting_options(VARIED))
def compare(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder for runs, tables, report and the model.", show_default=False)
    ],
    arrangements: Annotated[
        str | None,
        typer.Option(
            help="twelve, or names such as lstm/last/stacked joined by commas. Default: every combination of:",
            rich_help_panel=ARRANGEMENTS,
        ),
    ] = None,
    cells: Annotated[
        str, typer.Option(help="Names joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "rnn,gru,lstm",
    poolings: Annotated[
        str, typer.Option(help="Names joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "last,mean,max,attention",
    layouts: Annotated[
        str,
        typer.Option(help="Also stacked-bidirectional. stacked: two layers.", rich_help_panel=ARRANGEMENTS),
    ] = "one,stacked,bidirectional",
    equal_parameters: Annotated[
        bool,
        typer.Option(
            "--equal-parameters",
            help="Hidden sizes so that all have as many recurrent parameters as one lstm layer of --hidden-size.",
            rich_help_panel=ARRANGEMENTS,
        ),
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Ranks: r2 (default), rmse, mae, pearson_r; accuracy (default), macro_f1, log_loss; of ordered "
            "classes kappa (default), rank_mae; of counts and positive numbers deviance (default).",
            rich_help_panel=STUDY,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Runs of each arrangement, from the same seeds.", rich_help_panel=STUDY)
    ] = 5,
    cv: Annotated[
        int | None,
        typer.Option(help="Folds of a cross-validation in each repeat.", rich_help_panel=STUDY),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for it all: 15m, 90s, 2h.", rich_help_panel=STUDY)
    ] = None,
    budget_runs: Annotated[int | None, typer.Option(help="Runs, at most.", rich_help_panel=STUDY)] = None,
    drop_hopeless: Annotated[
        bool,
        typer.Option(help="After two repeats, leave out what is clearly worse.", rich_help_panel=STUDY),
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side. Default: one a core.", rich_help_panel=STUDY)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line a run.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell, pooling and layers on a table, and say which to use.

    unspool compare reviews.csv --input text --target score --arrangements twelve --budget 15m --out study

    The same command goes on with a study that was interrupted.
    """
    from unspool import study
    from unspool.cli.data import Beside, prepare
    from unspool.estimators import for_task
    from unspool.tasks import MultiLabel

    out = out.expanduser()
    seconds = None if budget is None else parse_duration(budget)
    names = _names(arrangements) if arrangements not in (None, "twelve") else arrangements
    settings = settings_of(options, VARIED)
    source, columns = Source.of(options), (settings["numeric"], settings["categorical"])
    settings["text_column"] = source.input if any(columns) else None
    data = prepare(source, settings, Beside(settings["text_column"], *columns))
    settings |= data.settings
    if data.task is MultiLabel:
        raise DataError("unspool compare takes one label a text. For several use unspool fit.")
    for line in data.notes:
        typer.echo(line)
    X, y, validation = _training(data, cv)
    result: Comparison = study.compare(
        X,
        y,
        estimator=for_task(data.task.name)(**settings),
        cells=_names(cells),
        poolings=_names(poolings),
        layouts=_names(layouts),
        arrangements=names,
        metric=metric,
        repeats=repeats,
        cv=cv,
        validation=validation,
        test=(data.test.inputs, data.test.y),
        equal_parameters=equal_parameters,
        drop_hopeless=drop_hopeless,
        budget_seconds=seconds,
        budget_runs=budget_runs,
        jobs=jobs,
        out=out,
        random_state=settings["random_state"],
        verbose=0 if quiet else 1,
    )
    typer.echo(f"\n{result.summary()}")
    if result.interrupted:
        done = sum(len(entry.runs) for entry in result.entries)
        kept = "1 run is" if done == 1 else f"{done} runs are"
        ctx.meta[SAVED] = f"{kept} kept in {out}; the same command goes on."
        raise KeyboardInterrupt
    if result.best is not None:
        typer.echo(f"Model: {out / 'model'}.")
    typer.echo(f"Report: {out / 'report.html'}. Tables: {out / 'table.csv'}, {out / 'runs.csv'}.")


def parse_duration(text: str) -> float:
    """Seconds of "90", "90s", "15m" or "1.5h"; `DataError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", text)
    if not found or float(found[1]) == 0:
        raise DataError(f"--budget must be a time such as 15m, 90s or 2h. Got {text!r}.")
    return float(found[1]) * UNITS[found[2]]


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _training(data: Data, cv: int | None) -> tuple[Any, Any, tuple[Any, Any] | None]:
    """(X, y, validation pair): with folds, the rows of a given validation part join the others."""
    train, validation = data.train, data.validation
    if validation is None:
        return train.inputs, train.y, None
    if cv is None:
        return train.inputs, train.y, (validation.inputs, validation.y)
    both = train.joined(validation)
    return both.inputs, both.y, None
