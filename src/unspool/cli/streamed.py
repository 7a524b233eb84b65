"""`unspool fit TABLE --stream`: a table that is larger than memory, read in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from unspool.cli.data import Beside, Data, Part, decided, read_part
from unspool.cli.options import Source
from unspool.errors import DataError, check_choice, check_float
from unspool.estimators.streamed import SAMPLE
from unspool.tables import TableStream
from unspool.tables.stream import Piece
from unspool.tasks import Task, registry
from unspool.tasks.classification import like_classes

MOST_TEST_ROWS = 10_000
READING = ("format", "encoding", "delimiter", "quotes", "header", "decimal", "thousands")


def stream_of(source: Source, beside: Beside) -> TableStream:
    """The table of a command; `DataError` for options that need it whole."""
    whole = {"--split-column": source.split_column, "--label-separator": source.label_separator}
    for option, value in whole.items():
        if value is not None:
            raise DataError(f"{option} needs the table as a whole, and does not go with --stream.")
    if source.test is not None and source.test_fraction is not None:
        raise DataError("--test and --test-fraction both say which rows are for the test. Give one of them.")
    given = {f.name: getattr(source, f.name) for f in fields(source)}
    return TableStream(
        source.table,
        source.input,
        source.target,
        numeric=tuple(beside.numeric),
        categorical=tuple(beside.categorical),
        drop_missing=source.drop_missing,
        reading={name: given[name] for name in READING},
    )


def prepare_stream(
    source: Source, settings: Mapping[str, Any], beside: Beside, stream: TableStream
) -> tuple[Data, np.ndarray]:
    """(the job, the rows to learn from): its test part, and as training part a sample, from which the task is told and
    the baselines are fitted. Of the table 20 % are for the test, 10,000 rows at most."""
    check_choice("fit", "task", source.task, ("auto", *registry))
    head = next(stream.pieces(source.task))
    told = decided(head.table, [*source.target], source.task, settings)
    kind = registry[told.name]
    count = sum(len(piece) for piece in stream.pieces(told.name))
    random = np.random.default_rng(settings["random_state"])
    if source.test is not None:
        test, _ = read_part(source, source.test, source.input, [*source.target], kind, beside)
        rows, how = np.arange(count), f"test rows from {source.test.name}"
    else:
        share = 0.2 if source.test_fraction is None else source.test_fraction
        check_float("fit", "test_fraction", share, 0, 1, closed="neither")
        size = max(1, min(round(count * share), count - 2, MOST_TEST_ROWS))
        drawn = np.sort(random.choice(count, size, replace=False))
        test = _part(stream, kind, beside, drawn)
        rows, how = np.setdiff1d(np.arange(count), drawn), "test rows drawn"
    some = rows if len(rows) <= SAMPLE else np.sort(random.choice(rows, SAMPLE, replace=False))
    train = _part(stream, kind, beside, some)
    notes = [
        f"Task: {told.name} ({told.reason}; told from the first {len(head):,} rows).",
        f"Rows: {len(rows):,} training, {len(test.texts):,} test ({how}), read in pieces. Baselines see "
        f"{len(some):,} training rows.",
    ]
    own = {"order": settings["order"] or head.table.orders.get(source.target[0], "auto")}
    if told.name != "ordinal":
        own = kind.settings_for(settings, head.table, source.target)
    return Data(kind, source.input, [*source.target], train, None, test, 0, 0, notes, own), rows


def _part(stream: TableStream, kind: type[Task], beside: Beside, rows: np.ndarray) -> Part:
    """Some rows, in memory."""
    parts = [
        _rows(piece, stream, kind, beside, rows[low:high] - piece.start)
        for piece in stream.pieces(kind.name)
        for low, high in [np.searchsorted(rows, [piece.start, piece.start + len(piece)])]
        if high > low
    ]
    whole = parts[0]
    if len(parts) > 1:
        texts = [text for part in parts for text in part.texts]
        columns = {name: [v for part in parts for v in part.beside[name]] for name in whole.beside}
        labels = [part.y for part in parts]
        if len({y.dtype.kind for y in labels}) > 1:  # whole numbers in one piece, words in another
            labels = [y.astype(str) for y in labels]
        y, places = np.concatenate(labels), np.concatenate([part.rows for part in parts])
        whole = Part(texts, y, places, columns, beside.text_column)
    return whole


def _rows(piece: Piece, stream: TableStream, kind: type[Task], beside: Beside, places: np.ndarray) -> Part:
    chosen = piece.table.take(places)
    return beside.part(chosen, stream.text, kind.read_columns(chosen, stream.targets))


def like_model(data: Data, model: Any) -> Data:
    """The parts with labels of the model's type, which all rows decided and not these alone."""
    if not data.task.has_classes:
        return data
    train, test = (replace(part, y=like_classes(part.y, model.classes_)) for part in (data.train, data.test))
    return replace(data, train=train, test=test)
