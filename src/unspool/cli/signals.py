"""`unspool fit` on series and recordings, and `predict` and `evaluate` of such a model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from unspool.cli.answers import not_what_is_read
from unspool.cli.fit import places, save
from unspool.cli.options import (
    SAVED,
    Debug,
    Keeping,
    Level,
    Model,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.report import measure, print_calibration, print_metrics, tell, write_report
from unspool.cli.signal_data import SignalPart, SignalReading, SignalSource, decide
from unspool.errors import DataError
from unspool.files import check_place
from unspool.signals import Labelled

# Parameters of texts alone.
LEFT_OUT = (
    *(
        "embedding_dim",
        "word_dropout",
        "max_words",
        "level",
        "characters",
        "vectors",
        "vector_words",
        "vectors_rate",
    ),
    *("blend", "numeric", "categorical", "embedding_update", "multilabel"),
)

Where = Annotated[
    Path,
    typer.Argument(
        help="A .ts file, a long table, a .npy or .npz, or a folder of recordings.", show_default=False
    ),
]


@with_options(source_options(Keeping), source_options(SignalSource), setting_options(LEFT_OUT))
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    report: Annotated[
        Path | None, typer.Option(help="Where metrics, plot and test predictions go. Default: OUT-report.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn the labels, or numbers, of series or recordings, and measure the model beside two baselines.

    unspool fit JapaneseVowels_TRAIN.ts --test JapaneseVowels_TEST.ts --out model

    unspool fit recordings --labels '^([0-9])_' --test-pattern '_[0-4].wav$' --out model
    """
    from unspool.estimators import for_task

    source = SignalSource.of(options)
    source.check()
    out, report = places(out, report)
    keeping = Keeping.of(options, out)
    settings = {**settings_of(options, LEFT_OUT), "verbose": 0 if quiet else 1}
    data = source.parts(settings)
    settings |= data.settings
    started = time.perf_counter()
    model = data.named(for_task(data.task.name)(**settings).fit(data.train.X, data.train.y, **keeping))
    seconds = time.perf_counter() - started
    out = save(model, out)
    state = "best model so far" if model.interrupted_ else "trained model"
    ctx.meta[SAVED] = f"the {state} is saved in {out}, not evaluated."
    if model.interrupted_:
        raise KeyboardInterrupt
    baselines = data.baselines(settings["random_state"])
    result, told = tell(model, data.part, data.task, [source.target], baselines)
    facts = {
        **data.facts(),
        **told,
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_report(report, data.task, "name", [source.target], data.part, result, facts)
    typer.echo(f"Model: {out}. Metrics, plot and test predictions: {report}.")


@with_options(source_options(SignalReading))
def predict(
    model: Model,
    source: Where,
    out: Annotated[
        Path | None, typer.Option(help="Write the predictions here (.csv, .tsv, .jsonl, .json, .parquet).")
    ] = None,
    level: Level = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Predict with a saved model: a table with a row a series, or recording, and its name, label (where there is one)
    and prediction, of classes also the probabilities; to --out or as CSV to stdout.

    unspool predict model new.ts

    unspool predict model recordings --out predictions.csv
    """
    import polars as pl

    from unspool.tables import check_writable, write_table
    from unspool.tables.read import file_format

    if out is not None:
        out = out.expanduser()
        not_what_is_read(out, Path(source).expanduser())
        file_format(out, written=True)
        check_place(out)
    reading = SignalReading.of(options)
    estimator = load_model(model, weights)
    kind = estimator.input_.kind
    found = reading.read(source, kind, getattr(estimator, "feature_names_in_", None), labelled=False)
    name = "file" if kind == "audio" else reading.id if found.features else "series"
    label = {} if found.y is None else {reading.target: found.y}
    answers = estimator.columns(found.X, level=level)
    if twice := sorted({name, *label} & set(answers)):
        raise DataError(f"The predictions have a column {twice[0]!r} too. Rename it with --id or --target.")
    frame = pl.DataFrame({name: found.names, **label, **answers})
    if out is None:
        typer.echo(frame.write_csv(), nl=False)
        return
    check_writable(frame, out)
    write_table(frame, out)
    typer.echo(f"{len(found)} predictions: {out}.")


@with_options(source_options(SignalReading))
def evaluate(
    model: Model,
    source: Where,
    report: Annotated[
        Path | None, typer.Option(help="Also write metrics, plot and predictions to this folder.")
    ] = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print the metrics of a saved model on labelled series or recordings.

    unspool evaluate model JapaneseVowels_TEST.ts
    """
    if report is not None:
        report = report.expanduser()
        check_place(report / "metrics.json")
    reading = SignalReading.of(options)
    estimator = load_model(model, weights)
    task, kind = type(estimator.task_), estimator.input_.kind
    found = reading.read(source, kind, getattr(estimator, "feature_names_in_", None))
    found = _with(found, decide(np.asarray(found.y), task.name, source, kind)[1])
    part = SignalPart.of(found)
    if task.has_classes:
        from unspool.cli.evaluate import as_known

        part = replace(part, y=as_known(part.y, estimator))
    result = measure("this model", estimator, part, task)
    print_metrics([reading.target], len(found), result)
    probabilities = print_calibration(estimator, part)
    if report is not None:
        facts = {"task": task.name, "input_kind": kind, "rows": {"test": len(found)}, **probabilities}
        write_report(report, task, "name", [reading.target], part, result, facts)
        typer.echo(f"Metrics, plot and predictions: {report}.")


def _with(found: Labelled, y: np.ndarray) -> Labelled:
    return replace(found, y=y)
