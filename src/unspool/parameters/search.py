"""Where `unspool tune` looks for a parameter's value: declared beside the parameter, in its row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KINDS = ("text", "ids", "series", "audio")
TOKENS, SIGNAL_KINDS = ("text", "ids"), ("series", "audio")


@dataclass(frozen=True)
class Search:
    """One of `choices`, or without any a number from `low` to `high`.

    whole: an int. log: drawn on a logarithmic scale. kinds: of X (`unspool.encode`) that the parameter is looked at
    for. asked: only where the search names it. given: only where the parameter of this name is not at its default; the
    estimator's own value is then one of the choices.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    kinds: tuple[str, ...] = KINDS
    asked: bool = False
    given: str | None = None

    def described(self) -> str:
        """ "lstm, gru" or "16 to 256, logarithmic"."""
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        return f"{self.low:g} to {self.high:g}" + (", logarithmic" if self.log else "")


def one_of(*choices: Any, **more: Any) -> Search:
    """One of these."""
    return Search(choices, **more)


def whole(low: int, high: int, **more: Any) -> Search:
    """An int of [low, high]."""
    return Search(low=low, high=high, whole=True, **more)


def between(low: float, high: float, **more: Any) -> Search:
    """A number of [low, high]."""
    return Search(low=low, high=high, **more)
