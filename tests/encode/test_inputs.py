"""Encoders there and back, marks around texts, and the registry."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from unspool import Ragged, encode
from unspool.encode import input_from_fields, new_input, read_input
from unspool.errors import DataError
from unspool.saved import Fields
from unspool.text import TextEncoder

TEXTS = ["a b b", "", "b c"]
SETTINGS = {
    "max_words": 100,
    "level": "word",
    "vectors": None,
    "characters": None,
    "vector_words": 1,
    "embedding_dim": 4,
}


def test_marks_by_hand() -> None:
    """b is the most frequent word and gets 2, a and c follow by the alphabet; then the two marks."""
    encoder = TextEncoder(marks=True).fit(TEXTS)
    assert (encoder.begin_id, encoder.end_id, encoder.vocabulary_size) == (5, 6, 7)
    assert [row.tolist() for row in encoder.encode([*TEXTS, "zebra b"])] == [
        [5, 3, 2, 2, 6],
        [5, 6],
        [5, 2, 4, 6],
        [5, 1, 2, 6],
    ]
    assert encoder.unknown_texts_ == 1  # the empty one
    plain = TextEncoder().fit(TEXTS)
    assert [row.tolist() for row in plain.encode(TEXTS)] == [[3, 2, 2], [], [2, 4]]
    assert plain.vocabulary_size == 5


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize(("level", "texts"), [("word", TEXTS), ("char", ["ab b", "", "cab"])])
def test_texts_come_back(marks: bool, level: str, texts: list[str]) -> None:
    encoder = TextEncoder(level=level, marks=marks).fit(texts)
    again = TextEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    for one in (encoder, again):
        ids = one.encode(texts)
        assert one.decode(ids) == texts
        assert torch.equal(ids.values, encoder.encode(texts).values)
    pads = Ragged.from_list([torch.tensor([0, 2, 0]), torch.tensor([1])])
    assert encoder.decode(pads) == [encoder.words_[0], "<unk>"]
    with pytest.raises(DataError, match=r"ids must be in \[0, "):
        encoder.decode(Ragged.from_list([torch.tensor([encoder.vocabulary_size])]))


@pytest.mark.parametrize(
    "X",
    [["one two", "two"], [[1, 5, 2], [3]], [np.array([[1.0, 20.0], [3.0, -4.0]]), np.array([[0.5, 7.0]])]],
)
def test_every_encoder_there_and_back(X: list) -> None:
    raw = read_input(X)
    fitted = new_input(raw.kind, SETTINGS).fit(raw)
    kept = input_from_fields(Fields(json.loads(json.dumps(fitted.to_dict())), "the encoder"))
    for found in (fitted, kept):
        for one, other in zip(found.decode(found.encode(raw)), X, strict=True):
            if isinstance(other, np.ndarray):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
            else:
                assert one == other
    assert type(kept) is encode.registry[raw.kind]
