"""Spans in sequences of tags, and precision, recall and F1 over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from unspool.errors import DataError, check_choice

MODES = ("conlleval", "BIO", "IOBES")
OUTSIDE = "O"


class Span(NamedTuple):
    """Steps start, ..., end - 1 of a sequence, of one label."""

    label: str
    start: int
    end: int


def parts(tag: str) -> tuple[str, str]:
    """("B", "PER") of "B-PER", ("O", "") of "O"; `DataError` for a tag of another form."""
    prefix, dash, label = tag.partition("-")
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if prefix not in ("B", "I", "E", "S") or (dash and not label):
        raise DataError(f"A tag of spans must be O, or B-, I-, E- or S- and a label. Got {tag!r}.")
    return prefix, label


def spans(tags: Sequence[str], mode: str = "conlleval") -> list[Span]:
    """The spans of one sequence, in order.

    mode "conlleval": as the script of the CoNLL-2000 task counts them, E- and S- with it. A span starts at B-, S-, at
    an I- or E- that follows O, E- or S-, and wherever the label changes; so B-X I-X and I-X I-X are the same span.
    "BIO": B- and the I- of its label after it, nothing else. "IOBES": S-, or B-, any I-, E- of one label, nothing
    else. `DataError` for a tag that is none of spans.
    """
    check_choice("spans", "mode", mode, MODES)
    found = {"conlleval": _lenient, "BIO": _bio, "IOBES": _iobes}[mode]([parts(tag) for tag in tags])
    return [Span(*span) for span in found]


def _lenient(tags: list[tuple[str, str]]) -> Iterable[tuple[str, int, int]]:
    label, start, inside = "", 0, False
    for i, (prefix, own) in enumerate(tags):
        if inside and (prefix in "BSO" or own != label):
            yield label, start, i
            inside = False
        if prefix != OUTSIDE and not inside:
            label, start, inside = own, i, True
        if prefix in "ES":
            yield label, start, i + 1
            inside = False
    if inside:
        yield label, start, len(tags)


def _bio(tags: list[tuple[str, str]]) -> Iterable[tuple[str, int, int]]:
    for start, (prefix, label) in enumerate(tags):
        if prefix == "B":
            end = start + 1
            while end < len(tags) and tags[end] == ("I", label):
                end += 1
            yield label, start, end


def _iobes(tags: list[tuple[str, str]]) -> Iterable[tuple[str, int, int]]:
    for start, (prefix, label) in enumerate(tags):
        if prefix == "S":
            yield label, start, start + 1
        if prefix == "B":
            end = start + 1
            while end < len(tags) and tags[end] == ("I", label):
                end += 1
            if end < len(tags) and tags[end] == ("E", label):
                yield label, start, end + 1


@dataclass(frozen=True)
class Counts:
    """true: spans of the truth; predicted: of the prediction; right: in both, label and ends alike."""

    true: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        """right / predicted; 0 where nothing is predicted."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """right / true; 0 where there is nothing to find."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of the two; 0 where both are."""
        return 2 * self.right / (self.true + self.predicted) if self.right else 0.0


@dataclass(frozen=True)
class SpanScores(Counts):
    """Counts over all labels (micro average), and in `labels` those of each, by name. mode: how spans are counted."""

    mode: str = "conlleval"
    labels: dict[str, Counts] = field(default_factory=dict)


def span_scores(
    y_true: Sequence[Sequence[str]], y_pred: Sequence[Sequence[str]], mode: str = "conlleval"
) -> SpanScores:
    """How many spans of y_true are found in y_pred, sequences of tags (str). mode: see `spans`.

    `DataError` where the two have different lengths, with the row.
    """
    check_rows(y_true, y_pred)
    true, predicted, right = Counter[str](), Counter[str](), Counter[str]()
    for truth, answer in zip(y_true, y_pred):
        wanted, given = set(spans(truth, mode)), set(spans(answer, mode))
        true.update(span.label for span in wanted)
        predicted.update(span.label for span in given)
        right.update(span.label for span in wanted & given)
    labels = {k: Counts(true[k], predicted[k], right[k]) for k in sorted(true.keys() | predicted.keys())}
    return SpanScores(true.total(), predicted.total(), right.total(), mode, labels)


def token_accuracy(y_true: Sequence[Sequence[str]], y_pred: Sequence[Sequence[str]]) -> float:
    """The share of tokens with the right tag; 0 where there are none. `DataError` as `span_scores`."""
    check_rows(y_true, y_pred)
    pairs = [a == b for truth, answer in zip(y_true, y_pred) for a, b in zip(truth, answer)]
    return sum(pairs) / max(1, len(pairs))


def check_rows(y_true: Sequence[Sequence[str]], y_pred: Sequence[Sequence[str]]) -> None:
    """`DataError` unless both have the same rows, of the same lengths."""
    if len(y_true) != len(y_pred):
        raise DataError(f"Both must have as many rows. Got {len(y_true)} and {len(y_pred)}.")
    for row, (truth, answer) in enumerate(zip(y_true, y_pred)):
        if len(truth) != len(answer):
            raise DataError(
                f"Both must have a tag for each token. Row {row} has {len(truth)} tags and {len(answer)} predictions."
            )
