"""Networks of shapes alone, without numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unspool.cells.base import unfilled


class _Unfilled(TorchFunctionMode):
    """`normal_` leaves a tensor without numbers as it is.

    It is the one that torch writes in Python for such tensors, and what it is written with, torch's compiler, takes
    two seconds to import, longer than the rest of a model takes to load.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.normal_ or function is nn.init.normal_:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return function(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """What is built within has shapes and no memory; no random numbers are drawn."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _Unfilled(), unfilled():
        yield
