"""What an operation in place changes: the tensor that it writes into, and every other that shares its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from unspool.program.aliases import places_of, storage_of
from unspool.program.layout import Unsupported, Value
from unspool.program.patterns import Pattern, fit, runs

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

MOST_RUNS = 16  # a row of more pieces than this is put together by a mask, where its places are regular


def overwritten(t: Tracer, target: Tensor, made: Value) -> None:
    """From now on `made` is the value of `target`; what shares memory with it is changed alike."""
    written = _places(target, t.values[id(target)])
    for tensor in t.in_storage[storage_of(target)]:
        v = t.values[id(tensor)]
        if tensor is not target:
            t.values[id(tensor)] = v.of(_changed(t, v, _places(tensor, v), made, written))
    t.values[id(target)] = made


def _places(tensor: Tensor, v: Value) -> np.ndarray:
    """(batch, width): where in memory each number of the value's row is."""
    split = (*v.shape[: v.axis], v.before, v.batch, v.after, *v.shape[v.axis + 1 :])
    return np.moveaxis(places_of(tensor).reshape(split), v.axis + 1, 0).reshape(v.batch, -1)


def _changed(t: Tracer, v: Value, own: np.ndarray, made: Value, written: np.ndarray) -> int:
    column = {place: at for at, place in enumerate(written[0].tolist())}
    found = np.array([column.get(place, -1) for place in own[0].tolist()])
    shared = found >= 0
    rows_agree = (written[:, found[shared]] == own[:, shared]).all()
    if not rows_agree or np.isin(own[:, ~shared], written).any():
        raise Unsupported("an in-place operation on memory that several sequences share")
    if not shared.any():
        return v.node
    g, width = t.graph, v.width
    if shared.all():
        pattern = fit(found)
        if pattern is not None:
            return g.take(made.node, pattern)
    pieces = runs([(1, int(at)) if at >= 0 else (0, i) for i, at in enumerate(found)])
    to, source = fit(np.flatnonzero(shared)), fit(found[shared])
    if len(pieces) <= MOST_RUNS or to is None or source is None:
        return g.cat([g.slice((v.node, made.node)[which], low, high) for which, low, high in pieces])
    chosen = g.vector([(t.constant(shared.astype(float).tolist()), 0, width)], width)
    return g.each(
        "where", chosen, g.put(g.take(made.node, source), width, Pattern(to.offset, to.axes)), v.node
    )
