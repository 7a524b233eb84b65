"""What is pushed into a stream to rows of numbers, or to ids of rows of a table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.arrays import unwrapped
from unspool.encode import IdInput, Raw, SeriesInput
from unspool.encode.series import TOO_LARGE
from unspool.errors import DataError, described
from unspool.ragged import Ragged


class Feed(ABC):
    """Base of the feeds. Chunks are read alike wherever they are cut.

    table (V, input size): what ids name; None where chunks are read to rows of numbers. held: what a chunk left behind
    that the next one goes on with, as text; "" at first.
    """

    table: Tensor | None = None

    def write(self, step: np.ndarray, row: np.ndarray) -> bool:
        """Put a step into `row` (F,) where it is as most are; False: `read` is to look at it."""
        return False

    @abstractmethod
    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        """(rows (T, F) float32 or ids (T,) int64, what is held now, whether `chunk` was a step without a time axis).

        Raises `DataError` for a chunk that cannot be read.
        """

    def read_all(
        self, chunks: Sequence[Any], held: Sequence[str]
    ) -> tuple[Tensor, list[int], list[str], list[bool]]:
        """Those of several sessions: (all rows or ids, the number of each, what is held, which were one step)."""
        read = [self.read(chunk, before) for chunk, before in zip(chunks, held)]
        rows = [each[0] for each in read]
        return torch.cat(rows), [len(r) for r in rows], [each[1] for each in read], [each[2] for each in read]

    def finish(self, held: str) -> Tensor:
        """What is still held, as its text ends here."""
        if self.table is None:
            return torch.zeros(0, self.width)
        return torch.zeros(0, dtype=torch.int64)

    @property
    def width(self) -> int:
        """Features a step of what `read` gives, where that is rows."""
        raise NotImplementedError

    def nothing(self) -> Any:
        """A chunk of no steps."""
        return []

    def check_held(self, held: str) -> None:
        """`DataError` unless `held` can have come from `read`."""
        if held:
            raise DataError("There is text in the state of a model that reads none.")


class Numbers(Feed):
    """Steps (F,) or chunks (T, F) of numbers, as they are: what layers take."""

    def __init__(self, width: int) -> None:
        self._width = width

    @property
    def width(self) -> int:
        return self._width

    def nothing(self) -> np.ndarray:
        return np.zeros((0, self._width))

    def write(self, step: np.ndarray, row: np.ndarray) -> bool:
        if step.shape != row.shape or step.dtype.kind not in "iufb":
            return False
        row[:] = step
        return True

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        array = as_array(chunk, np.float32)
        if array.ndim == 1 and len(array) == self._width:
            return torch.from_numpy(array[None]), held, True
        if array.ndim != 2 or array.shape[1] != self._width:
            raise DataError(
                f"A stream takes a step ({self._width},) or a chunk (T, {self._width}) of numbers. Got {array.shape}."
            )
        return torch.from_numpy(array), held, False

    def read_all(
        self, chunks: Sequence[Any], held: Sequence[str]
    ) -> tuple[Tensor, list[int], list[str], list[bool]]:
        step = (self._width,)
        if not all(type(chunk) is np.ndarray and chunk.shape == step for chunk in chunks):
            return super().read_all(chunks, held)
        rows = np.concatenate(chunks).reshape(len(chunks), -1).astype(np.float32, copy=False)
        return torch.from_numpy(rows), [1] * len(chunks), list(held), [True] * len(chunks)


class Series(Feed):
    """Steps (F,) or chunks (T, F) of a series, standardised by `SeriesInput`; of one feature also a number or (T,)."""

    def __init__(self, input_: SeriesInput) -> None:
        self.input_ = input_
        self.mean, self.scale = (part.numpy() for part in input_._scaling())

    @property
    def width(self) -> int:
        return self.input_.n_features

    def nothing(self) -> np.ndarray:
        return np.zeros((0, self.input_.n_given))

    def write(self, step: np.ndarray, row: np.ndarray) -> bool:
        if step.shape != row.shape or step.dtype.kind not in "iufb" or len(row) == 1:
            return False
        row[:] = (step - self.mean) / self.scale
        return math.isfinite(row.sum())

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        given = self.input_.n_given
        array = as_array(chunk, np.float64)
        single = array.ndim == 0 or (array.ndim == 1 and given > 1)
        if given == 1 and array.ndim < 2:
            array = array.reshape(-1, 1)
        elif array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or array.shape[1] != given:
            shapes = f"({given},) or (T, {given})" if given > 1 else "a number, (T,) or (T, 1)"
            raise DataError(f"A step or a chunk of this model must be {shapes}. Got {np.shape(chunk)}.")
        with np.errstate(over="ignore"):  # told below
            scaled = ((array - self.mean) / self.scale).astype(np.float32)
        if np.isinf(scaled).any():
            if np.isinf(array).any():
                raise DataError("The chunk holds infinity. Numbers must be finite, or NaN where missing.")
            raise DataError(f"The chunk holds {TOO_LARGE}")
        if not self.input_.kept:
            missing = np.isnan(scaled)
            if missing.any():
                scaled = np.where(missing, np.float32(0), scaled)
            if self.input_.told:
                scaled = np.concatenate([scaled, missing[:, self.input_.told].astype(np.float32)], 1)
        return torch.from_numpy(scaled), held, single


class Ids(Feed):
    """A token id, or a chunk (T,) of them, as `IdInput` reads them."""

    def __init__(self, input_: IdInput, table: Tensor) -> None:
        self.input_, self.table = input_, table

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        array = np.asarray(unwrapped(chunk))
        if array.ndim > 1 or (array.size and array.dtype.kind not in "iu"):
            raise DataError(
                f"A step of this model is a token id, a chunk a list (T,) of them. Got {described(chunk)}."
            )
        ids = torch.from_numpy(array.reshape(-1).astype(np.int64))
        read = self.input_.encode(Raw("ids", Ragged(ids, torch.tensor([0, len(ids)]))))
        return read.values, held, array.ndim == 0


def as_array(chunk: Any, dtype: Any) -> np.ndarray:
    """Numbers as an array of `dtype`; `DataError` for anything else."""
    chunk = unwrapped(chunk)
    try:
        array = np.asarray(chunk)
        if array.dtype.kind not in "iufb" and array.size:
            raise TypeError(f"Got {array.dtype}.")
        return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise DataError(f"A step or a chunk must be numbers, equally many at every step. {error}") from error
