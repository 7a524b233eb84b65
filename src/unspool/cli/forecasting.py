"""`unspool fit --task forecasting`, and `predict` and `evaluate` of a saved forecaster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.answers import not_what_is_read
from unspool.cli.console import print_table
from unspool.cli.fit import save
from unspool.cli.options import (
    SAVED,
    Debug,
    Keeping,
    Model,
    Reading,
    Weight,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.errors import DataError
from unspool.files import check_place, write_text
from unspool.forecasting.parameters import TABLE

if TYPE_CHECKING:
    from unspool.forecasting import Backtest

Long = Annotated[
    Path, typer.Argument(help="A long table: CSV, TSV, JSON, Parquet or Excel.", show_default=False)
]
Level = Annotated[
    list[float] | None,
    typer.Option("--level", help="Intervals that hold so many per cent; repeat it.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Write the forecasts here (.csv, .tsv, .jsonl, .json, .parquet). Default: CSV to stdout."
    ),
]


@dataclass(frozen=True, kw_only=True)
class SeriesReading(Reading):
    """The options that say how long tables are read."""

    def series(self, path: Path, needed: Sequence[str]) -> Any:
        """The table; needed: columns that are kept whatever --columns names."""
        if path.is_dir():
            raise DataError(f"{str(path)!r} is a folder. Give a table.")
        return self.read(path, needed)


@dataclass(frozen=True, kw_only=True)
class SeriesSource(SeriesReading):
    """Also those that say which columns are learnt from, and what is kept apart."""

    table: Long
    id: Annotated[
        str, typer.Option(metavar="COLUMN", help="The series' ids; none: the table is one series.")
    ] = "unique_id"
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The time stamps.")] = "ds"
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to forecast.")] = "y"
    test_windows: Annotated[
        int,
        typer.Option(min=0, help="Last horizons of each series that are kept apart to measure by; 0: none."),
    ] = 1

    def columns_named(self) -> dict[str, Any]:
        """The parameters of `Forecaster`."""
        return {
            "id_col": None if self.id == "none" else self.id,
            "time_col": self.time,
            "target_col": self.target,
        }


@with_options(source_options(Keeping), source_options(SeriesSource), setting_options(of=TABLE))
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    task: Annotated[str, typer.Option(help="forecasting: these options.")] = "forecasting",
    level: Level = None,
    weight: Weight = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn to forecast the series of a long table, and measure that beside naive, seasonal naive and drift.

    The last horizon of each series is kept apart for the measures; the saved model has not learnt from it, and
    forecasts go on from its end.

    unspool fit sales.csv --task forecasting --id shop --time day --target sold --horizon 14 --out model
    """
    from unspool import Forecaster, saved
    from unspool.tables import weight_column

    out = out.expanduser()
    saved.check_place(out)
    keeping = Keeping.of(options, out)
    source = SeriesSource.of(options)
    settings = {**settings_of(options, of=TABLE), "verbose": 0 if quiet else 1}
    model = Forecaster(**settings, **source.columns_named())
    data = source.series(source.table, [*model.columns_needed, *([] if weight is None else [weight])])
    keeping["sample_weight"] = None if weight is None else weight_column(data, weight)
    if source.test_windows:
        found, model = model.measured(data, source.test_windows, level, **keeping)
    else:
        found, model = None, model.fit(data, **keeping)
    out = save(model, out)
    ctx.meta[SAVED] = (
        f"the {'best model so far' if model.interrupted_ else 'trained model'} is saved in {out}."
    )
    if model.interrupted_:
        raise KeyboardInterrupt
    typer.echo(f"Model: {model.describe()}.")
    if found is not None:
        _print(found)
    typer.echo(f"Model: {out}.")


@with_options(source_options(Reading))
def predict(
    model: Model,
    table: Annotated[
        Path | None,
        typer.Argument(help="Series to go on from. Default: those that were fitted.", show_default=False),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead. Default: as fitted.", show_default=False)
    ] = None,
    level: Level = None,
    quantile: Annotated[
        list[float] | None, typer.Option(help="A quantile in (0, 1); repeat it.", show_default=False)
    ] = None,
    future: Annotated[
        Path | None, typer.Option(help="A table of the columns that are known ahead.", show_default=False)
    ] = None,
    out: Out = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Forecast the steps after the end of each series: id, time, forecast, and lo-90 and hi-90 for --level 90.

    unspool predict model --level 80 --level 90 --out forecasts.csv
    """
    import polars as pl

    from unspool.tables import check_writable, write_table

    reading = SeriesReading.of(options)
    if out is not None:
        out = out.expanduser()
        for read in (table, future):
            if read is not None:
                not_what_is_read(out.expanduser(), read.expanduser())
        check_writable(pl.DataFrame(), out)
        check_place(out)
    estimator = load_model(model, weights)
    given = None if table is None else reading.series(table, estimator.columns_needed)
    ahead = None if future is None else reading.series(future, estimator.columns_ahead)
    frame = pl.DataFrame(estimator.predict(horizon, given, ahead, level or None, quantile or None))
    if out is None:
        typer.echo(frame.write_csv(), nl=False)
    else:
        write_table(frame, out)
        typer.echo(f"{frame.height} forecasts: {out}.")


@with_options(source_options(Reading))
def evaluate(
    model: Model,
    table: Long,
    windows: Annotated[int, typer.Option(min=1, help="Cut-offs.")] = 1,
    step: Annotated[
        int | None, typer.Option(min=1, help="Steps between them. Default: the horizon.", show_default=False)
    ] = None,
    level: Level = None,
    out: Out = None,
    report: Annotated[Path | None, typer.Option(help="Also write the measures here, as JSON.")] = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Measure a saved forecaster at the last cut-offs of a table, beside naive, seasonal naive and drift.

    unspool evaluate model sales.csv --windows 10 --step 1 --level 90
    """
    from unspool.tables import write_table

    for place in (out, report):
        if place is not None:
            check_place(place.expanduser())
    estimator = load_model(model, weights)
    found = estimator.backtest(
        SeriesReading.of(options).series(table, estimator.columns_needed), windows, step, level=level or None
    )
    rows = _print(found)
    if out is not None:
        write_table(found.frame(), out.expanduser())
        typer.echo(f"Forecasts: {out}.")
    if report is not None:
        write_text(report.expanduser(), json.dumps(rows, indent=2) + "\n")
        typer.echo(f"Measures: {report}.")


def _print(found: Backtest) -> dict[str, dict[str, float]]:
    rows = found.measure()
    names = list(next(iter(rows.values())))
    cells = [[name, *(f"{row[k]:.4g}" if k in row else "" for k in names)] for name, row in rows.items()]
    shown = {"mae": "MAE", "rmse": "RMSE", "smape": "sMAPE", "mase": "MASE"}
    head = [f"{len(found.cutoffs)} forecasts of {found.y.shape[1]} steps", *(shown.get(k, k) for k in names)]
    print_table(head, cells)
    return rows


def inspect(
    model: Model,
    curves: Annotated[
        bool, typer.Option("--curves", help="Draw loss and gradient norm over the epochs.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the drawing. Default: the model's name with -inspect.", show_default=False
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the layers, series, validation, settings and training history of a saved forecaster.

    unspool inspect model --curves
    """
    from unspool.cli.inspect import print_training

    if out is not None and not curves:
        raise DataError("--out is the folder for the drawing: ask for it by --curves.")
    made = load_model(model, "float32")
    typer.echo(made.summary())
    if made.validation_ is not None:
        named = ", ".join(f"{name} {value:.4g}" for name, value in made.validation_.items())
        typer.echo(f"\nMean absolute error at the held-back cut-offs, by the series' scale: {named}.")
    typer.echo()
    print_training(made)
    if curves:
        from unspool.study import plot_learning_curves

        folder = model.with_name(f"{model.stem}-inspect") if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        plot_learning_curves(folder / "curves.png", made)
        typer.echo(f"Loss and gradient norm over the epochs: {folder / 'curves.png'}.")
