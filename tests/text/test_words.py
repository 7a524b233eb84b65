"""Words piece by piece are those that the tokenizers library finds in the whole text."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import trainers

from unspool import _native
from unspool.errors import DataError
from unspool.text import Split, TextEncoder, words

NASTY = "aAbΣς'\u2019 .!日語\t\n\u00a0\u2028\x1c\u0301\u0345\u093f\u1100\u1161\u2000\u200d\ufe0f❤İ<>_0"
EACH = st.text(st.sampled_from(NASTY) | st.characters(codec="utf-8"), max_size=20)
TEXTS = st.lists(EACH | st.text(st.characters(max_codepoint=127), max_size=30), max_size=5)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.booleans())
def test_as_the_library_alone(texts, lower):
    encoder = TextEncoder(lower=lower).fit(["a b c, A é 日 ' 0 \u03c3", *texts])
    wanted = alone(encoder, texts)
    assert [row.tolist() for row in encoder.encode(texts).to_list()] == wanted
    split = encoder.split(texts)
    assert split.words() == [word for text in texts for word in encoder.tokens(text)]
    assert [row.tolist() for row in encoder.encode(split).to_list()] == wanted


def alone(encoder, texts):
    """The numbers that the tokenizers library gives."""
    return [row.ids for row in encoder.tokenizer().encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("lower", [True, False])
def test_every_ascii_character_beside_every_kind(lower):
    characters, kinds = (
        [chr(c) for c in range(128)],
        ["", "a", "Z", "_", "0", "'", ".", " ", "\t", "\x1c", "\0"],
    )
    texts = [f"{left}{c}{right}" for left, c, right in product(kinds, characters, kinds)]
    encoder = TextEncoder(lower=lower).fit(texts)
    assert len(encoder.words) == len(set(encoder.words)) > 128 - 7
    assert [row.tolist() for row in encoder.encode(texts).to_list()] == alone(encoder, texts)


def test_ascii_in_strings_of_every_width():
    """Pieces of ASCII beside others: of 1, 2 and 4 bytes a character, with words that both kinds hold."""
    texts = [
        "a B's c",
        "a é b's",
        "日 B's a日c a",
        "❤ 😀😀 c a",
        "é",
        "😀 b's",
        "",
        " ",
        "x" * 1000 + " 日" * 100,
    ]
    encoder = TextEncoder(lower=True).fit(texts)
    assert [row.tolist() for row in encoder.encode(texts).to_list()] == alone(encoder, texts)
    split = encoder.split(texts)
    assert len(set(split.names)) == len(split.names)
    assert split.words()[:6] == ["a", "b's", "c", "a", "é", "b's"]


def test_many_words_are_told_apart():
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{n:x}" for n in random.integers(0, 50_000, 40)) for _ in range(3000)]
    split = TextEncoder().fit(["a"]).split(texts)
    assert split.words() == " ".join(texts).split() and len(split.names) == len(set(split.names)) > 45_000


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.booleans(), st.integers(1, 6))
def test_most_frequent_as_the_library_counts(texts, lower, count):
    texts = ["b a b, C é", *texts]
    encoder = TextEncoder(count, lower=lower).fit(texts)
    trainer = trainers.WordLevelTrainer(vocab_size=count, special_tokens=[], show_progress=False)
    rust = TextEncoder(lower=lower).fit(["a"]).tokenizer()
    rust.train_from_iterator(texts, trainer)
    found = rust.get_vocab()
    assert encoder.words == sorted(found, key=found.__getitem__)


def test_what_the_native_splitter_refuses():
    for texts, message in (
        (["a"], "must be a tuple"),
        (("a", b"b"), "must be str"),
        (("a", None), "must be str"),
    ):
        with pytest.raises(TypeError, match=message):
            _native.split_words(texts, True)
    with pytest.raises(UnicodeDecodeError):
        _native.split_words(("a \ud800",), True)


def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch):
    texts = [f"ẃ{i}, {'é' * (i % 50)} a" for i in range(300)]
    expected = TextEncoder().fit(texts).encode(texts)
    monkeypatch.setattr(words, "_KEPT", 100)
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
