"""Series and recordings out of files, for the commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from unspool.cli.data import Part
from unspool.cli.options import READING
from unspool.cli.report import Result, measure
from unspool.errors import DataError, check_float
from unspool.parameters import SPLIT
from unspool.signals import Labelled, from_long, read_folder, read_panel, read_ts
from unspool.tasks import Count, Positive, Task, registry
from unspool.tasks.log_link import LogLink
from unspool.tasks.ordinal import ordered

SERIES = (".ts", ".npy", ".npz")
KINDS = ("series", "audio")
TASKS = ("auto", "regression", "classification", "ordinal", "count", "positive")


@dataclass(frozen=True)
class SignalPart(Part):
    """Rows of one part, `texts` their names; signals: the series or recordings."""

    signals: Sequence[Any] = ()

    @property
    def inputs(self) -> Any:
        """What estimators and baselines take as X."""
        return self.signals

    @classmethod
    def of(cls, found: Labelled) -> SignalPart:
        """All that was read."""
        assert found.y is not None
        return cls([*map(str, found.names)], found.y, np.arange(len(found)) + 1, signals=found.X)


@dataclass(frozen=True, kw_only=True)
class SignalReading:
    """The options that say how series and recordings are read; `read(path)` gives them."""

    id: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a long table: the series.", rich_help_panel=READING)
    ] = "unique_id"
    step: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a long table: the step.", rich_help_panel=READING)
    ] = "step"
    target: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Of a long table, or the table of --labels: the label.",
            rich_help_panel=READING,
        ),
    ] = "label"
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Of a long table: a column of numbers; repeat it. Default: all others.",
            rich_help_panel=READING,
            show_default=False,
        ),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of X in a .npy or .npz: time-features, or features-time as of sktime and aeon.",
            rich_help_panel=READING,
        ),
    ] = None
    labels: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Of recordings: folder (the subfolder's name), a regular expression with one group for the file's "
            "name, or a table with columns file and that of --target.",
            rich_help_panel=READING,
        ),
    ] = "folder"
    delimiter: Annotated[
        str | None,
        typer.Option(help="Of a CSV table. Default: a comma.", show_default=False, rich_help_panel=READING),
    ] = None
    decimal: Annotated[
        str, typer.Option(metavar="MARK", help="Of a table: . or ,", rich_help_panel=READING)
    ] = "."
    thousands: Annotated[
        str | None,
        typer.Option(
            metavar="MARK", help="Of a table: , . ' _ or a space between thousands.", rich_help_panel=READING
        ),
    ] = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Any:
        """Out of what a command was given."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def read(
        self, path: Path, kind: str, named: Sequence[str] | None = None, labelled: bool = True
    ) -> Labelled:
        """kind: "series" or "audio". named: the features of a saved model. labelled: False where labels may be missing,
        which are then None; `DataError` for what cannot be read."""
        path = path.expanduser()
        if kind == "audio":
            found = self._recordings(path, labelled)
        elif path.suffix.lower() == ".ts":
            found = read_ts(path)
        elif path.suffix.lower() in SERIES:
            found = read_panel(path, self.layout)
        else:
            found = self._long(path, named, labelled)
        if labelled and found.y is None:
            raise DataError(f"{path.name} has no labels. Give a file that has.")
        if kind == "series":
            for name, x in zip(found.names, found.X):
                if np.isinf(x).any():
                    raise DataError(
                        f"Series {name!r} of {path.name} holds infinity. Write what is missing as NaN."
                    )
        return found

    def _long(self, path: Path, named: Sequence[str] | None, labelled: bool) -> Labelled:
        frame = self._table(path)
        target: str | None = self.target
        if not labelled and self.target not in frame.columns:
            target = None
        wanted = list(self.feature) if self.feature else list(named) if named is not None else None
        if named is not None and wanted != list(named):
            raise DataError(
                f"The model has the features {', '.join(named)}. Got --feature {', '.join(wanted or [])}."
            )
        return from_long(frame, self.id, self.step, wanted, target, self.decimal, self.thousands)

    def _recordings(self, path: Path, labelled: bool) -> Labelled:
        if Path(self.labels).suffix and Path(self.labels).expanduser().is_file():
            frame = self._table(Path(self.labels).expanduser())
            for name in ("file", self.target):
                if name not in frame.columns:
                    raise DataError(
                        f"{self.labels} must have columns 'file' and {self.target!r}. It has {frame.columns}."
                    )
            if frame["file"].n_unique() < frame.height or frame.null_count().row(0) != (0,) * frame.width:
                raise DataError(f"{self.labels} must name each file once, with its label.")
            return read_folder(path, dict(zip(frame["file"], frame[self.target])))
        if labelled or self.labels != "folder":
            return read_folder(path, self.labels)
        return read_folder(path, None)

    def _table(self, path: Path) -> Any:
        from unspool.tables import read_table

        return read_table(path, delimiter=self.delimiter).frame


def kind_of(path: Path, asked: str | None) -> str:
    """ "series" or "audio": as asked, or what a path of this name holds."""
    if asked is not None:
        if asked not in KINDS:
            raise DataError(f"--input-kind must be series or audio. Got {asked!r}.")
        return asked
    return "audio" if path.expanduser().is_dir() else "series"


def decide(
    y: np.ndarray, asked: str, path: Path, kind: str, settings: Mapping[str, Any] | None = None
) -> tuple[str, np.ndarray]:
    """(the task, y as labels or numbers). auto: by --order and --loss in `settings`, which go with one task; labels of
    a .ts file, of subfolders and of file names are what they are; otherwise numbers with fractions, or more than 10
    distinct, are regression."""
    if asked not in TASKS:
        raise DataError(f"--task must be one of {', '.join(TASKS)}. Got {asked!r}.")
    if settings is not None and settings["order"] is not None:
        if asked not in ("auto", "ordinal"):
            raise DataError(f"--order is of --task ordinal. Got --task {asked}.")
        asked = "ordinal"
    if settings is not None and asked in ("auto", "regression"):
        of_loss = next((t.name for t in (Count, Positive) if settings["loss"] in t.losses), asked)
        asked = of_loss
    numbers = _as_numbers(y)
    if asked in ("regression", "count", "positive"):
        return asked, _finite(y, numbers, asked)
    if asked in ("classification", "ordinal"):
        return asked, y
    if numbers is None:
        return "classification", y
    known = y.dtype.kind in "iu" and (kind == "audio" or path.suffix.lower() == ".ts")
    spread = bool((numbers != np.floor(numbers)).any()) or len(np.unique(numbers)) > 10
    return ("classification", y) if known or not spread else ("regression", _finite(y, numbers, "regression"))


def _finite(y: np.ndarray, numbers: np.ndarray | None, task: str) -> np.ndarray:
    """The numbers that the labels are; `DataError` with the first that is none."""
    odd = np.flatnonzero(
        ~np.isfinite([_number(label) for label in y.tolist()] if numbers is None else numbers)
    )
    if len(odd) or numbers is None:
        at = int(odd[0]) if len(odd) else 0
        raise DataError(
            f"The labels must be finite numbers for {task}. Number {at + 1} of {len(y)} is {y[at].item()!r}."
        )
    return numbers


def _number(label: Any) -> float:
    try:
        return float(label)
    except (ValueError, TypeError):
        return float("nan")


def _as_numbers(y: np.ndarray) -> np.ndarray | None:
    try:
        return y.astype(np.float64)
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, kw_only=True)
class SignalSource(SignalReading):
    """The options that say what is learnt, and what is for the test; `parts()` reads both."""

    source: Annotated[
        Path,
        typer.Argument(
            help="A .ts file, a long table, a .npy or .npz, or a folder of recordings.", show_default=False
        ),
    ]
    input_kind: Annotated[
        str | None, typer.Option(metavar="NAME", help="series or audio. Default: audio for a folder.")
    ] = None
    task: Annotated[
        str,
        typer.Option(
            help="auto, regression, classification, ordinal (classes with an order), count or positive. auto: "
            "regression for numbers with fractions or more than 10 distinct values, but for the classes of .ts files "
            "and of recordings."
        ),
    ] = "auto"
    test: Annotated[Path | None, typer.Option(help="As SOURCE, for the test.", rich_help_panel=SPLIT)] = None
    test_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Series or files whose name matches are for the test.",
            rich_help_panel=SPLIT,
        ),
    ] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(help="Share for the test, drawn by --seed. Default: 0.2.", rich_help_panel=SPLIT),
    ] = None

    def check(self) -> None:
        """`DataError` for options that do not go together."""
        ways = {
            "--test": self.test,
            "--test-pattern": self.test_pattern,
            "--test-fraction": self.test_fraction,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise DataError(f"{' and '.join(given)} both say what is for the test. Give one of them.")
        if self.test_fraction is not None:
            check_float("fit", "test_fraction", self.test_fraction, 0, 1, "neither")

    def parts(self, settings: Mapping[str, Any]) -> SignalData:
        """Both parts; what was read is printed. settings: the estimator's parameters."""
        seed = settings["random_state"]
        kind = kind_of(self.source, self.input_kind)
        found = self.read(self.source, kind)
        name, y = decide(np.asarray(found.y), self.task, self.source, kind, settings)
        found = replace(found, y=y)
        if self.test is not None:
            train, tested = found, self.read(self.test, kind, found.features)
            own = decide(np.asarray(tested.y), name, self.test, kind)[1]
            tested, how = replace(tested, y=own), f"from {self.test.name}"
        else:
            share = 0.2 if self.test_fraction is None else self.test_fraction
            train, tested = split(found, self.test_pattern, share, seed, registry[name].has_classes)
            how = "names that match" if self.test_pattern else f"drawn with seed {seed}"
        typer.echo(f"Task: {name}.")
        typer.echo(told(kind, train, tested, how))
        decided: dict[str, Any] = {}
        if name == "ordinal":
            order = "auto" if settings["order"] is None else settings["order"]
            decided = {"order": ordered(order, np.asarray(train.y)).tolist()}
        elif issubclass(registry[name], LogLink):
            decided = registry[name].settings_for(settings, None, [])  # type: ignore[arg-type]
        return SignalData(kind, registry[name], train, tested, decided)


@dataclass(frozen=True)
class SignalData:
    """kind: of X, "series" or "audio". task: of the labels. train, tested: the parts. settings: the parameters of the
    estimator that the task sets."""

    kind: str
    task: type[Task]
    train: Labelled
    tested: Labelled
    settings: dict[str, Any]

    @property
    def part(self) -> SignalPart:
        """The test part as it is measured."""
        return SignalPart.of(self.tested)

    def named(self, model: Any) -> Any:
        """The model, told the names of the features that it was fitted on."""
        if self.train.features is not None:
            model.feature_names_in_ = np.array(self.train.features, dtype=object)
        return model

    def baselines(self, seed: int) -> list[tuple[Result, dict[str, Any]]]:
        """Fitted on the training part, measured on the test part; and the settings chosen for each."""
        from unspool.evaluation.signals import signal_baselines

        X, y = self.train.X, np.asarray(self.train.y)
        order = np.array(self.settings["order"]) if "order" in self.settings else None
        power = getattr(self.task, "power", 0)
        fitted = signal_baselines(self.kind, X, y, self.task.has_classes, seed, order, power)
        return [(measure(b.name, b, self.part, self.task), b.settings) for b in fitted]

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of the data."""
        return {
            "task": self.task.name,
            "input_kind": self.kind,
            "rows": {"train": len(self.train), "test": len(self.tested)},
        }


def split(
    found: Labelled, pattern: str | None, fraction: float, seed: int, has_classes: bool
) -> tuple[Labelled, Labelled]:
    """(training, test): those whose names match the pattern are for the test, or a share drawn by `seed`."""
    from unspool.tables import by_fraction

    if pattern is None:
        rows = by_fraction(len(found), fraction, seed, found.y if has_classes else None)
        return found.take(rows.train), found.take(rows.test)
    try:
        match = np.array([re.search(pattern, str(name)) is not None for name in found.names])
    except re.error as error:
        raise DataError(f"--test-pattern must be a regular expression. Got {pattern!r}: {error}.") from None
    if match.all() or not match.any():
        raise DataError(
            f"--test-pattern {pattern!r} matches {int(match.sum())} of {len(match)} names, such as {found.names[0]!r}: "
            "none is left for the other part."
        )
    return found.take(np.flatnonzero(~match)), found.take(np.flatnonzero(match))


def told(kind: str, train: Labelled, test: Labelled, how: str) -> str:
    """A sentence on what was read."""
    counts = f"{len(train)} training, {len(test)} test ({how})"
    if kind == "audio":
        return f"Recordings: {counts}."
    lengths = [len(x) for x in train.X]
    missing = sum(int(np.isnan(x).sum()) for x in train.X)
    gone = f" {missing:,} values of the training part are missing." if missing else ""
    return f"Series: {counts}; {train.X[0].shape[1]} features, {min(lengths)} to {max(lengths)} steps.{gone}"
