"""`unspool fit --task generation`, and `evaluate` and `inspect` of its models."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.console import print_table
from unspool.cli.fit import places, save
from unspool.cli.options import (
    SAVED,
    Debug,
    Keeping,
    Model,
    Weight,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.text_data import TextReading, TextSource
from unspool.files import write_text
from unspool.generation.ngram import measured_baseline
from unspool.generation.settings import SETTINGS


@with_options(source_options(Keeping), source_options(TextSource), setting_options(of=SETTINGS))
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    task: Annotated[str, typer.Option(help="generation.")] = "generation",
    report: Annotated[
        Path | None, typer.Option(help="Where the metrics and a sample go. Default: OUT-report.")
    ] = None,
    weight: Weight = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn to write from a text or from many, save the model, and measure it beside n-grams.

    unspool fit shakespeare.txt --task generation --out model

    unspool fit names.csv --task generation --input name --out model
    """
    from unspool import SequenceGenerator

    out, report = places(out, report)
    keeping = Keeping.of(options, out)
    settings = {**settings_of(options, of=SETTINGS), "verbose": 0 if quiet else 1}
    rest, weights, held, counts = TextSource.of(options).parts(settings["random_state"], weight)
    started = time.perf_counter()
    model = SequenceGenerator(**settings).fit(rest, sample_weight=weights, **keeping)
    seconds = time.perf_counter() - started
    place = save(model, out)
    kept = "best model so far" if model.interrupted_ else "trained model"
    ctx.meta[SAVED] = f"the {kept} is saved in {place}, not evaluated."
    if model.interrupted_:
        raise KeyboardInterrupt
    typer.echo(f"Model: {model.describe()}.")
    found = model.evaluate(held)
    name, of = measured_baseline(model.vocabulary_, rest, model.ends_)
    grams = of(held)
    _print(held, {"this model": found, name: grams})
    verdict = _verdict(found, grams)
    typer.echo(verdict)
    sample = model.generate("", 300, random_state=settings["random_state"])
    facts = {
        "task": "generation",
        "texts": {name: {"texts": n, "characters": c} for name, (n, c) in counts.items()},
        "metrics": found,
        "baselines": {name: grams},
        "verdicts": [verdict],
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_text(report / "metrics.json", json.dumps(facts, indent=1) + "\n")
    write_text(report / "sample.txt", sample + "\n")
    typer.echo(f"Model: {out}. Metrics and a sample: {report}.")


def _print(texts: Sequence[str], rows: dict[str, dict[str, Any]]) -> None:
    keys = ("nats_per_token", "perplexity", "bits_per_character")
    header = (f"{sum(map(len, texts)):,} test characters", "nats/token", "perplexity", "bits/character")
    print_table(header, [(name, *(f"{row[key]:.4g}" for key in keys)) for name, row in rows.items()])


def _verdict(found: dict[str, float], grams: dict[str, Any]) -> str:
    difference = grams["nats_per_token"] - found["nats_per_token"]
    if difference > 0:
        return f"The model is better than n-grams, by {difference:.3f} nats a token."
    return (
        f"warning: n-grams are better than the model, by {-difference:.3f} nats a token. "
        "Train it longer, on more text, or with another size or dropout."
    )


@with_options(source_options(TextReading))
def evaluate(
    model: Model,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print how well a saved model foretells texts that it has not seen.

    unspool evaluate model other.txt
    """
    reading = TextReading.of(options)
    texts = reading.texts(reading.text)
    made = load_model(model, weights)
    found = made.evaluate(texts)
    _print(texts, {"this model": found})
    if found["unknown"]:
        typer.echo(f"{found['unknown']:.2%} of the tokens are not known; each counts as the unknown token.")


def inspect(model: Model, debug: Debug = False) -> None:
    """Print the layers of a saved model and how its training went."""
    made = load_model(model, "float32")
    typer.echo(made.summary())
    last = made.history_[made.best_epoch_ - 1] if made.best_epoch_ else {}
    shown = ", ".join(
        f"{key.replace('_', ' ')} {last[key]:.4f}" for key in ("train_loss", "validation_loss") if key in last
    )
    typer.echo(f"Weights of epoch {made.best_epoch_} of {len(made.history_)}: {shown} (nats a token).")
