"""`TextEncoder`: words by hand, order by counting in Python, and what is saved."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.text import TextEncoder


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't stop!", ["don't", "stop", "!"]),
        ("Don\u2019t 'stop'...", ["don't", "'", "stop", "'", ".", ".", "."]),
        ("rock'n'roll x_1 3.14", ["rock'n'roll", "x_1", "3", ".", "14"]),
        ("naïve e\u0301te\u0301", ["naïve", "été"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("日本語 ok", ["日", "本", "語", "ok"]),
        ("I ❤\ufe0f it", ["i", "❤\ufe0f", "it"]),
        ("<pad> <unk>", ["<", "pad", ">", "<", "unk", ">"]),
        (" \t\n", []),
    ],
)
def test_words(text, tokens):
    assert TextEncoder().tokens(text) == tokens


def test_case_is_kept_on_request():
    assert TextEncoder(lower=False).tokens("Stop IT") == ["Stop", "IT"]
    assert TextEncoder(level="char", lower=False).tokens("Ab c") == ["A", "b", " ", "c"]


def test_numbers_by_hand():
    # counts: b 3, a 2, ! 2, c 1; ties alphabetical, ! before a: ! and a are 3 and 4 after b, which is 2
    encoder = TextEncoder(max_words=3).fit(["b a!", "B a b", "c !"])
    assert encoder.words_ == ["b", "!", "a"]
    assert encoder.vocabulary_size == 5
    ids = encoder.encode(["a b c", "", "c zzz", "!"])
    assert [s.tolist() for s in ids.to_list()] == [[4, 2, 1], [], [1, 1], [3]]
    assert ids.values.dtype == torch.int64
    assert encoder.unknown_texts_ == 2
    assert encoder.encode(["<pad> <unk>"]).values.unique().tolist() == [1]
    assert len(encoder.encode([])) == 0


def test_characters_by_hand():
    # counts: a 3, space 2, b 1
    encoder = TextEncoder(level="char").fit(["A a", " ab"])
    assert encoder.words_ == ["a", " ", "b"]
    assert [s.tolist() for s in encoder.encode(["ba", "", "c🙂"]).to_list()] == [[4, 2], [], [1, 1]]
    assert encoder.unknown_texts_ == 2


@pytest.mark.parametrize("level", ["word", "char"])
def test_most_frequent_first_on_real_texts(emobank_texts, level):
    encoder = TextEncoder(max_words=500, level=level).fit(emobank_texts)
    counts = Counter(token for text in emobank_texts for token in encoder.tokens(text))
    assert encoder.words_ == sorted(counts, key=lambda token: (-counts[token], token))[:500]
    number = {token: i for i, token in enumerate(encoder.words_, start=2)}
    some = emobank_texts[:100] * 90  # more than one internal batch of 8,192
    ids = encoder.encode(some)
    expected = [[number.get(token, 1) for token in encoder.tokens(text)] for text in emobank_texts[:100]]
    assert [s.tolist() for s in ids.to_list()] == expected * 90
    assert encoder.unknown_texts_ == 90 * sum(set(row) <= {1} for row in expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6), st.sampled_from(["word", "char"]), st.booleans())
def test_any_unicode_text_gives_the_numbers_of_its_tokens(texts, level, lower):
    encoder = TextEncoder(level=level, lower=lower).fit(["a b c , A e\u0301 日", "0 a"])
    number = {token: i for i, token in enumerate(encoder.words_, start=2)}
    expected = [[number.get(token, 1) for token in encoder.tokens(text)] for text in texts]
    assert [s.tolist() for s in encoder.encode(texts).to_list()] == expected


@pytest.mark.parametrize("level", ["word", "char"])
def test_copies_encode_the_same(level):
    texts = ["a b b <unk>", "c été 日"]
    encoder = TextEncoder(level=level, max_words=5).fit(texts)
    copies = [
        TextEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))),
        pickle.loads(pickle.dumps(encoder)),
        copy.deepcopy(encoder),
    ]
    for other in copies:
        assert other.vocabulary_size == encoder.vocabulary_size
        assert torch.equal(other.encode([*texts, "new"]).values, encoder.encode([*texts, "new"]).values)


def test_errors():
    encoder = TextEncoder()
    with pytest.raises(DataError, match="Call fit first"):
        encoder.encode(["a"])
    with pytest.raises(DataError, match=r"Text 1 must be a str\. Got NoneType: None"):
        encoder.fit(["a", None])
    with pytest.raises(DataError, match="put it in a list"):
        encoder.fit("one text")
    with pytest.raises(DataError, match="None of the 2 texts holds a word"):
        encoder.fit([" ", ""])
    with pytest.raises(DataError, match="Text 0 is not valid Unicode"):
        encoder.fit(["half \ud83d"])
    with pytest.raises(InvalidParameterError, match="'max_words'"):
        TextEncoder(max_words=0)
    with pytest.raises(InvalidParameterError, match="Did you mean 'word'"):
        TextEncoder(level="words")


@pytest.mark.parametrize(
    "damage",
    [
        {"words": ["a", "a"]},
        {"words": []},
        {"words": ["<unk>"]},
        {"words": [1]},
        {"level": "x"},
        {"max_words": 0},
    ],
)
def test_a_damaged_dict(damage):
    state = TextEncoder().fit(["a b"]).to_dict()
    with pytest.raises(ModelFileError, match="saved TextEncoder"):
        TextEncoder.from_dict({**state, **damage})
