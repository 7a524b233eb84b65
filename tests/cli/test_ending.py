"""SIGTERM and SIGHUP while a command writes: nothing half-written stays, and the exit code says which it was."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from unspool.cli.ending import end_tidily

from .conftest import run

KEPT = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def in_the_main_thread():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled in the main thread alone")
    before = [signal.signal(number, signal.SIG_DFL) for number in KEPT]  # tests may run under nohup
    yield
    assert [signal.getsignal(number) for number in KEPT] == [signal.SIG_DFL] * 2
    for number, handler in zip(KEPT, before):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", KEPT)
@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "model"])
def test_nothing_half_written_stays(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals
) -> None:
    seen = []

    def ended(*_: object) -> None:
        seen.append(list(tmp_path.iterdir()))
        os.kill(os.getpid(), number)

    command = ["predict", trained / "model", trained / "reviews.csv", "--input", "text", "--out"]
    if name == "model":
        command = ["shrink", trained / "model", "--weights", "int8", "--out"]
        monkeypatch.setattr("unspool.saved.store.move_over", ended)
    else:
        monkeypatch.setattr("unspool.files.os.fsync", ended)
    result = run(*command, tmp_path / name, code=128 + number)
    assert "ended: nothing was saved." in result.stderr
    assert len(seen) == 1 and seen[0] and list(tmp_path.iterdir()) == []


def test_what_is_handled_or_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup has it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        release = end_tidily()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGTERM))
        release()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
