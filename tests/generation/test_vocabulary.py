"""Texts come back exactly; what is not known; damaged files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.errors import DataError, ModelFileError
from unspool.generation.vocabulary import (
    LEVELS,
    UNKNOWN_ID,
    Characters,
    Subwords,
    Words,
    read_texts,
    vocabulary_from_fields,
)
from unspool.saved import Fields

TEXT = "It's a day: the day, I'd say.\n\n  Zoë's naïve\tcafé \U0001f600 नमस्ते 漢字かな\r\nend "
EVERY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("level", LEVELS)
def test_a_text_comes_back(level: str) -> None:
    vocabulary = LEVELS[level].fit([TEXT], 1000)
    ids = vocabulary.encode(TEXT)
    assert vocabulary.decode(ids.tolist()) == TEXT and vocabulary.unknown(TEXT) == []
    assert ids.dtype == np.int64 and ids.min() >= 2 and ids.max() < len(vocabulary)
    assert vocabulary.encode("").tolist() == [] and vocabulary.decode(
        [0, *ids[:1].tolist(), 0]
    ) == vocabulary.decode(ids[:1].tolist())


@settings(max_examples=25, deadline=None)
@given(EVERY)
def test_any_text_comes_back_from_subwords_and_from_its_own_words(text: str) -> None:
    assert SUBWORDS.decode(SUBWORDS.encode(text).tolist()) == text
    for kind in (Words, Characters):
        if text:
            own = kind.fit([text], 1000)
            assert own.decode(own.encode(text).tolist()) == text


SUBWORDS = Subwords.fit([TEXT], 300)


def test_words_by_hand() -> None:
    words = Words.fit(["the cat, the hat\nIt's"], 100)
    pieces = [words.bytes[i].decode() for i in words.encode("the cat, the hat\nIt's")]
    assert pieces == ["the", " cat", ",", " the", " hat", "\n", "It's"]
    assert words.encode("the dog").tolist() == [words.tokens.index("the") + 2, UNKNOWN_ID]
    assert words.unknown("the dog the dog cat") == [" dog"]
    assert Words.fit(["b a a"], 1).tokens == [" a"]


def test_characters_by_hand() -> None:
    characters = Characters.fit(["abba", "c"], 2)
    assert characters.tokens == ["a", "b"]
    assert characters.encode("abc\U0001f600").tolist() == [2, 3, 1, 1]
    assert characters.unknown("cab\U0001f600c") == ["c", "\U0001f600"]
    assert characters.decode([2, 1, 0, 3]) == "a<unk>b"


def test_subwords_merge_what_is_frequent() -> None:
    subwords = Subwords.fit(["aaab aaab aaab"], 259)
    assert len(subwords) == 261 and len(subwords.encode("aaab aaab")) < 6
    assert subwords.unknown("\U0001f600") == []


@pytest.mark.parametrize("level", LEVELS)
def test_saved(level: str) -> None:
    vocabulary = LEVELS[level].fit([TEXT], 300)
    again = vocabulary_from_fields(Fields(vocabulary.to_dict(), "vocabulary"))
    assert type(again) is type(vocabulary)
    assert again.encode(TEXT).tolist() == vocabulary.encode(TEXT).tolist()


@pytest.mark.parametrize(
    ("level", "change"),
    [
        ("char", {"tokens": ["a", "bc"]}),
        ("char", {"tokens": []}),
        ("word", {"tokens": ["a", "a"]}),
        ("word", {"level": "letters"}),
        ("subword", {"tokens": ["a", "b"]}),
        ("subword", {"merges": [["a"]]}),
        ("subword", {"merges": [["nowhere", "known"]]}),
        ("subword", {"merges": 3}),
    ],
)
def test_damaged(level: str, change: dict[str, Any]) -> None:
    state = {**LEVELS[level].fit([TEXT], 300).to_dict(), **change}
    with pytest.raises(ModelFileError):
        vocabulary_from_fields(Fields(state, "vocabulary"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "must be a str, or a list of str. Got int"),
        (b"abc", "Got bytes"),
        (["a", None], "Text 1 of the texts must be a str. Got NoneType"),
        (["\ud800"], "Text 0 of the texts is not valid Unicode"),
    ],
)
def test_what_is_no_text(texts: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_texts("SequenceGenerator", texts)
