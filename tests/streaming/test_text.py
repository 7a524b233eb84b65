"""Texts cut anywhere give the tokens of the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from unspool.errors import DataError
from unspool.streaming.feeds import Feed
from unspool.streaming.text import LONGEST, Characters, Words
from unspool.text import TextEncoder

ALPHABET = [
    *"aAb1_'\u2019.,!- \n\t\u00a0\u2028中字ไทย한국\u1100\u1161\u11a8Σ\u03c3ςİǅéÅ\u212b",
    *"\u0301\u0327\u0345\u200d\u00ad😀ﬁक\u093c\u094d",
    "don't",
    "ΟΔΟΣ",
    "l\u2019été",
    "e\u0301",
]


def feeds(lower: bool = True) -> list[tuple[str, TextEncoder, Feed]]:
    found = []
    for level in ("word", "char"):
        encoder = TextEncoder(500, level, lower).fit(
            ["".join(ALPHABET), " ".join(ALPHABET), *random_texts(200, 9)]
        )
        table = torch.zeros(1)
        found.append(
            (level, encoder, Words(encoder, table) if level == "word" else Characters(encoder, table))
        )
    return found


def random_texts(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(ALPHABET, random.integers(0, 30))) for _ in range(count)]


def read(feed: Feed, pieces: list[str]) -> list[int]:
    held, ids = "", []
    for piece in pieces:
        new, held, _ = feed.read(piece, held)
        feed.check_held(held)
        ids += new.tolist()
    return ids + feed.finish(held).tolist()


@pytest.mark.parametrize("lower", [True, False])
def test_random_texts_cut_at_random(lower: bool) -> None:
    random = np.random.default_rng(0)
    for level, encoder, feed in feeds(lower):
        for text in random_texts(200, 1):
            expected = encoder.encode([text]).values.tolist()
            cuts = [0, *sorted(random.integers(0, len(text) + 1, random.integers(0, 6)).tolist()), len(text)]
            pieces = [text[a:b] for a, b in pairwise(cuts)]
            assert read(feed, pieces) == expected, (level, pieces)
            assert read(feed, list(text)) == expected, (level, text)


def test_what_is_held_back() -> None:
    (_, _, words), (_, _, characters) = feeds()
    for text, held in (
        ("a good", "good"),
        ("a good ", ""),
        ("a good, ", ""),
        ("a good,", ","),
        ("don'", "don'"),
        ("中字", "字"),
        ("ab. c", "c"),
        ("ab \u00a0", ""),
    ):
        assert words.read(text, "")[1] == held
    assert characters.read("abc", "")[1] == "bc"  # b before, c held
    assert characters.read("aΣ", "")[1] == "aΣ" and characters.read("aΣ.", "")[1] == "aΣ."
    assert characters.read("aΣ.b", "")[1] == "Σb"  # the point tells nothing of a sigma to come


def test_a_token_without_an_end_is_refused() -> None:
    for _, _, feed in feeds():
        text = "\u0301" * (LONGEST + 1)
        with pytest.raises(DataError, match="does not end"):
            feed.read("a" + text, "")
        with pytest.raises(DataError, match="not an unfinished"):
            feed.check_held("a b" + text)
