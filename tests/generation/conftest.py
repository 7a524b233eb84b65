from __future__ import annotations

import pytest
from estimators.conftest import one_thread

from unspool import SequenceGenerator

__all__ = ["one_thread"]

SMALL = {
    "hidden_size": 24,
    "embedding_dim": 12,
    "batch_size": 4,
    "chunk_length": 20,
    "random_state": 0,
    "verbose": 0,
}
TEXT = "the cat sat on the mat. a dog ran to the cat; the mat sat. " * 12


@pytest.fixture(scope="session")
def model() -> SequenceGenerator:
    """Of characters, of one text."""
    return SequenceGenerator(**SMALL, epochs=6, learning_rate=0.01).fit(TEXT)


@pytest.fixture(scope="session")
def names() -> SequenceGenerator:
    """Of characters, of texts whose ends are learnt: a letter, repeated one to three times."""
    texts = [letter * count for letter in "abc" for count in (1, 2, 3)] * 8
    return SequenceGenerator(**SMALL, epochs=8, learning_rate=0.02, dropout=0.0).fit(texts)
