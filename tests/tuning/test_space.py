"""What is searched: the parameter table's own ranges, those that are given, and the page that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

import unspool
from unspool.errors import InvalidParameterError
from unspool.parameters import KINDS, TABLE, search_table
from unspool.tuning.space import SEARCHED, choose, standing

PAGE = Path(__file__).parents[2] / "docs" / "tuning.md"


def names(estimator, kind="text", **more):
    return [axis.name for axis in choose(estimator, kind, None, **more)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_lies_in_its_range_and_every_range_in_the_parameter_s(kind):
    estimator = unspool.SequenceRegressor()
    stands = standing(estimator, kind, 5000, False)
    found = choose(estimator, kind, [name for name, p in SEARCHED.items() if kind in p.search.kinds])
    assert len(found) > 15
    for axis in found:
        p = SEARCHED[axis.name]
        for value in axis.choices.values() or (axis.search.low, axis.search.high):
            p.check("SequenceRegressor", axis.name, value)
        assert axis.name in axis.drawn(stands[axis.name]), axis.name


def test_what_the_estimator_has_not_at_its_default_is_kept():
    whole = names(unspool.SequenceRegressor())
    assert {"cell", "hidden_size", "dropout", "learning_rate", "word_dropout"} <= set(whole)
    assert not {"crop", "vectors", "vectors_rate", "ensemble"} & set(whole)
    assert "hidden_size" not in names(unspool.SequenceRegressor(hidden_size=32))
    assert not {"hidden_size", "num_layers"} & set(names(unspool.SequenceRegressor(hidden_size=(32, 16))))
    assert "cell" not in names(unspool.SequenceRegressor(), keep=["cell"])
    assert {"crop", "noise"} <= set(names(unspool.SequenceClassifier(), kind="series"))
    assert "embedding_dim" not in names(unspool.SequenceClassifier(), kind="series")


def test_given_vectors_are_one_choice_beside_those_of_the_texts():
    pair = (["a"], [[1.0, 2.0]])
    axes = {a.name: a for a in choose(unspool.SequenceRegressor(vectors=pair), "text", None)}
    assert list(axes["vectors"].choices) == ["choice 1", "texts"] and "vectors_rate" in axes
    assert axes["vectors"].value("choice 1") is pair and axes["vectors"].value("texts") == "texts"
    assert axes["vectors"].drawn(pair) == {"vectors": "choice 1"}


def test_ranges_and_choices_that_are_given():
    space = {"hidden_size": (8, 16), "cell": ["gru", "mgu"], "dropout": None, "batch_size": [8, 64]}
    axes = {a.name: a for a in choose(unspool.SequenceRegressor(), "text", space)}
    assert (axes["hidden_size"].search.low, axes["hidden_size"].search.high) == (8, 16)
    assert axes["hidden_size"].search.whole and axes["hidden_size"].search.log
    assert list(axes["cell"].choices) == ["gru", "mgu"] and list(axes["batch_size"].choices) == [8, 64]
    assert axes["dropout"].search == SEARCHED["dropout"].search
    assert axes["cell"].drawn("lstm") == {} and axes["hidden_size"].drawn(64) == {}
    assert axes["batch_size"].drawn(True) == {} and axes["batch_size"].drawn(64) == {"batch_size": 64}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"hiden_size": None}, "Did you mean 'hidden_size'?"),
        ({"loss": ["squared", "absolute"]}, "must be one of"),
        ({"cell": ["gru", "gruu"]}, "Did you mean 'gru'?"),
        ({"cell": (1, 2)}, "must be None, a list of choices. Got (1, 2)."),
        ({"dropout": (0.0, 1.5)}, "a number in [0, 1)"),
        ({"hidden_size": (0.5, 8)}, "whole numbers, the lower first"),
        ({"dropout": (0.5, 0.1)}, "numbers, the lower first"),
        ({"dropout": [0.5]}, "two choices or more"),
        ({"cell": ["gru", "gru"]}, "two choices or more, each of them once"),
        ({"crop": None}, "must be parameters of text. Got 'crop'"),
        ("dropout", "a list of names, or a dict"),
        ([], "There is nothing to search"),
    ],
)
def test_a_space_that_cannot_be(space, message):
    with pytest.raises(InvalidParameterError) as error:
        choose(unspool.SequenceRegressor(), "text", space)
    assert message in str(error.value)


def test_the_page_lists_what_is_searched():
    assert search_table() in PAGE.read_text(encoding="utf-8")
    assert {p.name for p in TABLE if p.search} == set(SEARCHED)
