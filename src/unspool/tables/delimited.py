"""CSV and TSV: text -> columns of strings."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Sequence

import polars as pl

from unspool.errors import DataError

TAB = "\t"


def read_delimited(
    text: str, name: str, delimiter: str | None, quotes: bool, header: bool
) -> tuple[pl.DataFrame, frozenset[str]]:
    """(columns of strings, empty cells missing; the names that came more than once, see `unique_names`).

    delimiter: None for a comma, or what Excel's first line "sep=;" says.
    """
    delimiter, start = delimiter_of(text, delimiter)
    # The csv module, not polars: polars refuses a quote inside an unquoted cell (5" disk) and names no line.
    reader = csv.reader(
        io.StringIO(text[start:], newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    skipped = 1 if start else 0
    previous_limit = csv.field_size_limit(sys.maxsize)
    rows: list[list[str]] = []
    try:
        first = next((row for row in reader if row), [])
        if not first:
            raise DataError(f"{name!r} is empty.")
        if not header:
            rows.append(first)
        for row in reader:
            if not row:
                continue
            if len(row) != len(first):
                hint = f"Is the file half-written, or a text with {delimiter!r} not quoted?"
                other = next((mark for mark in ";\t|," if mark in first[0] and mark != delimiter), None)
                if len(first) == 1 and other is None and len(row) > 1:
                    hint = "Is the first line a title or a comment? Take out what stands above the names of columns."
                if len(first) == 1 and other is not None:
                    hint = (
                        f"Is another delimiter needed: --delimiter {'tab' if other == TAB else repr(other)}?"
                    )
                raise DataError(
                    f"{name!r}, line {reader.line_num + skipped}: {len(row)} cells where the "
                    f"{'header' if header else 'first row'} has {len(first)}. {hint}"
                )
            rows.append(row)
    except csv.Error as error:
        reason = "a quote is never closed" if "end of data" in str(error) else str(error)
        raise DataError(
            f"{name!r}, line {reader.line_num + skipped}: {reason}. The file may be half-written; if its quote "
            "characters are plain text, read it with --no-quotes."
        ) from None
    finally:
        csv.field_size_limit(previous_limit)
    names, repeated = unique_names(first if header else [None] * len(first))
    columns = zip(*rows, strict=True) if rows else ((),) * len(first)
    frame = pl.DataFrame(
        [
            pl.Series(name, [cell or None for cell in column], dtype=pl.String)
            for name, column in zip(names, columns, strict=True)
        ]
    )
    return frame, repeated


def mark_of(kind: str, asked: str | None) -> str | None:
    """The delimiter that is asked for, or else that of "tsv"; None for a comma, or what the first line says."""
    return TAB if asked is None and kind == "tsv" else asked


def delimiter_of(text: str, asked: str | None) -> tuple[str, int]:
    """(the delimiter, where the table begins in `text`): `asked`, or what a first line "sep=;" says, or a comma."""
    said = re.match(r"sep=(.)(\r\n|\n|\r|$)", text)
    start = 0
    if said and (asked is None or asked == said[1]):
        asked, start = said[1], said.end()
    asked = "," if asked is None else asked
    found = {"tab": "\t", "\\t": "\t"}.get(asked, asked)
    if len(found) != 1 or found in '\r\n"':
        raise DataError(f"The delimiter must be one character. Got {found!r}.")
    return found, start


def unique_names(header: Sequence[str | None]) -> tuple[list[str], frozenset[str]]:
    """(a name of its own for each column, the names that came more than once): of equal names the first stays, the
    others are "name_2", "name_3", ...; the k-th column without a name is "column_k"."""
    given = [name or "" for name in header]
    taken, seen, names = set(given), Counter[str](), []
    for place, name in enumerate(given, 1):
        seen[name] += 1
        unique = name
        if not name or seen[name] > 1:
            unique = f"column_{place}" if not name else f"{name}_{seen[name]}"
            while unique in taken:
                unique += "_"
            taken.add(unique)
        names.append(unique)
    return names, frozenset(name for name, count in seen.items() if name and count > 1)
