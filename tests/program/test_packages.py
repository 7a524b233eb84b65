"""Steps that call installed packages: their caches, their imports and torch's namespaces are no state of the step."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from unspool import explain_path
from unspool.engine import programs
from unspool.nn import Recurrent

from .scaled_cells import Base, check, made, ragged

PACKAGE = """
import functools

@functools.lru_cache(1000)
def half(number):
    return number / 2

@functools.lru_cache(1000)
def grown(shape):
    return 1.5

def scale(z):
    return half(3.0) * grown(tuple(z.shape[1:]))
"""
LATE = """
import os, random
SEED = os.environ.get("SOME_SEED", "1")
NUMBERS = [random.Random(1).random() for _ in range(3)]
print("imported")
FACTOR = 2.0
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`pretended`, installed, with a module `pretended_late` that does what modules do when they are imported."""
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "pretended.py").write_text(PACKAGE)
    (place / "pretended_late.py").write_text(LATE)
    monkeypatch.syspath_prepend(str(place))
    for name in ("pretended", "pretended_late"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("pretended")


def scaled_by(value: Any) -> Base:
    cell = made(lambda c: c.given.scale(c.a.weight))
    cell.given = value
    return cell


def test_a_cache_that_others_fill_does_not_cost_the_ready_call(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, x, looked = scaled_by(package), ragged(4, (2, 1)), []
    check(cell)
    layer, own = Recurrent(cell), programs.fingerprint
    layer(x)
    monkeypatch.setattr(programs, "fingerprint", lambda *given: looked.append(1) or own(*given))
    for width in range(5):
        package.scale(torch.ones(1, 7 + width))
        layer(x)
    assert not looked


def test_what_a_module_does_when_it_is_imported_is_not_the_steps(package: ModuleType) -> None:
    def scale(c: Any) -> float:
        import pretended_late

        return pretended_late.FACTOR

    assert explain_path(Recurrent(made(scale)), ragged(4, (2, 1))) == "native"


@pytest.mark.parametrize("held", [torch.ops, torch.classes, {"ops": torch.ops.aten, "none": NotImplemented}])
def test_namespaces_of_torch_are_held(held: Any) -> None:
    cell = made(lambda c: 1.0 if c.given else 2.0)
    cell.given = held
    check(cell)
