"""A GPU that is none: tensors that say they are on another device, whose numbers are on the CPU.

As a GPU's they may not be mixed with the CPU's, but for single numbers and indices, and so name every tensor that was
made without a device. torch's `meta` names the device; it computes nothing by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from unspool.training.device import seeded

DEVICE = torch.device("meta")
PLACES = {"cpu": torch.device("cpu"), "cuda": DEVICE}
MOVES = {"_to_copy", "copy_"}
INDICES = {"index", "index_put_", "index_put", "_index_put_impl_"}


class There(Tensor):
    """A tensor on the pretended device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        """Around `held`, of the CPU."""
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"There({self.held})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    name = function.overloadpacket.__name__
    given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    there = [t for t in given if isinstance(t, There)]
    here = [t for t in given if not isinstance(t, There) and t.dim()]
    device = kwargs.get("device")
    if there and here and name not in MOVES:
        allowed = name in INDICES and all(t.dtype in (torch.int64, torch.bool) for t in here)
        if not allowed:
            raise RuntimeError(f"{name}: tensors of two devices")
    asked = DEVICE.type if device is None else torch.device(device).type
    goes = asked == DEVICE.type and (bool(there) or device is not None)
    if name == "copy_":
        goes = isinstance(args[0], There)
    plain = {k: v for k, v in kwargs.items() if k != "device"}
    if device is not None:
        plain["device"] = torch.device("cpu")
    bare = tree_map(lambda t: t.held if isinstance(t, There) else t, (args, plain))
    found = function(*bare[0], **bare[1])
    if not goes:
        return found
    known = {id(t.held): t for t in there}  # what is written in place stays the same tensor

    def wrapped(t: Any) -> Any:
        if not isinstance(t, Tensor):
            return t
        return known[id(t)] if id(t) in known else There(t)

    return tree_map(wrapped, found)


class _Mode(TorchDispatchMode):
    """So that what the CPU's tensors are moved to, and what is made there, is seen too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


@contextmanager
def pretended(*users: str) -> Iterator[None]:
    """Within, device="cuda" of estimators is the pretended one. users: the modules that ask for it when they train."""
    with pytest.MonkeyPatch.context() as patch, _Mode():
        for user in ("unspool.training.device", *users):
            patch.setattr(f"{user}.choose", lambda owner, asked, verbose=0: PLACES[asked])
        for user in users:
            patch.setattr(f"{user}.seeded", lambda seed, device: seeded(seed, PLACES["cpu"]))
        patch.setattr(
            sys.modules[AdamW.__base__.__module__], "_device_dtype_check_for_fused", lambda *_, **__: None
        )
        # Views of such tensors have no version that inference mode could do without.
        patch.setattr(torch, "inference_mode", lambda on=True: torch.no_grad() if on else nullcontext())
        yield
