"""Operations that are written in others: what a function does with tensors becomes part of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from unspool.program.layout import Unsupported
from unspool.program.lowering import LOWERINGS
from unspool.program.operands import value
from unspool.program.origins import leaves, mapped

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer


class Inner(TorchDispatchMode):
    """What runs within writes its operations into `tracer`'s graph; those made of others are taken apart."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        return self.tracer.write_down(func, args, kwargs)


def composed(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function of tensors, with torch's arguments, as the lowering of operations."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def lower(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Any:
            with Inner(t):
                made = function(*args, **kwargs)
            return _values(t, made, result)

        for name in names:
            LOWERINGS[name] = lower
        return function

    return register


def _values(t: Tracer, made: Any, result: Any) -> Any:
    """The values of the tensors that a function made, in the shapes that torch's operation gives."""
    for own, torchs in zip(leaves(made), leaves(result)):
        if isinstance(own, Tensor) and own.shape != torchs.shape:
            raise Unsupported(f"an operation whose result has the shape {tuple(torchs.shape)}")
    return mapped(made, lambda part: value(t, part) if isinstance(part, Tensor) else None)
