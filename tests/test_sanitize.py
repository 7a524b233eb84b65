"""What `make sanitize` and its quick part in `make test` say where a sanitizer cannot be used, or reports."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import sanitize


@pytest.mark.parametrize(("arguments", "status"), [(["--quick"], 0), ([], 1)])
def test_a_sanitizer_that_is_not_here(
    arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sanitize, "runtime", lambda library: "absent.so")
    monkeypatch.setattr(sys, "argv", ["sanitize.py", *arguments])
    assert sanitize.main() == status
    said = capsys.readouterr().out
    assert said.count("no process starts under it here: ") == len(sanitize.SANITIZERS) * (1 + status)
    assert ("Left out: thread: no process" in said) == (not status)
    assert ("Clean." in said) == (not status)


def test_a_plant_that_is_not_reported_and_a_test_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Here without a sanitizer: the plants of a module that has none, and a test that does not exist."""
    settings = {
        "runtimes": [],
        "plants": [("overflow", sanitize.ONE, "AddressSanitizer")],
        "quick": ["absent.py"],
    }
    monkeypatch.setattr(sanitize, "SANITIZERS", {"address": settings})
    monkeypatch.setattr(sanitize, "environment", lambda name, quick: sys.executable)
    monkeypatch.setattr(sys, "argv", ["sanitize.py", "--quick"])
    assert sanitize.main() == 1
    said = capsys.readouterr().out
    assert "address: the plant 'overflow' is not reported" in said and "absent.py (status 4)" in said
