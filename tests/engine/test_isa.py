"""The contract and the operations under every instruction set that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unspool import _native

HERE = Path(__file__).parent


@pytest.mark.parametrize("isa", [name for name in _native.isas() if name != _native.isa()])
def test_contract_under(isa: str) -> None:
    """In a process of its own: the choice is made once, at the first call."""
    files = [str(HERE / name) for name in ("test_contract.py", "test_ops.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, env={**os.environ, "UNSPOOL_ISA": isa}, capture_output=True, text=True, cwd=HERE
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.parametrize("isa", _native.isas())
def test_the_environment_chooses(isa: str) -> None:
    script = "from unspool import _native; print(_native.isa(), _native.lanes())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "UNSPOOL_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [isa, {"portable": "4", "neon": "4", "avx2": "8", "avx512": "16"}[isa]]


def test_an_unknown_name_is_an_error() -> None:
    script = "from unspool import _native; _native.isa()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "UNSPOOL_ISA": "mmx"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "UNSPOOL_ISA" in done.stderr
    assert "'mmx'" in done.stderr
