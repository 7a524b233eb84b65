"""`unspool fit --task seq2seq`, and `predict`, `evaluate` and `inspect` of its models: two columns of texts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from unspool.cli.answers import Answers, OfTexts, answer_table, check_out
from unspool.cli.console import print_table
from unspool.cli.fit import places, save
from unspool.cli.options import (
    SAVED,
    Debug,
    Input,
    Keeping,
    Model,
    OnCluster,
    Predictions,
    Reading,
    TableInput,
    Texts,
    Weight,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.pair_data import Pairs, PairSource, Part, Target, read_pairs
from unspool.cli.predict import OF_TABLE, not_on_cluster, refuse_file, stdin_lines, table_of
from unspool.errors import check_choice
from unspool.evaluation.metrics import METRICS, Metrics, beside_baselines, shown
from unspool.evaluation.texts import error_packages, text_metrics
from unspool.files import check_place, write_text
from unspool.seq2seq.settings import SETTINGS
from unspool.tables import (
    write_table,
)

DECODING = "Decoding"
EARLY = {"true": True, "false": False, "never": "never"}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The options that say how targets are looked for."""

    num_beams: Annotated[
        int, typer.Option(help="1: the likeliest token at each step.", rich_help_panel=DECODING)
    ] = 1
    length_penalty: Annotated[
        float, typer.Option(help="Of beams: 0 ranks by probability, 1 by its mean.", rich_help_panel=DECODING)
    ] = 1.0
    stop_beams: Annotated[
        str, typer.Option(help="early_stopping of beams: true, false or never.", rich_help_panel=DECODING)
    ] = "false"
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            help="Of a target. Default: twice the longest of the training part.", rich_help_panel=DECODING
        ),
    ] = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """What `Seq2Seq.predict` takes, out of what a command was given."""
        names = ("num_beams", "length_penalty", "max_new_tokens")
        stop = check_choice("predict", "stop_beams", options["stop_beams"], EARLY)
        return {**{name: options[name] for name in names}, "early_stopping": EARLY[stop]}


@with_options(
    source_options(Keeping),
    source_options(PairSource),
    source_options(Decoding),
    setting_options(of=SETTINGS),
)
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    task: Annotated[str, typer.Option(help="seq2seq.")] = "seq2seq",
    report: Annotated[
        Path | None, typer.Option(help="Where metrics and test predictions go. Default: OUT-report.")
    ] = None,
    weight: Weight = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn to write the texts of one column from those of another, and measure it beside two baselines.

    unspool fit words.csv --task seq2seq --input spelling --target phones --target-level word --out model
    """
    from unspool import Seq2Seq
    from unspool.seq2seq.baselines import NearestPair, TokenByToken

    error_packages()
    out, report = places(out, report)
    keeping = Keeping.of(options, out)
    settings = {**settings_of(options, of=SETTINGS), "verbose": 0 if quiet else 1}
    decoding, source = Decoding.of(options), PairSource.of(options)
    input, target = source.input, source.target
    train, validation, tested, counts = source.parts(settings["random_state"], weight)
    started = time.perf_counter()
    model = Seq2Seq(**settings)
    beside = None if validation is None else (validation.sources, validation.targets)
    model.fit(train.sources, train.targets, validation_data=beside, sample_weight=train.weights, **keeping)
    seconds = time.perf_counter() - started
    out = save(model, out)
    state = "best model so far" if model.interrupted_ else "trained model"
    ctx.meta[SAVED] = f"the {state} is saved in {out}, not evaluated."
    if model.interrupted_:
        raise KeyboardInterrupt
    typer.echo(f"Model: {model.describe()}.")
    columns = model.columns(tested.sources, f"predicted_{target}", **decoding)
    found = {"this model": text_metrics(columns[f"predicted_{target}"].tolist(), tested.targets)}
    for other in (NearestPair(), TokenByToken(model.source_, model.target_)):
        guessed = other.fit(train.sources, train.targets).predict(tested.sources)
        found[other.name] = text_metrics(guessed, tested.targets)
    print_metrics(target, len(tested.rows), found)
    own, *others = found.items()
    verdict = beside_baselines(own[1], dict(others)).sentence
    typer.echo(verdict)
    facts = {
        "task": "seq2seq",
        "rows": counts,
        "metrics": own[1],
        "baselines": dict(others),
        "verdicts": [verdict],
        "settings": settings,
        "decoding": decoding,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_report(report, facts, tested, input, target, columns)
    typer.echo(f"Model: {out}. Metrics and test predictions: {report}.")


@with_options(source_options(Reading), source_options(Decoding))
def predict(
    model: Model,
    texts: Texts = None,
    input: TableInput = None,
    out: Predictions = None,
    weights: Weights = "float32",
    cluster: OnCluster = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write the targets of texts with a saved model.

    Texts given here or on stdin: one line each, the target, its log-probability and the text, separated by tabs. A
    table: its columns, "prediction" and "log_probability_prediction", to --out or as CSV to stdout; a row without a
    text stays, without a prediction.

    unspool predict model "unspool" --num-beams 5
    """
    decoding = Decoding.of(options)
    table = table_of(texts, input, out)
    if table is not None and input is not None:
        ask, reading = partial(of_sources, decoding=decoding), Reading.of(options)
        if cluster is not None:
            from unspool.cli.on_cluster import predict_on_cluster

            predict_on_cluster(model, weights, table, input, out, reading, None, cluster, ask)
            return
        out = check_out(out, table)
        answer_table(Answers(ask(load_model(model, weights)), input), table, out, reading)
        return
    not_on_cluster(cluster)
    refuse_file(texts, OF_TABLE)
    lines = texts or stdin_lines(options["encoding"])
    columns = load_model(model, weights).columns(lines, **decoding)
    for written, value, text in zip(*columns.values(), lines):
        typer.echo("\t".join([" ".join(written.split()), f"{value:.4f}", " ".join(text.split())]))


@with_options(source_options(Reading), source_options(Decoding))
def evaluate(
    model: Model,
    table: Pairs,
    input: Input,
    target: Target,
    report: Annotated[
        Path | None, typer.Option(help="Also write metrics and predictions to this folder.")
    ] = None,
    weights: Weights = "float32",
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print the exact matches, word and character errors and BLEU of a saved model on every pair of a table.

    unspool evaluate model new.csv --input spelling --target phones
    """
    error_packages()
    if report is not None:
        report = report.expanduser()
        check_place(report / "metrics.json")
    decoding = Decoding.of(options)
    pairs, _, dropped = read_pairs(Reading.of(options), table, input, target)
    if dropped:
        typer.echo(f"{dropped} rows with missing values dropped.")
    columns = load_model(model, weights).columns(pairs.sources, f"predicted_{target}", **decoding)
    found = text_metrics(columns[f"predicted_{target}"].tolist(), pairs.targets)
    print_metrics(target, len(pairs.rows), {"this model": found})
    if report is not None:
        facts = {
            "task": "seq2seq",
            "rows": {"test": len(pairs.rows)},
            "metrics": found,
            "decoding": decoding,
        }
        write_report(report, facts, pairs, input, target, columns)
        typer.echo(f"Metrics and predictions: {report}.")


def inspect(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Also show what each token of their targets attended to.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the layers of a saved model, how its training went, and what it attends to in texts.

    unspool inspect model "unspool"
    """
    made = load_model(model, "float32")
    typer.echo(made.summary())
    best = made.history_[made.best_epoch_ - 1] if made.best_epoch_ else {}
    keys = [key for key in ("train_loss", "validation_loss") if key in best]
    losses = ", ".join(f"{key.replace('_', ' ')} {best[key]:.4f}" for key in keys)
    typer.echo(f"Weights of epoch {made.best_epoch_} of {len(made.history_)}: {losses} (nats a token).")
    for text in texts or []:
        source, target, weights = made.align(text)
        rows = zip([*target, "(end)"], weights)
        header = ("attended to", *map(repr, source))
        print_table(header, [(name, *(f"{100 * w:.0f}" for w in row)) for name, row in rows], title=text)


def of_sources(model: Any, decoding: Mapping[str, Any]) -> OfTexts:
    """The model as `Answers` asks it, its targets looked for as `decoding` says."""
    return OfTexts(partial(model.columns, **decoding))


def print_metrics(target: str, rows: int, found: Mapping[str, Metrics]) -> None:
    """A line for the model and each baseline."""
    names = [*next(iter(found.values()))]
    header = (f"{target}: {rows} test pairs", *(METRICS[key][0] for key in names))
    print_table(header, [(name, *(shown(own[key]) for key in names)) for name, own in found.items()])


def write_report(
    folder: Path,
    facts: Mapping[str, Any],
    pairs: Part,
    input: str,
    target: str,
    columns: Mapping[str, Sequence],
) -> None:
    """`metrics.json` and the predictions of the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    table = {"row": pairs.rows, input: pairs.sources, target: pairs.targets, **columns}
    write_table(pl.DataFrame(table), folder / "test_predictions.csv")
