"""How good tags and labels are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.evaluation.spans import SpanScores, check_rows, span_scores, token_accuracy


@dataclass(frozen=True)
class Measures:
    """token_accuracy: the share of right tags. spans: None where tags mark none. label_accuracy, whole: the share of
    sentences with the right label, and with that and every tag right; None without labels."""

    token_accuracy: float
    spans: SpanScores | None = None
    label_accuracy: float | None = None
    whole: float | None = None

    @property
    def tags(self) -> float:
        """F1 over spans, or the share of right tags where there are none."""
        return self.token_accuracy if self.spans is None else self.spans.f1

    @property
    def score(self) -> float:
        """`tags`, or where there are labels the mean of it and their accuracy."""
        return self.tags if self.label_accuracy is None else (self.tags + self.label_accuracy) / 2

    def shown(self) -> dict[str, float]:
        """Names and numbers, for a table."""
        found = {"Token accuracy": self.token_accuracy}
        if self.spans is not None:
            own = self.spans
            found = {"Span F1": own.f1, "Precision": own.precision, "Recall": own.recall, **found}
        if self.label_accuracy is not None and self.whole is not None:
            found |= {"Label accuracy": self.label_accuracy, "All right": self.whole}
        return found


def measure(
    y_true: Sequence[Sequence[str | None]],
    y_pred: Sequence[Sequence[str]],
    scheme: str | None,
    labels: np.ndarray | None = None,
    predicted_labels: Any = None,
) -> Measures:
    """y_true: tags, None for one that is not known, whose token is left out. scheme: None: no spans.

    `DataError` as `span_scores`.
    """
    check_rows(y_true, y_pred)  # type: ignore[arg-type]
    pairs = [
        [(a, b) for a, b in zip(truth, answer) if a is not None] for truth, answer in zip(y_true, y_pred)
    ]
    true, predicted = ([[pair[i] for pair in row] for row in pairs] for i in (0, 1))
    accuracy = token_accuracy(true, predicted)
    found = None if scheme is None else span_scores(true, predicted)
    if labels is None or predicted_labels is None:
        return Measures(accuracy, found)
    right = np.asarray(labels).astype(str) == np.asarray(predicted_labels).astype(str)
    every = np.array([a == b for a, b in zip(true, predicted)])
    return Measures(accuracy, found, float(right.mean()), float((right & every).mean()))
