"""Columns beside the sequences, numbers and categories, to a matrix; fitted on the training part only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from unspool.arrays import frame
from unspool.encode.reading import Raw, read_input
from unspool.errors import DataError, ModelFileError, RowsWarning, bad_parameter, did_you_mean, warn_caller
from unspool.saved.fields import Fields

MOST = 1000  # categories of a column
FEWEST = 2  # training rows of a category that has a number of its own


def read_rows(owner: str, X: Any, settings: Mapping[str, Any], kind: str | None = None) -> Raw:
    """`X` as a `Raw`. settings: the estimator's parameters; with a `text_column` X is a DataFrame or a dict of
    columns, and the columns named in `numeric` and `categorical` come along. `DataError` where X has not got them."""
    text, numeric, categorical = (settings[n] for n in ("text_column", "numeric", "categorical"))
    names = [*numeric, *categorical]
    if text is None:
        if names:
            expected = "the column of the sequences where 'numeric' or 'categorical' name others"
            bad_parameter(owner, "text_column", expected, None)
        return read_input(X, kind)
    X = frame(X)
    twice = [name for name, count in Counter([text, *names]).items() if count > 1]
    if twice:
        raise DataError(
            f"text_column, numeric and categorical must be different columns. Got {twice[0]!r} twice."
        )
    held = list(X) if isinstance(X, dict) else list(getattr(X, "columns", []))
    if not held:
        shown = ", ".join(map(repr, [text, *names]))
        got = type(X).__name__
        raise DataError(f"X must be a DataFrame or a dict with the columns {shown}. Got {got}.")
    for name in [text, *names]:
        if name not in held:
            hint = did_you_mean(name, map(str, held))
            raise DataError(f"X has no column {name!r}. It has {', '.join(map(repr, held))}. {hint}".rstrip())
    raw = read_input(X[text], kind)
    columns = {name: _values(X[name]) for name in names}
    for name, values in columns.items():
        if len(values) != len(raw):
            raise DataError(f"Column {name!r} must have {len(raw)} rows, as {text!r} has. Got {len(values)}.")
    return replace(raw, columns=columns)


LARGEST = 1e30  # of a scaled number, in float32


@dataclass
class Numeric:
    """A column of numbers: (x - mean) / scale, 0 where x is missing, and there a 1 beside it if `told`."""

    name: str
    mean: float
    scale: float
    told: bool

    @property
    def width(self) -> int:
        """Numbers a row."""
        return 1 + self.told

    @classmethod
    def fit(cls, name: str, values: Sequence[Any]) -> Numeric:
        """Mean and deviation of the values that are there; told: some are missing."""
        numbers = _numbers(name, values)
        there = numbers[~np.isnan(numbers)]
        if not len(there):
            raise DataError(f"Column {name!r} has no number in the training part.")
        mean, scale = float(there.mean()), float(there.std())
        constant = scale <= 1e-12 * float(np.abs(there).max())
        return cls(name, mean, 1.0 if constant else scale, len(there) < len(numbers))

    def encode(self, values: Sequence[Any]) -> tuple[np.ndarray, int]:
        """((n, width), how many are missing as none was in training)."""
        numbers = _numbers(self.name, values)
        missing = np.isnan(numbers)
        scaled = np.where(missing, 0.0, (numbers - self.mean) / self.scale)
        parts = [scaled, missing.astype(float)] if self.told else [scaled]
        return np.stack(parts, 1), 0 if self.told else int(missing.sum())

    def describe(self) -> str:
        """A few words for a summary."""
        return f"{self.name} (number{', missing ones as the mean and told apart' if self.told else ''})"


@dataclass
class Categorical:
    """A column of categories: a 1 at the row's own, all others 0. told: the last place is of missing and unknown
    ones, and of those that one training row alone has; without, these rows have no 1."""

    name: str
    categories: list[str]
    told: bool

    @property
    def width(self) -> int:
        """Numbers a row."""
        return len(self.categories) + self.told

    @classmethod
    def fit(cls, name: str, values: Sequence[Any]) -> Categorical:
        """The 1,000 most frequent categories of two training rows or more."""
        counts = Counter(_category(v) for v in values)
        counts.pop(None, None)
        ranked = sorted(counts, key=lambda c: (-counts[c], str(c)))
        kept = sorted(str(c) for c in ranked[:MOST] if counts[c] >= FEWEST)
        if not kept:
            raise DataError(f"Column {name!r} has no category of {FEWEST} training rows or more.")
        return cls(name, kept, sum(counts[c] for c in kept) < len(values))

    def encode(self, values: Sequence[Any]) -> tuple[np.ndarray, int]:
        """((n, width), how many are unknown as none was in training)."""
        place = {category: i for i, category in enumerate(self.categories)}
        places = np.array([place.get(_category(v), len(place)) for v in values], dtype=np.int64)  # type: ignore[arg-type]
        found = np.eye(len(place) + 1)[places][:, : self.width]
        return found, 0 if self.told else int((places == len(place)).sum())

    def describe(self) -> str:
        """A few words for a summary."""
        return f"{self.name} ({len(self.categories)} categories{' and others' if self.told else ''})"


class Columns:
    """Columns beside the sequences, each a `Numeric` or a `Categorical`, to a matrix (n, width)."""

    def __init__(self, parts: Iterable[Numeric | Categorical]) -> None:
        self.parts = list(parts)

    @classmethod
    def fit(cls, raw: Raw, numeric: Sequence[str], categorical: Sequence[str]) -> Columns:
        """Learn from the training part; `DataError` where a column has nothing to learn from."""
        numbers = [Numeric.fit(name, raw.columns[name]) for name in numeric]
        return cls([*numbers, *(Categorical.fit(name, raw.columns[name]) for name in categorical)])

    @property
    def width(self) -> int:
        """Numbers a row."""
        return sum(part.width for part in self.parts)

    def encode(self, raw: Raw, warn: bool = False) -> Tensor:
        """float32 (n, width); warn: tell of missing and unknown values that training had none of."""
        import torch

        found = []
        for part in self.parts:
            matrix, strange = part.encode(raw.columns[part.name])
            found.append(matrix)
            if warn and strange:
                as_what = "the mean" if isinstance(part, Numeric) else "no category"
                what = (
                    f"rows have a value of {part.name!r} that is missing or that the model does not know, which no "
                    f"training row had; it counts as {as_what}."
                )
                warn_caller(RowsWarning(strange, len(raw), what))
            large = np.abs(matrix).max(1, initial=0.0) > LARGEST
            if large.any():
                row = int(large.argmax())
                raise DataError(
                    f"Column {part.name!r} holds a number too far from those of the training part in row "
                    f"{row}, counted from 0: {raw.columns[part.name][row]!r}."
                )
        return torch.from_numpy(np.concatenate(found, 1).astype(np.float32))

    def describe(self) -> str:
        """A few words for a summary."""
        return "beside it " + ", ".join(part.describe() for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_fields` reads it."""
        kinds = {"numeric": Numeric, "categorical": Categorical}
        return {key: [vars(p) for p in self.parts if isinstance(p, kind)] for key, kind in kinds.items()}

    @classmethod
    def from_fields(cls, fields: Fields) -> Columns:
        """The columns whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""
        parts: list[Numeric | Categorical] = []
        for data in fields.items("numeric", dict):
            own = Fields(data, f"{fields.where}, 'numeric',")
            scale = own.get("scale", float)
            if not 0 < scale < float("inf"):
                raise ModelFileError("the scale of a column must be positive.")
            parts.append(Numeric(own.get("name", str), own.get("mean", float), scale, own.get("told", bool)))
        for data in fields.items("categorical", dict):
            own = Fields(data, f"{fields.where}, 'categorical',")
            categories = own.items("categories", str)
            if not categories or len(set(categories)) < len(categories):
                raise ModelFileError("the categories of a column must be one or more, all different.")
            parts.append(Categorical(own.get("name", str), categories, own.get("told", bool)))
        return cls(parts)


def _values(column: Any) -> list[Any]:
    for name in ("to_list", "tolist"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def _missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _numbers(name: str, values: Sequence[Any]) -> np.ndarray:
    """(n,) float64, NaN where a value is missing."""
    found = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if _missing(value):
            continue
        with suppress(TypeError, ValueError):
            found[i] = np.nan if isinstance(value, (str, bytes)) else float(value)
        if not np.isfinite(found[i]):
            raise DataError(f"Column {name!r} must hold finite numbers, or none. Got {value!r} in row {i}.")
    return found


def _category(value: Any) -> str | None:
    """As text; a whole number the same as int and as float."""
    if _missing(value):
        return None
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
