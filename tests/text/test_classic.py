"""The classic functions against Keras-Preprocessing itself."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from keras_preprocessing import sequence as keras_sequence
from keras_preprocessing import text as keras_text

from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.text import (
    TimeseriesGenerator,
    Tokenizer,
    hashing_trick,
    make_sampling_table,
    one_hot,
    skipgrams,
    timeseries_generator_from_json,
    tokenizer_from_json,
)

TEXT = "The quick brown fox, the LAZY dog! jumps-over the fox."


@pytest.mark.parametrize("n", [2, 3, 50])
@pytest.mark.parametrize("options", [{}, {"filters": "", "lower": False}, {"split": "o"}])
def test_hashes(n, options):
    assert one_hot(TEXT, n, **options) == keras_text.one_hot(TEXT, n, **options)
    for function in (None, "md5", len):
        expected = keras_text.hashing_trick(TEXT, n, hash_function=function, **options)
        assert hashing_trick(TEXT, n, function, **options) == expected
    with pytest.raises(InvalidParameterError, match="'hash_function'"):
        hashing_trick(TEXT, n, "sha1")
    with pytest.raises(InvalidParameterError, match="'n'"):
        one_hot(TEXT, 1)


def test_sampling_table():
    for size, factor in ((1, 1e-5), (7, 1e-3), (1000, 1e-5), (1000, 0.5)):
        expected = keras_sequence.make_sampling_table(size, factor)
        assert np.allclose(make_sampling_table(size, factor), expected, rtol=1e-12)


@pytest.mark.parametrize("sequence", [[], [3], [1, 2, 3, 4, 5, 0, 2, 2], [0, 0], list(range(1, 30))])
@pytest.mark.parametrize("window_size", [0, 1, 4])
@pytest.mark.parametrize("categorical", [False, True])
def test_skipgrams(sequence, window_size, categorical):
    for negatives in (0.0, 1.0, 0.5, 2.0):
        table = np.linspace(0, 1, 40)
        for sampling_table in (None, table):
            options = {"window_size": window_size, "negative_samples": negatives, "categorical": categorical}
            options |= {"sampling_table": sampling_table, "shuffle": False}
            found = []
            for function in (skipgrams, keras_sequence.skipgrams):
                random.seed(5)
                found.append(function(sequence, 40, **options))
            assert found[0][0] == found[1][0] and found[0][1] == found[1][1]
    shuffled = skipgrams(sequence, 40, window_size, 0.0, categorical=categorical, seed=3)
    expected = keras_sequence.skipgrams(sequence, 40, window_size, 0.0, categorical=categorical, seed=3)
    assert shuffled[0] == expected[0] and shuffled[1] == expected[1]


def test_skipgrams_are_reproducible_by_their_seed():
    sequence = list(range(1, 20))
    assert (
        skipgrams(sequence, 20, seed=1) == skipgrams(sequence, 20, seed=1) != skipgrams(sequence, 20, seed=2)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"length": 3},
        {"length": 4, "sampling_rate": 2, "batch_size": 5},
        {"length": 5, "sampling_rate": 3, "stride": 2, "batch_size": 3, "reverse": True},
        {"length": 1, "start_index": 7, "end_index": 30, "batch_size": 4},
        {"length": 6, "stride": 5, "batch_size": 2, "start_index": 2},
    ],
)
@pytest.mark.parametrize("shape", [(41,), (41, 3), (41, 2, 3)])
def test_windows(options, shape):
    data = np.random.default_rng(0).normal(size=shape)
    targets = np.arange(41) * 10
    ours, theirs = (
        c(data, targets, **options) for c in (TimeseriesGenerator, keras_sequence.TimeseriesGenerator)
    )
    assert len(ours) == len(theirs)
    again = timeseries_generator_from_json(ours.to_json())
    for number, (x, y) in enumerate(ours):
        for other in (theirs[number], again[number]):
            assert np.array_equal(x, other[0]) and np.array_equal(y, other[1])
    assert number == len(ours) - 1 and np.array_equal(ours[-1][0], ours[number][0])
    with pytest.raises(IndexError):
        ours[len(ours)]
    drawn = []
    for cls in (TimeseriesGenerator, keras_sequence.TimeseriesGenerator):
        np.random.seed(3)
        drawn.append(cls(data, targets, shuffle=True, **options)[0])
    assert all(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))


def test_windows_that_do_not_fit():
    with pytest.raises(DataError, match=r"equally long\. Got 5 and 4"):
        TimeseriesGenerator(np.ones(5), np.ones(4), 2)
    with pytest.raises(DataError, match="No window of 5 steps"):
        TimeseriesGenerator(np.ones(5), np.ones(5), 5)
    with pytest.raises(InvalidParameterError, match="'stride'"):
        TimeseriesGenerator(np.ones(5), np.ones(5), 2, stride=0)
    with pytest.raises(ModelFileError, match="TimeseriesGenerator"):
        timeseries_generator_from_json("{}")


@pytest.mark.parametrize("token", [0, 7, 1.5, True, "<oov>", ""])
def test_a_token_for_unknown_words_of_any_plain_type(token):
    tokenizer = Tokenizer(oov_token=token, num_words=3)
    keras = keras_text.Tokenizer(oov_token=token, num_words=3)
    for each in (tokenizer, keras):
        each.fit_on_texts(["a b a", "b a c"])
    expected = keras.texts_to_sequences(["a z b c"])
    copies = [
        tokenizer_from_json(tokenizer.to_json()),
        tokenizer_from_json(keras.to_json()),
        Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))),
    ]
    for each in (tokenizer, *copies):
        assert each.texts_to_sequences(["a z b c"]) == expected
        assert each.word_index == tokenizer.word_index and each.oov_token == token
        assert type(each.oov_token) is type(token)


def test_a_token_that_json_cannot_name():
    with pytest.raises(InvalidParameterError, match="'oov_token'"):
        Tokenizer(oov_token=("a",))
