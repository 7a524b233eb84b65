"""Of all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ten thousand collected tests are a million objects, which every collection of the oldest would look at."""
    gc.freeze()
