"""Random cells: the native engine is the plain loop, in values and gradients, in training, prediction, steps, frozen.

`UNSPOOL_RANDOM_CELLS=5000 pytest tests/properties/test_random_cells.py` tries more; `UNSPOOL_RANDOM_FROM=n` others.
"""

from __future__ import annotations

import copy
import os
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import Ragged, explain_path
from unspool.nn import Recurrent
from unspool.state import flatten

from .cases import Batch, results
from .random_cells import ONE, ROW, TWO, WEIGHED, RandomCell, Spec, random_spec, smaller

FIRST = int(os.environ.get("UNSPOOL_RANDOM_FROM", "0"))
CELLS = int(os.environ.get("UNSPOOL_RANDOM_CELLS", "120"))
CHUNKS = 8


def batch_of(spec: Spec, seed: int) -> Batch:
    rng = random.Random(seed)
    lengths = [0, 1, *(rng.randint(1, 6) for _ in range(rng.randint(0, 3)))]
    rng.shuffle(lengths)
    torch.manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    x = torch.randn(int(offsets[-1]), spec.input_size)
    state = tuple(0.7 * torch.randn(len(lengths), size) for size in spec.sizes)
    d_final = tuple(torch.randn_like(part) for part in state)
    dy = torch.randn(len(x), spec.sizes[0])
    one = len(state) == 1
    return Batch(
        Ragged(x, offsets), state[0] if one else state, Ragged(dy, offsets), d_final[0] if one else d_final
    )


def moved(layer: Recurrent, batch: Batch, seed: int) -> dict[str, Tensor]:
    """The plain loop in float64 on weights, inputs and states that are off by a float32's last digits."""
    rng = torch.Generator().manual_seed(seed)

    def off(t: Tensor) -> Tensor:
        return t.double() * (1 + 1e-6 * torch.randn(t.shape, generator=rng))

    layer = copy.deepcopy(layer).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(off(p))
    state = tuple(off(s) for s in flatten(batch.state))
    given = state if isinstance(batch.state, tuple) else state[0]
    return results(
        layer, Batch(batch.x.with_values(off(batch.x.values)), given, batch.dy, batch.d_final)
    ).all()


def mismatch(spec: Spec, seed: int) -> str | None:
    """What is wrong with the native engine on this cell, if anything."""
    layer = Recurrent(RandomCell(spec, seed), reverse=seed % 3 == 0, engine="native")
    batch = batch_of(spec, seed)
    path = explain_path(layer, batch.x)
    if path != "native":
        return path
    loop = copy.deepcopy(layer)
    loop.engine = "eager"
    got, plain = results(layer, batch).all(), results(loop, batch).all()
    exact = results(copy.deepcopy(loop).double(), batch).all()
    others: list[dict[str, Tensor]] = []
    for name, true in exact.items():
        if not true.numel():
            continue
        scale = max(1.0, float(true.abs().max()))
        away = (got[name].double() - true).abs()
        limit = (1e-4 if name.startswith("d ") else 1e-5) * scale
        if bool((away <= limit).all()):
            continue
        others = others or [plain, *(moved(loop, batch, k) for k in range(4))]
        unsure = torch.stack([(other[name].double() - true).abs() for other in others]).amax(0)
        if not bool((away <= limit + 20 * unsure.max()).all()):
            return (
                f"{name}: off by {float(away.max()):.2e} of {scale:.2e}, unsure by {float(unsure.max()):.2e}"
            )
    return _prediction(layer, batch, got)


def _prediction(layer: Any, batch: Batch, trained: dict[str, Tensor]) -> str | None:
    with torch.no_grad():
        output, final = layer(batch.x, batch.state)
        frozen, frozen_final = layer.freeze("float32")(batch.x, batch.state)
        for k, (a, b) in enumerate(
            zip((output.values, *flatten(final)), (frozen.values, *flatten(frozen_final)))
        ):
            if not torch.equal(a, b):
                return f"frozen, result {k} is other bits: {a - b}"
        # A product that training keeps is rounded before something is added to it.
        for k, end in enumerate(flatten(final)):
            if not torch.allclose(end, trained[f"final {k}"], rtol=1e-4, atol=1e-4):
                return f"final state {k} of inference is not what training gives"
        if len(batch.x.values) and not layer.reverse:
            first = batch.x.offsets[:-1][batch.x.lengths > 0]
            kept = (batch.x.lengths > 0).nonzero()[:, 0]
            state = tuple(s[kept] for s in flatten(batch.state))
            new = layer.step(batch.x.values[first], state if isinstance(batch.state, tuple) else state[0])
            if not torch.allclose(flatten(new)[0], trained["output"][first], rtol=1e-3, atol=1e-4):
                return f"a step is not the first of a sequence: {flatten(new)[0]}, {trained['output'][first]}"
    return None


def shrunk(spec: Spec, seed: int) -> tuple[Spec, str]:
    what, again = mismatch(spec, seed) or "", True
    while again:
        again = False
        for less in smaller(spec):
            found = mismatch(less, seed)
            if found:
                spec, what, again = less, found, True
                break
    return spec, what


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_cells(chunk: int) -> None:
    for seed in range(FIRST + chunk, FIRST + CELLS, CHUNKS):
        spec = random_spec(seed)
        if mismatch(spec, seed):
            spec, what = shrunk(spec, seed)
            pytest.fail(f"cell {seed}: {what}\n{spec}")


def test_all_operations_occur() -> None:
    """The cells of one run, as short as the suite's, hold every operation."""
    seen = {node.op for seed in range(400) for node in random_spec(seed).nodes}
    assert seen >= {*ONE, *TWO, *ROW, *WEIGHED, "slice", "cat", "spread"}
