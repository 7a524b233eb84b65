"""What a step does to memory that several tensors share: parts never written yet, values whose gradient stops."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from unspool.program.layout import Unsupported

UNWRITTEN = frozenset("empty empty_like empty_strided empty_permuted new_empty new_empty_strided".split())
WHOLE = frozenset(["copy_", "fill_", "zero_"])  # write their target without reading it
_SHAPE_ALONE = UNWRITTEN | frozenset("zeros_like ones_like full_like new_zeros new_ones new_full".split())


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def places_of(tensor: Tensor) -> np.ndarray:
    """Where in its storage each number of a tensor is, in the tensor's shape."""
    places = np.array(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride()):
        places = places[..., None] + np.arange(size) * stride
    return places


def is_view(func: Any) -> bool:
    """Whether an operation gives another tensor on the same memory."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


@dataclass(frozen=True)
class Detached:
    """A tensor that `detach` or `.data` made, or a view of it; torch's own functions detach, too."""

    storage: int
    group: int  # of one call of detach
    stops: bool  # whether what was detached has a gradient


class Aliases:
    """Followed through a step, an operation after the other: `read` before it, `viewed` or `written` after it."""

    def __init__(self) -> None:
        self.missing: dict[int, np.ndarray] = {}  # of a storage: which of its numbers were never written
        self.detached: dict[int, Detached] = {}  # tensors, by identity
        self.stale: set[int] = set()  # of these: those whose memory was written into since, not through them

    def read(self, name: str, view: bool, tensors: Iterable[Tensor], target: Tensor | None = None) -> None:
        """Raise `Unsupported` where an operation reads what it may not; target: what it writes into."""
        for tensor in tensors:
            found = self.detached.get(id(tensor))
            if id(tensor) in self.stale or (tensor is target and found is not None and found.stops):
                raise Unsupported(
                    "an operation in place on what '.data' or 'detach' shares with a value that has a gradient"
                )
            whole = tensor is target and name in WHOLE
            missing = self.missing.get(storage_of(tensor)) if self.missing else None
            if missing is None or whole or name in _SHAPE_ALONE or view:
                continue
            if name == "copy_" and target is not None and tensor.shape == target.shape:
                continue  # `written` says which numbers of the target hold nothing now
            if missing[places_of(tensor)].any():
                raise Unsupported("uninitialised memory")

    def viewed(self, results: Iterable[Any], tensors: Iterable[Tensor], detaches: bool) -> None:
        """After an operation: what its results share memory with."""
        sharing = {found.storage: found for t in tensors if (found := self.detached.get(id(t))) is not None}
        stops = any(t.requires_grad for t in tensors)
        for result in results:
            if not isinstance(result, Tensor):
                continue
            if detaches:
                self.detached[id(result)] = Detached(storage_of(result), id(result), stops)
            elif storage_of(result) in sharing:
                self.detached[id(result)] = sharing[storage_of(result)]

    def written(self, name: str, target: Tensor, source: Any) -> None:
        storage = storage_of(target)
        own = self.detached.get(id(target))
        self.stale |= {
            tensor
            for tensor, of in self.detached.items()
            if of.storage == storage and (own is None or of.group != own.group)
        }
        given = self.missing.get(storage_of(source)) if isinstance(source, Tensor) and self.missing else None
        if name in WHOLE and (storage in self.missing or given is not None):
            if storage not in self.missing:
                self.made_unwritten(target, False)
            self.missing[storage][places_of(target)] = False if given is None else given[places_of(source)]

    def made_unwritten(self, tensor: Tensor, missing: bool = True) -> None:
        """A tensor on new memory, which holds nothing yet."""
        numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
        self.missing[storage_of(tensor)] = np.full(numbers, missing)
