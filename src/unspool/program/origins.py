"""What the sources of a program's vectors and matrices are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of the cell, by its name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Captured:
    """A tensor that the cell holds without registering it."""

    tensor: Tensor

    def __str__(self) -> str:
        return "a tensor that the cell holds"


@dataclass(frozen=True)
class Computed:
    """The result of a torch operation on parameters alone; carried out at every call, with its gradient."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    item: int | None

    def __str__(self) -> str:
        return f"made by {self.func}"


@dataclass(frozen=True)
class Ref:
    """In the arguments of a `Computed`: the source with this index."""

    source: int


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]


def mapped(tree: Any, f: Callable[[Any], Any]) -> Any:
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(part, f) for part in tree)
    return f(tree)
