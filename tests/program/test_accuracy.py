"""Every function keeps to the error that native/functions.h states above it, on every instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unspool import _native
from unspool.program.ir import UNARY

from .accuracy import floats, stated

EXACT = set("neg abs relu floor ceil round trunc sign copy stop".split())


def test_every_function_states_its_error() -> None:
    assert set(stated()) == UNARY - EXACT
    for name, (low, high, ulp) in stated().items():
        assert low < high, name
        assert 0.5 <= ulp < 5, name
        assert len(floats(low, high)) > 9_000, name


@pytest.mark.parametrize("isa", _native.isas())
def test_accuracy(isa: str) -> None:
    command = [sys.executable, "-m", f"{__package__}.accuracy"]
    environment = {**os.environ, "UNSPOOL_ISA": isa}
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["isa"] == isa
    over = {
        name: (found["errors"][name], ulp)
        for name, (_, _, ulp) in stated().items()
        if found["errors"][name] > ulp
    }
    assert not over, f"(measured, stated): {over}"
