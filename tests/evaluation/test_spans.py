"""Spans and their F1: by hand, against seqeval in both of its modes on random tags, and the traps of counting."""

from __future__ import annotations

import random
import warnings

import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.evaluation.spans import Span, span_scores, spans, token_accuracy


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)]),
        ("I-X I-X O", [("X", 0, 2)]),  # as B-X I-X
        ("B-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),
        ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),  # the label changes
        ("O I-X B-X", [("X", 1, 2), ("X", 2, 3)]),
        ("S-X E-X I-X", [("X", 0, 1), ("X", 1, 2), ("X", 2, 3)]),
        ("B-X E-X B-X I-X", [("X", 0, 2), ("X", 2, 4)]),
        ("B I O I", [("", 0, 2), ("", 3, 4)]),  # spans without labels
        ("", []),
    ],
)
def test_as_conlleval_counts(tags, expected):
    assert spans(tags.split()) == [Span(*span) for span in expected]


def test_strict_modes():
    assert spans("I-X I-X O B-X I-Y I-X B-Y I-Y".split(), "BIO") == [("X", 3, 4), ("Y", 6, 8)]
    tags = "S-X B-Y E-Y B-X I-X E-X B-Y I-Y O B-X E-Y E-X I-X".split()
    assert spans(tags, "IOBES") == [("X", 0, 1), ("Y", 1, 3), ("X", 3, 6)]


def tags_at_random(rows: int, prefixes: str, seed: int) -> list[list[str]]:
    rng = random.Random(seed)

    def tag() -> str:
        prefix = rng.choice(prefixes + "O")
        return "O" if prefix == "O" else f"{prefix}-{rng.choice('XYZ')}"

    return [[tag() for _ in range(rng.randrange(1, 12))] for _ in range(rows)]


def mixed(truth: list[list[str]], prefixes: str, seed: int) -> list[list[str]]:
    """The truth with a third of its tags drawn anew."""
    rng, other = random.Random(seed), tags_at_random(1, prefixes, seed)
    draw = [t for row in tags_at_random(200, prefixes, seed + 1) for t in row] + other[0]
    return [[rng.choice(draw) if rng.random() < 0.33 else t for t in row] for row in truth]


@pytest.mark.parametrize(
    "prefixes, mode, scheme",
    [
        ("BI", "conlleval", None),
        ("BIES", "conlleval", None),
        ("BI", "BIO", "IOB2"),
        ("BIES", "IOBES", "IOBES"),
    ],
)
def test_as_seqeval(prefixes, mode, scheme):
    metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is in the test extra")
    import seqeval.scheme

    truth = tags_at_random(300, prefixes, 0)
    predicted = mixed(truth, prefixes, 1)
    strict = {} if scheme is None else {"mode": "strict", "scheme": getattr(seqeval.scheme, scheme)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            f(truth, predicted, **strict)
            for f in (metrics.precision_score, metrics.recall_score, metrics.f1_score)
        ]
        report = metrics.classification_report(truth, predicted, output_dict=True, **strict)
    found = span_scores(truth, predicted, mode)
    assert [found.precision, found.recall, found.f1] == pytest.approx(expected)
    assert 0.1 < found.f1 < 0.9
    for label, counts in found.labels.items():
        assert (
            counts.f1 == pytest.approx(report[label]["f1-score"]) and counts.true == report[label]["support"]
        )


def test_b_i_against_i_i():
    """The same span as conlleval counts, none in strict counting."""
    truth, predicted = [["B-X", "I-X"]], [["I-X", "I-X"]]
    assert span_scores(truth, predicted).f1 == 1.0
    assert span_scores(truth, predicted, "BIO").f1 == 0.0
    assert token_accuracy(truth, predicted) == 0.5


def test_counts_by_hand():
    truth = [["B-X", "I-X", "O", "B-Y"], [], ["B-X", "O"]]
    predicted = [["B-X", "I-X", "O", "B-X"], [], ["O", "B-Y"]]
    found = span_scores(truth, predicted)
    assert (found.true, found.predicted, found.right) == (3, 3, 1)
    assert found.f1 == pytest.approx(1 / 3) and token_accuracy(truth, predicted) == 0.5
    assert (found.labels["X"].true, found.labels["X"].predicted, found.labels["X"].right) == (2, 2, 1)
    assert span_scores([["O"]], [["O"]]).f1 == 0.0 and token_accuracy([], []) == 0.0


def test_refused():
    with pytest.raises(DataError, match="Row 1 has 2 tags and 1 predictions"):
        span_scores([["O"], ["O", "O"]], [["O"], ["O"]])
    with pytest.raises(DataError, match="Got 'NOUN'"):
        spans(["NOUN"])
    with pytest.raises(DataError, match="Got 'B-'"):
        spans(["B-"])
    with pytest.raises(InvalidParameterError, match="mode"):
        spans(["O"], "strict")
