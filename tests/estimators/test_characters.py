"""Characters beside words: what a word's spelling tells of words that training lacked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.encode import read_input
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.estimators.network import without_words

SMALL = {"hidden_size": 8, "embedding_dim": 6, "epochs": 10, "random_state": 0, "verbose": 0, "blend": False}


def made(first: int, count: int = 300) -> tuple[list[str], np.ndarray]:
    """Texts of made-up words, and the share of those that end in -ing; other stems for other `first`."""
    random = np.random.default_rng(first)
    stems = ["".join(random.choice(list("abdefkmo"), 4)) for _ in range(200)]
    rows = [
        [f"{random.choice(stems)}{random.choice(['ing', 'ous'])}" for _ in range(random.integers(1, 6))]
        for _ in range(count)
    ]
    return [" ".join(row) for row in rows], np.array([np.mean([w.endswith("ing") for w in r]) for r in rows])


@pytest.fixture(scope="module", params=["cnn", "lstm"])
def model(request) -> SequenceRegressor:
    return SequenceRegressor(**SMALL, characters=request.param).fit(*made(0))


def test_words_that_training_lacked_are_known_by_their_spelling(model):
    X, y = made(1)
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.9
    plain = SequenceRegressor(**SMALL).fit(*made(0))
    assert abs(np.corrcoef(plain.predict(X), y)[0, 1]) < 0.5


def test_it_is_saved_frozen_and_told(model, tmp_path):
    X = [*made(2, 20)[0], "abd ", "x" * 50, "\u00e9\u4e2d ing"]
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_allclose(again.freeze().predict(X), model.predict(X), atol=1e-6)
    assert f"characters, {model.characters}" in again.summary()
    assert again.input_.decode(again.input_.encode(read_input(["aaaaing"]))) == ["<unk>"]


def test_the_characters_of_a_word_stand_beside_its_number():
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, characters="cnn").fit(
        ["Ab b", "ab ab", "b"] * 5, np.arange(15.0)
    )
    rows = model.input_.encode(read_input(["b AB zz", "", "b"])).values
    assert rows.shape == (4, 24)
    words, known = model.input_.encoder.words, model.input_.characters.characters_
    assert known == "ba"  # b is more frequent: numbers 4 and 5, between begin (2) and end (3)
    assert rows[:, 0].tolist() == [words.index("b") + 2, words.index("ab") + 2, 1, words.index("b") + 2]
    assert rows[:, 1].tolist() == [0, 1, 2, 0]
    assert rows[1, 2:7].tolist() == [2, 5, 4, 3, 0]
    assert rows[2, 2:7].tolist() == [2, 1, 1, 3, 0]  # neither the word nor its characters are known


def test_a_word_taken_for_unknown_keeps_its_characters():
    torch.manual_seed(0)
    rows = torch.arange(2, 2002)[:, None] + torch.zeros(1, 4, dtype=torch.int64)
    found = without_words(rows, 0.3)
    assert (found[:, 0] == 1).float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(found[:, 1:], rows[:, 1:])


def test_only_an_empty_text_is_told_of():
    X, y = made(0)
    model = SequenceClassifier(**{**SMALL, "epochs": 1}, characters="cnn").fit(X, y > 0.5)
    with pytest.warns(UserWarning, match="1 of 2 texts hold no word"):
        model.predict(["", "qqqq"])


def test_an_ensemble_and_two_layers_with_vectors_of_their_own():
    X, y = made(0)
    words = sorted({w for text in X for w in text.split()})
    given = (words, np.random.default_rng(0).normal(size=(len(words), 3)))
    model = SequenceRegressor(
        **{**SMALL, "epochs": 2}, characters="cnn", vectors=given, ensemble=2, num_layers=2, word_dropout=0.2
    ).fit(X, y)
    assert model.network_.embedding.output_size == 53
    assert np.isfinite(model.predict(X[:5])).all()


@pytest.mark.parametrize(
    ("settings", "X", "message"),
    [
        ({"characters": "cnn", "level": "char"}, ["ab", "b"] * 9, "None with level='char'"),
        ({"characters": "cnn"}, np.ones((18, 4, 2)), "None where X is series, not texts"),
        ({"characters": "rnn"}, ["ab", "b"] * 9, r"one of \[None, 'cnn', 'lstm'\]"),
    ],
)
def test_what_does_not_go_with_characters_says_so(settings, X, message):
    with pytest.raises(InvalidParameterError, match=message):
        SequenceRegressor(**SMALL, **settings).fit(X, np.arange(18.0))


def test_a_file_whose_characters_are_missing_is_refused(model, tmp_path):
    model.save(tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    content = json.loads(file.read_text())
    del content["input"]["characters"]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelFileError):
        unspool.load(tmp_path / "m")
