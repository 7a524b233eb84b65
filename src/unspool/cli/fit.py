"""`unspool fit`: a table -> a trained, saved and honestly evaluated model."""

from __future__ import annotations

import time
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

if TYPE_CHECKING:
    from unspool.cli.data import Data


@with_options(source_options(), setting_options())
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
    """Train on the texts of a table, save the model, and measure it beside two baselines.

    unspool fit reviews.csv --input text --target score --out model
    """
    from unspool.cli.data import Beside, check_out, prepare
    from unspool.cli.report import measure, measure_baselines, print_metrics, write_report

    report = report or out.with_name(out.name + "-report")
    check_out(out)
    source = Source.of(options)
    settings = {**settings_of(options), "verbose": 0 if quiet else 1}
    numeric, categorical = settings["numeric"], settings["categorical"]
    settings["text_column"] = source.input if numeric or categorical else None
    data = prepare(source, settings["random_state"], Beside(settings["text_column"], numeric, categorical))
    for line in data.notes:
        typer.echo(line)
    started = time.perf_counter()
    model = train(ctx, data, settings, out)
    seconds = time.perf_counter() - started
    result = measure("this model", model, data.test, data.task)
    baselines = measure_baselines(data, settings)
    typer.echo(f"Model: {model.describe()}.")
    alone = []
    if model.blend_ is not None:
        alone = [measure("its network alone", model.network_alone(), data.test, data.task)]
    others = [other for other, _ in baselines]
    verdicts = print_metrics(source.target, len(data.test.texts), result, others, alone)
    facts = {
        "task": data.task.name,
        "rows": data.counts(),
        "baselines": {
            other.name: {"settings": chosen, "metrics": dict(zip(source.target, other.metrics, strict=True))}
            for other, chosen in baselines
        },
        "network_alone": [dict(zip(source.target, part.metrics, strict=True)) for part in alone],
        "blend": None if model.blend_ is None else model.blend_.to_dict(),
        "verdicts": [v.sentence for v in verdicts],
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_report(report, data.task, source.input, source.target, data.test, result, facts)
    typer.echo(f"Model: {out}. Metrics, plot and test predictions: {report}.")


def train(ctx: typer.Context, data: Data, settings: dict[str, Any], out: Path) -> Any:
    """The fitted estimator, saved; after Ctrl-C the best model so far is, and KeyboardInterrupt raised."""
    from unspool.estimators import for_task

    model = for_task(data.task.name)(**settings)
    validation = None if data.validation is None else (data.validation.inputs, data.validation.y)
    model.fit(data.train.inputs, data.train.y, validation_data=validation)
    model.save(out)
    interrupted = bool(model.interrupted_)
    state = f"the {'best model so far' if interrupted else 'trained model'} is saved in {out}"
    ctx.meta[SAVED] = f"{state}, not evaluated."
    if interrupted:
        raise KeyboardInterrupt
    return model
