"""Of all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_collectstart() -> None:
    """Ten thousand collected tests are a million objects that stay: none of them is looked at while they come."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nor afterwards, by collections of the oldest."""
    gc.freeze()
    gc.enable()
