"""X as users have it - lists, arrays, columns - to texts or a Ragged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.ragged import Ragged
from unspool.text import unpad

_EXPECTED = (
    "X must be a list of texts, an integer array (B, T) of token ids, a float array (B, T, F), a list of "
    "(T, F) arrays, or a Ragged"
)
_SHOWN = {"text": "texts", "ids": "token ids", "series": "series of numbers"}


@dataclass(frozen=True)
class Raw:
    """Sequences of a kind: "text" (list of str), "ids" (Ragged (N,) int64) or "series" (Ragged (N, F)).

    columns: name -> a value for each of them, where `unspool.encode.columns` read further columns.
    """

    kind: str
    data: Any
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: np.ndarray) -> Raw:
        """The sequences at `rows`."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        if self.kind == "text":
            return Raw(self.kind, [self.data[i] for i in rows], columns)
        return Raw(self.kind, self.data[torch.from_numpy(rows)], columns)


def read_input(X: Any, kind: str | None = None) -> Raw:
    """`X` as a `Raw`; of the given `kind` if any, otherwise of the kind that it looks like.

    Whole numbers are token ids, but for arrays with a feature axis; an id array (B, T) loses its pads of
    value 0 at either end. `DataError` for anything else, and for an empty X.
    """
    raw = _read(X, kind)
    if len(raw) == 0:
        raise DataError(f"{_EXPECTED}. Got 0 sample(s).")
    if kind is not None and raw.kind != kind:
        raise DataError(f"The model was fitted on {_SHOWN[kind]}. Got {_SHOWN[raw.kind]}.")
    return raw


def _read(X: Any, kind: str | None) -> Raw:
    if isinstance(X, Ragged):
        return _from_ragged(X, kind)
    if hasattr(X, "toarray"):
        raise DataError(f"{_EXPECTED}. Got a sparse {type(X).__name__}, which is not supported.")
    if isinstance(X, (str, bytes, dict)):
        raise DataError(f"{_EXPECTED}. Got {type(X).__name__}.")
    if hasattr(X, "columns"):
        X = _numbers_of_frame(X)
    elif hasattr(X, "to_list"):  # a pandas or polars Series
        X = X.to_list()
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if hasattr(X, "__array__") and not hasattr(X, "__iter__"):
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.dtype.kind == "c":
        raise DataError(f"Complex data not supported. {_EXPECTED}.")
    if isinstance(X, np.ndarray) and X.dtype.kind in "iufb":
        return _from_array(X, kind)
    return _from_rows(list(X) if hasattr(X, "__iter__") else [X], kind)


def _numbers_of_frame(X: Any) -> np.ndarray:
    array = np.asarray(X.to_numpy())
    if array.dtype.kind not in "iufb" or array.shape[1] < 2:
        raise DataError(f"{_EXPECTED}. Got a table of {array.shape[1]} columns; pass one: df['text'].")
    return array


def _from_ragged(X: Ragged, kind: str | None) -> Raw:
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
    if X.dtype.kind in "iu" and X.ndim == 2 and kind != "series":
        return Raw("ids", unpad(X))
    X = X if X.dtype.kind == "f" and X.dtype.itemsize <= 8 else X.astype(np.float64)
    return _from_ragged(Ragged.from_padded(X if X.ndim == 3 else X[:, :, None]), "series")


def _from_rows(rows: list[Any], kind: str | None) -> Raw:
    if any(isinstance(row, str) for row in rows):
        for i, row in enumerate(rows):
            if not isinstance(row, str):
                raise DataError(
                    f"X holds texts, so row {i} must be a str. Got {type(row).__name__}: {row!r:.50}."
                )
        return Raw("text", rows)
    arrays = [_row(row, i) for i, row in enumerate(rows)]
    filled = [a for a in arrays if a.size]
    if len({a.ndim for a in filled}) > 1:
        raise DataError(f"{_EXPECTED}. Got rows of {sorted({a.ndim for a in filled})} axes mixed.")
    whole = all(a.dtype.kind in "iu" and a.ndim == 1 for a in filled)
    if kind != "series" and (whole if filled else kind == "ids"):
        return Raw("ids", Ragged.from_list([a.astype(np.int64) for a in arrays]))
    return _from_ragged(Ragged.from_list([a.astype(np.float64) for a in arrays]), "series")


def _row(row: Any, i: int) -> np.ndarray:
    if isinstance(row, Tensor):
        row = row.detach().cpu()
    try:
        array = np.asarray(row)
        if array.dtype == object and array.ndim:
            array = np.array(array.tolist(), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"Row {i} of X must be numbers, equally many at every step. {error}") from error
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise DataError(
            f"{_EXPECTED}. Got {type(row).__name__} in row {i}. Reshape your data: a row is a sequence."
        )
    return array.reshape(0) if array.size == 0 else array
