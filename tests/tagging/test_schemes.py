"""Schemes of tags: recognised, what may follow what by enumeration, spans written and read back."""

from __future__ import annotations

from itertools import product

import pytest

from unspool.evaluation.spans import spans
from unspool.tagging.schemes import legal, mended, scheme_of, written


@pytest.mark.parametrize(
    "tags, scheme",
    [
        (["O", "B-X", "I-X"], "BIO"),
        (["I-X", "O"], "BIO"),
        (["B-X", "E-X", "S-X"], "IOBES"),
        (["O"], None),
        (["NOUN", "VERB"], None),
        (["O", "B-X", "NOUN"], None),
        (["O", "B", "I"], "BIO"),
        ([], None),
    ],
)
def test_recognised(tags, scheme):
    assert scheme_of(tags) == scheme


@pytest.mark.parametrize(
    "scheme, tags",
    [
        ("BIO", ["O", "B-X", "I-X", "B-Y", "I-Y"]),
        ("IOBES", ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y"]),
    ],
)
def test_legal_paths_are_those_that_spans_can_write(scheme, tags):
    """Every sequence of three tags: legal exactly where writing its strict spans gives it back."""
    follows, first, last = legal(tags, scheme)
    count = 0
    for path in product(range(len(tags)), repeat=3):
        allowed = first[path[0]] and last[path[2]] and follows[path[0], path[1]] and follows[path[1], path[2]]
        names = [tags[k] for k in path]
        count += allowed
        assert allowed == (written(spans(names, scheme), 3, scheme) == names), names
    assert count > 10


def test_mended_keeps_the_spans():
    tags = "I-X I-X O B-Y I-X B-X I-X I-Y".split()
    assert mended(tags, "BIO") == "B-X I-X O B-Y B-X B-X I-X B-Y".split()
    assert mended(tags, "IOBES") == "B-X E-X O S-Y S-X B-X E-X S-Y".split()
    assert spans(mended(tags, "IOBES")) == spans(tags) == spans(mended(tags, "BIO"))
    assert mended(["I", "I", "O"], "BIO") == ["B", "I", "O"]
    assert mended([], "BIO") == []
