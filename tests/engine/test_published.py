"""Published cells run natively: values and gradients against the plain loop, in the same precision and in float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from unspool.nn import Recurrent
from unspool.state import flatten

from .compare import check_engines, ragged
from .published_cells import CELLS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("make", CELLS, ids=lambda make: make.__name__)
def test_native_is_the_plain_loop(make: Callable[[int, int], nn.Module]) -> None:
    torch.manual_seed(0)
    check_engines(make(5, 8), 5)


@pytest.mark.parametrize("make", CELLS, ids=lambda make: make.__name__)
def test_steps_are_the_sequence(make: Callable[[int, int], nn.Module]) -> None:
    torch.manual_seed(0)
    layer = Recurrent(make(5, 20), engine="native")
    x = ragged(5, (4,))
    with torch.no_grad():
        output, state = layer(x)[0].values, None
        for row, expected in zip(x.values, output):
            state = layer.step(row[None], state)
            torch.testing.assert_close(flatten(state)[0][0], expected, rtol=1e-5, atol=1e-5)


def test_the_documentation_lists_them() -> None:
    """docs/cells.md names each, in order; the README says how many."""
    listed = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8").split("## Published cells")[1]
    names = [make.__name__ for make in CELLS]
    assert re.findall(r"`(\w+)`[,.]", listed.split("What a step may use")[0]) == names
    assert f"| {len(names)} published cells" in (ROOT / "README.md").read_text(encoding="utf-8")
