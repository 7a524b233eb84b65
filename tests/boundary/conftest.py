"""Layers of ours beside torch's, for the tests of hostile calls."""

from __future__ import annotations

import weakref

import pytest

from unspool.engine import dispatch

from .pairs import MAKE, Pair


@pytest.fixture(params=MAKE)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


@pytest.fixture(autouse=True)
def _warnings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests look for the one warning that a class of cells gives."""
    monkeypatch.setattr(dispatch, "_warned", weakref.WeakSet())
