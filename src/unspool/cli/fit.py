"""`unspool fit`: a table -> a trained, saved and honestly evaluated model."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import (
    INTERRUPTED,
    SAVED,
    Debug,
    Keeping,
    Source,
    Streaming,
    Weight,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.errors import DataError, ModelFileError, UnspoolError
from unspool.files import check_place

if TYPE_CHECKING:
    from unspool.cli.data import Data


class RescuedError(UnspoolError):
    """The model is not where it should be, but somewhere."""


@with_options(source_options(), source_options(Keeping), source_options(Streaming), setting_options())
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    report: Annotated[
        Path | None, typer.Option(help="Where metrics, plot and test predictions go. Default: OUT-report.")
    ] = None,
    weight: Weight = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train on the texts of a table, save the model, and measure it beside two baselines.

    unspool fit reviews.csv --input text --target score --out model

    unspool fit big.parquet --input text --target score --stream --out model

    Other jobs have options of their own: --task tagging, forecasting, generation or seq2seq with --help, and, of series
    and recordings, --input-kind series with --help.
    """
    from unspool.cli.data import Beside, prepare
    from unspool.cli.report import measure_baselines, tell, write_report

    out, report = places(out, report)
    keeping = Keeping.of(options, out)
    source = Source.of(options)
    settings = {**settings_of(options), "verbose": 0 if quiet else 1}
    numeric, categorical = settings["numeric"], settings["categorical"]
    settings["text_column"] = source.input if numeric or categorical else None
    streaming = Streaming.of(options, keeping)
    beside = Beside(settings["text_column"], numeric, categorical)
    given: tuple[Any, ...] = ()
    if streaming.stream:
        if weight is not None:
            raise DataError("--weight needs the table as a whole, and does not go with --stream.")
        from unspool.cli.streamed import like_model, prepare_stream, stream_of

        stream = stream_of(source, beside)
        data, rows = prepare_stream(source, settings, beside, stream)
        given = (stream, rows)
        keeping = streaming.arguments()
    else:
        data = prepare(source, settings, beside, weight)
    settings |= data.settings
    for line in data.notes:
        typer.echo(line)
    started = time.perf_counter()
    model = train(ctx, data, settings, out, keeping, given)
    if streaming.stream:
        data = like_model(data, model)
        settings["order"] = None if settings["order"] is None else model.classes_.tolist()
    seconds = time.perf_counter() - started
    result, told = tell(model, data.test, data.task, data.measured, measure_baselines(data, settings))
    facts = {
        "task": data.task.name,
        "rows": data.counts(),
        **told,
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_report(report, data.task, source.input, data.targets, data.test, result, facts)
    typer.echo(f"Model: {out}. Metrics, plot and test predictions: {report}.")


def places(out: Path, report: Path | None) -> tuple[Path, Path]:
    """(where the model goes, where its report goes), tried: what would refuse the results refuses them before the
    training. `DataError` for a report in the model's own folder."""
    from unspool import saved

    out = out.expanduser()
    saved.check_place(out)
    report = out.with_name(out.name + "-report") if report is None else report.expanduser()
    if out.resolve() in (report.resolve(), *report.resolve().parents):
        raise DataError(
            f"The report cannot lie in the model's own place {str(out)!r}, which holds the model alone. Got --report "
            f"{str(report)!r}."
        )
    check_place(report / "metrics.json")
    return out, report


def not_itself(out: Path, model: Path) -> None:
    """`DataError` where what is made of a model would take its place, or lie in it."""
    place, whole = out.expanduser().resolve(), model.expanduser().resolve()
    if place == whole or whole in place.parents:
        what = "the model itself, which would be lost" if place == whole else "inside the model's own folder"
        raise DataError(f"--out {str(out)!r} is {what}. Name another place.")


def save(model: Any, out: Path) -> Path:
    """Save to `out`; where that fails now, beside it or in the folder for temporary files, and say so.

    Of several ranks only rank 0 does, and goes on from here; the others are done.
    """
    from unspool.training.parallel import leave

    if not leave():
        raise typer.Exit(INTERRUPTED if model.interrupted_ else 0)
    try:
        model.save(out)
        return out
    except (ModelFileError, OSError) as error:
        beside = [out.with_name(f"{out.stem}-rescued{out.suffix}"), Path(tempfile.mkdtemp()) / out.name]
        for place in beside:
            with contextlib.suppress(ModelFileError, OSError):
                model.save(place)
                hint = f"The trained model is saved in {str(place)!r} instead, not evaluated."
                raise RescuedError(f"{error} {hint}") from error
        raise


def train(
    ctx: typer.Context,
    data: Data,
    settings: dict[str, Any],
    out: Path,
    keeping: dict[str, Any],
    streamed: tuple[Any, ...] = (),
) -> Any:
    """The fitted estimator, of a stream and its rows where these are given, saved;
    after Ctrl-C the best model so far is, and KeyboardInterrupt raised."""
    from unspool.estimators import for_task

    model = for_task(data.task.name)(**settings)
    if streamed:
        model.fit_stream(*streamed, **keeping)
    else:
        validation = None if data.validation is None else (data.validation.inputs, data.validation.y)
        y = data.task.named(data.train.y, data.targets)
        model.fit(data.train.inputs, y, data.train.weights, validation, **keeping)
    out = save(model, out)
    interrupted = bool(model.interrupted_)
    state = f"the {'best model so far' if interrupted else 'trained model'} is saved in {out}"
    ctx.meta[SAVED] = f"{state}, not evaluated."
    if interrupted:
        raise KeyboardInterrupt
    return model
