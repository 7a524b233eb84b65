"""Every function keeps to the error that native/functions.h states above it.

On the instruction set of this process; tests/engine/test_isa.py runs it on the others.
"""

from __future__ import annotations

from unspool.program.ir import UNARY

from .accuracy import floats, measured, stated

EXACT = set("neg abs relu floor ceil round trunc sign copy stop".split())


def test_every_function_states_its_error() -> None:
    assert set(stated()) == UNARY - EXACT
    for name, (low, high, ulp) in stated().items():
        assert low < high, name
        assert 0.5 <= ulp < 5, name
        assert len(floats(low, high)) > 9_000, name


def test_accuracy() -> None:
    found = measured()
    over = {name: (found[name], ulp) for name, (_, _, ulp) in stated().items() if found[name] > ulp}
    assert not over, f"(measured, stated): {over}"
