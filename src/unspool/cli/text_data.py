"""Texts out of files, for the commands that learn to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unspool.cli.options import Reading
from unspool.errors import DataError, check_float
from unspool.parameters import SPLIT
from unspool.tables import decode, require_columns, text_column, weight_column


@dataclass(frozen=True, kw_only=True)
class TextReading(Reading):
    """The options that say how the texts of a file are told."""

    text: Annotated[
        Path,
        typer.Argument(help="A text; with --input a table of texts.", metavar="TEXT", show_default=False),
    ]
    input: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="TEXT is a table: its column of texts.", show_default=False),
    ] = None
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of TEXT that is not empty is a text by itself.")
    ] = False

    def texts(self, path: Path) -> list[str]:
        """The texts of a file, those that are missing or empty left out; one, or several."""
        return self.weighed(path, None)[0]

    def weighed(self, path: Path, weight: str | None) -> tuple[list[str], np.ndarray | None]:
        """`texts`, and with a column of weights (n,) those of them."""
        weights = None
        if self.input is not None:
            table = self.read(path, [self.input, *([] if weight is None else [weight])])
            require_columns(table, [self.input])
            column = text_column(table, self.input)
            texts = [text for text in column if text]
            if weight is not None:
                weights = weight_column(table, weight)[[bool(text) for text in column]]
        elif weight is not None:
            raise DataError(
                "--weight names a column of weights: say by --input which column holds the texts."
            )
        else:
            whole = decode(path.expanduser().read_bytes(), self.encoding, str(path))
            texts = [line for line in whole.splitlines() if line] if self.lines else [whole]
        if not any(texts):
            raise DataError(f"{str(path)!r} holds no text.")
        return texts, weights


@dataclass(frozen=True, kw_only=True)
class TextSource(TextReading):
    """Also those that say which are for the test."""

    test: Annotated[Path | None, typer.Option(help="A file of test texts.", rich_help_panel=SPLIT)] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share set aside for the test: the end of one text, drawn ones of several. Default: 0.1.",
            rich_help_panel=SPLIT,
        ),
    ] = None

    def parts(
        self, seed: int, weight: str | None = None
    ) -> tuple[list[str], np.ndarray | None, list[str], dict[str, tuple[int, int]]]:
        """(the texts to learn from, their weights by a column `weight`, those of the test, (texts, characters) of
        both), and says so on the terminal."""
        texts, weights = self.weighed(self.text, weight)
        if self.test is not None and self.test_fraction is not None:
            raise DataError("Give --test or --test-fraction, not both.")
        if self.test is None:
            fraction = 0.1 if self.test_fraction is None else self.test_fraction
            check_float("fit", "test_fraction", fraction, 0.0, 1.0, "neither")
            rest, weights, held = split(texts, weights, fraction, seed)
        else:
            rest, held = texts, self.texts(self.test)
        parts = (("training", rest), ("test", held))
        counts = {name: (len(part), sum(map(len, part))) for name, part in parts}
        told = [f"{name}: {n:,} text{'s' * (n > 1)}, {c:,} characters" for name, (n, c) in counts.items()]
        typer.echo(f"Task: generation. {', '.join(told)}.")
        return rest, weights, held, counts


def split(
    texts: Sequence[str], weights: np.ndarray | None, fraction: float, seed: int
) -> tuple[list[str], np.ndarray | None, list[str]]:
    """(the rest, its weights, the test part): the end of one text, drawn ones of several."""
    if len(texts) == 1:
        cut = len(texts[0]) - round(fraction * len(texts[0]))
        rest, test = [texts[0][:cut]], [texts[0][cut:]]
    else:
        drawn = np.random.RandomState(seed).permutation(len(texts))[: max(1, round(fraction * len(texts)))]
        chosen = set(drawn.tolist())
        rest = [text for i, text in enumerate(texts) if i not in chosen]
        test = [texts[i] for i in sorted(chosen)]
        weights = None if weights is None else np.delete(weights, drawn)
    if not any(rest) or not any(test):
        raise DataError(
            f"The texts are too few or too short to set {fraction:.0%} of them aside. Give --test, or more text."
        )
    return rest, weights, test
