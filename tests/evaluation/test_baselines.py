"""The baselines see the training part alone, and reach what is known of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unspool.evaluation.baselines import classification_baselines, regression_baselines
from unspool.evaluation.metrics import regression_metrics
from unspool.tables import by_column, number_columns, read_table, text_column

EMOBANK = Path(__file__).resolve().parents[2] / "../shared/data/emobank/emobank.csv"
WORTH = {"good": 1.0, "fine": 0.5, "dull": -0.5, "awful": -1.0}


def texts_and_scores(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    words = rng.choice([*WORTH, "the", "day", "was"], (n, 4))
    return [" ".join(row) for row in words], np.array([sum(WORTH.get(w, 0) for w in row) for row in words])


def test_regression_baselines():
    texts, y = texts_and_scores(300)
    mean, ridge = regression_baselines(texts[:200], y[:200])
    assert mean.predict(texts[200:]).tolist() == [y[:200].mean()] * 100
    assert regression_metrics(y[200:], ridge.predict(texts[200:]))["pearson_r"] > 0.95
    assert ridge.settings["alpha"] > 0


def test_several_targets():
    texts, y = texts_and_scores(100)
    mean, ridge = regression_baselines(
        texts, np.stack([y, -2 * y], 1), validation=(texts[:9], np.stack([y, -2 * y], 1)[:9])
    )
    assert mean.predict(texts[:3]).shape == ridge.predict(texts[:3]).shape == (3, 2)
    assert np.allclose(ridge.predict(texts)[:, 1], -2 * ridge.predict(texts)[:, 0], atol=1e-3)


def test_classification_baselines():
    texts, y = texts_and_scores(300)
    labels = np.where(y > 0, "up", "down")
    majority, logistic = classification_baselines(texts[:200], labels[:200])
    shares = [(labels[:200] == c).mean() for c in ("down", "up")]
    assert majority.classes_.tolist() == logistic.classes_.tolist() == ["down", "up"]
    assert np.allclose(majority.predict_proba(texts[200:]), [shares] * 100)
    assert (logistic.predict(texts[200:]) == labels[200:]).mean() > 0.85


def test_one_column_of_numbers():
    texts, y = texts_and_scores(80)
    mean, ridge = regression_baselines(texts, y[:, None], validation=(texts, y[:, None]))
    assert mean.predict(texts).reshape(80, 1).shape == ridge.predict(texts).shape == (80, 1)
    assert np.corrcoef(ridge.predict(texts)[:, 0], y)[0, 1] > 0.9


def test_chinese_is_read_by_the_character_as_the_model_reads_it():
    texts = ["\u5f88\u597d\u7684\u4e66", "\u4e66\u5f88\u574f", "\u597d\u5427", "\u574f\u4e86"] * 5
    logistic = classification_baselines(texts, np.array([1, 0, 1, 0] * 5))[1]
    assert logistic.predict(["\u4e0d\u597d\u4e0d", "\u574f"]).tolist() == [1, 0]


@pytest.mark.parametrize("level", ["word", "char"])
def test_no_term_comes_from_outside_the_training_part(level):
    texts, y = texts_and_scores(60)
    ridge = regression_baselines(texts, y, level=level, validation=(["zebra"], np.zeros(1)))[1]
    assert not any("z" in term for term in ridge.model.terms.names)


def test_char_level_reads_inside_words():
    words = [f"{stem}{end}" for stem in ("lov", "hat", "runn", "jump") for end in ("e", "ed", "ing", "er")]
    y = np.array([1.0] * 4 + [-1.0] * 4 + [0.0] * 8)
    ridge = regression_baselines(words, y, level="char", validation=(words, y))[1]
    assert ridge.predict(["loves"])[0] > 0.3 > -0.3 > ridge.predict(["hates"])[0]


def test_two_rows_of_two_classes():
    majority, logistic = classification_baselines(["a b", "c d", "a c", "d e"], np.array([0, 1, 0, 1]))
    assert majority.predict_proba(["x"]).tolist() == [[0.5, 0.5]]
    assert logistic.predict_proba(["a"]).shape == (1, 2)


@pytest.mark.skipif(not EMOBANK.is_file(), reason="EmoBank is not beside the repository")
def test_ridge_on_emobank_reaches_the_known_floor():
    table = read_table(EMOBANK)
    split, texts, y = by_column(table, "split"), text_column(table, "text"), number_columns(table, ["V"])
    part = {name: [texts[i] for i in rows] for name, rows in vars(split).items()}
    ridge = regression_baselines(
        part["train"], y[split.train], validation=(part["validation"], y[split.validation])
    )[1]
    # .514: TF-IDF + ridge of the data's own notes, alpha chosen on the dev part
    assert regression_metrics(y[split.test], ridge.predict(part["test"]))["pearson_r"] == pytest.approx(
        0.514, abs=0.02
    )
