"""X as users have it - lists, arrays, columns - to texts or a Ragged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unspool.arrays import is_missing, native, unwrapped
from unspool.errors import DataError, described, warn_caller
from unspool.ragged import Ragged
from unspool.signals.sound import Sound
from unspool.text import Split, unpad

_EXPECTED = (
    "X must be a list of texts, an integer array (B, T) of token ids, a float array (B, T, F), a list of "
    "(T, F) arrays, a list of recordings, or a Ragged"
)
_WHOLE = "Renumber them; for a series of measurements pass floats."
_TURN_LIST = "Those of sktime and aeon are (channels, time): pass [x.T for x in X]."
SHOWN = {"text": "texts", "ids": "token ids", "series": "series of numbers", "audio": "recordings"}


@dataclass(frozen=True)
class Raw:
    """Sequences of a kind: "text" (list of str, or their `Split`), "tokens" (list of lists of str), "ids" (Ragged (N,)
    int64), "series" (Ragged (N, F)) or "audio" (list of paths and `Sound`).

    columns: name -> a value for each of them, where `unspool.encode.columns` read further columns. names: of the
    features, where the sequences were tables.
    """

    kind: str
    data: Any
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def given(self, text_column: str | None) -> Any:
        """As an estimator with this `text_column` takes it: the sequences, or a dict with the further columns."""
        return self.data if text_column is None else {text_column: self.data, **self.columns}

    def take(self, rows: np.ndarray) -> Raw:
        """The sequences at `rows`."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        if isinstance(self.data, Split):
            return Raw(self.kind, self.data.take(rows), columns)
        if isinstance(self.data, list):
            return Raw(self.kind, [self.data[i] for i in rows], columns)
        return Raw(self.kind, self.data[torch.from_numpy(rows)], columns, self.names)


def read_input(X: Any, kind: str | None = None) -> Raw:
    """`X` as a `Raw`; of the given `kind` if any, otherwise of the kind that it looks like.

    Whole numbers are token ids, but for arrays with a feature axis; an id array (B, T) loses its pads of
    value 0 at either end. `DataError` for anything else, and for an empty X.
    """
    raw = _read(X, kind)
    if len(raw) == 0:
        raise DataError(f"{_EXPECTED}. Got 0 sample(s).")
    if kind is not None and raw.kind != kind:
        hint = " Make pathlib.Path of the names of files." if (kind, raw.kind) == ("audio", "text") else ""
        raise DataError(f"The model was fitted on {SHOWN[kind]}. Got {SHOWN[raw.kind]}.{hint}")
    return raw


def _read(X: Any, kind: str | None) -> Raw:
    if isinstance(X, PackedSequence):
        X = Ragged.from_packed(X)
    elif isinstance(X, Tensor) and X.is_nested:
        X = Ragged.from_nested(X)
    if isinstance(X, Ragged):
        return _from_ragged(X, kind)
    if hasattr(X, "toarray"):
        raise DataError(f"{_EXPECTED}. Got a sparse {type(X).__name__}, which is not supported.")
    if isinstance(X, (str, bytes, Mapping, Set)):
        hint = " A set has no order: pass a list." if isinstance(X, Set) else ""
        raise DataError(f"{_EXPECTED}. Got {type(X).__name__}.{hint}")
    if isinstance(X, memoryview):
        X = np.asarray(X)
    if hasattr(X, "columns"):
        X = _array_of_frame(X)
    elif hasattr(X, "to_list"):  # a pandas or polars Series
        X = X.to_list()
    X = unwrapped(X)
    if hasattr(X, "__array__") and not hasattr(X, "__iter__"):
        X = np.asarray(X)
    if hasattr(X, "__next__") or not hasattr(X, "__iter__"):
        hint = " It can be read once only: pass list(X)." if hasattr(X, "__next__") else ""
        raise DataError(f"{_EXPECTED}. Got {described(X)}.{hint}")
    if isinstance(X, np.ndarray) and X.dtype.kind == "c":
        raise DataError(f"Complex data not supported. {_EXPECTED}.")
    if isinstance(X, np.ndarray) and X.dtype.kind in "iufb":
        return _from_array(X, kind)
    if isinstance(X, np.ndarray) and X.ndim == 0:
        raise DataError(f"{_EXPECTED}. Got an array of no axes, {X.tolist()!r:.50}.")
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1 and is_text(X.flat):
        X = X[:, 0]
    return _from_rows(list(X), kind)


def is_text(values: Iterable[Any]) -> bool:
    """Whether the first of them is a str."""
    return isinstance(next(iter(values), None), str)


def _array_of_frame(X: Any) -> np.ndarray:
    """The numbers (n, columns), or the texts (n, 1) of a table of one column."""
    if getattr(getattr(X, "index", None), "nlevels", 1) > 1:
        raise DataError(
            "X is a table with a row a step and an index of several levels (pd-multiindex of sktime and aeon). Pass "
            "its sequences: [part.to_numpy() for _, part in X.groupby(level=0)]."
        )
    if not hasattr(X, "to_numpy"):  # an Arrow table
        import polars as pl

        X = pl.DataFrame(X)
    array = np.asarray(X.to_numpy())
    if array.dtype.kind == "O" and all(
        isinstance(c, (int, float, np.number)) or is_missing(c) for c in array.flat
    ):
        array = np.array([[np.nan if is_missing(c) else c for c in row] for row in array], np.float64)
    if array.dtype.kind == "O" and array.size and np.ndim(array.flat[0]) > 0:
        raise DataError(
            "X is a table whose cells are series (nested_univ of sktime). Pass (time, features) arrays: "
            "[np.stack([np.asarray(cell) for cell in row], 1) for row in X.to_numpy()]."
        )
    if array.shape[1] == 1 and is_text(array.flat):
        return array
    if array.dtype.kind not in "iufb" or array.shape[1] < 2:
        raise DataError(f"{_EXPECTED}. Got a table of {array.shape[1]} columns; pass one: df['text'].")
    return array


def _from_ragged(X: Ragged, kind: str | None) -> Raw:
    X = X.with_values(X.values.detach().cpu())
    whole = not X.values.is_floating_point()
    if X.values.dim() == 1 and whole and kind != "series":
        return Raw("ids", X.to(torch.int64))
    if X.values.dim() > 2 or X.values.is_complex():
        raise DataError(f"{_EXPECTED}. Got a Ragged of {X.values.dtype} of shape {tuple(X.values.shape)}.")
    values = X.values if X.values.is_floating_point() else X.values.double()
    return Raw("series", X.with_values(values if values.dim() == 2 else values[:, None]))


def _from_array(X: np.ndarray, kind: str | None) -> Raw:
    if X.ndim > 1 and len(X) and 0 in X.shape[1:]:
        raise DataError(f"X has no steps: 0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
    if X.ndim < 2 or X.ndim > 3:
        raise DataError(
            f"{_EXPECTED}. Got an array of shape {X.shape}. Reshape your data: a row is a sequence."
        )
    if X.dtype == np.uint64 and X.size and int(X.max()) >= 2**63:
        raise DataError(f"X holds {int(X.max())}: token ids are below 2^63. {_WHOLE}")
    if X.dtype.kind in "iu" and X.ndim == 2 and kind != "series":
        return Raw("ids", unpad(X))
    if X.ndim == 3 and kind is None:
        _tell_axes(X.shape[1:])
    X = X if X.dtype.kind == "f" and X.dtype.itemsize <= 8 else X.astype(np.float64)
    return _from_ragged(Ragged.from_padded(X if X.ndim == 3 else X[:, :, None]), "series")


def _from_rows(rows: list[Any], kind: str | None) -> Raw:
    if {*map(type, rows)} == {str}:
        return Raw("text", rows)
    rows = [row.as_py() if hasattr(row, "as_py") else row for row in rows]  # Arrow's scalars
    if any(isinstance(row, str) for row in rows):
        for i, row in enumerate(rows):
            if not isinstance(row, str):
                raise DataError(
                    f"X holds texts, so row {i} must be a str. Got {type(row).__name__}: {row!r:.50}."
                )
        return Raw("text", rows)
    if any(isinstance(row, (Sound, PurePath)) for row in rows):
        for i, row in enumerate(rows):
            if not isinstance(row, (Sound, PurePath)):
                raise DataError(
                    f"X holds recordings, so row {i} must be a pathlib.Path or a Sound. Got {type(row).__name__}."
                )
        return Raw("audio", rows)
    names = _names_of(rows)
    arrays = [_row(row, i) for i, row in enumerate(rows)]
    filled = [a for a in arrays if a.size]
    if len(filled) > 1 and all(a.ndim == 2 for a in filled):
        channels, widths = {a.shape[0] for a in filled}, {a.shape[1] for a in filled}
        if len(widths) > 1 and len(channels) == 1:
            raise DataError(
                "The sequences must agree in the number of features: (time, features) each. Got "
                f"{filled[0].shape} and others with as many rows and {len(widths)} widths. {_TURN_LIST}"
            )
        if kind is None and all(a.shape[1] > a.shape[0] for a in filled):
            _tell_axes(filled[0].shape)
    if len({a.ndim for a in filled}) > 1:
        raise DataError(f"{_EXPECTED}. Got rows of {sorted({a.ndim for a in filled})} axes mixed.")
    whole = all(a.dtype.kind in "iu" and a.ndim == 1 for a in filled)
    if kind != "series" and (whole if filled else kind == "ids"):
        return Raw("ids", Ragged.from_list([a.astype(np.int64) for a in arrays]))
    found = _from_ragged(Ragged.from_list([a.astype(np.float64) for a in arrays]), "series")
    return replace(found, names=names)


def _names_of(rows: list[Any]) -> tuple[str, ...] | None:
    """The columns of sequences that are tables, the same of all; None where no sequence is one."""
    named = [(i, tuple(map(str, row.columns))) for i, row in enumerate(rows) if hasattr(row, "columns")]
    if not named:
        return None
    first, names = named[0]
    for i, found in named:
        if found != names:
            raise DataError(
                "The tables of X must have the same columns in the same order. Got "
                f"{_shown(names)} in row {first} and {_shown(found)} in row {i}. Choose them: table[{[*names[:4]]!r}]."
            )
    return names


def check_names(raw: Raw, known: Sequence[str] | None) -> Raw:
    """`raw`; `DataError` for tables whose columns are not `known`, those of the fit."""
    if raw.names is not None and known is not None and raw.names != tuple(known):
        raise DataError(
            f"The tables of X must have the columns of the fit, {_shown(known)}, in that order. Got "
            f"{_shown(raw.names)}."
        )
    return raw


def _shown(names: Sequence[str]) -> str:
    """A few of them, for a message."""
    return ", ".join(map(repr, names[:8])) + (f", ... ({len(names)})" if len(names) > 8 else "")


def _tell_axes(shape: tuple[int, ...]) -> None:
    """Warn where there are more features than steps: those of sktime and aeon are the other way round."""
    if shape[1] > shape[0]:
        warn_caller(
            f"X is read as sequences of {shape[0]} steps with {shape[1]} features each, axes (n, time, features). "
            "Arrays of sktime and aeon are (n, channels, time): pass X.transpose(0, 2, 1), or [x.T for x in X].",
        )


def _row(row: Any, i: int) -> np.ndarray:
    row = unwrapped(row)
    if isinstance(row, (bytes, bytearray, memoryview)):
        raise DataError(f"{_EXPECTED}. Got {type(row).__name__} in row {i}. Decode texts first.")
    try:
        array = native(np.asarray(row))
        if array.dtype.kind in "UTO" and array.ndim == 1 and array.size and isinstance(array[0], str):
            raise DataError(
                f"Row {i} of X holds {len(array)} texts. A row is one text: join its words, ' '.join(row), or pass one "
                "column, X[:, 0]."
            )
        if isinstance(row, Mapping):
            raise DataError(
                f"Row {i} of X is a {type(row).__name__}. Pass the sequences: [row['text'] for row in X]."
            )
        if array.dtype == object and array.ndim:
            if all(type(value) is int for value in array.flat):
                raise DataError(f"Row {i} of X holds whole numbers beyond 64 bits. {_WHOLE}")
            array = np.array(array.tolist(), dtype=np.float64)
        if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
            raise DataError(f"Row {i} of X holds {int(array.max())}: token ids are below 2^63. {_WHOLE}")
    except DataError:
        raise
    except (ValueError, TypeError) as error:
        raise DataError(f"Row {i} of X must be numbers, equally many at every step. {error}") from error
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        what = type(row).__name__ if array.dtype.kind in "iufbO" else f"{array.dtype}"
        raise DataError(f"{_EXPECTED}. Got {what} in row {i}. Reshape your data: a row is a sequence.")
    return array.reshape(0) if array.size == 0 else array
