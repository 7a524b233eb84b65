from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from unspool import Seq2Seq
from unspool.seq2seq import EncoderDecoder

SMALL = {"hidden_size": 16, "embedding_dim": 8, "batch_size": 8, "random_state": 0, "verbose": 0}
LETTERS = [
    "".join(t) for t in ("a", "b", "c", "ab", "ba", "ac", "ca", "bc", "cb", "abc", "cab", "bca", "cba")
]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks take longer on two threads of a busy machine; numbers depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(
    cell: str = "lstm", num_layers: int = 1, attention: str = "multiplicative", **options
) -> EncoderDecoder:
    """5 source tokens, 4 target tokens; every weight drawn, so that nothing is 0 by chance of its start."""
    sizes = {"embedding_dim": 6, "hidden_size": 5, **options}
    torch.manual_seed(0)
    made = EncoderDecoder(5, 4, cell=cell, num_layers=num_layers, attention=attention, **sizes)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made.eval()


@pytest.fixture(scope="package")
def model() -> Seq2Seq:
    """Letters to their capitals, the last first: "abc" -> "CBA"; trained a little."""
    targets = [text[::-1].upper() for text in LETTERS]
    settings = {**SMALL, "hidden_size": 24, "epochs": 20, "learning_rate": 0.02, "dropout": 0.0}
    return Seq2Seq(**settings, early_stopping=False).fit(LETTERS * 3, targets * 3)
