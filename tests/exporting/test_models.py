"""Fitted estimators: ids, texts, series and columns in, predictions out, against `predict`."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError
from unspool.exporting import to_onnx
from unspool.signals import Sound
from unspool.text import pad_sequences

from .runtime import close, run

WORDS = "a fine warm day at the sea , rain and fog all the long grey night don't stop now !".split()
QUICK: dict[str, Any] = {"hidden_size": 5, "embedding_dim": 6, "epochs": 1, "verbose": 0, "random_state": 0}
QUICK |= {"early_stopping": False, "blend": False}


def texts(count: int, seed: int = 0) -> list[str]:
    random = np.random.RandomState(seed)
    return [" ".join(random.choice(WORDS, random.randint(1, 9))) for _ in range(count)]


def series(count: int, missing: bool = False) -> list[np.ndarray]:
    random = np.random.RandomState(1)
    found = [(random.randn(random.randint(1, 9), 3) * (1, 50, 0.01) + (0, 900, 5)) for _ in range(count)]
    if missing:
        for row in found:
            row[random.rand(*row.shape) < 0.2] = np.nan
    return found


def encoded(tokenizer: Path, given: Sequence[str]) -> dict[str, np.ndarray]:
    """ids and lengths by the tokenizers library alone."""
    rust = Tokenizer.from_file(str(tokenizer))
    ids = [row.ids for row in rust.encode_batch(list(given))]
    lengths = np.array([len(row) for row in ids])
    return {"ids": pad_sequences(ids, padding="post").astype(np.int64), "lengths": lengths}


def padded(given: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    x = np.full((len(given), max(map(len, given)), given[0].shape[1]), 1e9, dtype=np.float32)
    for row, values in zip(x, given):
        row[: len(values)] = values
    return {"x": x, "lengths": np.array([len(values) for values in given])}


@pytest.mark.parametrize("level", ["word", "char"])
def test_texts_to_numbers(level: str, tmp_path: Path) -> None:
    X, y = texts(40), np.arange(40) * 1000.0 + 1e6
    model = SequenceRegressor(level=level, **QUICK).fit(X, y)
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.beside == (tmp_path / "tokenizer.json",)
    to_onnx(model, tmp_path / "m.onnx")  # once more in its place
    with pytest.raises(
        DataError, match=r"tokenizer.json' is another model's, maybe that of 'm.onnx' beside it"
    ):
        to_onnx(SequenceRegressor(level=level, **QUICK).fit([*X, "more"], [*y, 0]), tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx").exists()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # bytes of a file, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            to_onnx(model, tmp_path / "new" / "m.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "new").exists()
    new = [
        "",
        "The DAY",
        "un\u00e9 été \u2019 d\u2019un \U0001f600 don\u2019t",
        "rain\nrain  !!",
        *texts(6, 1),
    ]
    with pytest.warns(UserWarning, match="texts hold no"):
        expected = model.predict(new)
    found = run(tmp_path / "m.onnx", **encoded(tmp_path / "tokenizer.json", new))
    np.testing.assert_allclose(found["prediction"], expected, rtol=0, atol=1e-5 * y.std())
    assert len({*found["prediction"].tolist()}) > 6


POOLINGS = ["last", "first+attention", "mean+max"]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", ["gru", "layer_norm_lstm"])
def test_ids_to_classes_by_every_pooling(cell: str, pooling: str, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    X = [random.randint(1, 30, random.randint(1, 9)).tolist() for _ in range(60)]
    y = np.array(["cold", "warm", "hot"])[random.randint(0, 3, 60)]
    options = {"num_layers": 2, "dense": (7,), "ensemble": 2, "zoneout": 0.1, **QUICK}
    model = SequenceClassifier(cell=cell, pooling=pooling, **options).fit(X, y)
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.inputs == {"ids": ("batch", "time"), "lengths": ("batch",)} and not exported.beside
    lengths = np.array([len(row) for row in X])
    found = run(
        tmp_path / "m.onnx", ids=pad_sequences(X, padding="post", value=777).astype(np.int64), lengths=lengths
    )
    assert found["label"].tolist() == model.predict(X).tolist()
    close(found["probabilities"], model.predict_proba(X))
    assert len(set(found["label"])) > 1
    about = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(about["unspool.classes"]) == ["cold", "hot", "warm"]


@pytest.mark.parametrize(
    ("connection", "bidirectional", "merge"),
    [
        (None, True, "sum"),
        ("residual", True, "concat"),
        ("residual", False, "concat"),
        ("highway", True, "concat"),
    ],
)
def test_last_with_connections(
    connection: str | None, bidirectional: bool, merge: str, tmp_path: Path
) -> None:
    X, y = series(30), np.arange(30) % 2 == 0
    options = {"num_layers": 2, "connection": connection, "merge": merge, "pooling": "last", **QUICK}
    model = SequenceClassifier(bidirectional=bidirectional, **options).fit(X, y)
    to_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", **padded(X))
    assert found["label"].dtype == np.bool_ and found["label"].tolist() == model.predict(X).tolist()
    close(found["probabilities"], model.predict_proba(X))


@pytest.mark.parametrize("cell", ["lstm", "gru_d"])
def test_series_with_missing_values_to_two_numbers(cell: str, tmp_path: Path) -> None:
    X = series(30, missing=True)
    y = np.stack([np.arange(30.0) * 1e-9, np.arange(30.0) ** 2], 1)
    with pytest.warns(UserWarning, match="missing"):
        model = SequenceRegressor(cell=cell, **QUICK).fit(X, y)
    to_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", **padded(X))["prediction"]
    assert (np.abs(found - model.predict(X)) / y.std(0)).max() < 1e-5


def test_recordings_by_their_spectra(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    X = [Sound(random.randn(n).astype(np.float32), 8000) for n in random.randint(400, 1600, 12)]
    model = SequenceClassifier(mel_bands=8, **QUICK).fit(X, np.arange(12) % 3)
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert "spectra" in exported.notes[0]
    found = run(tmp_path / "m.onnx", **padded([model.input_.spectrum(sound) for sound in X]))
    assert found["label"].dtype == np.int64 and found["label"].tolist() == model.predict(X).tolist()
    close(found["probabilities"], model.predict_proba(X))


def test_lengths_beyond_time_are_time(tmp_path: Path) -> None:
    X = series(10)
    model = SequenceRegressor(pooling="mean", **QUICK).fit(X, np.arange(10.0))
    to_onnx(model, tmp_path / "m.onnx")
    x = np.stack([row[:1] for row in X]).astype(np.float32)
    within = run(tmp_path / "m.onnx", x=x, lengths=np.ones(10, np.int64))["prediction"]
    assert np.array_equal(run(tmp_path / "m.onnx", x=x, lengths=np.full(10, 50))["prediction"], within)


@pytest.mark.parametrize("loss", ["poisson", "negative_binomial", "gamma", "lognormal", "huber"])
def test_counts_and_positive_numbers(loss: str, tmp_path: Path) -> None:
    X, random = series(40), np.random.RandomState(0)
    y = np.stack([random.poisson(7, 40), 100 * random.poisson(9, 40)], 1) + (loss != "poisson")
    model = SequenceRegressor(loss=loss, **{**QUICK, "learning_rate": 0.1}).fit(X, y)
    to_onnx(model, tmp_path / "m.onnx")
    close(run(tmp_path / "m.onnx", **padded(X))["prediction"], model.predict(X))


@pytest.mark.parametrize("classes", [2, 5])
def test_ordered_classes(classes: int, tmp_path: Path) -> None:
    X, y = series(80), np.array(["none", "low", "mid", "high", "top"])[np.arange(80) % classes]
    order = ("none", "low", "mid", "high", "top")[:classes]
    model = SequenceClassifier(order=order, **{**QUICK, "learning_rate": 0.05, "epochs": 3}).fit(X, y)
    model.task_.temperature = 0.7
    to_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", **padded(X))
    assert found["label"].tolist() == model.predict(X).tolist()
    close(found["probabilities"], model.predict_proba(X))
    assert len({*found["label"]}) > 1


def test_several_labels(tmp_path: Path) -> None:
    X, random = series(40), np.random.RandomState(0)
    labels = SequenceClassifier(**QUICK).fit(X, random.randint(0, 2, (40, 3)))
    labels.task_.temperature = 0.7
    labels.task_.thresholds = np.array([0.4, 0.5, 0.55])
    to_onnx(labels, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", **padded(X))
    assert found["labels"].tolist() == labels.predict(X).tolist()
    close(found["probabilities"], labels.predict_proba(X))


def test_columns_beside_texts(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    ages = [None if random.rand() < 0.2 else float(a) for a in random.randint(1, 90, 60)]
    towns = [str(t) for t in random.choice(["Bern", "Rome", "Oslo"], 60)]
    towns[5] = "Ulm"  # once only: an unknown one
    X = {"text": texts(60), "age": ages, "size": random.randn(60).tolist(), "town": towns}
    names = {"text_column": "text", "numeric": ("age", "size"), "categorical": ("town",)}
    model = SequenceRegressor(**names, **QUICK).fit(X, random.randn(60))
    to_onnx(model, tmp_path / "m.onnx")
    about = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    known = json.loads(about["unspool.columns"])["categorical"][0]["categories"]
    assert known == ["Bern", "Oslo", "Rome"]
    feeds = {
        **encoded(tmp_path / "tokenizer.json", X["text"]),
        "numeric": np.array([[np.nan if a is None else a, s] for a, s in zip(ages, X["size"])]),
        "categories": np.array([[known.index(t) if t in known else -1] for t in towns]),
    }
    close(run(tmp_path / "m.onnx", **feeds)["prediction"], model.predict(X))


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_characters_of_words(kind: str, tmp_path: Path) -> None:
    X = texts(40)
    model = SequenceRegressor(characters=kind, vectors="texts", **QUICK).fit(X, np.arange(40.0))
    to_onnx(model, tmp_path / "m.onnx")
    new = ["Fog warmth nights", *texts(5, 2)]
    feeds = encoded(tmp_path / "tokenizer.json", new)
    spelt = np.zeros((*feeds["ids"].shape, model.input_.characters.width), np.int64)
    for row, text in zip(spelt, new):
        words = model.input_.encoder.tokens(text)
        row[: len(words)] = model.input_.characters.encode(words).numpy()
    close(run(tmp_path / "m.onnx", characters=spelt, **feeds)["prediction"], model.predict(new))


def test_ids_far_apart_are_renumbered_and_strange_ones_are_told(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    known = random.randint(0, 2**40, 50)
    X = [random.choice(known, random.randint(1, 9)).tolist() for _ in range(40)]
    model = SequenceRegressor(**QUICK).fit(X, np.arange(40.0))
    assert model.input_.known is not None
    to_onnx(model, tmp_path / "m.onnx")
    new = [[5, *X[0]], X[1]]
    ids = pad_sequences(new, padding="post", dtype="int64")
    found = run(tmp_path / "m.onnx", ids=ids, lengths=np.array([len(row) for row in new]))
    close(found["prediction"], model.predict(new))
    small = SequenceRegressor(**QUICK).fit([[1, 2, 3]] * 20, np.arange(20.0))
    to_onnx(small, tmp_path / "m.onnx")
    for strange in (4, -1):
        with pytest.raises(Exception, match="indices element out of data bounds"):
            run(tmp_path / "m.onnx", ids=np.array([[1, strange]]), lengths=np.array([2]))
    run(tmp_path / "m.onnx", ids=np.array([[1, 4]]), lengths=np.array([1]))  # past the end anything may stand


def test_a_blend_has_its_network_exported_when_asked(tmp_path: Path) -> None:
    X, y = texts(300), np.arange(300.0) % 7
    model = SequenceRegressor(**{**QUICK, "early_stopping": True, "blend": True}).fit(X, y)
    with pytest.raises(DataError, match=r"part='network'"):
        to_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    exported = to_onnx(model, tmp_path / "m.onnx", part="network")
    assert "linear model on TF-IDF" in exported.notes[0]
    found = run(tmp_path / "m.onnx", **encoded(tmp_path / "tokenizer.json", X))["prediction"]
    close(found, model.network_alone().predict(X))
    assert np.abs(found - model.predict(X)).max() > 1e-3


def test_what_goes_with_layers_alone_is_refused(tmp_path: Path) -> None:
    model = SequenceRegressor(**QUICK).fit(series(20), np.arange(20.0))
    with pytest.raises(DataError, match="one_step goes with layers, not with a fitted SequenceRegressor"):
        to_onnx(model, tmp_path / "m.onnx", one_step=True)
    with pytest.raises(DataError, match="part='network' goes with regressors"):
        to_onnx(torch.nn.Linear(1, 1), tmp_path / "m.onnx", part="network")
    model.freeze("int8")  # does not matter: the graph has the trained weights
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.difference < 1e-5
