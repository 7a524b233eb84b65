"""Classifiers of recordings and of series with missing values; options that do not fit the kind of X."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError, InvalidParameterError
from unspool.signals import Sound, read_folder, read_sound

DIGITS = Path(__file__).parents[3] / "shared" / "data" / "fsdd" / "recordings"
SMALL = {
    "hidden_size": 8,
    "epochs": 30,
    "patience": 30,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": 0,
}


def tone(pitch: float, rng: np.random.Generator, rate: int = 8000) -> Sound:
    """A tone of some length and loudness, in noise."""
    n = int(rng.integers(800, 1600))
    x = np.sin(2 * np.pi * pitch * np.arange(n) / rate) * rng.uniform(0.05, 0.9)
    return Sound(x + 1e-3 * rng.normal(size=n), rate)


@pytest.fixture(scope="module")
def tones() -> tuple[list[Sound], list[str], SequenceClassifier]:
    rng = np.random.default_rng(0)
    names = ["low", "middle", "high"] * 16
    X = [tone({"low": 300, "middle": 900, "high": 2500}[name], rng) for name in names]
    return X, names, SequenceClassifier(crop=0.2, noise=0.1, time_mask=0.2, **SMALL).fit(X[:36], names[:36])


def test_tones_are_told_apart_whatever_their_gain_rate_and_channels(tones, tmp_path) -> None:
    X, names, model = tones
    assert model.score(X[36:], names[36:]) == 1
    assert model.n_features_in_ == 1 and "recordings at 8,000 samples" in model.describe()
    model.save(tmp_path / "model")
    again = unspool.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    loud = [Sound(np.stack([x.samples * 0.01, x.samples * 0.02], 1), x.rate) for x in X[36:]]
    assert again.predict(loud).tolist() == names[36:]
    fast = [Sound(x.at(22050), 22050) for x in X[36:]]
    assert again.predict(fast).tolist() == names[36:]


def test_files_are_read_as_sounds_are(tones, tmp_path) -> None:
    soundfile = pytest.importorskip("soundfile")
    X, _, model = tones
    paths = [tmp_path / f"{i}.{kind}" for i, kind in enumerate(["wav", "flac"])]
    for path, x in zip(paths, X):
        soundfile.write(path, x.samples, x.rate)
    np.testing.assert_allclose(model.predict_proba(paths), model.predict_proba(X[:2]), atol=0.01)
    with pytest.raises(DataError, match=r"fitted on recordings\. Got texts\. Make pathlib\.Path"):
        model.predict([os.fspath(path) for path in paths])
    with pytest.raises(DataError, match=r"row 1 must be a pathlib\.Path or a Sound\. Got ndarray"):
        model.predict([X[0], X[1].samples])


def test_missing_values_are_learnt_from() -> None:
    """Whether a value is missing is the label: only the number beside it tells."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = [rng.normal(size=(int(rng.integers(3, 9)), 2)) for _ in y]
    for x, label in zip(X, y):
        if label:
            x[rng.integers(len(x)), 0] = np.nan
    with pytest.warns(UserWarning, match="are missing"):
        model = SequenceClassifier(**SMALL).fit(X, y)
    assert model.score(X, y) > 0.95 and model.n_features_in_ == 2
    with pytest.warns(UserWarning, match="the cell reads them itself"):
        model = SequenceRegressor(cell="gru_d", **{**SMALL, "epochs": 2}).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    ("X", "options", "said"),
    [
        (["a b", "c d"], {"crop": 0.5}, "'crop' .* must be left at 0.0 where X is texts. Got 0.5"),
        ([[1.0, 2.0], [3.0]], {"sample_rate": 8000}, "'sample_rate' .* where X is series of numbers"),
        ([[1, 2], [3]], {"gain_invariant": False}, "'gain_invariant' .* where X is token ids"),
    ],
)
def test_options_of_another_kind_of_input_are_refused(X: list, options: dict, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        SequenceRegressor(**options).fit(X, [1.0, 2.0])


@pytest.mark.skipif(not DIGITS.is_dir(), reason=f"the spoken digits are not in {DIGITS}")
def test_the_same_digit_at_another_rate_gain_and_channel_count_gets_the_same_label() -> None:
    found = read_folder(DIGITS, r"^(\d)_")
    rows = np.array([i for i, name in enumerate(found.names) if name[0] in "0123" and "_theo_" in name])
    digits = found.take(rows)
    assert digits.y is not None and len(digits) == 60
    later = np.array([int(name[:-4].split("_")[2]) >= 5 for name in digits.names])
    train, test = (digits.take(np.flatnonzero(part)) for part in (later, ~later))
    model = SequenceClassifier(**SMALL).fit(train.X, train.y)
    plain = model.predict(test.X)
    assert (plain == test.y).mean() >= 0.9
    sounds = [read_sound(path) for path in test.X]
    for changed in (
        [Sound(sound.at(22050), 22050) for sound in sounds],
        [Sound(sound.samples * 0.05, sound.rate) for sound in sounds],
        [Sound(np.stack([sound.samples] * 2, 1), sound.rate) for sound in sounds],
    ):
        assert model.predict(changed).tolist() == plain.tolist()
