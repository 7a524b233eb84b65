"""Real texts for the text tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

EMOBANK = Path(__file__).resolve().parents[2] / "../shared/data/emobank/emobank.csv"


@pytest.fixture(scope="session")
def emobank_texts() -> list[str]:
    if not EMOBANK.exists():
        pytest.skip("EmoBank is not in ../shared/data")
    return pl.read_csv(EMOBANK)["text"].drop_nulls().to_list()


@pytest.fixture(autouse=True)
def numpy_name_that_the_oracle_reads(monkeypatch):
    """Keras-Preprocessing 1.1.2 asks for `np.unicode_`, which NumPy 2 calls `np.str_`."""
    monkeypatch.setattr(np, "unicode_", np.str_, raising=False)
