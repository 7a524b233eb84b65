"""The classic `one_hot` and `hashing_trick`: words to numbers without a vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from unspool.errors import bad_parameter, check_int
from unspool.text.tokenizer import FILTERS, text_to_word_sequence


def hashing_trick(
    text: str,
    n: int,
    hash_function: str | Callable[[str], int] | None = None,
    filters: str = FILTERS,
    lower: bool = True,
    split: str = " ",
) -> list[int]:
    """A number in [1, n) for each word of `text`, by its hash; different words may share one.

    hash_function: "md5", the same in every process; a function of a word; None: Python's `hash`, another one in each
    process. filters, lower, split: as in `text_to_word_sequence`. Raises `InvalidParameterError` for n below 2.
    """
    check_int("hashing_trick", "n", n, 2)
    if hash_function is None:
        hash_function = hash
    elif hash_function == "md5":
        hash_function = _md5
    elif not callable(hash_function):
        bad_parameter("hashing_trick", "hash_function", "'md5', a function of a word or None", hash_function)
    return [hash_function(word) % (n - 1) + 1 for word in text_to_word_sequence(text, filters, lower, split)]


def one_hot(text: str, n: int, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[int]:
    """A number in [1, n) for each word of a text, by Python's `hash`, which differs from process to process.

    text, n, filters, lower, split: as of `hashing_trick`."""
    return hashing_trick(text, n, None, filters, lower, split)


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)
