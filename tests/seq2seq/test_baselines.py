from __future__ import annotations

from unspool.seq2seq.baselines import NearestPair, TokenByToken
from unspool.seq2seq.sides import Side


def sides(X: list[str], y: list[str], levels: tuple[str, str] = ("char", "char")) -> tuple[Side, Side]:
    return Side.fit("source", X, levels[0], 100), Side.fit("target", y, levels[1], 100)


def test_the_nearest_pair_is_the_one_with_the_most_in_common():
    model = NearestPair().fit(["walk", "talking", "sing", ""], ["walked", "talked", "sang", "nothing"])
    assert model.predict(["walks", "king", "singer", "sing", "", "é"]) == [
        "walked",
        "talked",
        "sang",
        "sang",
        "nothing",
        "nothing",
    ]


def test_many_texts_are_compared_a_part_at_a_time():
    X = [f"{i:04}" for i in range(1200)]
    assert NearestPair().fit(X, X).predict(X) == X


def test_token_by_token_learns_which_stands_for_which_from_any_order():
    X = ["abc", "ca", "bb", "cba", "a"]
    y = [text[::-1].upper() for text in X]
    assert TokenByToken(*sides(X, y)).fit(X, y).predict(["abcc", "", "z"]) == ["ABCC", "", ""]


def test_a_silent_token_stands_for_nothing():
    X = ["ah", "bh", "h", "ab", "ba", "hh", "hba"]
    y = ["A", "B", "", "A B", "B A", "", "B A"]
    model = TokenByToken(*sides(X, y, ("char", "word"))).fit(X, y)
    assert model.predict(["hahb", "h"]) == ["A B", ""]


def test_the_first_round_by_hand():
    """ab -> x y, a -> x: a and b share x and y, then a alone is x; after some rounds a is x and b is y."""
    X, y = ["ab", "a"], ["xy", "x"]
    assert TokenByToken(*sides(X, y)).fit(X, y).predict(["ba"]) == ["yx"]


def test_the_unknown_token_is_never_written():
    X, y = ["ab", "ab", "b"], ["xq", "xq", "q"]
    source, target = Side.fit("source", X, "char", 100), Side.fit("target", ["x"], "char", 100)
    assert TokenByToken(source, target).fit(X, y).predict(["ab"]) == ["x"]
