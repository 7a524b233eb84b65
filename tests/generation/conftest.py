from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from unspool import SequenceGenerator

SMALL = {
    "hidden_size": 24,
    "embedding_dim": 12,
    "batch_size": 4,
    "chunk_length": 20,
    "random_state": 0,
    "verbose": 0,
}
TEXT = "the cat sat on the mat. a dog ran to the cat; the mat sat. " * 12


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks take longer on two threads of a busy machine; numbers depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def model() -> SequenceGenerator:
    """Of characters, of one text."""
    return SequenceGenerator(**SMALL, epochs=6, learning_rate=0.01).fit(TEXT)


@pytest.fixture(scope="package")
def names() -> SequenceGenerator:
    """Of characters, of texts whose ends are learnt: a letter, repeated one to three times."""
    texts = [letter * count for letter in "abc" for count in (1, 2, 3)] * 8
    return SequenceGenerator(**SMALL, epochs=8, learning_rate=0.02, dropout=0.0).fit(texts)
