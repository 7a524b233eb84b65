"""`unspool compare`: which cell, pooling and layout for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import (
    Debug,
    Source,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.studying import ARRANGEMENTS, Cells, EqualParameters, Out, Quiet, Studying, names, run
from unspool.errors import DataError

if TYPE_CHECKING:
    from unspool.cli.data import Data

# What an arrangement sets itself.
VARIED = ("cell", "pooling", "num_layers", "bidirectional", "blend")


@with_options(source_options(), source_options(Studying), setting_options(VARIED))
def compare(
    ctx: typer.Context,
    out: Out,
    arrangements: Annotated[
        str | None,
        typer.Option(
            help="twelve, or names such as lstm/last/stacked joined by commas. Default: every combination of:",
            rich_help_panel=ARRANGEMENTS,
        ),
    ] = None,
    cells: Cells = "rnn,gru,lstm",
    poolings: Annotated[
        str, typer.Option(help="Names joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "last,mean,max,attention",
    layouts: Annotated[
        str,
        typer.Option(help="Also stacked-bidirectional. stacked: two layers.", rich_help_panel=ARRANGEMENTS),
    ] = "one,stacked,bidirectional",
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell, pooling and layers on a table, and say which to use.

    unspool compare reviews.csv --input text --target score --arrangements twelve --budget 15m --out study

    The same command goes on with a study that was interrupted.
    """
    from unspool.cli.data import Beside, prepare
    from unspool.estimators import for_task
    from unspool.tasks import MultiLabel

    studying = Studying.of(options)
    asked: Any = arrangements if arrangements == "twelve" else names(arrangements)
    settings = settings_of(options, VARIED)
    source, columns = Source.of(options), (settings["numeric"], settings["categorical"])
    settings["text_column"] = source.input if any(columns) else None
    data = prepare(source, settings, Beside(settings["text_column"], *columns))
    settings |= data.settings
    if data.task is MultiLabel:
        raise DataError("unspool compare takes one label a text. For several use unspool fit.")
    for line in data.notes:
        typer.echo(line)
    X, y, validation = _training(data, studying["cv"])
    run(
        ctx,
        out,
        quiet,
        settings,
        X,
        y,
        estimator=for_task(data.task.name)(**settings),
        cells=names(cells),
        poolings=names(poolings),
        layouts=names(layouts),
        arrangements=asked,
        validation=validation,
        test=(data.test.inputs, data.test.y),
        equal_parameters=equal_parameters,
        **studying,
    )


def _training(data: Data, cv: int | None) -> tuple[Any, Any, tuple[Any, Any] | None]:
    """(X, y, validation pair): with folds, the rows of a given validation part join the others."""
    train, validation = data.train, data.validation
    if validation is None:
        return train.inputs, train.y, None
    if cv is None:
        return train.inputs, train.y, (validation.inputs, validation.y)
    both = train.joined(validation)
    return both.inputs, both.y, None
