"""A bounded run of every target: refused with one of its errors, or right, within memory and time, and nothing run.

`make fuzz` goes on for an hour. What it found is in `test_found.py`.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from unspool.errors import DataError

from . import running
from .targets import TARGETS

CASES = {
    "models": 60,
    "checkpoints": 50,
    "models of other libraries": 40,
    "networks of several inputs": 25,
    "words, cells and operations of Keras": 20,
    "graphs with a Scan": 10,
    "WebSockets": 30,
    "native": 300,
    "parquet": 10,
    "workbooks": 10,
}
OTHERS = 120


@pytest.mark.parametrize("target", TARGETS)
def test_changed_files(target: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome = running.run(target, 0, CASES.get(target, OTHERS))
    finally:
        torch.set_num_threads(before)
    assert outcome.faults == []
    # Both ends are tried: changes that matter, and ones that do not.
    assert outcome.refused > 0 and outcome.right > 0


def test_the_watch_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that runs code, takes long, grows, and raises anything: four faults."""
    memory = [0]

    class Evil:
        def __reduce__(self) -> Any:
            return os.getpid, ()

    def make(folder: Path) -> Any:
        held = []

        def case(rng: Any) -> None:
            number = len(held)
            held.append(number)
            if number == 0:
                pickle.loads(pickle.dumps(Evil()))
            elif number == 1:
                while True:
                    pass
            elif number == 2:
                memory[0] = 2**31
            elif number == 3:
                raise KeyError("x")
            elif number == 4:
                raise DataError("refused")

        return case

    monkeypatch.setitem(TARGETS, "bad", (make, (DataError,)))
    monkeypatch.setattr(running, "SECONDS", 0.2)
    monkeypatch.setattr(running, "peak", lambda: memory[0])
    outcome = running.run("bad", 0, 5)
    said = [what for _, what in outcome.faults]
    assert outcome.refused == 1 and len(said) == 4
    assert "pickle.find_class" in said[0] and "took more than" in said[1]
    assert said[2] == "grew by 2,048 MiB" and "KeyError" in said[3]
