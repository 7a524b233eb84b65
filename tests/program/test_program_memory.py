"""Programs that are kept: cells go, caches are bounded, cells of one configuration share."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import torch
from engine.compare import ragged
from torch import Tensor

from unspool import cells
from unspool.engine import programs
from unspool.engine.operators import call_of
from unspool.nn import GRU, Recurrent
from unspool.program.text import of_text

from .scaled_cells import F_IN, Base, H, check, made


def test_cells_go() -> None:
    gone = []
    for k in range(20):
        cell = made(lambda c: c.act(1.0), lambda c: None)
        type(cell)._act = lambda c, value: value * c.sizes
        cell.act = cell._act
        cell.loop = [cell._act, {"self": cell.forward}]
        cell.function = (lambda c: lambda: c)(cell)
        with torch.no_grad():
            layer = Recurrent(cell)
            layer(ragged(F_IN, (2, k + 1)))
            layer.step(torch.randn(1, F_IN))
        gone.append(weakref.ref(cell))
        del cell, layer
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 1


def test_caches_are_bounded() -> None:
    for width in range(1, 100):
        GRU(F_IN, width, batch_first=True)(torch.randn(1, 2, F_IN))
    assert len(programs._shared) <= programs._SHARED == 64
    assert of_text.cache_info().maxsize == call_of.cache_info().maxsize == 64

    class Any_(Base):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(h + x.sum(1, keepdim=True))

    cell = Any_()
    with torch.no_grad():
        for width in range(1, 40):
            Recurrent(cell)(torch.randn(1, 2, width))
    memory = programs.Memory.of(cell)
    assert len(memory.current) <= memory.MOST and len(memory.entries) <= memory.MOST


def test_copies_start_anew() -> None:
    cell = cells.GRUCell(F_IN, H)
    check(cell)
    for twin in (copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        memory = programs.Memory.of(twin)
        assert memory is not programs.Memory.of(cell)
        check(twin)


def test_cells_of_one_configuration_share_a_program() -> None:
    first, second = cells.GRUCell(F_IN, H), cells.GRUCell(F_IN, H)
    assert programs.program_for(first, F_IN, H) is programs.program_for(second, F_IN, H)
    other = cells.GRUCell(F_IN, H, reset_after=False)
    assert programs.program_for(other, F_IN, H) is not programs.program_for(first, F_IN, H)
