"""`pad_sequences` against Keras-Preprocessing; `unpad` by hand and as its inverse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_preprocessing.sequence import pad_sequences as keras_pad_sequences

from unspool.errors import DataError, InvalidParameterError
from unspool.text import pad_sequences, unpad

SIDES = list(itertools.product(("pre", "post"), ("pre", "post")))


def assert_same(sequences, **arguments):
    got, expected = pad_sequences(sequences, **arguments), keras_pad_sequences(sequences, **arguments)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(-9, 9), max_size=6), min_size=1, max_size=5),
    st.none() | st.integers(1, 8),
    st.sampled_from(SIDES),
    st.sampled_from(["int32", "int64", "float32", np.float64]),
    st.sampled_from([0, 0.0, -1, 2.5]),
)
def test_pad_sequences_is_the_classic_one(sequences, maxlen, sides, dtype, value):
    padding, truncating = sides
    assert_same(sequences, maxlen=maxlen, dtype=dtype, padding=padding, truncating=truncating, value=value)


def test_pad_sequences_of_arrays_vectors_strings_and_empty_ones():
    assert_same([np.arange(3), np.arange(5)])
    assert_same([[[1, 2], [3, 4]], [], [[5, 6]]], maxlen=3, padding="post")
    assert_same([["a", "bc"], ["d"]], dtype=object, value="")
    assert_same([["a", "bc"], ["d"]], dtype="<U2", value="-", padding="post")
    assert_same([[], []], maxlen=2)
    assert_same([], maxlen=2)


@pytest.mark.parametrize(
    ("sequences", "arguments"),
    [
        ([[1], [2]], {"padding": "left"}),
        ([[1], [2]], {"truncating": "left"}),
        ([1, 2], {}),
        (5, {}),
        ([], {}),
        ([[[1, 2]], [3]], {}),
        ([["a"]], {"value": "pad"}),
        ([[1]], {"maxlen": -1}),
    ],
)
def test_both_refuse(sequences, arguments):
    with pytest.raises(ValueError):
        keras_pad_sequences(sequences, **arguments)
    with pytest.raises((DataError, InvalidParameterError)):
        pad_sequences(sequences, **arguments)


def test_a_maxlen_of_zero_cuts_everything_off():
    assert pad_sequences([[1, 2], []], maxlen=0).shape == (2, 0)


def test_unpad_by_hand():
    array = np.array([[0, 0, 3, 0, 4], [5, 6, 0, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]], dtype=np.int32)
    ragged = unpad(array)
    assert [s.tolist() for s in ragged.to_list()] == [[3, 0, 4], [5, 6], [1, 2, 3, 4, 5], []]
    assert ragged.values.dtype == torch.int64
    assert unpad([[7, 1], [2, 7]], value=7).values.tolist() == [1, 2]


def test_unpad_of_vectors_drops_steps_that_are_all_pad():
    array = np.zeros((1, 4, 2), dtype=np.float32)
    array[0, 1], array[0, 3] = (0, 1), (2, 0)
    assert unpad(array).to_list()[0].tolist() == [[0, 1], [0, 0], [2, 0]]
    array[array == 0] = np.nan
    assert torch.equal(unpad(array, value=float("nan")).lengths, torch.tensor([3]))


def test_unpad_needs_two_axes():
    with pytest.raises(DataError, match=r"\(B, T, \.\.\.\)"):
        unpad([1, 2])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=5),
    st.sampled_from(["pre", "post"]),
    st.integers(0, 3),
)
def test_unpad_undoes_pad_sequences(sequences, padding, extra):
    padded = pad_sequences(sequences, maxlen=max(map(len, sequences)) + extra, padding=padding)
    assert [s.tolist() for s in unpad(padded).to_list()] == sequences
