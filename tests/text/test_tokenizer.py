"""`Tokenizer` against Keras-Preprocessing 1.1.2, on real and on generated texts."""

from __future__ import annotations

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_preprocessing import text as keras_text

from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.text import Tokenizer, text_to_word_sequence, tokenizer_from_json

ATTRIBUTES = ("word_counts", "word_docs", "word_index", "index_word", "index_docs", "document_count")
MODES = ("binary", "count", "tfidf", "freq")
OPTIONS = list(itertools.product((None, 1, 3, 50), (True, False), (True, False), (None, "<oov>", "the")))

# Few letters, so that words repeat; capitals whose lower case is longer or depends on what follows; filtered
# characters, spaces of several kinds, a combining mark, an emoji.
letters = st.text(alphabet="aabbßİΣ\u03c3é \t\n\u00a0\u0301!'^]\\-🙂", max_size=12)
texts_of_all_kinds = st.lists(letters | st.text(max_size=8) | st.lists(letters, max_size=4), max_size=5)


def pair(texts, **options):
    ours, keras = Tokenizer(**options), keras_text.Tokenizer(**options)
    ours.fit_on_texts(texts)
    keras.fit_on_texts(texts)
    return ours, keras


def assert_same(ours, keras, texts):
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(keras, name), name
    assert list(ours.word_counts) == list(keras.word_counts)
    assert list(ours.word_index) == list(keras.word_index)
    sequences = ours.texts_to_sequences(texts)
    assert sequences == keras.texts_to_sequences(texts)
    assert sequences == list(ours.texts_to_sequences_generator(iter(texts)))
    some = [*sequences, [0, 1, 2, 10**6]]
    assert ours.sequences_to_texts(some) == keras.sequences_to_texts(some)
    if keras.word_index and keras.document_count:
        for mode in MODES:
            got, expected = ours.texts_to_matrix(texts, mode), keras.texts_to_matrix(texts, mode)
            np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize(("num_words", "lower", "char_level", "oov_token"), OPTIONS)
def test_real_texts(emobank_texts, num_words, lower, char_level, oov_token):
    options = {"num_words": num_words, "lower": lower, "char_level": char_level, "oov_token": oov_token}
    ours, keras = pair(emobank_texts[:300], **options)
    assert_same(ours, keras, emobank_texts[200:350])


def test_all_real_texts(emobank_texts):
    ours, keras = pair(emobank_texts, num_words=10000)
    assert ours.word_index == keras.word_index
    assert ours.texts_to_sequences(emobank_texts) == keras.texts_to_sequences(emobank_texts)


@settings(max_examples=150, deadline=None)
@given(
    texts_of_all_kinds, texts_of_all_kinds, st.sampled_from(OPTIONS), st.sampled_from([" ", "a", "ab", "\\1"])
)
def test_generated_texts(texts, others, options, split):
    names = ("num_words", "lower", "char_level", "oov_token")
    ours, keras = pair(texts, split=split, **dict(zip(names, options, strict=True)))
    assert_same(ours, keras, others)
    ours.fit_on_texts(others)
    keras.fit_on_texts(others)
    assert_same(ours, keras, texts)


@settings(max_examples=50, deadline=None)
@given(
    letters, st.sampled_from([keras_text.Tokenizer().filters, "", "a", "^]\\-", ["!", "b"]]), st.booleans()
)
def test_text_to_word_sequence(text, filters, lower):
    for split in (" ", "b", "ab", "aa", "\\"):
        expected = keras_text.text_to_word_sequence(text, filters, lower, split)
        assert text_to_word_sequence(text, filters, lower, split) == expected


def test_fit_on_sequences():
    sequences = [[1, 2, 2], [2, 5], []]
    ours, keras = Tokenizer(num_words=4), keras_text.Tokenizer(num_words=4)
    for tokenizer in (ours, keras):
        tokenizer.fit_on_sequences(sequences)
    assert ours.index_docs == keras.index_docs
    assert ours.document_count == keras.document_count == 3
    for mode in MODES:
        np.testing.assert_allclose(
            ours.sequences_to_matrix(sequences, mode), keras.sequences_to_matrix(sequences, mode), rtol=1e-14
        )


def test_tfidf_by_hand():
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a a b", "a"])
    # two documents; a: 2 times, in 2 documents: (1 + ln 2) * ln(1 + 2/3) = 1.693147 * 0.510826 = 0.864903
    # b: once, in 1 document: 1 * ln(1 + 2/2) = 0.693147
    np.testing.assert_allclose(
        tokenizer.texts_to_matrix(["a a b"], "tfidf"), [[0, 0.864903, 0.693147]], atol=1e-6
    )


def test_errors_where_the_classic_one_has_errors():
    for make in (Tokenizer, keras_text.Tokenizer):
        with pytest.raises(ValueError):
            make().sequences_to_matrix([[1]])
        with pytest.raises(ValueError):
            make(num_words=3).sequences_to_matrix([[1]], "tfidf")
        with pytest.raises(ValueError):
            make(num_words=3).sequences_to_matrix([[1]], "nothing")
        with pytest.raises(ValueError):
            make(split="").fit_on_texts(["a b"])
        with pytest.raises(TypeError):
            make(words=3)
    with pytest.raises(InvalidParameterError, match="'count'"):
        Tokenizer(num_words=3).sequences_to_matrix([[1]], "counts")


def test_errors_where_the_classic_one_goes_wrong_silently():
    with pytest.raises(DataError, match="put it in a list"):
        Tokenizer().fit_on_texts("one text")
    with pytest.raises(DataError, match="no words yet"):
        Tokenizer(oov_token="?").texts_to_sequences(["a"])
    with pytest.raises(DataError, match="Got -1"):
        Tokenizer(num_words=3).sequences_to_matrix([[-1]])
    with pytest.raises(DataError, match=r"Text 1 must be a str or a list of str\. Got float"):
        Tokenizer().fit_on_texts(["a", float("nan")])


def test_the_json_form_is_read_by_both(emobank_texts):
    ours, keras = pair(emobank_texts[:100], num_words=50, oov_token="?")
    texts = emobank_texts[100:200]
    expected = keras.texts_to_sequences(texts)
    for written in (ours.to_json(), keras.to_json(indent=1)):
        for read in (tokenizer_from_json, keras_text.tokenizer_from_json):
            tokenizer = read(written)
            assert tokenizer.texts_to_sequences(texts) == expected
            assert all(getattr(tokenizer, name) == getattr(keras, name) for name in ATTRIBUTES)
    tables = {"word_counts", "word_docs", "index_docs", "word_index", "index_word"}
    for name, value in keras.get_config().items():
        got = ours.get_config()[name]
        assert (json.loads(got) == json.loads(value)) if name in tables else (got == value)


def test_copies_predict_the_same_and_can_be_fitted_on():
    texts = ["a b b", "c İ'"]
    ours, keras = pair(texts, oov_token="?")
    copies = [
        Tokenizer.from_dict(json.loads(json.dumps(ours.to_dict()))),
        pickle.loads(pickle.dumps(ours)),
        copy.deepcopy(ours),
        tokenizer_from_json(ours.to_json()),
    ]
    keras.fit_on_texts(["new b"])
    for tokenizer in copies:
        tokenizer.fit_on_texts(["new b"])
        assert_same(tokenizer, keras, [*texts, "b new unheard"])


@pytest.mark.parametrize("damage", ["missing", "extra", "type", "inner type", "key", "not a dict"])
def test_a_damaged_dict(damage):
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    state = tokenizer.to_dict()
    if damage == "missing":
        del state["split"]
    elif damage == "extra":
        state["run"] = "x"
    elif damage == "type":
        state["lower"] = 1
    elif damage == "inner type":
        state["word_index"]["a"] = "1"
    elif damage == "key":
        state["index_docs"]["one"] = 1
    else:
        state = [state]
    with pytest.raises(ModelFileError, match="saved Tokenizer"):
        Tokenizer.from_dict(state)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {}}', '{"config": {"word_counts": "{"}}'])
def test_damaged_json(text):
    with pytest.raises(ModelFileError):
        tokenizer_from_json(text)
