"""`unspool predict`: a saved model on texts from the command line, from stdin or from a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from unspool.cli.options import (
    Debug,
    Level,
    Model,
    OnCluster,
    Predictions,
    Reading,
    TableInput,
    Texts,
    Weights,
    load_model,
    source_options,
    with_options,
)
from unspool.errors import DataError

# Words with these ends are names of files.
FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", ".conll", ".txt", ".gz")
# How a file is given that holds texts.
OF_TABLE = "of a table name its column of texts with --input; lines of texts come by stdin"


@with_options(source_options(Reading))
def predict(
    model: Model,
    texts: Texts = None,
    input: TableInput = None,
    out: Predictions = None,
    level: Level = None,
    weights: Weights = "float32",
    cluster: OnCluster = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Predict with a saved model.

    Texts given here or on stdin: one line each, the prediction (for classes: the label and its probability; of several
    labels those that are given, or -) and the text, separated by tabs. A table: its columns and the predictions, to
    --out or as CSV to stdout; a row without a text stays, without a prediction.

    unspool predict model "what a day"

    unspool predict model reviews.csv --input text --out predictions.csv
    """
    table = table_of(texts, input, out)
    if table is not None and input is not None:
        given = model, weights, table, input, out, Reading.of(options), level
        if cluster is None:
            from unspool.cli.answers import predict_table

            predict_table(*given)
        else:
            from unspool.cli.on_cluster import predict_on_cluster

            predict_on_cluster(*given, cluster)
        return
    not_on_cluster(cluster)
    refuse_file(texts, OF_TABLE)
    _predict_lines(model, weights, texts or stdin_lines(options["encoding"]), level)


def not_on_cluster(cluster: str | None) -> None:
    """`DataError` for a cluster where texts are given, no table."""
    if cluster is not None:
        raise DataError("--cluster is for a table: name its column of texts with --input.")


def table_of(texts: Sequence[str] | None, input: str | None, out: Path | None) -> Path | None:
    """The one table among the arguments of `predict`, or None for texts; `DataError` for options that do not go with
    what is given."""
    if input is None:
        if out is not None:
            raise DataError("--out writes a table with its predictions: name its text column with --input.")
        return None
    if not texts or len(texts) != 1:
        raise DataError(f"--input {input} needs one table to read. Got {len(texts or [])} arguments.")
    return Path(texts[0])


def refuse_file(texts: Sequence[str] | None, how: str) -> None:
    """`DataError` where one text is given, and is the name of a file that is there, or of a table that is not. how:
    what reads such."""
    if not texts or len(texts) != 1 or "\n" in texts[0] or len(texts[0]) > 1000:
        return
    path = Path(texts[0]).expanduser()
    try:
        there = bool(path.suffix) and path.is_file()
    except OSError:
        return
    if there:
        raise DataError(f"{texts[0]!r} is a file: {how}.")
    if path.suffix.lower() in FILES and not any(c.isspace() for c in texts[0]):
        raise DataError(f"No file {texts[0]!r}. To predict these very words, send them by stdin.")


def stdin_lines(encoding: str) -> list[str]:
    from unspool.tables import decode

    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise DataError("Nothing to predict: give texts, a table with --input, or lines on stdin.")
    text = decode(sys.stdin.buffer.read(), encoding, "stdin")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if not text:
        raise DataError("Nothing to predict: stdin is empty.")
    return lines


def _predict_lines(path: Path, weights: str, texts: list[str], level: int | None) -> None:
    import numpy as np

    from unspool.tasks import MultiLabel

    estimator = load_model(path, weights)
    beside = [*estimator.numeric, *estimator.categorical]
    if beside:
        raise DataError(
            f"The model needs the column{'s' * (len(beside) > 1)} {', '.join(map(repr, beside))} beside a text: "
            "give a table, with its column of texts as --input."
        )
    X = texts if estimator.text_column is None else {estimator.text_column: texts}
    columns = estimator.columns(X, level=level)
    predicted = [column for name, column in columns.items() if name.startswith("prediction")]
    probabilities = [column for name, column in columns.items() if name.startswith("probability_")]
    if type(estimator.task_) is MultiLabel:
        for answers, text in zip(estimator.predict(X), texts):
            given = [str(label) for label, yes in zip(estimator.classes_, answers) if yes]
            typer.echo("\t".join([", ".join(given) or "-", " ".join(text.split())]))
        return
    shown = [*predicted, *([np.max(probabilities, 0)] if probabilities else [])]
    for number, text in enumerate(texts):
        typer.echo("\t".join([*(_cell(column[number]) for column in shown), " ".join(text.split())]))


def _cell(value: Any) -> str:
    return f"{value:.4f}" if hasattr(value, "dtype") and value.dtype.kind == "f" else str(value)
