"""Words piece by piece are those that the tokenizers library finds in the whole text."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.errors import DataError
from unspool.text import Split, TextEncoder, words

NASTY = "aAbΣς'\u2019 .!日語\t\n\u00a0\u2028\x1c\u0301\u0345\u093f\u1100\u1161\u2000\u200d\ufe0f❤İ<>_0"
TEXTS = st.lists(st.text(st.sampled_from(NASTY) | st.characters(codec="utf-8"), max_size=20), max_size=5)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.booleans())
def test_as_the_library_alone(texts, lower):
    encoder = TextEncoder(lower=lower).fit(["a b c, A é 日 ' 0 \u03c3", *texts])
    alone = [row.ids for row in encoder.tokenizer().encode_batch(texts, add_special_tokens=False)]
    assert [row.tolist() for row in encoder.encode(texts).to_list()] == alone
    split = encoder.split(texts)
    assert split.words() == [word for text in texts for word in encoder.tokens(text)]
    assert [row.tolist() for row in encoder.encode(split).to_list()] == alone


def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch):
    texts = [f"w{i}, {'x' * (i % 50)} a" for i in range(300)]
    expected = TextEncoder().fit(texts).encode(texts)
    monkeypatch.setattr(words, "_KEPT", 100)
    monkeypatch.setattr(words, "BLOCK", 64)
    encoder = TextEncoder().fit(texts)
    for part in (texts, texts[:30], texts[200:], texts):
        encoder.encode(part)
        assert 0 < len(encoder._split._remembered) <= 100
        assert max(map(len, encoder._split._remembered)) <= 40
    assert encoder.encode(texts).values.equal(expected.values)
    assert encoder.encode(texts).offsets.equal(expected.offsets)
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert twin._split._remembered == {}
        assert twin.encode(texts).values.equal(expected.values)


def test_blocks_are_the_whole():
    split = TextEncoder().fit(["a"]).split(["a b", "", "c", "", "d e f", "g", ""])
    assert isinstance(split, Split) and len(split) == 7
    for size in (1, 2, 3, 100):
        parts = list(split.blocks(size))
        assert sum(map(len, parts)) == 7
        assert [word for part in parts for word in part.words()] == list("abcdefg")
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        assert lengths.tolist() == [2, 0, 1, 0, 3, 1, 0]
    assert len(list(split.blocks(1))) > 2
    assert [len(part) for part in TextEncoder().fit(["a"]).split([]).blocks()] == [0]


def test_some_texts_of_a_split_are_the_split_of_these():
    encoder, texts = TextEncoder().fit(["a"]), ["a b", "", "c b", "d e a"]
    part = encoder.split(texts).take(np.array([2, 1, 0, 2]))
    wanted = encoder.split([texts[2], texts[1], texts[0], texts[2]])
    assert part.words() == wanted.words() and part.offsets.tolist() == wanted.offsets.tolist()
    assert sorted(part.names) == ["a", "b", "c"] and part.codes.dtype == wanted.codes.dtype
    assert len(encoder.split(texts).take(np.array([], int))) == 0


def test_characters_are_not_split():
    with pytest.raises(DataError, match="Got level='char'"):
        TextEncoder(level="char").fit(["a"]).split(["a"])
