"""A fit on a table in pieces gives the model of a fit on the same rows in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError, InvalidParameterError
from unspool.tables import TableStream

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "embedding_dim": 6,
    "epochs": 3,
    "learning_rate": 0.01,
    "random_state": 0,
    "verbose": 0,
}
WORDS = [a + b for a in "bcdfgh" for b in ("an", "ol", "ir", "ut")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The same 240 rows as Parquet, CSV and JSON lines."""
    place = tmp_path_factory.mktemp("stream")
    random = np.random.default_rng(0)
    rows = [random.integers(0, len(WORDS), random.integers(1, 9)) for _ in range(240)]
    score = np.array([np.mean(row) for row in rows]) + random.normal(0, 0.5, 240)
    frame = pl.DataFrame(
        {
            "text": [" ".join(WORDS[i] for i in row) for row in rows],
            "score": score,
            "mood": np.where(score > 11, "up", "down"),
            "grade": np.digitize(score, [9, 13]),
            "high": (score > 12).astype(int),
            "low": (score < 10).astype(int),
            "size": random.normal(size=240),
            "weight": random.uniform(0.5, 2, 240),
        }
    )
    frame.write_parquet(place / "t.parquet", row_group_size=50)
    frame.write_csv(place / "t.csv")
    frame.write_ndjson(place / "t.jsonl")
    return place


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "t.parquet")


@pytest.mark.parametrize("file", ["t.parquet", "t.csv", "t.jsonl"])
@pytest.mark.parametrize("blend", [True, False])
def test_numbers_are_those_of_a_fit_in_memory(folder, file, blend, tmp_path):
    table = read(folder)
    texts = table["text"].to_list()
    theirs = SequenceRegressor(**SMALL, blend=blend, validation_fraction=0.2).fit(texts, table["score"])
    stream = TableStream(folder / file, "text", ["score"], rows=37)
    ours = SequenceRegressor(**SMALL, blend=blend, validation_fraction=0.2).fit_stream(stream, cache=tmp_path)
    np.testing.assert_array_equal(ours.predict(texts), theirs.predict(texts))
    np.testing.assert_array_equal(ours.predict(texts, level=80), theirs.predict(texts, level=80))
    losses = [[row["validation_loss"] for row in m.history_] for m in (ours, theirs)]
    assert losses[0] == losses[1]
    assert list(tmp_path.iterdir()) == []
    ours.save(tmp_path / "m.zip")
    np.testing.assert_allclose(
        unspool.load(tmp_path / "m.zip").predict(texts), ours.predict(texts), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("targets", "settings"),
    [
        (["mood"], {"class_weight": "balanced"}),
        (["grade"], {}),
        (["grade"], {"order": "auto", "calibrate": True}),
        (["high", "low"], {}),
    ],
)
def test_labels_too(folder, targets, settings):
    table = read(folder)
    texts, y = table["text"].to_list(), table.select(targets).to_numpy()
    y = y if len(targets) > 1 else y[:, 0]
    options = {**SMALL, **settings, "validation_fraction": 0.2}
    y = table.select(targets) if len(targets) > 1 else y.astype(str) if targets == ["mood"] else y
    theirs = SequenceClassifier(**options).fit(texts, y)
    ours = SequenceClassifier(**options).fit_stream(
        TableStream(folder / "t.parquet", "text", targets, rows=64)
    )
    assert ours.classes_.tolist() == theirs.classes_.tolist() and type(ours.task_) is type(theirs.task_)
    np.testing.assert_array_equal(ours.predict_proba(texts), theirs.predict_proba(texts))


def test_columns_beside_weights_and_chosen_rows(folder):
    table = read(folder)
    rows = np.arange(0, 240, 2)
    part = table[rows.tolist()]
    options = {**SMALL, "text_column": "text", "numeric": ("size",)}
    theirs = SequenceRegressor(**options).fit(part, part["score"], sample_weight=part["weight"].to_numpy())
    stream = TableStream(
        folder / "t.parquet", "text", ["score"], weight="weight", numeric=("size",), rows=100
    )
    ours = SequenceRegressor(**options).fit_stream(stream, rows=rows)
    np.testing.assert_array_equal(ours.predict(table), theirs.predict(table))


def test_characters_beside_words(folder):
    texts = read(folder)["text"].to_list()
    options = {**SMALL, "epochs": 2, "characters": "cnn", "blend": False}
    theirs = SequenceRegressor(**options).fit(texts, read(folder)["score"])
    ours = SequenceRegressor(**options).fit_stream(TableStream(folder / "t.parquet", "text", ["score"]))
    np.testing.assert_allclose(ours.predict(texts), theirs.predict(texts), rtol=1e-5)


def test_a_smaller_sample_and_shorter_epochs(folder):
    stream = TableStream(folder / "t.parquet", "text", ["score"])
    longer = {**SMALL, "batch_size": 8, "epochs": 12, "learning_rate": 0.03, "dropout": 0.0}
    model = SequenceRegressor(**longer).fit_stream(stream, sample=60, batches_per_epoch=10)
    assert model.linear_ is None  # of a sample only where it is asked for
    assert 2 < model.input_.vocabulary_size <= len(WORDS) + 2
    texts, score = read(folder)["text"].to_list(), read(folder)["score"].to_numpy()
    assert np.corrcoef(model.predict(texts), score)[0, 1] > 0.8
    seen = []

    class Count(unspool.training.Callback):
        def on_batch_end(self, trainer: Any, batch: Any) -> None:
            seen.append(batch.rows.numpy())

    SequenceRegressor(**{**SMALL, "batch_size": 8, "blend": False}).fit_stream(
        stream, batches_per_epoch=5, callbacks=[Count()]
    )
    assert len(seen) == 15 and {len(rows) for rows in seen} == {8}


def test_rows_that_lack_something_are_named_or_dropped(tmp_path):
    lines = [f"{w} {v},{i}" for i, (w, v) in enumerate(zip(WORDS * 3, WORDS[::-1] * 3))]
    lines[5], lines[40], lines[41] = ",3", "ban,", "col,"
    (tmp_path / "t.csv").write_text("text,y\n" + "\n".join(lines) + "\n")
    stream = TableStream(tmp_path / "t.csv", "text", ["y"], rows=2)
    with pytest.raises(DataError, match=r"'text' of t.csv has 1 missing value: row 6"):
        SequenceRegressor(**SMALL).fit_stream(stream)
    dropped = TableStream(tmp_path / "t.csv", "text", ["y"], rows=2, drop_missing=True)
    ours = SequenceRegressor(**SMALL).fit_stream(dropped)
    kept = [line.split(",") for i, line in enumerate(lines) if i not in (5, 40, 41)]
    texts, y = [text for text, _ in kept], np.array([float(v) for _, v in kept])
    np.testing.assert_array_equal(
        ours.predict(texts), SequenceRegressor(**SMALL).fit(texts, y).predict(texts)
    )


def test_what_does_not_go_together_says_so(folder, tmp_path):
    stream = TableStream(folder / "t.csv", "text", ["score"])
    with pytest.raises(InvalidParameterError, match="'warm_start'"):
        SequenceRegressor(**SMALL, warm_start=True).fit_stream(stream)
    with pytest.raises(DataError, match="the same of the estimator and of the stream"):
        SequenceRegressor(**SMALL, text_column="text", numeric=("size",)).fit_stream(stream)
    with pytest.raises(DataError, match="must be a list"):
        TableStream(folder / "t.csv", "text", "score")
    with pytest.raises(DataError, match=r"no column 'scor'.*Did you mean 'score'"):
        SequenceRegressor(**SMALL).fit_stream(TableStream(folder / "t.parquet", "text", ["scor"]))
    with pytest.raises(DataError, match="must be different"):
        TableStream(folder / "t.csv", "text", ["text"])
    (tmp_path / "t.json").write_text("[]")
    with pytest.raises(DataError, match="has no pieces"):
        SequenceRegressor(**SMALL).fit_stream(TableStream(tmp_path / "t.json", "text", ["y"]))
