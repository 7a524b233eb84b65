from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

SMALL = {
    "hidden_size": 12,
    "embedding_dim": 8,
    "batch_size": 16,
    "learning_rate": 0.02,
    "pooling": "mean",
    "epochs": 12,
    "random_state": 0,
    "verbose": 0,
    # Without what a recipe adds.
    "averaging": 0.0,
    "blend": False,
}


def make_texts(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts of 1 to 8 of 30 words; y is 50 + 20 times the mean of their words' hidden values."""
    words = [f"{a}{b}" for a in "bdfgk" for b in ("a", "e", "i", "o", "u", "ai")]
    value = np.random.RandomState(99).randn(30)
    random = np.random.RandomState(seed)
    rows = [random.randint(0, 30, random.randint(1, 9)) for _ in range(count)]
    return [" ".join(words[i] for i in row) for row in rows], np.array(
        [50 + 20 * value[row].mean() for row in rows]
    )


@pytest.fixture(scope="session")
def texts() -> tuple[list[str], np.ndarray]:
    return make_texts(240)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A batch of these small networks takes 2 ms on one thread, and 100 on two of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
