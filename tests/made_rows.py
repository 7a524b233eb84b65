"""Sequences for the tests of `Ragged`, and what it holds beside them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

lengths_lists = st.lists(st.integers(0, 6), max_size=6)
trailing_shapes = st.sampled_from([(), (1,), (3,), (2, 2)])


def make(lengths, trailing=(3,), dtype=torch.float32):
    """Sequences whose steps are all different: 1, 2, 3, ..."""
    total = sum(lengths)
    size = int(np.prod(trailing))
    values = (1 + torch.arange(total * size)).reshape(total, *trailing).to(dtype)
    return list(values.split(lengths)) if lengths else []


def same(ragged, sequences):
    assert len(ragged) == len(sequences)
    assert ragged.lengths.tolist() == [len(s) for s in sequences]
    for got, expected in zip(ragged.to_list(), sequences, strict=True):
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected)
