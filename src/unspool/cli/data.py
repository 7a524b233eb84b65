"""What `fit` and `evaluate` need of a table: texts and targets, part by part."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import typer

from unspool.cli.options import Reading, Source
from unspool.errors import DataError, ModelFileError, check_choice, check_float
from unspool.tables import (
    Decision,
    Split,
    Table,
    by_column,
    by_fraction,
    decide_task,
    require_columns,
    shared_texts,
    text_column,
    without_missing,
)
from unspool.tasks import Task, registry


@dataclass(frozen=True)
class Part:
    """Rows of one part. texts: B strings. y: (B,) numbers or labels, or (B, K). rows (B,): row numbers."""

    texts: list[str]
    y: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Data:
    """The parts of a job, and the sentences to print before it starts."""

    task: type[Task]
    input: str
    targets: list[str]
    train: Part
    validation: Part | None
    test: Part
    dropped: int
    shared: int
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Rows of each part, rows dropped, and test texts that stand in the training part too."""
        return {
            "train": len(self.train.texts),
            "validation": len(self.validation.texts) if self.validation else 0,
            "test": len(self.test.texts),
            "dropped": self.dropped,
            "test_texts_also_in_training": self.shared,
        }


def check_out(out: Path) -> None:
    """`ModelFileError` unless `out` is free, an empty folder or a saved model (which is then replaced)."""
    if not os.path.lexists(out):
        return
    if out.is_dir():
        if (out / "model.json").is_file() or not any(out.iterdir()):
            return
    elif zipfile.is_zipfile(out):
        with zipfile.ZipFile(out) as archive:
            if "model.json" in archive.namelist():
                return
    raise ModelFileError(f"{str(out)!r} exists and is not a saved model. Choose another --out, or remove it.")


def prepare(source: Source, seed: int) -> Data:
    """Read, check and split, the test rows drawn by `seed`; `DataError` for all that is wrong with the tables."""
    check_choice("fit", "task", source.task, ("auto", *registry))
    input, targets = source.input, source.target
    split_column, test, test_fraction = source.split_column, source.test, source.test_fraction
    ways = {"--split-column": split_column, "--test": test, "--test-fraction": test_fraction}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise DataError(f"{' and '.join(given)} both say which rows are for the test. Give one of them.")
    if len(set(targets)) < len(targets) or input in targets:
        raise DataError("--input and every --target must be different columns.")
    needed = [input, *targets, *([split_column] if split_column else [])]
    table = source.read(source.table, needed)
    require_columns(table, needed)
    decided = decide_task(table, targets, source.task)
    kind = registry[decided.name]
    table, dropped = without_missing(table, input, targets, decided.name, drop=source.drop_missing)
    texts, y = text_column(table, input), kind.read_columns(table, targets)
    everything = Part(texts, y, table.rows)

    if test is not None:
        train, validation = everything, None
        test_part, dropped_test = read_part(source, test, input, targets, kind)
        dropped += dropped_test
        how = f"test rows from {test.name}"
    else:
        split = _split(table, split_column, test_fraction, seed, y if kind.has_classes else None)
        train, test_part = _take(everything, split.train), _take(everything, split.test)
        validation = _take(everything, split.validation) if len(split.validation) else None
        how = f"parts from column {split_column!r}" if split_column else f"test rows drawn with seed {seed}"
    _check_varied(train.y, targets, kind.has_classes)
    shared = shared_texts(train.texts, test_part.texts)
    if shared:
        typer.echo(
            f"warning: {shared} of {len(test_part.texts)} test texts stand in the training part too; "
            "the test metrics flatter every model that learns texts by heart.",
            err=True,
        )
    notes = [
        _task_note(decided, everything.y, kind.has_classes),
        _rows_note(train, validation, test_part, how, dropped),
    ]
    return Data(kind, input, targets, train, validation, test_part, dropped, shared, notes)


def read_part(
    reading: Reading, path: Path, input: str, targets: list[str], task: type[Task]
) -> tuple[Part, int]:
    """All rows of another table as one part, and how many were dropped."""
    table = reading.read(path, [input, *targets])
    require_columns(table, [input, *targets])
    table, dropped = without_missing(table, input, targets, task.name, drop=reading.drop_missing)
    return Part(text_column(table, input), task.read_columns(table, targets), table.rows), dropped


def _split(
    table: Table, column: str | None, fraction: float | None, seed: int, labels: np.ndarray | None
) -> Split:
    if column:
        return by_column(table, column)
    share = 0.2 if fraction is None else check_float("fit", "test_fraction", fraction, 0, 1, closed="neither")
    return by_fraction(len(table), share, seed, labels)


def _take(part: Part, index: np.ndarray) -> Part:
    return Part([part.texts[i] for i in index], part.y[index], part.rows[index])


def _check_varied(y: np.ndarray, targets: list[str], has_classes: bool) -> None:
    for name, column in zip(targets, np.atleast_2d(y.T), strict=True):
        if len(column) and bool((column == column[0]).all()):
            kind = "class" if has_classes else "value"
            raise DataError(
                f"Column {name!r} has only one {kind} in the {len(column)} training rows: "
                f"{column[0].item()!r}. There is nothing to learn."
            )


def _task_note(task: Decision, y: np.ndarray, has_classes: bool) -> str:
    note = f"Task: {task.name} ({task.reason})."
    if has_classes:
        classes, counts = np.unique(y, return_counts=True)
        shown = ", ".join(f"{label} {count}" for label, count in list(zip(classes, counts, strict=True))[:10])
        note += f" {len(classes)} classes: {shown}{', ...' if len(classes) > 10 else ''}."
    return note


def _rows_note(train: Part, validation: Part | None, test: Part, how: str, dropped: int) -> str:
    counts = [f"{len(train.texts)} training"]
    if validation:
        counts.append(f"{len(validation.texts)} validation")
    counts.append(f"{len(test.texts)} test")
    tail = f" {dropped} rows with missing values dropped." if dropped else ""
    return f"Rows: {', '.join(counts)} ({how}).{tail}"
