"""TF-IDF and a linear model: against scikit-learn's own pipeline; the penalty's range; saving."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from unspool.errors import DataError, ModelFileError
from unspool.evaluation import linear
from unspool.evaluation.linear import STEP, LinearText, Terms, fit_linear, fold_rows, tuned
from unspool.text import TextEncoder

WORDS = "good bad film plot very not dull fine long short".split()


def made(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and a number of each: its good and fine words less its bad and dull ones, and noise."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 12))) + "!" for _ in range(count)]
    score = [
        sum(t.count(w) for w in ("good", "fine")) - sum(t.count(w) for w in ("bad", "dull")) for t in texts
    ]
    return texts, np.array(score) + random.normal(0, 0.3, count)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(50).fit(made(200)[0])


@pytest.mark.parametrize("level", ["word", "char"])
def test_regression_is_scikit_learns_at_the_chosen_penalty(level):
    texts, y = made(200)
    encoder = TextEncoder(50, level).fit(texts)
    model = fit_linear(encoder, texts, y)
    analyzer = {"analyzer": "char_wb", "ngram_range": (1, 5)} if level == "char" else {"ngram_range": (1, 2)}
    if level == "word":
        analyzer |= {"token_pattern": r"\w+|[^\w\s]"}
    theirs = make_pipeline(TfidfVectorizer(sublinear_tf=True, **analyzer), Ridge(alpha=model.penalty[0]))
    theirs.fit(texts, y)
    new, target = made(50, seed=1)
    assert model.outputs(new).shape == (50, 1)
    np.testing.assert_allclose(model.outputs(new)[:, 0], theirs.predict(new), atol=0.02)
    assert np.corrcoef(model.outputs(new)[:, 0], target)[0, 1] > 0.8


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_is_scikit_learns_at_the_chosen_penalty(encoder, classes):
    texts, score = made(300)
    y = np.digitize(score, [0.5] if classes == 2 else [-0.5, 0.5])
    model = fit_linear(encoder, texts, y, classes=classes)
    terms = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]")
    theirs = make_pipeline(terms, LogisticRegression(C=1 / model.penalty[0], max_iter=1000, tol=1e-8)).fit(
        texts, y
    )
    new = made(50, seed=1)[0]
    outputs = model.outputs(new)
    assert outputs.shape == (50, classes)
    grown = np.exp(outputs - outputs.max(1, keepdims=True))
    np.testing.assert_allclose(grown / grown.sum(1, keepdims=True), theirs.predict_proba(new), atol=0.02)


def test_the_terms_are_the_encoders_words():
    encoder = TextEncoder(50).fit(["\u8fd9\u672c\u4e66 don\u2019t"])
    terms = Terms(encoder)
    terms.fit(["\u8fd9\u672c\u4e66 don\u2019t"])
    names = terms.names
    assert "\u672c" in names and "\u8fd9 \u672c" in names and "don't" in names


def test_the_rows_are_scikit_learns_bit_by_bit():
    """Counted by numbers of words, not by strings: the same terms, frequencies and rows, in blocks too."""
    texts = [*made(60)[0], "", "a", "a b a b a", "don\u2019t 这本书"]
    new = ["", "", *made(40, seed=4)[0], "b a unknown b a", "very very very very", ""]
    encoder = TextEncoder(5).fit(texts)

    def terms(text: str) -> list[str]:
        words = encoder.tokens(text)
        return words + [f"{a} {b}" for a, b in pairwise(words)]

    theirs = TfidfVectorizer(sublinear_tf=True, analyzer=terms).fit(texts)
    ours = Terms(encoder)
    pairs = [(ours.fit(texts), theirs.transform(texts)), (ours.transform(new), theirs.transform(new))]
    pairs.append((ours.transform(encoder.split(new)), theirs.transform(new)))
    assert ours.names == theirs.get_feature_names_out().tolist()
    np.testing.assert_array_equal(ours.idf, theirs.idf_)
    split = encoder.split(new)
    words = split.numbers_of_names(ours.counts.words, -1)
    small = [ours.counts._count(part, words[part.codes]).csr() for part in split.blocks(7)]
    pairs.append((sp.vstack(small), sp.vstack([rows.csr() for rows in ours.counts.blocks(new)])))
    assert len(small) > 3
    for one, other in pairs:
        assert one.shape == other.shape
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_outputs_are_scipys_bit_by_bit(outputs, monkeypatch):
    """Without scipy.sparse, some texts at a time."""
    encoder, texts = TextEncoder(50), ["", *made(80)[0], ""]
    fitted = Terms(encoder.fit(texts))
    fitted.fit(texts)
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(len(fitted.names) + 2, outputs)), random.normal(size=outputs)
    columns = random.normal(size=(len(texts), 2)) * (random.random((len(texts), 2)) < 0.7)
    alone = LinearText(fitted, weights[:-2], bias, np.ones(1))
    beside = LinearText(fitted, weights, bias, np.ones(1))
    monkeypatch.setattr("unspool.evaluation.terms.BLOCK", 50)
    rows = fitted.transform(texts)
    assert len([*fitted.blocks(texts)]) > 3
    np.testing.assert_array_equal(alone.outputs(texts), rows @ weights[:-2] + bias)
    both = sp.hstack([rows, sp.csr_matrix(columns)], format="csr")
    np.testing.assert_array_equal(beside.outputs(texts, columns), both @ weights + bias)


@pytest.mark.parametrize("best", [-9, -4, 0, 1, 6, 11])
def test_the_range_goes_on_until_its_ends_are_not_the_best(best):
    found = tuned(lambda penalty: np.array([(np.log(penalty) / np.log(STEP) - best) ** 2 + 1]))
    assert found == pytest.approx([STEP**best])


def test_each_target_has_its_own_penalty():
    steps = np.array([-5.0, 7.0])
    found = tuned(lambda penalty: (np.log(penalty) / np.log(STEP) - steps) ** 2 + 1)
    assert found == pytest.approx(STEP**steps)


def test_a_search_without_an_end_stops_on_the_plateau():
    tried = []
    tuned(lambda penalty: np.array([tried.append(penalty) or 1 + 1e-3 / penalty]))
    assert len(tried) < 12


def test_folds_are_enough_where_they_hold_many_rows(encoder, monkeypatch):
    texts, y = made(150)
    inputs, ones = Terms(encoder).fit(texts), np.ones(150)
    for enough, count in ((10_000, 3), (101, 3), (100, 2), (50, 1), (1, 1)):
        monkeypatch.setattr(linear, "ENOUGH", enough)
        trials = list(linear._folds(inputs, None, y, ones, 3, 0))
        assert len(trials) == count and sum(len(trial[4]) for trial in trials) == 50 * count


@pytest.mark.parametrize("shape", [(150,), (150, 1), (150, 2)])
def test_targets_of_every_shape(encoder, shape):
    texts, y = made(150)
    target = np.stack([y, -y], 1) if shape[-1] == 2 else y.reshape(shape)
    model = fit_linear(encoder, texts, target)
    assert model.outputs(texts[:3]).shape == (3, 2 if shape[-1] == 2 else 1)
    validation = (texts[100:], target[100:], None)
    assert (
        fit_linear(encoder, texts[:100], target[:100], validation=validation).outputs(texts).shape[0] == 150
    )


def test_further_columns_count(encoder):
    texts, y = made(200)
    column = np.random.default_rng(3).normal(size=(200, 1))
    with_it = fit_linear(encoder, texts, y + 5 * column[:, 0], columns=column)
    assert with_it.outputs(texts, column)[:, 0] == pytest.approx(y + 5 * column[:, 0], abs=2.5)


def test_texts_without_a_known_word_beside_columns(encoder):
    texts, y = made(60)
    column = np.random.default_rng(3).normal(size=(60, 1))
    model = fit_linear(encoder, texts, y, columns=column)
    found = model.outputs(["", "zebra quagga"], column[:2])
    np.testing.assert_allclose(found, column[:2] @ model.weights[-1:] + model.bias)


def test_weights_leave_rows_out(encoder):
    texts, y = made(200)
    wrong = np.concatenate([y, -9 * y])
    weight = np.repeat([1.0, 0.0], 200)
    model = fit_linear(encoder, texts * 2, wrong, sample_weight=weight)
    assert np.corrcoef(model.outputs(texts)[:, 0], y)[0, 1] > 0.9


def test_a_class_with_one_row_and_folds_without_it(encoder):
    texts, score = made(60)
    y = (score > 0).astype(int)
    y[7] = 2
    model = fit_linear(encoder, texts, y, classes=3)
    assert model.outputs(texts).shape == (60, 3)
    assert np.isfinite(model.outputs(texts)).all()


def test_folds_hold_every_row_once_and_every_class():
    y = np.repeat([0, 1, 2], [50, 20, 5])
    folds = fold_rows(y, 5, 0)
    assert sorted(np.concatenate(folds)) == list(range(75))
    assert all(set(y[rows]) == {0, 1, 2} for rows in folds)


@pytest.mark.parametrize("level", ["word", "char"])
def test_saved_as_arrays_and_json_it_predicts_the_same(level):
    texts, y = made(120)
    encoder = TextEncoder(50, level).fit(texts)
    model = fit_linear(encoder, texts, y)
    names = json.loads(json.dumps(model.terms.names))
    again = LinearText.restored(TextEncoder.from_dict(encoder.to_dict()), names, model.arrays())
    new = made(30, seed=2)[0]
    np.testing.assert_allclose(again.outputs(new), model.outputs(new), atol=1e-5)
    with pytest.raises(ModelFileError, match="terms of the linear part"):
        LinearText.restored(encoder, [*names[:-1], names[0]], model.arrays())


def test_texts_without_a_term_say_so(encoder):
    with pytest.raises(DataError, match="finds no term"):
        Terms(encoder).fit(["", " "])
