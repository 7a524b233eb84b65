"""Tagged sentences out of files, and predictions into them: columns as of the CoNLL tasks, and JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unspool.errors import DataError, check_choice
from unspool.files import write_text
from unspool.tables import decode
from unspool.tables.read import parse_json
from unspool.tagging.schemes import scheme_of

FORMATS = ("conll", "jsonl")
DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Tagged:
    """Sentences of a file. tokens: n lists of str. tags: as long, or None where they were not asked for. labels: one a
    sentence, or None. rows: for each sentence its columns (of CoNLL lines) or its object (of JSON lines), as read."""

    tokens: list[list[str]]
    tags: list[list[str]] | None = None
    labels: list[Any] | None = None
    rows: list[Any] = field(default_factory=list)
    format: str = "conll"

    def __len__(self) -> int:
        return len(self.tokens)


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """ "jsonl" where the name ends in .jsonl or .ndjson, otherwise "conll"; or `format`, where it is given."""
    if format is not None:
        return check_choice("read_tagged", "format", format, FORMATS)
    return "jsonl" if Path(path).suffix.lower() in (".jsonl", ".ndjson") else "conll"


def read_tagged(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    tokens: str | int | None = None,
    tags: str | int | None = None,
    label: str | None = None,
    with_tags: bool = True,
    encoding: str = "utf-8",
) -> Tagged:
    """Read sentences and their tags.

    format "conll": a token a line with its columns, which tabs part, or blanks where a line has no tab; an empty line
    ends a sentence; lines of -DOCSTART- are left out. tokens, tags: numbers of columns, from 0; -1, the last, is the
    default of tags. "jsonl": an object a line; tokens, tags, label: names of its fields, by default "tokens" and
    "tags", whose values are lists. label: of the whole sentence. with_tags: False: there may be none.

    `DataError` for a file that cannot be read so, with the line.
    """
    path = Path(path).expanduser()
    kind = format_of(path, format)
    text = decode(path.read_bytes(), encoding, str(path))
    if kind == "jsonl":
        found = _json_lines(str(path), text, tokens, tags, label, with_tags)
    else:
        if label is not None:
            raise DataError("Columns have no label of a whole sentence: use JSON lines.")
        found = _columns(str(path), text, tokens, tags, with_tags)
    if not len(found):
        raise DataError(f"{str(path)!r} holds no sentence.")
    return found


def _columns(path: str, text: str, tokens: Any, tags: Any, with_tags: bool) -> Tagged:
    place, tag_place = _number("tokens", tokens, 0), _number("tags", tags, -1)
    sentences: list[list[list[str]]] = [[]]
    width = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith(DOCUMENT):
            if sentences[-1]:
                sentences.append([])
            continue
        cells = line.split("\t") if "\t" in line else line.split(" ")
        cells = [cell for cell in cells if cell]
        width = width or len(cells)
        if len(cells) != width:
            comments = any(cells[0].startswith("#") for sentence in sentences for cells in sentence[:1])
            hint = (
                " Take out the comments, lines that begin with #." if comments or cells[0][0] == "#" else ""
            )
            raise DataError(
                f"Line {number} of {path!r} must have {width} columns, as those before it. Got {line!r:.80}.{hint}"
            )
        for name, at in (("token", place), ("tag", tag_place)):
            if (name == "token" or with_tags) and not -width <= at < width:
                raise DataError(
                    f"Line {number} of {path!r} has no column {at} for the {name}. Got {line!r:.80}."
                )
        if with_tags and place % width == tag_place % width:
            raise DataError(f"Line {number} of {path!r} must have a token and a tag. Got {line!r:.80}.")
        sentences[-1].append(cells)
    if not sentences[-1]:
        sentences.pop()
    words = [[cells[place] for cells in sentence] for sentence in sentences]
    marks = [[cells[tag_place] for cells in sentence] for sentence in sentences] if with_tags else None
    if marks is not None and _exchanged(words, marks):
        raise DataError(
            f"The columns of {path!r} seem exchanged: its tokens look like tags, such as {words[0][0]!r}. Say which is "
            "which by their numbers, from 0: tokens=1, tags=0 (--tokens 1 --tags 0)."
        )
    return Tagged(words, marks, None, sentences, "conll")


def _exchanged(words: list[list[str]], marks: list[list[str]]) -> bool:
    """Whether all tokens are O and B-X, and the tags are not."""
    seen, tags = ({cell for row in rows for cell in row} for rows in (words, marks))
    return scheme_of(seen) is not None and scheme_of(tags) is None


def _number(name: str, value: Any, default: int) -> int:
    try:
        return default if value is None else int(value)
    except ValueError:
        raise DataError(
            f"{name} of a file of columns must be the number of one, from 0. Got {value!r}."
        ) from None


def _json_lines(path: str, text: str, tokens: Any, tags: Any, label: str | None, with_tags: bool) -> Tagged:
    words, marks, labels, rows = [], [], [], []
    token_name, tag_name = str(tokens or "tokens"), str(tags or "tags")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"Line {number} of {path!r}"
        row = parse_json(line, where)
        if not isinstance(row, dict):
            raise DataError(f"{where} must be an object. Got {type(row).__name__}.")
        words.append(_strings(row, token_name, where))
        if with_tags:
            marks.append(_strings(row, tag_name, where))
            if len(words[-1]) != len(marks[-1]):
                raise DataError(f"{where} has {len(words[-1])} tokens and {len(marks[-1])} tags.")
        if label is not None:
            if not isinstance(row.get(label), (str, int)):
                raise DataError(f"{where} must have a label {label!r}, a string or a whole number.")
            labels.append(row[label])
        rows.append(row)
    return Tagged(words, marks if with_tags else None, labels if label is not None else None, rows, "jsonl")


def _strings(row: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = row.get(name)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        names = ", ".join(map(repr, row))
        raise DataError(f"{where} must have a list of strings {name!r}. It has {names}.")
    return found


def write_predictions(
    path: str | os.PathLike[str] | None, read: Tagged, added: Sequence[Mapping[str, Any]]
) -> str:
    """The sentences as they were read, with `added` for each: lists as long as the sentence, or for JSON lines also
    single values. Written to `path`, all or nothing, unless it is None; returns the text."""
    lines = []
    for row, more in zip(read.rows, added):
        if read.format == "jsonl":
            lines.append(json.dumps({**row, **more}, ensure_ascii=False))
            continue
        columns = [value for value in more.values() if isinstance(value, list)]
        for i, cells in enumerate(row):
            lines.append("\t".join([*cells, *(_cell(column[i]) for column in columns)]))
        lines.append("")
    text = "\n".join(lines) + "\n"
    if path is not None:
        write_text(Path(path), text)
    return text


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
