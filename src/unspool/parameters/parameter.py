"""One parameter of an estimator: its default, its check, its option and what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unspool.parameters.search import Search

Check = Callable[[str, str, Any], Any]
SPLIT, MODEL, VECTORS, TRAINING = "Training and test rows", "Model", "Word vectors", "Training"
SIGNALS = "Series and recordings"


def as_given(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    name, default: of the constructor. check(owner, name, value) raises `InvalidParameterError`. text: what it means.
    group: the heading of its option; None: no option, and `instead` says what there is. help: of the option.
    kind: its type on the command line; None: that of the default. many: the option takes one or several numbers of
    this type joined by commas, and a saved list is a tuple of them. repeat: a tuple, given by repeating the option.
    option: its name there. option_default: where it differs from `default`. later: files of the first models lack it;
    before: what those models do, where that is not the default. read: what the option's value stands for. search: where
    `unspool tune` looks for its value; None: it never does.
    """

    name: str
    default: Any
    check: Check
    text: str
    group: str | None = None
    help: str = ""
    kind: Any = None
    many: type | None = None
    repeat: type | None = None
    option: str | None = None
    option_default: Any = ...
    later: bool = False
    before: Any = ...
    read: Callable[[Any], Any] = as_given
    instead: str = "none"
    search: Search | None = None

    @property
    def option_name(self) -> str:
        """The option's name, with underscores."""
        return self.option or self.name

    @property
    def shown_default(self) -> Any:
        """The option's default."""
        return self.default if self.option_default is ... else self.option_default
