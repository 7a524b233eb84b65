"""Pairs of texts out of tables, for the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unspool.cli.options import Input, Reading
from unspool.errors import DataError, check_float
from unspool.parameters import SPLIT
from unspool.tables import (
    Table,
    by_column,
    by_fraction,
    require_columns,
    shared_texts,
    text_column,
    weight_column,
    without_missing,
)

Pairs = Annotated[Path, typer.Argument(help="CSV, TSV, JSON, Parquet or Excel.", show_default=False)]
Target = Annotated[
    str, typer.Option("--target", metavar="COLUMN", help="The column of texts to write.", show_default=False)
]


@dataclass(frozen=True)
class Part:
    """Pairs of texts, the rows (n,) of the table that they stand in, and where a column holds them the weights (n,)."""

    sources: list[str]
    targets: list[str]
    rows: np.ndarray
    weights: np.ndarray | None = None

    def take(self, index: np.ndarray) -> Part:
        """The pairs at `index`."""
        weights = None if self.weights is None else self.weights[index]
        return Part(
            [self.sources[i] for i in index], [self.targets[i] for i in index], self.rows[index], weights
        )


def read_pairs(
    reading: Reading,
    path: Path,
    input: str,
    target: str,
    beside: str | None = None,
    weight: str | None = None,
) -> tuple[Part, Table, int]:
    """(the pairs of a table, the table, rows dropped). beside: a column that is needed too. weight: that of weights."""
    if input == target:
        raise DataError("--input and --target must be different columns.")
    needed = [input, target, *(name for name in (beside, weight) if name is not None)]
    table = reading.read(path, needed)
    require_columns(table, needed)
    table, dropped = without_missing(table, input, [target], "classification", drop=reading.drop_missing)
    weights = None if weight is None else weight_column(table, weight)
    return Part(text_column(table, input), text_column(table, target), table.rows, weights), table, dropped


@dataclass(frozen=True, kw_only=True)
class PairSource(Reading):
    """The options that say which columns of which table are learnt from, and which rows are for what."""

    table: Pairs
    input: Input
    target: Target
    split_column: Annotated[
        str | None,
        typer.Option(help="Column that holds train, dev (or valid) and test.", rich_help_panel=SPLIT),
    ] = None
    test: Annotated[Path | None, typer.Option(help="A table of test pairs.", rich_help_panel=SPLIT)] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the sources for the test, drawn by --seed. Default: 0.2.", rich_help_panel=SPLIT
        ),
    ] = None

    def parts(self, seed: int, weight: str | None = None) -> tuple[Part, Part | None, Part, dict[str, int]]:
        """(training, validation where the table has it, test, counts), and says so on the terminal. weight: the column
        that weighs the pairs in training."""
        ways = {
            "--split-column": self.split_column,
            "--test": self.test,
            "--test-fraction": self.test_fraction,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise DataError(f"{' and '.join(given)} both say which rows are for the test. Give one of them.")
        everything, whole, dropped = read_pairs(
            self, self.table, self.input, self.target, self.split_column, weight
        )
        validation = None
        if self.test is not None:
            train, (tested, _, more) = everything, read_pairs(self, self.test, self.input, self.target)
            dropped, how = dropped + more, f"test rows from {self.test.name}"
        elif self.split_column:
            split = by_column(whole, self.split_column)
            train, tested = everything.take(split.train), everything.take(split.test)
            validation = everything.take(split.validation) if len(split.validation) else None
            how = f"parts from column {self.split_column!r}"
        else:
            share = 0.2 if self.test_fraction is None else self.test_fraction
            train, tested = drawn(everything, share, seed)
            how = f"test sources drawn with seed {seed}"
        counts = {
            "train": len(train.rows),
            "validation": 0 if validation is None else len(validation.rows),
            "test": len(tested.rows),
            "dropped": dropped,
            "test_sources_also_in_training": shared_texts(train.sources, tested.sources),
        }
        held = f", {counts['validation']} validation" if validation is not None else ""
        gone = f" {dropped} rows with missing values dropped." if dropped else ""
        typer.echo(f"Pairs: {counts['train']} training{held}, {counts['test']} test ({how}).{gone}")
        if counts["test_sources_also_in_training"]:
            typer.echo(
                f"warning: {counts['test_sources_also_in_training']} of {counts['test']} test sources stand in the "
                "training part too; the test metrics flatter every model that learns texts by heart.",
                err=True,
            )
        return train, validation, tested, counts


def drawn(everything: Part, fraction: float, seed: int) -> tuple[Part, Part]:
    """(training, test): a share of the distinct sources, each with all its rows."""
    check_float("fit", "test_fraction", fraction, 0, 1, "neither")
    distinct, number = np.unique(np.array(everything.sources, dtype=object), return_inverse=True)
    if len(distinct) < 2:
        raise DataError(
            f"All {len(everything.rows)} pairs have one source, {everything.sources[0]!r:.50}: none can be set aside "
            "for the test. Give a table with more, or test pairs with --test."
        )
    chosen = np.zeros(len(distinct), dtype=bool)
    chosen[by_fraction(len(distinct), fraction, seed).test] = True
    held = chosen[number]
    return everything.take(np.flatnonzero(~held)), everything.take(np.flatnonzero(held))
