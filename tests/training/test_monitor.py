"""`monitor`: which epoch is kept, by the loss of the validation part or by the task's own measure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_poisson_deviance, r2_score

import unspool
from unspool import Seq2Seq, SequenceClassifier, SequenceRegressor, SequenceTagger
from unspool.encode import Raw
from unspool.errors import DataError, InvalidParameterError
from unspool.estimators.monitoring import outputs_of
from unspool.estimators.network import members_of

QUICK = {"hidden_size": 5, "embedding_dim": 4, "epochs": 6, "batch_size": 16, "random_state": 0, "verbose": 0}
QUICK |= {"learning_rate": 0.02, "monitor": "metric"}
WORDS = ["good", "fine", "bad", "poor", "day", "night", "tea"]


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts, and in each how many good words beyond bad ones there are, with noise."""
    random = np.random.default_rng(seed)
    rows = [random.choice(WORDS, random.integers(1, 7)) for _ in range(count)]
    worth = [sum((w in WORDS[:2]) - (w in WORDS[2:4]) for w in row) for row in rows]
    return [" ".join(row) for row in rows], np.array(worth) + random.normal(0, 1.0, count)


def kappa(y: np.ndarray, found: np.ndarray) -> float:
    return cohen_kappa_score(y, found, weights="quadratic")


def micro_f1(y: np.ndarray, found: np.ndarray) -> float:
    return f1_score(y, found, average="micro")


CASES = {
    "classes": (SequenceClassifier, {}, lambda v: np.where(v > 0, "up", "down"), accuracy_score),
    "numbers": (SequenceRegressor, {}, lambda v: np.stack([v, v**2], 1), r2_score),
    "order": (
        SequenceClassifier,
        {"order": "auto", "calibrate": False},
        lambda v: np.digitize(v, [-1, 0, 1]),
        kappa,
    ),
    "labels": (SequenceClassifier, {}, lambda v: np.stack([v > 0, v > 1], 1).astype(int), micro_f1),
    "counts": (
        SequenceRegressor,
        {"loss": "poisson"},
        lambda v: np.round(np.abs(v)),
        lambda y, found: -mean_poisson_deviance(y, found),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_epoch_of_the_best_measure_is_kept(name, tmp_path):
    cls, settings, target, measure = CASES[name]
    (X, y), (Xv, yv) = texts(150, 0), texts(60, 1)
    model = cls(**QUICK, **settings, blend=False).fit(X, target(y), validation_data=(Xv, target(yv)))
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmax(scores))
    assert max(scores) == pytest.approx(measure(target(yv), model.predict(Xv)), abs=1e-6)
    assert len({round(score, 6) for score in scores}) > 2
    model.save(tmp_path / "model")
    assert unspool.load(tmp_path / "model").monitor == "metric"


def test_loss_and_measure_disagree_and_patience_waits_for_what_is_asked():
    (X, y), (Xv, yv) = texts(60, 0), texts(200, 1)
    found = {}
    for monitor in ("loss", "metric"):
        settings = {**QUICK, "epochs": 30, "averaging": 0.0, "dropout": 0.0, "label_smoothing": 0.0}
        model = SequenceClassifier(**{**settings, "monitor": monitor}, patience=3, blend=False)
        found[monitor] = model.fit(X, y > 0, validation_data=(Xv, yv > 0))
    for monitor, key, best in (("loss", "validation_loss", min), ("metric", "validation_score", max)):
        values = [row[key] for row in found[monitor].history_]
        assert found[monitor].best_epoch_ == 1 + values.index(best(values)) == len(values) - 3
    assert found["loss"].best_epoch_ != found["metric"].best_epoch_
    assert "validation_score" not in found["loss"].history_[0]


def test_each_member_of_an_ensemble_is_judged_by_itself():
    X, y = texts(120, 0)
    model = SequenceClassifier(**QUICK, ensemble=2, blend=False).fit(
        X, y > 0, validation_data=(X[:50], y[:50] > 0)
    )
    inputs = model.input_.encode(Raw("text", X[:50]))
    for number, member in enumerate(members_of(model.network_), 1):
        scores = [row["validation_score"] for row in model.history_ if row["member"] == number]
        assert max(scores) == np.mean(outputs_of(member, inputs).argmax(1) == (y[:50] > 0))


def test_a_tagger_by_its_loss():
    X = [["to", "new", "york"], ["from", "rome"], ["tea", "please"], ["to", "rome", "please"]] * 8
    y = [["O", "B-c", "I-c"], ["O", "B-c"], ["O", "O"], ["O", "B-c", "O"]] * 8
    settings = {name: value for name, value in QUICK.items() if name != "monitor"}
    by_loss = SequenceTagger(**settings, monitor="loss").fit(X, y, validation_data=(X[:4], y[:4]))
    losses = [row["validation_loss"] for row in by_loss.history_]
    assert (
        by_loss.best_epoch_ == 1 + losses.index(min(losses)) and "validation_score" not in by_loss.history_[0]
    )
    by_metric = SequenceTagger(**settings).fit(X, y, validation_data=(X[:4], y[:4]))
    assert max(r["validation_score"] for r in by_metric.history_) == by_metric.score(X[:4], y[:4])


def test_seq2seq_by_targets_written_exactly():
    random = np.random.default_rng(0)
    X = ["".join(random.choice(list("abc"), random.integers(1, 4))) for _ in range(120)]
    y = [text[::-1] for text in X]
    held = (X[:40], y[:40])
    model = Seq2Seq(**{**QUICK, "hidden_size": 16}).fit(X[40:], y[40:], validation_data=held)
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == 1 + scores.index(max(scores)) and max(scores) > 0
    assert max(scores) == model.score(*held)
    with pytest.raises(InvalidParameterError, match=r"monitor.*no rows are held back"):
        Seq2Seq(**QUICK, early_stopping=False).fit(X, y)


def test_what_cannot_be_monitored_is_told():
    X, y = texts(40, 0)
    with pytest.raises(InvalidParameterError, match=r"monitor.*no rows are held back"):
        SequenceRegressor(**QUICK, early_stopping=False).fit(X, y)
    with pytest.raises(DataError, match=r"does not tell the R2.*all of its 3 targets are the same"):
        SequenceRegressor(**QUICK).fit(X, y, validation_data=(X[:3], np.ones(3)))
    with pytest.raises(InvalidParameterError, match="'monitor' parameter"):
        SequenceRegressor(**{**QUICK, "monitor": "accuracy"}).fit(X, y)
