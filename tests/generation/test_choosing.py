"""What is left of the scores, by hand; temperatures at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.generation import Choice

# Probabilities .5, .25, .125, .125 at temperature 1.
SCORES = np.log(np.array([[4.0, 2.0, 1.0, 1.0]], dtype=np.float32)) - 3


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.25, 0.125, 0.125]),
        ({"temperature": 0.5}, [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 3}, [0.5, 0.25, 0.125, 0.125]),  # the third and the fourth tie
        ({"top_k": 9}, [0.5, 0.25, 0.125, 0.125]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.8}, [4 / 7, 2 / 7, 1 / 7, 0]),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        # Of the two that top-k leaves, .8 and .2, the first reaches .7.
        ({"temperature": 0.5, "top_k": 2, "top_p": 0.7}, [1, 0, 0, 0]),
    ],
)
def test_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(Choice(**settings).probabilities(SCORES), [expected], rtol=1e-6)


def test_top_p_is_reached_exactly() -> None:
    assert Choice(top_p=0.5).probabilities(np.zeros((1, 4))).tolist() == [[0.5, 0.5, 0, 0]]


def test_draws_have_these_probabilities() -> None:
    uniform = (np.arange(4000) + 0.5) / 4000
    for settings in ({}, {"top_p": 0.8}, {"top_k": 2}, {"temperature": 2.0}, {"temperature": 0}):
        choice = Choice(**settings)
        drawn = choice.draw(np.repeat(SCORES, 4000, 0), uniform)
        shares = np.bincount(drawn, minlength=4) / 4000
        np.testing.assert_allclose(shares, choice.probabilities(SCORES)[0], atol=1e-3)


def test_the_ends_of_the_interval() -> None:
    """A token of probability 0 at either end is never drawn."""
    scores = np.array([[-np.inf, 1.0, 0.0, -np.inf]], dtype=np.float32)
    assert Choice().draw(scores, np.array([0.0])).tolist() == [1]
    assert Choice().draw(scores, np.array([np.nextafter(1.0, 0.0)])).tolist() == [2]
    assert Choice(temperature=0).draw(scores, np.array([0.3])).tolist() == [1]


@pytest.mark.parametrize("temperature", [0.01, 1e-5, 1e-300, 5e-324])
def test_small_temperatures_are_the_likeliest_token_without_overflow(temperature: float) -> None:
    rng = np.random.RandomState(0)
    scores = (rng.randn(50, 30) * 100).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = Choice(temperature=temperature).probabilities(scores)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found.argmax(1), scores.argmax(1))
    drawn = Choice(temperature=temperature).draw(scores, rng.random_sample(50))
    np.testing.assert_array_equal(drawn, Choice(temperature=0).draw(scores, rng.random_sample(50)))


@pytest.mark.parametrize("worst", [np.nan, np.inf])
@pytest.mark.parametrize("choice", [Choice(), Choice(temperature=0), Choice(top_k=2)])
def test_scores_that_are_no_numbers(worst: float, choice: Choice) -> None:
    scores = np.zeros((2, 5), dtype=np.float32)
    scores[1, 3] = worst
    for draw in (lambda: choice.draw(scores, np.full(2, 0.5)), lambda: choice.draw_one(scores[1], 0.5)):
        with pytest.raises(DataError, match="are not finite numbers: its weights are too large"):
            draw()


def test_diversity_grows_with_temperature() -> None:
    scores = np.random.RandomState(1).randn(20, 40)
    entropies = []
    for temperature in (0, 0.2, 0.5, 1, 2, 5, 1e9):
        p = Choice(temperature=temperature).probabilities(scores)
        entropies.append(-np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0).sum(1))
    assert (np.diff(entropies, axis=0) > 0).all()
    np.testing.assert_allclose(entropies[0], 0)
    np.testing.assert_allclose(entropies[-1], np.log(40), rtol=1e-6)


def test_repetition_penalty_by_hand() -> None:
    scores = np.array([[2.0, -2.0, 3.0, -np.inf]])
    seen = np.array([[True, True, False, True]])
    assert Choice(repetition_penalty=2).penalised(scores, seen).tolist() == [[1.0, -4.0, 3.0, -np.inf]]
    assert Choice(repetition_penalty=0.5).penalised(scores, seen).tolist() == [[4.0, -1.0, 3.0, -np.inf]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("repetition_penalty", 0.0),
    ],
)
def test_ranges(name: str, value: float) -> None:
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of generate"):
        Choice(**{name: value})


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.4},
        {"top_k": 3},
        {"top_p": 0.7},
        {"top_k": 4, "temperature": 2.0},
    ],
)
def test_one_row_is_drawn_as_a_batch_is(rules):
    random = np.random.default_rng(0)
    scores = random.normal(0, 3, (200, 30)).astype(np.float32)
    scores[:, 1] = -np.inf
    uniform = np.append(random.random(198), [0.0, np.nextafter(1.0, 0.0)])
    choice = Choice(**rules)
    ones = [choice.draw_one(row, number) for row, number in zip(scores, uniform.tolist())]
    assert ones == choice.draw(scores, uniform).tolist() and 1 not in ones
