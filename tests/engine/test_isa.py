"""Operations, products of every form and size, and every cell under every instruction set that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unspool import _native

HERE = Path(__file__).parent
NARROW = ["test_frozen.py", "test_narrow.py"]
FILES = ["test_contract.py", "../program/test_ops.py", "../program/test_accuracy.py", *NARROW]
# What differs between instruction sets: every operation, and products of all sizes around a vector, in every form. Of
# whole cells one arrangement each: their other tests run the same operations.
KINDS = (
    "both_directions or widths or batches or values_and_gradients or sizes or tiny or zeros or not_finite or by_hand "
    "or rest_of_the_batch or test_accuracy"
)


def run(isa: str, *command: str) -> subprocess.CompletedProcess:
    """In a process of its own: the choice is made once, at the first call."""
    environment = {**os.environ, "UNSPOOL_ISA": isa}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=HERE
    )


@pytest.mark.parametrize("isa", [name for name in _native.isas() if name != _native.isa()])
def test_contract_under(isa: str) -> None:
    # The last three differ in products of narrow weights alone: what is not narrow has been run with one already.
    files = NARROW if {isa, _native.isa()} <= {"avx512", "avx512_bf16", "amx_bf16"} else FILES
    done = run(isa, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, "-k", KINDS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.parametrize("isa", _native.isas())
def test_the_environment_chooses(isa: str) -> None:
    done = run(isa, "-c", "from unspool import _native; print(_native.isa(), _native.lanes())")
    assert done.stdout.split() == [
        isa,
        {"portable": "4", "neon": "4", "avx2": "8", "avx512": "16", "avx512_bf16": "16", "amx_bf16": "16"}[
            isa
        ],
    ]


def test_an_unknown_name_is_an_error() -> None:
    done = run("mmx", "-c", "from unspool import _native; _native.isa()")
    assert done.returncode != 0
    assert "UNSPOOL_ISA" in done.stderr
    assert "'mmx'" in done.stderr
