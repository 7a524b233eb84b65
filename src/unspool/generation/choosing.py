"""The next token out of scores: the most likely one, or one drawn from what temperature, top-k and top-p leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError, bad_parameter, check_float, check_int

OWNER = "generate"


@dataclass(frozen=True)
class Choice:
    """How a token is chosen; every rule is applied in the order of its name here.

    repetition_penalty: a score of a token that the prompt or the text so far has is divided by it where it is
        positive and multiplied where it is negative (Keskar et al. 2019, arXiv:1909.05858, section 4.1).
    temperature: scores are divided by it; 0: the most likely token.
    top_k: only the k most likely tokens (and those that tie with the last of them); None: all.
    top_p: only the fewest tokens, most likely first, whose probabilities reach it (Holtzman et al. 2020,
        arXiv:1904.09751); 1: all.
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_float(OWNER, "repetition_penalty", self.repetition_penalty, 0.0, np.inf, "neither")
        check_float(OWNER, "temperature", self.temperature, 0.0, np.inf, "left")
        check_float(OWNER, "top_p", self.top_p, 0.0, 1.0, "right")
        if self.top_k is not None:
            check_int(OWNER, "top_k", self.top_k)

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0

    def penalised(self, scores: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
        """scores (B, V); seen (B, V) bool, or None where there is no penalty."""
        if seen is None:
            return scores
        worse = np.where(scores > 0, scores / self.repetition_penalty, scores * self.repetition_penalty)
        return np.where(seen, worse, scores)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(B, V) penalised scores -> (B, V) float64, each row's sum 1."""
        odds = self._odds(scores)
        return odds / odds.sum(1, keepdims=True)

    def draw(self, scores: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """(B,) tokens; uniform (B,) numbers in [0, 1), each row's alone decide about it."""
        if self.greedy:
            finite(scores.max(1))
            return scores.argmax(1)
        sums = self._odds(scores).cumsum(1)
        # Below the last sum, also when rounded, so that a token of probability 0 is never found.
        at = np.minimum(uniform * sums[:, -1], np.nextafter(sums[:, -1], 0.0))
        return (sums <= at[:, None]).sum(1)

    def draw_one(self, scores: np.ndarray, uniform: float) -> int:
        """As `draw`, of one row (V,)."""
        if self.greedy:
            finite(scores.max())
            return int(scores.argmax())
        if self.temperature == 1 and self.top_k is None and self.top_p == 1:
            odds = np.subtract(scores, finite(scores.max()), dtype=np.float64)
            np.exp(odds, out=odds)
        else:
            odds = self._odds(scores[None])[0]
        sums = odds.cumsum()
        last = float(sums[-1])
        return int(sums.searchsorted(min(uniform * last, math.nextafter(last, 0.0)), "right"))

    def _odds(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities up to a factor for each row."""
        if self.greedy:
            return np.eye(scores.shape[1])[scores.argmax(1)]
        below = np.subtract(scores, finite(scores.max(1, keepdims=True)), dtype=np.float64)
        if self.temperature != 1:
            below = np.maximum(below, -800 * self.temperature) / self.temperature  # exp(-800) is 0
        odds = np.exp(below)
        if self.top_k is not None and self.top_k < odds.shape[1]:
            least = np.partition(scores, -self.top_k, axis=1)[:, -self.top_k, None]
            odds = np.where(scores >= least, odds, 0.0)
        if self.top_p < 1:
            order = np.argsort(-odds, axis=1, kind="stable")
            ranked = np.take_along_axis(odds, order, 1)
            before = ranked.cumsum(1) - ranked
            ranked[before >= self.top_p * ranked.sum(1, keepdims=True)] = 0.0
            np.put_along_axis(odds, order, ranked, 1)
        return odds


def finite(largest: np.ndarray) -> np.ndarray:
    """The largest scores of rows as they are; `DataError` where one is no number, since then none can be chosen."""
    if not np.isfinite(largest).all():
        raise DataError(
            "The model's scores of the next token are not finite numbers: its weights are too large or no numbers, as "
            "after a training that diverged. Train it again with a smaller learning_rate or gradient_clip."
        )
    return largest


def check_greedy(choice: Choice) -> None:
    """`InvalidParameterError` for a rule of drawing where nothing is drawn."""
    for name, off in (("temperature", 1.0), ("top_k", None), ("top_p", 1.0)):
        if getattr(choice, name) != off:
            expected = f"left at {off} with do_sample=False: it says how tokens are drawn"
            bad_parameter(OWNER, name, expected, getattr(choice, name))
