"""Errors of texts, by hand; jiwer and sacrebleu count them."""

from __future__ import annotations

import sys

import pytest

from unspool.errors import DataError
from unspool.evaluation.texts import MissingPackageError, text_metrics


def test_by_hand():
    found = text_metrics(["a b c", "x", ""], ["a b d", "x", "y z"])
    # words: one of 3 is another, none of 1 is, 2 of 2 are missing; characters: 1 of 5, 0 of 1, 3 of 3
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["wer"] == pytest.approx(3 / 6)
    assert found["cer"] == pytest.approx(4 / 9)


def test_insertions_count_and_may_pass_one():
    assert text_metrics(["a b c d"], ["a"])["wer"] == 3.0


def test_bleu_is_that_of_the_corpus():
    same = "one two three four five"
    assert text_metrics([same, "six"], [same, "six"])["bleu"] == pytest.approx(100)
    # 5, 4, 3, 2 n-grams, of which one word less fits: 4/5 3/4 2/3 1/2, and no penalty for its length
    found = text_metrics(["one two three four six"], [same])["bleu"]
    assert found == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_the_nearest_of_several_right_texts_counts():
    found = text_metrics(["a b c"], [["q r s", "a b d", "a b c e"]])
    assert found["wer"] == pytest.approx(1 / 3) and found["exact_match"] == 0
    found = text_metrics(["a b", "c"], [["x", "a b"], "c"])
    assert (found["exact_match"], found["wer"], found["cer"]) == (1.0, 0.0, 0.0)


def test_nothing_to_compare():
    for given in (([], []), (["a"], []), (["a"], [[]])):
        with pytest.raises(DataError, match="needs a right one"):
            text_metrics(*given)


def test_without_jiwer(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'unspool\[seq2seq\]'"):
        text_metrics(["a"], ["a"])
