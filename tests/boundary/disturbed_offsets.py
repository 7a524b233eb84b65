"""Registry: what is wrong, or unusual, with the offsets and the index of a call."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .disturbing import disturb
from .given import Given

OFFSETS = ("offsets", "Offsets", "steps", "hidden size", "unwritable", "read-only", "int64")


def offsets_of(name: str, wanted: str, change: Callable[[Tensor], Any]) -> None:
    def apply(given: Given) -> None:
        given.offsets = change(given.offsets.clone())

    disturb(f"offsets {name}", wanted, *OFFSETS, "rows", "shape")(apply)


offsets_of("int32", "either", lambda o: o.int())
offsets_of("float", "either", lambda o: o.double())
offsets_of("negative", "error", lambda o: o - 1)
offsets_of("too long", "error", lambda o: torch.cat([o[:-1], o[-1:] + 1000]))
offsets_of("too short", "error", lambda o: o[:-1])
offsets_of("decreasing", "error", lambda o: torch.stack([o[0], o[2] + 3, o[1], *o[3:]]))
offsets_of("huge", "error", lambda o: torch.cat([o[:2], o[2:3] + 2**40, o[3:]]))
offsets_of("a column of a table", "numbers", lambda o: torch.stack([o, o + 9], 1)[:, 0])
offsets_of("a list", "either", lambda o: o.tolist())
offsets_of("numpy's", "either", lambda o: o.numpy())
offsets_of("two axes", "error", lambda o: o[None])
offsets_of("none at all", "error", lambda o: o[:0])
offsets_of("meta", "error", lambda o: o.to("meta"))


@disturb("offsets changed after the batch was made", "either", *OFFSETS)
def _(given: Given) -> None:
    """Through every way there is: their tensor, and numpy's view of it."""
    from unspool import Ragged

    own = given.offsets.numpy().copy()
    call = given.subject.call

    def changed(given: Given, x: Any, state: Any) -> Any:
        before = given.offsets
        given.offsets = torch.from_numpy(own)
        batch = Ragged(torch.zeros(int(own[-1]), 5), given.offsets)
        given.offsets = batch.offsets
        own[1:] += 2**20
        with contextlib.suppress(RuntimeError, ValueError):
            batch.offsets[1] = 2**30
        given.offsets = batch.offsets if given.subject.layout == "indexed" else before
        return call(given, x, state)

    object.__setattr__(given, "subject", _with(given.subject, changed))


def _with(subject: Any, call: Any) -> Any:
    return dataclasses.replace(subject, call=call)


def index_of(name: str, wanted: str, change: Callable[[Tensor], Any]) -> None:
    def apply(given: Given) -> None:
        given.index = change(given.index.clone())

    disturb(f"index {name}", wanted, "index", "ids", "Ids", "rows", "int64", "shape", "offsets")(apply)


index_of("int32", "either", lambda i: i.int())
index_of("float", "error", lambda i: i.float())
index_of("negative", "error", lambda i: i - 6)
index_of("beyond the end", "error", lambda i: i + 5)
index_of("huge", "error", lambda i: i + 2**40)
index_of("one less", "error", lambda i: i[:-1])
index_of("every second number", "numbers", lambda i: torch.stack([i, i + 9], 1)[:, 0])
index_of("meta", "error", lambda i: i.to("meta"))
index_of("a list", "either", lambda i: i.tolist())
