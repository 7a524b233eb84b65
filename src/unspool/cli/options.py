"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unspool.tables import Table

DEBUG, SAVED = "unspool.debug", "unspool.saved"  # keys of the context's meta
READING = "Reading the table"


def _debug(ctx: typer.Context, asked: bool) -> None:
    ctx.meta[DEBUG] = asked


Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of an error.")
]
Model = Annotated[Path, typer.Argument(help="The saved model: a folder or a .zip.", show_default=False)]
Weights = Annotated[
    str,
    typer.Option(
        metavar="FORM",
        help="While predicting: float32, bfloat16 (half the memory, faster) or int8 (a quarter).",
    ),
]
Input = Annotated[
    str, typer.Option("--input", metavar="COLUMN", help="The column of texts.", show_default=False)
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="The column to predict; repeat it for several numbers.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="csv, tsv, jsonl or parquet. Default: by the extension.", rich_help_panel=READING
    ),
]
Encoding = Annotated[str, typer.Option(help="Encoding of CSV, TSV and JSON lines.", rich_help_panel=READING)]
Delimiter = Annotated[
    str | None,
    typer.Option(help="Default: a comma, or a tab for TSV.", show_default=False, rich_help_panel=READING),
]
Quotes = Annotated[
    bool,
    typer.Option("--quotes/--no-quotes", help="Quote characters enclose cells.", rich_help_panel=READING),
]
DropMissing = Annotated[
    bool,
    typer.Option("--drop-missing", help="Drop rows that lack a text or a target.", rich_help_panel=READING),
]


def load_model(path: Path, weights: str) -> Any:
    """The saved model, its weights in the form of `--weights`."""
    import unspool

    model = unspool.load(path)
    return model if weights == "float32" else model.freeze(weights)


def numbers(kind: type) -> Callable[[Any], Any]:
    """Reads "64" as one number of `kind` and "64,32" as a tuple."""

    def parse(value: Any) -> Any:
        try:
            parts = [kind(part) for part in str(value).split(",")]
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(
                f"expected {what}, or several joined by commas. Got {value!r}."
            ) from None
        return parts[0] if len(parts) == 1 else tuple(parts)

    parse.__name__ = f"{kind.__name__}s joined by commas"
    return parse


@dataclass(frozen=True)
class Reading:
    """How tables are read; `read(path)` gives the `Table`."""

    format: str | None
    encoding: str
    delimiter: str | None
    quotes: bool

    def read(self, path: Path) -> Table:
        from unspool.tables import read_table

        return read_table(
            path, format=self.format, encoding=self.encoding, delimiter=self.delimiter, quotes=self.quotes
        )
