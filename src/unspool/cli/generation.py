"""`unspool fit --task generation`, and `evaluate` and `inspect` of its models."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from unspool import saved
from unspool.cli.console import print_table
from unspool.cli.fit import save
from unspool.cli.options import (
    SAVED,
    Debug,
    Keeping,
    Model,
    Reading,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.errors import DataError, check_float
from unspool.files import check_place, write_text
from unspool.generation import SequenceGenerator
from unspool.generation.ngram import measured_baseline
from unspool.generation.settings import SETTINGS
from unspool.parameters import SPLIT
from unspool.tables import decode, require_columns, text_column

Source = Annotated[
    Path, typer.Argument(help="A text; with --input a table of texts.", metavar="TEXT", show_default=False)
]
Column = Annotated[
    str | None,
    typer.Option(
        "--input", metavar="COLUMN", help="TEXT is a table: its column of texts.", show_default=False
    ),
]
Lines = Annotated[
    bool, typer.Option("--lines", help="Each line of TEXT that is not empty is a text by itself.")
]


@dataclass(frozen=True)
class TextReading:
    """How the texts of a file are told."""

    reading: Reading
    input: str | None
    lines: bool

    def read(self, path: Path) -> list[str]:
        """The texts, those that are missing or empty left out; one, or several."""
        if self.input is not None:
            table = self.reading.read(path, [self.input])
            require_columns(table, [self.input])
            texts = [text for text in text_column(table, self.input) if text]
        else:
            whole = decode(path.expanduser().read_bytes(), self.reading.encoding, str(path))
            texts = [line for line in whole.splitlines() if line] if self.lines else [whole]
        if not any(texts):
            raise DataError(f"{str(path)!r} holds no text.")
        return texts


def split(texts: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """(the rest, the test part): the end of one text, drawn ones of several."""
    if len(texts) == 1:
        cut = len(texts[0]) - round(fraction * len(texts[0]))
        rest, test = [texts[0][:cut]], [texts[0][cut:]]
    else:
        drawn = np.random.RandomState(seed).permutation(len(texts))[: max(1, round(fraction * len(texts)))]
        chosen = set(drawn.tolist())
        rest = [text for i, text in enumerate(texts) if i not in chosen]
        test = [texts[i] for i in sorted(chosen)]
    if not any(rest) or not any(test):
        raise DataError(
            f"The texts are too few or too short to set {fraction:.0%} of them aside. Give --test, or more text."
        )
    return rest, test


@with_options(source_options(Keeping), source_options(Reading), setting_options(of=SETTINGS))
def fit(
    ctx: typer.Context,
    text: Source,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    task: Annotated[str, typer.Option(help="generation.")] = "generation",
    input: Column = None,
    lines: Lines = False,
    test: Annotated[Path | None, typer.Option(help="A file of test texts.", rich_help_panel=SPLIT)] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share set aside for the test: the end of one text, drawn ones of several. Default: 0.1.",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where the metrics and a sample go. Default: OUT-report.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn to write from a text or from many, save the model, and measure it beside n-grams.

    unspool fit shakespeare.txt --task generation --out model

    unspool fit names.csv --task generation --input name --out model
    """
    out = out.expanduser()
    saved.check_place(out)
    keeping = Keeping.of(options, out)
    report = out.with_name(out.name + "-report") if report is None else report.expanduser()
    check_place(report / "metrics.json")
    settings = {**settings_of(options, of=SETTINGS), "verbose": 0 if quiet else 1}
    texts = TextReading(Reading.of(options), input, lines).read(text)
    if test is not None and test_fraction is not None:
        raise DataError("Give --test or --test-fraction, not both.")
    if test is None:
        fraction = 0.1 if test_fraction is None else test_fraction
        check_float("fit", "test_fraction", fraction, 0.0, 1.0, "neither")
        rest, held = split(texts, fraction, settings["random_state"])
    else:
        rest, held = texts, TextReading(Reading.of(options), input, lines).read(test)
    counts = {name: (len(part), sum(map(len, part))) for name, part in (("training", rest), ("test", held))}
    typer.echo(
        "Task: generation. "
        + ", ".join(f"{name}: {n:,} text{'s' * (n > 1)}, {c:,} characters" for name, (n, c) in counts.items())
        + "."
    )
    started = time.perf_counter()
    model = SequenceGenerator(**settings).fit(rest, **keeping)
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


@with_options(source_options(Reading))
def evaluate(
    model: Model,
    text: Source,
    input: Column = None,
    lines: Lines = False,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print how well a saved model foretells texts that it has not seen.

    unspool evaluate model other.txt
    """
    texts = TextReading(Reading.of(options), input, lines).read(text)
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
