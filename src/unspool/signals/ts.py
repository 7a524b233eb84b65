"""The .ts files of the UEA and UCR archives and of sktime and aeon."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from unspool.errors import DataError
from unspool.signals.labelled import Labelled, labels_or_numbers

LABELS = {"@classlabel": "class", "@targetlabel": "number"}


def read_ts(path: str | os.PathLike[str]) -> Labelled:
    """The series (T, F) float64 of a .ts file with their classes, or numbers where it says `@targetLabel true`.

    A line is a case: its channels joined by ":", their values by ","; "?" is a missing one (NaN); last the label.
    Labels that are all whole numbers become int64. `DataError`, with the line, for a file that is not so: channels
    of a case of different lengths, another number of channels, a label that the header does not name, time stamps.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}. Save it as UTF-8."
        ) from None
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    label, known, start = _header(path, lines)
    series: list[np.ndarray] = []
    labels: list[str] = []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.strip() or line.startswith(("#", "%")):
            continue
        parts = line.strip().split(":")
        where = f"{path.name}, line {number},"
        if label is not None:
            labels.append(parts.pop().strip())
            if known and labels[-1] not in known:
                raise DataError(
                    f"{where} has the class {labels[-1]!r}, which its header does not name: {known}."
                )
        case = [_numbers(part, where) for part in parts]
        lengths = {len(channel) for channel in case}
        if len(lengths) != 1:
            raise DataError(
                f"{where} has channels of {sorted(lengths)} values. Those of a case must be equal."
            )
        if series and len(case) != series[0].shape[1]:
            raise DataError(f"{where} has {len(case)} channels, those before it {series[0].shape[1]}.")
        series.append(np.stack(case, 1))
    if not series:
        raise DataError(f"{path.name} has no case after @data. The file may be half-written.")
    if label is None:
        return Labelled([*range(len(series))], series, None)
    if label == "class":
        return Labelled([*range(len(series))], series, labels_or_numbers(labels))
    return Labelled([*range(len(series))], series, _numbers(",".join(labels), f"The target of {path.name}"))


def _header(path: Path, lines: list[str]) -> tuple[str | None, list[str], int]:
    """(what the last part of a case is, the classes that are named, the first line of the cases)."""
    label: str | None = None
    known: list[str] = []
    for number, line in enumerate(lines):
        words = line.split()
        if not words or words[0].startswith(("#", "%")):
            continue
        key = words[0].lower()
        if key == "@data":
            return label, known, number + 1
        if not key.startswith("@"):
            break
        said = len(words) > 1 and words[1].lower() == "true"
        if key == "@timestamps" and said:
            raise DataError(
                f"{path.name} has time stamps in its cases, which are not read. Write values alone."
            )
        if key in LABELS and said:
            label, known = LABELS[key], words[2:] if key == "@classlabel" else []
    raise DataError(f"{path.name} has no line '@data' before its cases: it is no .ts file, or half-written.")


def _numbers(text: str, where: str) -> np.ndarray:
    cells = [cell.strip() for cell in text.split(",")] if text.strip() else []
    try:
        return np.array([float("nan") if cell == "?" else float(cell) for cell in cells])
    except ValueError as error:
        raise DataError(f"{where} must hold numbers joined by commas. {error}.") from None
