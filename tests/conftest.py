"""Of all tests."""

from __future__ import annotations

import functools
import gc

import pytest
import typer.testing

# Every call of the command line in this process would make all commands anew: a thirtieth of a second.
typer.testing._get_command = functools.cache(typer.testing._get_command)


def pytest_collectstart() -> None:
    """Ten thousand collected tests are a million objects that stay: none of them is looked at while they come."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nor afterwards, by collections of the oldest."""
    gc.freeze()
    gc.enable()
