"""Encoded sequences in a file: `Ragged` batches of any rows, of which only the offsets are in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.ragged import Ragged

KIND = np.dtype("<i4")


class StoredWriter:
    """Writes ids (N,) or (N, W) of one batch after the other to `path`; `done` gives the `Stored`."""

    def __init__(self, path: Path) -> None:
        self.path, self.width = path, 0
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._lengths: list[np.ndarray] = []

    def add(self, batch: Ragged) -> None:
        """A batch of whole numbers below 2^31."""
        values = batch.values.numpy()
        self.width = 0 if values.ndim == 1 else values.shape[1]
        written = values.astype(KIND).tobytes()
        self._digest.update(written)
        self._file.write(written)
        self._lengths.append(batch.lengths.numpy().astype(np.int32))

    def done(self) -> Stored:
        """What was written, once and for all."""
        self._file.close()
        lengths = np.concatenate(self._lengths) if self._lengths else np.zeros(0, np.int32)
        offsets = np.concatenate([[0], lengths.cumsum(dtype=np.int64)])
        return Stored(self.path, offsets, self.width, self._digest.digest())


class Stored:
    """B sequences of ids in a file, or the chosen `rows` of them; what `SequenceData` needs of a `Ragged`.

    digest: SHA-256 of the file. It is read by position rather than mapped into memory, so that the memory of a training
    does not grow with it.
    """

    def __init__(
        self, path: Path, offsets: np.ndarray, width: int, digest: bytes, rows: np.ndarray | None = None
    ) -> None:
        self.path, self.width, self.digest = path, width, digest
        self._offsets = offsets
        self._rows = np.arange(len(offsets) - 1) if rows is None else rows
        self._file: Any = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def lengths(self) -> Tensor:
        """(B,) int64."""
        return torch.from_numpy(self._offsets[self._rows + 1] - self._offsets[self._rows])

    def only(self, rows: np.ndarray) -> Stored:
        """The sequences at `rows`, still in the file."""
        return Stored(self.path, self._offsets, self.width, self.digest, self._rows[rows])

    @property
    def parts(self) -> list[Tensor]:
        """What tells these sequences from others, without reading them: the digest of the file, offsets, rows."""
        digest = torch.frombuffer(bytearray(self.digest), dtype=torch.uint8)
        return [digest, torch.from_numpy(self._offsets), torch.from_numpy(self._rows)]

    def __getitem__(self, rows: Any) -> Ragged:
        """The sequences at a slice, list or tensor of places, read now, in that order."""
        if isinstance(rows, slice):
            wanted = self._rows[rows]
        else:
            wanted = self._rows[rows.numpy() if isinstance(rows, Tensor) else np.asarray(rows, np.int64)]
        starts, ends = self._offsets[wanted], self._offsets[wanted + 1]
        places = np.concatenate([[0], (ends - starts).cumsum()])
        step = max(1, self.width)
        values = np.empty(int(places[-1]) * step, KIND)
        block, size = values.view(np.uint8).data, KIND.itemsize * step
        if self._file is None:
            self._file = self.path.open("rb", buffering=0)
        for k in starts.argsort(kind="stable").tolist():
            part = block[int(places[k]) * size : int(places[k + 1]) * size]
            self._file.seek(int(starts[k]) * size)
            if len(part) and self._file.readinto(part) != len(part):
                raise DataError(f"{str(self.path)!r} is shorter than it was written. Was it changed?")
        found = torch.from_numpy(values.astype(np.int64).reshape(-1, *([self.width] if self.width else [])))
        return Ragged(found, torch.from_numpy(places))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
