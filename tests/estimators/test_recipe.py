"""Vectors, blend, ensemble, losses and averages in the estimators: what they do, and that it is saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.evaluation.linear import fit_linear
from unspool.text.words import Words
from unspool.training import Callback

SMALL = {"hidden_size": 6, "embedding_dim": 5, "epochs": 3, "batch_size": 16, "random_state": 0, "verbose": 0}
WORDS = [a + b for a in "bcdfghklmnprst" for b in ("an", "ol", "ir", "ut", "eg")]
GOOD = set(WORDS[::3])


def made(count: int = 300, seed: int = 0, words: list[str] = WORDS) -> tuple[list[str], np.ndarray]:
    """Texts, and the share of good words in each."""
    random = np.random.default_rng(seed)
    rows = [random.choice(words, random.integers(1, 12)) for _ in range(count)]
    return [" ".join(row) for row in rows], np.array([np.mean([w in GOOD for w in row]) for row in rows])


def given(words: list[str] = WORDS) -> tuple[list[str], np.ndarray]:
    """Vectors that tell good words from the others."""
    random = np.random.default_rng(9)
    return words, np.array([[1.0 if w in GOOD else -1.0, *random.normal(size=2)] for w in words])


# --- vectors


@pytest.fixture(scope="module")
def half() -> SequenceRegressor:
    """Trained on texts of half of the words, with vectors of all."""
    X, y = made(words=WORDS[:35])
    return SequenceRegressor(**{**SMALL, "epochs": 15}, vectors=given()).fit(X, y)


def test_words_that_training_lacked_are_known_by_their_vectors(half):
    X, y = made(100, 1, WORDS[35:])
    assert np.corrcoef(half.predict(X), y)[0, 1] > 0.8


def test_the_summary_tells_what_is_covered(half):
    assert half.input_.coverage == 1.0
    assert "vectors for 100.0% of the training texts' tokens" in half.summary()
    X, y = made()
    partly = SequenceRegressor(**SMALL, vectors=given(WORDS[:35])).fit(X, y)
    counts = [word in set(WORDS[:35]) for text in X for word in text.split()]
    assert partly.input_.coverage == pytest.approx(np.mean(counts), abs=0.02)  # of the training part's


def test_a_model_with_vectors_is_saved_with_all_it_needs(half, tmp_path):
    half.save(tmp_path / "model")
    again = unspool.load(tmp_path / "model")
    X, _ = made(50, 2)
    np.testing.assert_array_equal(again.predict(X), half.predict(X))
    assert again.summary() == half.summary()
    assert again.input_.vocabulary_size == 72


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_it_can_be_frozen(half, weights):
    X, _ = made(50, 2)
    before = half.predict(X)
    after = half.freeze(weights).predict(X)
    np.testing.assert_allclose(after, before, atol=1e-5 if weights == "float32" else 0.05)
    del half.frozen_


def test_fewer_other_words_are_kept_where_asked():
    X, y = made(words=WORDS[:35])
    model = SequenceRegressor(**SMALL, vectors=given(), vector_words=4).fit(X, y)
    assert model.input_.vocabulary_size == 2 + 35 + 4


@pytest.mark.parametrize(("rate", "moves"), [(0.0, False), (0.5, True)])
def test_a_rate_of_their_own(rate, moves):
    X, y = made()
    model = SequenceRegressor(**SMALL, vectors=given(), vectors_rate=rate).fit(X, y)
    embedding = model.network_.embedding
    assert bool((embedding.weight[2:] != 0).any()) == moves
    assert bool((embedding.weight[0] == 0).all())


def test_sources_stand_side_by_side_and_random_start_is_none():
    X, y = made()
    model = SequenceRegressor(**SMALL, vectors=[given(), given(WORDS[:9])]).fit(X, y)
    assert model.network_.embedding.embedding_dim == 6
    plain = SequenceRegressor(**SMALL, vectors=None).fit(X, y)
    assert type(plain.network_.embedding) is torch.nn.Embedding


def test_vectors_of_the_texts_themselves_where_there_are_enough_words():
    random = np.random.default_rng(0)
    words = [f"w{i}x" for i in range(1100)]
    X = [" ".join(random.choice(words, 9)) for _ in range(900)]
    model = SequenceRegressor(**{**SMALL, "epochs": 1}).fit(X, random.normal(size=900))
    assert model.network_.embedding.given.shape == (model.input_.vocabulary_size, 5)
    assert model.network_.embedding.given[2:].abs().sum() > 0
    few = SequenceRegressor(**{**SMALL, "epochs": 1}).fit(*made())
    assert type(few.network_.embedding) is torch.nn.Embedding


def test_vectors_are_of_texts():
    X = [np.random.default_rng(0).normal(size=(4, 2)) for _ in range(30)]
    with pytest.raises(InvalidParameterError, match=r"'vectors' .* None where X is series, not texts"):
        SequenceRegressor(**SMALL, vectors=given()).fit(X, np.arange(30.0))
    with pytest.raises(InvalidParameterError, match=r"'word_dropout' .* 0 where X is series"):
        SequenceRegressor(**SMALL, word_dropout=0.1).fit(X, np.arange(30.0))


# --- blend


def test_a_blend_is_the_sum_of_its_parts_and_not_worse_on_new_texts():
    X, y = made(800)
    target = np.stack([y, -100 * y + 3], 1)
    model = SequenceRegressor(**SMALL).fit(X, target)
    new, truth = made(200, 1)
    scale = lambda p: (p - model.target_mean_) / model.target_scale_  # noqa: E731
    network = scale(model.network_alone().predict(new))
    both = model.blend_(network, model.linear_.outputs(new))
    np.testing.assert_allclose(scale(model.predict(new)), both, atol=1e-5)
    linear = fit_linear(model.input_.encoder, X, y).outputs(new)[:, 0]
    error = lambda p: np.mean((p - truth) ** 2)  # noqa: E731
    assert error(model.predict(new)[:, 0]) < 1.1 * error(linear)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifiers_blend_is_saved(classes, tmp_path):
    X, y = made()
    labels = np.array(["low", "mid", "top"])[np.digitize(y, [0.35] if classes == 2 else [0.25, 0.45])]
    model = SequenceClassifier(**SMALL).fit(X, labels)
    assert 0 <= model.blend_.share <= 1
    new = made(60, 1)[0]
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    np.testing.assert_allclose(again.predict_proba(new), model.predict_proba(new), atol=1e-5)
    assert again.summary() == model.summary()
    assert "% network" in model.summary()
    np.testing.assert_array_equal(
        again.network_alone().predict_proba(new), model.network_alone().predict_proba(new)
    )


def test_no_test_row_and_no_row_of_given_validation_data_is_learnt_by_the_linear_part():
    X, y = made(200)
    held = (["zzz " + text for text in X[:50]], y[:50])
    model = SequenceRegressor(**SMALL).fit(X, y, validation_data=held)
    assert not any("zzz" in term for term in model.linear_.terms.names)


def test_texts_are_split_once_for_network_and_linear_part(monkeypatch):
    X, y = made(240)
    split, seen = Words.split, []
    monkeypatch.setattr(Words, "split", lambda self, texts: seen.append(len(texts)) or split(self, texts))
    model = SequenceRegressor(**{**SMALL, "epochs": 1}).fit(X, y)
    assert model.linear_ is not None and seen == [216, 240]  # for the vocabulary, then once for both
    seen.clear()
    model.fit(X[:210], y[:210], validation_data=(X[210:], y[210:]))
    assert model.linear_ is not None and seen == [210, 210, 30]


@pytest.mark.parametrize(
    ("settings", "blends"),
    [
        ({}, True),
        ({"vectors": None}, True),
        ({"blend": False}, False),
        ({"vectors": given()}, True),
        ({"vectors": given(), "blend": False}, False),
        ({"early_stopping": False}, False),
        ({"loss": "quantile"}, False),
        ({"level": "char"}, True),
    ],
)
def test_when_there_is_a_blend(settings, blends):
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, **settings).fit(*made())
    assert (model.blend_ is not None) == blends


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"early_stopping": False}, "held-back rows or more, by early_stopping or validation_data. Got 0"),
        ({"loss": "poisson"}, "loss='squared' or 'huber'. Got 'poisson'"),
    ],
)
def test_a_blend_that_cannot_be_says_why(settings, reason):
    with pytest.raises(InvalidParameterError, match=reason):
        SequenceRegressor(**SMALL, **settings, blend=True).fit(*made())


def test_a_damaged_linear_part_is_refused(tmp_path):
    model = SequenceRegressor(**SMALL).fit(*made())
    model.linear_.terms.counts.names.pop()
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError):
        unspool.load(tmp_path / "m")


# --- ensemble


def test_an_ensemble_is_the_mean_of_networks_from_different_seeds(tmp_path):
    X, y = made()
    model = SequenceRegressor(**SMALL, ensemble=3, blend=False).fit(X, y)
    new = made(40, 1)[0]
    ids = model.input_.encode(unspool.encode.read_input(new))
    with torch.inference_mode():
        each = torch.stack([member(ids)[:, 0] for member in model.network_.members]).double()
    assert (each[0] - each[1]).abs().max() > 1e-4
    expected = each.mean(0).numpy() * model.target_scale_ + model.target_mean_
    np.testing.assert_allclose(model.predict(new), expected, rtol=1e-5)
    assert sorted({row["member"] for row in model.history_}) == [1, 2, 3]
    model.save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    assert "ensemble of 3" in again.summary()
    before = model.predict(new)
    np.testing.assert_allclose(model.freeze().predict(new), before, rtol=1e-4)


# --- the loss, the steps


def test_a_quantile_is_met():
    X, y = made(600)
    target = y + np.random.default_rng(1).exponential(size=600)
    fits = [
        SequenceRegressor(**{**SMALL, "epochs": 20}, loss="quantile", quantile=q).fit(X, target)
        for q in (0.2, 0.9)
    ]
    low, high = (np.mean(target <= m.predict(X)) for m in fits)
    assert low == pytest.approx(0.2, abs=0.12)
    assert high == pytest.approx(0.9, abs=0.12)
    constant = mean_pinball_loss(target, np.full(600, np.quantile(target, 0.9)), alpha=0.9)
    assert mean_pinball_loss(target, fits[1].predict(X), alpha=0.9) < 1.05 * constant


def test_counts_by_poisson_are_positive_and_saved(tmp_path):
    X, y = made(400)
    counts = np.random.default_rng(2).poisson(np.exp(3 * y))
    model = SequenceRegressor(**{**SMALL, "epochs": 30, "learning_rate": 0.01}, loss="poisson").fit(X, counts)
    predicted = model.predict(X)
    assert predicted.min() > 0
    assert predicted.mean() == pytest.approx(counts.mean(), rel=0.25)
    assert np.corrcoef(predicted, counts)[0, 1] > 0.2
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(unspool.load(tmp_path / "m").predict(X), predicted)
    with pytest.raises(unspool.errors.DataError, match="targets of 0 or more"):
        SequenceRegressor(**SMALL, loss="poisson").fit(X, counts - 1.0)


@pytest.mark.parametrize("weight", ["balanced", {"rare": 10.0, "usual": 1.0}])
def test_class_weights_bring_a_rare_class_up(weight, tmp_path):
    X, y = made(600)
    labels = np.where(y + np.random.default_rng(0).normal(0, 0.15, 600) > 0.62, "rare", "usual")
    settings = {**SMALL, "epochs": 8, "blend": False}
    plain = SequenceClassifier(**settings).fit(X, labels)
    weighed = SequenceClassifier(**settings, class_weight=weight).fit(X, labels)
    assert (weighed.predict(X) == "rare").sum() > (plain.predict(X) == "rare").sum()
    weighed.save(tmp_path / "m")
    assert unspool.load(tmp_path / "m").class_weight == weight


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (SequenceRegressor, {"class_weight": "balanced"}, "None: numbers have no classes"),
        (SequenceClassifier, {"loss": "huber"}, "classes have cross-entropy"),
        (SequenceRegressor, {"loss": "squard"}, "one of .* Did you mean 'squared'"),
        (SequenceRegressor, {"schedule": "cosin"}, "Did you mean 'cosine'"),
        (SequenceRegressor, {"averaging": 1.0}, r"a number in \[0, 1\). Got 1.0"),
        (SequenceRegressor, {"ensemble": 0}, r"an int in \[1, inf\). Got 0"),
        (SequenceRegressor, {"vectors": 3}, "a file, a pair"),
        (SequenceRegressor, {"quantile": 1.0}, r"a number in \(0, 1\)"),
        (SequenceClassifier, {"class_weight": "equal"}, "None, 'balanced' or a dict"),
    ],
)
def test_what_does_not_fit_says_so(make, settings, message):
    X, y = made(60)
    with pytest.raises(InvalidParameterError, match=message):
        make(**SMALL, **settings).fit(X, np.where(y > 0.3, 1, 0))


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_batch_end(self, trainer, batch):
        self.rates.append([group["lr"] for o in trainer.optimizers for group in o.param_groups])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_schedule_sets_every_rate(schedule):
    from unspool.training.schedules import factor

    calls, settings = Rates(), {**SMALL, "epochs": 2, "early_stopping": False, "learning_rate": 0.01}
    X, y = made(64)
    SequenceRegressor(**settings, schedule=schedule, warmup=3, vectors=given(), vectors_rate=0.5).fit(
        X, y, callbacks=[calls]
    )
    expected = [0.01 * factor(schedule, step, 8, 3) for step in range(8)]
    np.testing.assert_allclose([r[0] for r in calls.rates], expected)
    np.testing.assert_allclose([r[1] for r in calls.rates], np.array(expected) / 2)


def test_the_average_is_what_is_validated_and_kept():
    X, y = made()
    settings = {**SMALL, "learning_rate": 0.05, "blend": False, "epochs": 2}

    class Kept(Callback):
        def on_epoch_end(self, trainer):
            self.own = {k: v.clone() for k, v in trainer.network.state_dict().items()}
            self.mean = trainer.weights()

    calls = Kept()
    model = SequenceRegressor(**settings, averaging=0.9, early_stopping=False).fit(X, y, callbacks=[calls])
    for name, value in model.network_.state_dict().items():
        assert torch.equal(value, calls.mean[name])
    assert any(not torch.equal(calls.own[name], calls.mean[name]) for name in calls.mean)
    plain = SequenceRegressor(**settings, averaging=0.0, early_stopping=False).fit(X, y, callbacks=[calls])
    for name, value in plain.network_.state_dict().items():
        assert torch.equal(value, calls.own[name])


def test_a_word_in_so_many_is_taken_for_an_unknown_one():
    from unspool.estimators.network import without_words

    torch.manual_seed(0)
    ids = torch.arange(2, 20002)
    found = without_words(ids, 0.3)
    assert (found == 1).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(found[found != 1], ids[found != 1])
    X, y = made()
    model = SequenceRegressor(**SMALL, word_dropout=0.3, vectors=given()).fit(X, y)
    assert model.network_.embedding.weight[1].abs().sum() > 0
