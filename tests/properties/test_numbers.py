"""Gradients against the plain loop in float64; NaN; threads, seeds and instruction sets; the path taken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool import _native, explain_path
from unspool.state import flatten

from .cases import PROFILE, Case, assert_bits, assert_near, batch_of, cases, layer_of, results
from .record import record
from .user_cells import CELLS

each_cell = pytest.mark.parametrize("name", CELLS)
DIRECTIONS = st.sampled_from(["forward", "reverse", "both"])


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS)
def test_the_plain_loop_in_float64(name: str, case: Case, direction: str) -> None:
    """Values and the gradients of inputs, initial states and weights."""
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    loop = layer_of(name, case, direction, "eager")
    plain = results(loop, batch).all()
    exact = results(loop.double(), batch).all()
    # float32 has 24 bits; up to 33 steps and sums over up to 1,089 tokens lose 5 to 8 of them.
    assert_near(results(layer, batch).all(), exact, 1e-5, 1e-4, plain)


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS, data=st.data())
def test_nan_stays_in_its_sequence(name: str, case: Case, direction: str, data: st.DataObject) -> None:
    """One NaN feature: NaN where the plain loop has it, every other sequence bit for bit what it was."""
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    ill = data.draw(st.sampled_from([i for i, n in enumerate(case.lengths) if n]), label="ill")
    at = data.draw(st.integers(0, case.lengths[ill] - 1), label="step")
    clean = results(layer, batch)
    batch.x[ill][at, data.draw(st.integers(0, case.input_size - 1), label="feature")] = torch.nan
    dirty = results(layer, batch)
    others = [i for i in range(len(case.lengths)) if i != ill]
    assert_bits(dirty.rows(others), clean.rows(others))
    plain = results(layer_of(name, case, direction, "eager"), batch)
    for key, value in plain.all().items():
        assert torch.equal(dirty.all()[key].isnan(), value.isnan()), key


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS)
def test_threads(name: str, case: Case, direction: str) -> None:
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(results(layer, batch).all())
    for other in found[1:]:
        assert_bits(other, found[0])


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS)
def test_the_native_engine_ran(name: str, case: Case, direction: str) -> None:
    """What `engine="native"` gives, "auto" gives, and says so."""
    layer = layer_of(name, case, direction, "auto")
    batch = batch_of(layer, case)
    assert explain_path(layer, batch.x) == "native"
    assert "_Run" in str(flatten(layer(batch.x, batch.state)[1])[0].grad_fn)
    assert_bits(results(layer, batch).all(), results(layer_of(name, case, direction), batch).all())


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    return record()


@pytest.mark.parametrize("isa", dict.fromkeys([_native.isa(), _native.isas()[0]]))  # see engine/test_isa.py
def test_instruction_sets_and_processes(isa: str, tmp_path: Path, here: dict[str, Any]) -> None:
    """The same seed in another process: the same bits; under another instruction set, what rounding allows."""
    file = tmp_path / "results.pt"
    environment = {**os.environ, "UNSPOOL_ISA": isa}
    command = [sys.executable, "-m", f"{__package__}.record", str(file)]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there = torch.load(file)
    assert there.pop("isa") == isa
    assert here.keys() == there.keys()
    for key, expected in here.items():
        if isa == _native.isa():
            assert_bits(there[key], expected)
        else:  # fused or separate rounding, and vectors of 4, 8 or 16 partial sums
            assert_near(there[key], expected, 1e-5, 1e-4)
