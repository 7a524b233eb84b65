"""A seeded table whose score can be computed from the text, and models trained on it once a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from unspool.cli.app import app

WORTH = {"good": 1.0, "fine": 0.5, "dull": -0.5, "awful": -1.0}
FILLER = ["the", "day", "was", "and", "so", "NA"]
SMALL = [
    *("--hidden-size", "8", "--embedding-dim", "8", "--epochs", "6", "--batch-size", "16"),
    *("--learning-rate", "0.02", "--quiet"),
]


def reviews(n: int, seed: int = 0) -> pl.DataFrame:
    """Columns text, score (the sum of its words' worth), mood ("up" above 0, otherwise "down"), split."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice([*WORTH, *FILLER], rng.integers(2, 9))) for _ in range(n)]
    scores = [sum(WORTH.get(word, 0.0) for word in text.split()) for text in texts]
    split = rng.choice(["train", "dev", "test"], n, p=[0.7, 0.1, 0.2])
    mood = ["up" if score > 0 else "down" for score in scores]
    return pl.DataFrame({"text": texts, "score": scores, "mood": mood, "split": split})


def run(*arguments: object, code: int = 0, stdin: str | None = None):
    """Run the command line in this process; its exit code must be `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, (
        f"{result.exit_code}\n{result.stdout}\n{result.stderr}\n{result.exception!r}"
    )
    return result


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with reviews.csv, the regressor `model` of `score` and its report."""
    folder = tmp_path_factory.mktemp("regressor")
    reviews(240).write_csv(folder / "reviews.csv")
    command = [
        "fit",
        folder / "reviews.csv",
        "--input",
        "text",
        "--target",
        "score",
        "--split-column",
        "split",
    ]
    (folder / "fit.txt").write_text(run(*command, "--out", folder / "model", *SMALL).stdout)
    return folder


@pytest.fixture(scope="session")
def classified(tmp_path_factory) -> Path:
    """A folder with reviews.csv, the classifier `model` of `mood` and its report."""
    folder = tmp_path_factory.mktemp("classifier")
    reviews(240).write_csv(folder / "reviews.csv")
    command = ["fit", folder / "reviews.csv", "--input", "text", "--target", "mood"]
    (folder / "fit.txt").write_text(run(*command, "--out", folder / "model", *SMALL).stdout)
    return folder


@pytest.fixture
def table(tmp_path) -> Path:
    """A small reviews.csv of its own."""
    reviews(60).write_csv(tmp_path / "reviews.csv")
    return tmp_path / "reviews.csv"
