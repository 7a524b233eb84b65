"""HDF5 files are read within this process where a test is not about the reading."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from unspool.importing import hdf5, hdf5_child


def read_here(path: object) -> hdf5.Group:
    stream = io.BytesIO()
    hdf5_child.main(str(path), stream)
    return hdf5.Group(dict(hdf5._records(stream.getvalue(), 0)))


@pytest.fixture
def read_within(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hdf5, "read", read_here)
    yield
