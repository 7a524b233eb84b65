"""Tagged sentences out of files, for the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from unspool.errors import DataError, check_float
from unspool.parameters import SPLIT
from unspool.tagging.files import Tagged, read_tagged

READING = "Reading the file"
Sentences = Annotated[
    Path, typer.Argument(help="Columns as of the CoNLL tasks, or JSON lines.", show_default=False)
]
Format = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="conll or jsonl. Default: by the extension.", rich_help_panel=READING),
]
Tokens = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Number of a column, from 0, or a field. Default: 0; tokens.",
        rich_help_panel=READING,
    ),
]
Tags = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Number of a column, or a field. Default: the last; tags.",
        rich_help_panel=READING,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="A label of the whole sentence, such as its intent; JSON lines.",
        rich_help_panel=READING,
    ),
]
Encoding = Annotated[str, typer.Option(help="Of the files.", rich_help_panel=READING)]


@dataclass(frozen=True, kw_only=True)
class TaggedSource:
    """The options that say how sentences are read, and which are for what."""

    table: Sentences
    validation: Annotated[
        Path | None, typer.Option(help="A file for early stopping.", rich_help_panel=SPLIT)
    ] = None
    test: Annotated[Path | None, typer.Option(help="A file of test sentences.", rich_help_panel=SPLIT)] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of sentences for the test, drawn by --seed. Default: 0.2.", rich_help_panel=SPLIT
        ),
    ] = None
    format: Format = None
    tokens: Tokens = None
    tags: Tags = None
    label: Label = None
    encoding: Encoding = "utf-8"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TaggedSource:
        """Out of what a command was given."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def read(self, path: Path) -> Tagged:
        """The sentences of a file."""
        return read_tagged(
            path,
            format=self.format,
            tokens=self.tokens,
            tags=self.tags,
            label=self.label,
            encoding=self.encoding,
        )

    def parts(self, seed: int) -> tuple[Tagged, Tagged | None, Tagged]:
        """(training, validation where there is a file, test), and says so on the terminal."""
        from unspool.estimators.splitting import split_rows

        if self.test is not None and self.test_fraction is not None:
            raise DataError(
                "--test and --test-fraction both say which sentences are for the test. Give one of them."
            )
        train = self.read(self.table)
        held = None if self.validation is None else self.read(self.validation)
        if self.test is None:
            share = 0.2
            if self.test_fraction is not None:
                share = check_float("fit", "test_fraction", self.test_fraction, 0, 1, "neither")
            if len(train) < 3:
                raise DataError(
                    f"{str(self.table)!r} must hold three sentences or more, parted by empty lines. "
                    f"It has {len(train)}."
                )
            rows, others = split_rows(len(train), share, None, np.random.RandomState(seed))
            train, tested = _take(train, rows), _take(train, others)
            how = f"drawn with seed {seed}"
        else:
            tested, how = self.read(self.test), f"from {self.test.name}"
        beside = f", {len(held)} validation" if held is not None else ""
        typer.echo(f"Sentences: {len(train)} training{beside}, {len(tested)} test ({how}).")
        return train, held, tested


def _take(read: Tagged, rows: Any) -> Tagged:
    tags, labels = read.tags, read.labels
    return Tagged(
        [read.tokens[i] for i in rows],
        None if tags is None else [tags[i] for i in rows],
        None if labels is None else [labels[i] for i in rows],
        [read.rows[i] for i in rows],
        read.format,
    )
