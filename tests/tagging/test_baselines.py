"""Baselines of tagging: worked by hand, and better than chance where there is something to learn."""

from __future__ import annotations

import pytest
from tests.tagging.toy import sentences

from unspool.errors import DataError
from unspool.tagging.baselines import LinearTagger, MostFrequentTag, baselines, features, shape


def test_most_frequent_tag_by_hand():
    X = [["a", "b", "a"], ["a", "c", "d"]]
    y = [["X", "O", "Y"], ["Y", "Z", "Z"]]
    model = MostFrequentTag().fit(X, y)
    assert model.predict([["a", "b", "new"], []]) == [["Y", "O", "Z"], []]  # b, c, d came once: O, Z, Z
    tie = MostFrequentTag().fit([["a", "a"]], [["B", "A"]])
    assert tie.predict([["a", "new"]]) == [["A", "A"]]
    with pytest.raises(DataError, match="No token has a tag"):
        MostFrequentTag().fit([["a"]], [[None]])


def test_features_by_hand():
    assert [shape(w) for w in ("Paris", "3.14", "so-so", "USA", "")] == ["Xx", "d.d", "x-x", "X", ""]
    found = features(["in", "Paris"], 1)
    assert found["word"] == "Paris" and found["last 3"] == "ris" and found["first 1"] == "p"
    assert found["word -1"] == "in" and found["word +1"] == "<end>" and found["last 3 -1"] == "in"


def test_the_linear_model_sees_neighbours_and_affixes():
    X, y, _ = sentences(80)
    new_X = [["mr", "Kumar", "lives", "in", "San", "Jose"], []]
    assert LinearTagger().fit(X, y).predict(new_X) == [["O", "B-PER", "O", "O", "B-LOC", "I-LOC"], []]
    assert MostFrequentTag().fit(X, y).predict(new_X)[0][1] != "B-PER"


def test_both_with_labels():
    X, y, labels = sentences(80)
    new = sentences(30, seed=1)
    first, second = baselines(X, y, labels)
    a, b = (model.measure(new[0], new[1], "BIO", new[2]) for model in (first, second))
    assert b.spans.f1 > 0.98 and b.label_accuracy == 1.0 and a.label_accuracy < 0.8
    assert len(baselines(X, [["O"] * len(row) for row in X])) == 1
