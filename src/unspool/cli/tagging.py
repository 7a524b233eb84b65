"""`unspool fit --task tagging`, and `predict` and `evaluate` of a saved tagger."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.answers import not_what_is_read
from unspool.cli.console import print_table
from unspool.cli.fit import places, save
from unspool.cli.options import (
    SAVED,
    Debug,
    Keeping,
    Model,
    OnCluster,
    Weights,
    load_model,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.predict import refuse_file
from unspool.cli.tag_data import Encoding, Format, Label, Sentences, TaggedSource, Tags, Tokens
from unspool.errors import DataError
from unspool.evaluation.metrics import shown
from unspool.files import check_place, write_text
from unspool.tagging.files import Tagged, read_tagged, write_predictions
from unspool.tagging.measures import Measures
from unspool.tagging.parameters import TABLE


@with_options(source_options(Keeping), source_options(TaggedSource), setting_options(of=TABLE))
def fit(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    task: Annotated[str, typer.Option(help="tagging.")] = "tagging",
    report: Annotated[
        Path | None, typer.Option(help="Where metrics and test predictions go. Default: OUT-report.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Learn the tags of tokens, and with --label those of sentences, and measure them beside two baselines.

    unspool fit train.conll --task tagging --validation dev.conll --test test.conll --out tagger
    """
    from unspool import SequenceTagger
    from unspool.tagging.baselines import baselines

    out, report = places(out, report)
    keeping = Keeping.of(options, out)
    settings = {**settings_of(options, of=TABLE), "verbose": 0 if quiet else 1}
    source = TaggedSource.of(options)
    train, held, tested = source.parts(settings["random_state"])
    started = time.perf_counter()
    model = SequenceTagger(**settings)
    parts = None if held is None else (held.tokens, held.tags, *([held.labels] if source.label else []))
    model.fit(train.tokens, train.tags, train.labels, validation_data=parts, **keeping)
    seconds = time.perf_counter() - started
    out = save(model, out)
    state = "best model so far" if model.interrupted_ else "trained model"
    ctx.meta[SAVED] = f"the {state} is saved in {out}, not evaluated."
    if model.interrupted_:
        raise KeyboardInterrupt
    typer.echo(f"Model: {model.describe()}.")
    found = {"this model": model.measure(tested.tokens, tested.tags, tested.labels)}
    assert train.tags is not None and tested.tags is not None
    for other in baselines(train.tokens, train.tags, train.labels, settings["random_state"] or 0):
        found[other.name] = other.measure(tested.tokens, tested.tags, model.scheme_, tested.labels)
    _print(found, len(tested))
    verdict = compared(found)
    typer.echo(verdict)
    report.mkdir(parents=True, exist_ok=True)
    facts = {
        "metrics": {name: own.shown() for name, own in found.items()},
        "labels": _by_label(found["this model"]),
        "counted": "conlleval",
        "verdict": verdict,
        "sentences": {
            "train": len(train),
            "validation": 0 if held is None else len(held),
            "test": len(tested),
        },
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_text(report / "metrics.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    name = "test_predictions" + (".jsonl" if tested.format == "jsonl" else ".conll")
    write_predictions(report / name, tested, _added(model, tested.tokens, probabilities=False))
    typer.echo(f"Model: {out}. Metrics and test predictions: {report}.")


def predict(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sentences, or one file with --out or --file. Without any: stdin.", show_default=False
        ),
    ] = None,
    file: Annotated[
        bool, typer.Option("--file", help="The argument is a file; its columns and the tags go to stdout.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Read a file, and write it with its tags here.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also the probability of each tag that was chosen.")
    ] = False,
    format: Format = None,
    tokens: Tokens = None,
    encoding: Encoding = "utf-8",
    weights: Weights = "float32",
    cluster: OnCluster = None,
    debug: Debug = False,
) -> None:
    """Tag sentences with a saved model.

    Sentences given here, or lines of stdin, are split at blanks: a token and its tag a line come back, an empty line
    after each sentence. A file comes back with its columns, or fields, and the tags as one more.

    unspool predict tagger "flights from new york to boston"

    unspool predict tagger new.conll --out tagged.conll
    """
    if file or out is not None:
        if not texts or len(texts) != 1:
            raise DataError(f"--file and --out read one file. Got {len(texts or [])} arguments.")
        if out is not None:
            out = out.expanduser()
            not_what_is_read(out, Path(texts[0]).expanduser())
            check_place(out)
        read = read_tagged(texts[0], format=format, tokens=tokens, with_tags=False, encoding=encoding)
    else:
        refuse_file(texts, "say --file to tag its sentences, or --out")
        lines = texts or sys.stdin.read().splitlines()
        sentences = [line.split() for line in lines]
        if not any(sentences):
            raise DataError("There is nothing to tag.")
        if cluster is not None:
            raise DataError("--cluster is for a file: give one with --file or --out.")
        read = Tagged(sentences, rows=[[[token] for token in sentence] for sentence in sentences])
    ask = partial(of_sentences, probabilities=probabilities)
    if cluster is None:
        added = ask(load_model(model, weights))(read.tokens)
    else:
        from unspool.cli.on_cluster import answers_on_cluster

        added = answers_on_cluster(model, weights, ask, read.tokens, cluster)
    text = write_predictions(out, read, added)
    if out is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"{len(read)} sentences: {out}.")


def evaluate(
    model: Model,
    table: Sentences,
    format: Format = None,
    tokens: Tokens = None,
    tags: Tags = None,
    label: Label = None,
    encoding: Encoding = "utf-8",
    report: Annotated[Path | None, typer.Option(help="Also write metrics and tags to this folder.")] = None,
    weights: Weights = "float32",
    debug: Debug = False,
) -> None:
    """Measure a saved tagger on a file: F1 over spans as conlleval counts, by label too.

    unspool evaluate tagger test.conll
    """
    if report is not None:
        report = report.expanduser()
        check_place(report / "metrics.json")
    read = read_tagged(table, format=format, tokens=tokens, tags=tags, label=label, encoding=encoding)
    estimator = load_model(model, weights)
    found = estimator.measure(read.tokens, read.tags, read.labels)
    _print({"this model": found}, len(read))
    rows = [
        (name, *(shown(own[key]) for key in ("f1", "precision", "recall")), str(own["true"]))
        for name, own in _by_label(found).items()
    ]
    if rows:
        print_table(("label", "F1", "Precision", "Recall", "spans"), rows)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        facts = {
            "metrics": found.shown(),
            "labels": _by_label(found),
            "counted": "conlleval",
            "sentences": len(read),
        }
        write_text(report / "metrics.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        name = "predictions" + (".jsonl" if read.format == "jsonl" else ".conll")
        write_predictions(report / name, read, _added(estimator, read.tokens, probabilities=False))
        typer.echo(f"Metrics and tags: {report}.")


def compared(found: dict[str, Measures]) -> str:
    """A sentence: which baselines are better than the first, or as good, in what is measured first."""
    (_, own), *others = found.items()
    what = "span F1" if own.spans is not None else "token accuracy"
    better = [f"the {name} ({shown(o.tags)})" for name, o in others if o.tags > own.tags]
    if better:
        return f"Better than this model in {what}: {', '.join(better)}, against {shown(own.tags)}."
    level = [f"the {name}" for name, o in others if o.tags == own.tags]
    return f"No baseline is better in {what}" + (f"; level: {', '.join(level)}." if level else ".")


def of_sentences(model: Any, probabilities: bool) -> Callable[[list[list[str]]], list[dict[str, Any]]]:
    """Sentences to what the model adds to each."""
    return partial(_added, model, probabilities=probabilities)


def _added(model: Any, tokens: list[list[str]], probabilities: bool) -> list[dict[str, Any]]:
    """The columns, or fields, that predictions add to each sentence."""
    tags = model.predict(tokens)
    added: list[dict[str, Any]] = [{"prediction": own} for own in tags]
    if probabilities:
        place = {tag: k for k, tag in enumerate(model.classes_.tolist())}
        for row, own, p in zip(added, tags, model.predict_proba(tokens)):
            row["probability"] = [float(p[t, place[tag]]) for t, tag in enumerate(own)]
    if model.labels_ is not None:
        q = model.predict_labels_proba(tokens)
        for row, own in zip(added, q):
            row["predicted_label"] = model.labels_[own.argmax()].item()
            row |= {"label_probability": float(own.max())} if probabilities else {}
    return added


def _print(found: dict[str, Measures], count: int) -> None:
    names = [*next(iter(found.values())).shown()]
    rows = [(name, *(shown(own.shown().get(key)) for key in names)) for name, own in found.items()]
    print_table((f"{count} test sentences", *names), rows)


def _by_label(found: Measures) -> dict[str, dict[str, float]]:
    if found.spans is None:
        return {}
    return {
        name: {"f1": own.f1, "precision": own.precision, "recall": own.recall, "true": own.true}
        for name, own in found.spans.labels.items()
    }
