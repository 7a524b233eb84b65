"""What `fit` and `evaluate` need of a table: texts and targets, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from unspool.cli.options import Reading, Source
from unspool.errors import DataError, check_choice, check_float
from unspool.tables import (
    Decision,
    Split,
    Table,
    by_column,
    by_fraction,
    columns_beside,
    decide_task,
    require_columns,
    shared_texts,
    split_labels,
    text_column,
    weight_column,
    without_missing,
)
from unspool.tasks import Count, MultiLabel, Positive, Task, registry


@dataclass(frozen=True)
class Part:
    """Rows of one part. texts: B strings. y: (B,) numbers or labels, or (B, K). rows (B,): row numbers.

    beside: name -> B values of a column beside the texts; text_column: what the model then calls the texts. weights
    (B,): of the rows in training, where a column holds them.
    """

    texts: list[str]
    y: np.ndarray
    rows: np.ndarray
    beside: dict[str, list[Any]] = field(default_factory=dict)
    text_column: str | None = None
    weights: np.ndarray | None = None

    def joined(self, other: Part) -> Part:
        """The rows of both."""
        beside = {name: [*values, *other.beside[name]] for name, values in self.beside.items()}
        y, rows = np.concatenate([self.y, other.y]), np.concatenate([self.rows, other.rows])
        return Part(self.texts + other.texts, y, rows, beside, self.text_column)

    @property
    def inputs(self) -> Any:
        """What estimators and baselines take as X."""
        return self.texts if self.text_column is None else {self.text_column: self.texts, **self.beside}


@dataclass(frozen=True)
class Beside:
    """The columns beside the texts, as the parameters of an estimator name them."""

    text_column: str | None = None
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """Of all but the texts."""
        return [*self.numeric, *self.categorical]

    @classmethod
    def of(cls, model: Any) -> Beside:
        """Those of a saved model."""
        return cls(model.text_column, model.numeric, model.categorical)

    def part(self, table: Table, input: str, y: np.ndarray) -> Part:
        """All rows of a table."""
        beside = columns_beside(table, self.numeric, self.categorical)
        return Part(text_column(table, input), y, table.rows, beside, self.text_column)


@dataclass(frozen=True)
class Labels:
    """The column that holds labels, and the mark that joins them."""

    column: str
    separator: str

    @classmethod
    def of(cls, source: Source, targets: Sequence[str]) -> Labels:
        """`DataError` unless there is one target, and the task may be multilabel."""
        if len(targets) != 1 or source.task not in ("auto", "multilabel"):
            got = f"{len(targets)} and --task {source.task}"
            raise DataError(f"--label-separator goes with one --target, and --task multilabel. Got {got}.")
        if not source.label_separator:
            raise DataError("--label-separator must be a mark, such as ';'. Got an empty one.")
        return cls(targets[0], source.label_separator)


@dataclass(frozen=True)
class Data:
    """The parts of a job, the sentences to print before it starts, and the parameters that its task sets."""

    task: type[Task]
    input: str
    targets: list[str]
    train: Part
    validation: Part | None
    test: Part
    dropped: int
    shared: int
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> list[str]:
        """What the metrics are of."""
        return self.task.measured(self.targets)

    def counts(self) -> dict[str, int]:
        """Rows of each part, rows dropped, and test texts that stand in the training part too."""
        return {
            "train": len(self.train.texts),
            "validation": len(self.validation.texts) if self.validation else 0,
            "test": len(self.test.texts),
            "dropped": self.dropped,
            "test_texts_also_in_training": self.shared,
        }


def prepare(
    source: Source, settings: Mapping[str, Any], beside: Beside | None = None, weight: str | None = None
) -> Data:
    """Read, check and split, the test rows drawn by the seed in `settings`, the estimator's parameters; `DataError` for
    all that is wrong with the tables. weight: the column that weighs the rows in training."""
    seed = settings["random_state"]
    check_choice("fit", "task", source.task, ("auto", *registry))
    input, targets = source.input, source.target
    split_column, test, test_fraction = source.split_column, source.test, source.test_fraction
    ways = {"--split-column": split_column, "--test": test, "--test-fraction": test_fraction}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise DataError(f"{' and '.join(given)} both say which rows are for the test. Give one of them.")
    beside = beside or Beside()
    used = [input, *targets, *beside.names]
    if len(set(used)) < len(used):
        others = ", every --numeric and --categorical" if beside.names else ""
        raise DataError(f"--input and every --target{others} must be different columns.")
    needed = [*used, *(name for name in (split_column, weight) if name is not None)]
    table = source.read(source.table, needed)
    require_columns(table, needed)
    labels = None
    if source.label_separator is not None:
        labels = Labels.of(source, targets)
        table, targets = split_labels(table, labels.column, labels.separator)
        decision = Decision("multilabel", f"{labels.column!r} holds labels joined by {labels.separator!r}")
    else:
        decision = decided(table, targets, source.task, settings)
    kind = registry[decision.name]
    table, dropped = without_missing(table, input, targets, decision.name, drop=source.drop_missing)
    y = kind.read_columns(table, targets)
    own = kind.settings_for(settings, table, targets)
    everything = beside.part(table, input, y)
    if weight is not None:
        everything = replace(everything, weights=weight_column(table, weight))

    if test is not None:
        train, validation = everything, None
        test_part, dropped_test = read_part(source, test, input, targets, kind, beside, labels)
        dropped += dropped_test
        how = f"test rows from {test.name}"
    else:
        split = _split(table, split_column, test_fraction, seed, y if kind.has_classes else None)
        train, test_part = take(everything, split.train), take(everything, split.test)
        validation = take(everything, split.validation) if len(split.validation) else None
        how = f"parts from column {split_column!r}" if split_column else f"test rows drawn with seed {seed}"
    if kind is not MultiLabel:
        _check_varied(train.y, targets, kind.has_classes)
    shared = shared_texts(train.texts, test_part.texts)
    if shared:
        typer.echo(
            f"warning: {shared} of {len(test_part.texts)} test texts stand in the training part too; "
            "the test metrics flatter every model that learns texts by heart.",
            err=True,
        )
    notes = [
        _task_note(decision, everything.y, kind.has_classes),
        _rows_note(train, validation, test_part, how, dropped),
    ]
    return Data(kind, input, targets, train, validation, test_part, dropped, shared, notes, own)


def decided(table: Table, targets: list[str], asked: str, settings: Mapping[str, Any]) -> Decision:
    """Also by --order and --loss, which go with one task."""
    if settings["order"] is not None:
        if asked not in ("auto", "ordinal"):
            raise DataError(f"--order is of --task ordinal. Got --task {asked}.")
        return decide_task(table, targets, "ordinal")
    of_loss = next((t.name for t in (Count, Positive) if settings["loss"] in t.losses), None)
    if of_loss is not None and asked in ("auto", "regression"):
        return Decision(of_loss, f"by --loss {settings['loss']}")
    return decide_task(table, targets, asked)


def read_part(
    reading: Reading,
    path: Path,
    input: str,
    targets: list[str],
    task: type[Task],
    beside: Beside,
    labels: Labels | None = None,
) -> tuple[Part, int]:
    """All rows of another table as one part, and how many were dropped. labels: where `targets` stand in one column."""
    needed = [input, *(targets if labels is None else [labels.column]), *beside.names]
    table = reading.read(path, needed)
    require_columns(table, needed)
    if labels is not None:
        table = split_labels(table, labels.column, labels.separator, targets)[0]
    table, dropped = without_missing(table, input, targets, task.name, drop=reading.drop_missing)
    return beside.part(table, input, task.read_columns(table, targets)), dropped


def _split(
    table: Table, column: str | None, fraction: float | None, seed: int, labels: np.ndarray | None
) -> Split:
    if column:
        return by_column(table, column)
    share = 0.2 if fraction is None else check_float("fit", "test_fraction", fraction, 0, 1, closed="neither")
    return by_fraction(len(table), share, seed, labels)


def take(part: Part, index: np.ndarray) -> Part:
    """The rows at `index`."""
    texts, beside = [part.texts[i] for i in index], {n: [v[i] for i in index] for n, v in part.beside.items()}
    weights = None if part.weights is None else part.weights[index]
    return Part(texts, part.y[index], part.rows[index], beside, part.text_column, weights)


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
