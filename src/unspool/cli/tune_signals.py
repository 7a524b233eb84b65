"""`unspool tune` on series and recordings."""

from __future__ import annotations

import time
from typing import Any

import typer

from unspool.cli.fit import places, save
from unspool.cli.options import SAVED, Debug, setting_options, settings_of, source_options, with_options
from unspool.cli.report import measure, tell, write_report
from unspool.cli.signal_data import SignalSource
from unspool.cli.signals import LEFT_OUT
from unspool.cli.tune import Out, Quiet, Report, Searching, given_names, other_models, search_settings


@with_options(source_options(SignalSource), source_options(Searching), setting_options(LEFT_OUT))
def tune(
    ctx: typer.Context,
    out: Out,
    report: Report = None,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Search for settings better than the default on series or recordings, tell whether they are, and save the better.

    unspool tune JapaneseVowels_TRAIN.ts --test JapaneseVowels_TEST.ts --budget 30m --out model

    Options of the model that are given are kept, all others may be varied. The same command goes on with a search that
    was ended, however it was.
    """
    from unspool.estimators import for_task

    source, searching = SignalSource.of(options), Searching.of(options)
    source.check()
    out, report = places(out, report)
    settings = settings_of(options, LEFT_OUT)
    data = source.parts(settings)
    settings |= data.settings
    started = time.perf_counter()
    result, facts = search_settings(
        ctx,
        searching,
        report,
        data.train.X,
        data.train.y,
        estimator=for_task(data.task.name)(**settings),
        keep=given_names(ctx, LEFT_OUT),
        test=(data.tested.X, data.tested.y),
        random_state=settings["random_state"],
        verbose=0 if quiet else 1,
    )
    seconds = time.perf_counter() - started
    model = data.named(result.model)
    save(model, out)
    ctx.meta[SAVED] = f"the model is saved in {out}, not evaluated."
    others = [measure(name, other, data.part, data.task) for name, other in other_models(result)]
    baselines = data.baselines(settings["random_state"])
    found, told = tell(model, data.part, data.task, [source.target], baselines, others)
    written = {
        **data.facts(),
        **told,
        "settings": {**settings, **result.settings},
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
        "tuning": facts,
    }
    write_report(report, data.task, "name", [source.target], data.part, found, written)
    typer.echo(f"Model: {out}. Metrics, plots, trials and test predictions: {report}.")
