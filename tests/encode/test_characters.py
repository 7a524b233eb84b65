"""Characters of words: rows worked by hand, what is kept of long words, the way there and back through a file."""

from __future__ import annotations

import pytest
import torch

from unspool.encode import CharacterEncoder
from unspool.encode.characters import beside_ids
from unspool.errors import DataError, ModelFileError
from unspool.saved import Fields


def test_rows_by_hand():
    encoder = CharacterEncoder(longest=4).fit(["ba", "b", "Bc"])
    assert encoder.characters_ == "bBac" and encoder.vocabulary_size == 8
    # b is 4, B 5, a 6, c 7; begin 2, end 3, unknown 1, nothing 0
    assert encoder.encode(["ba", "", "Bx"]).tolist() == [
        [2, 4, 6, 3, 0, 0],
        [2, 3, 0, 0, 0, 0],
        [2, 5, 1, 3, 0, 0],
    ]


def test_a_long_word_keeps_both_ends():
    encoder = CharacterEncoder(longest=5).fit(["abcdefg"])
    assert encoder.decode(encoder.encode(["abcdefg", "abcde", "aXe"])) == ["abcfg", "abcde", "a\ufffde"]


def test_composed_and_decomposed_are_one_character():
    encoder = CharacterEncoder().fit(["é"])
    assert encoder.encode(["e\u0301"]).tolist() == encoder.encode(["\u00e9"]).tolist()
    assert encoder.vocabulary_size == 5


def test_saved_and_read():
    encoder = CharacterEncoder(longest=6).fit(["aßc"])
    again = CharacterEncoder.from_fields(Fields(encoder.to_dict(), "here"))
    assert torch.equal(again.encode(["cßa!"]), encoder.encode(["cßa!"]))
    for wrong in ({"longest": 6, "characters": "aa"}, {"longest": 6, "characters": ""}, {"longest": 1}):
        with pytest.raises(ModelFileError):
            CharacterEncoder.from_fields(Fields({"characters": "ab", **wrong}, "here"))


def test_refused():
    with pytest.raises(DataError, match="no character"):
        CharacterEncoder().fit(["", ""])
    with pytest.raises(DataError, match="Call fit first"):
        CharacterEncoder().encode(["a"])


def test_beside_ids_numbers_the_forms():
    encoder = CharacterEncoder(longest=2).fit(["ab"])
    steps = beside_ids(torch.tensor([5, 7, 5]), ["a", "b", "a"], encoder)
    assert steps.tolist() == [[5, 0, 2, 4, 3, 0], [7, 1, 2, 5, 3, 0], [5, 0, 2, 4, 3, 0]]
