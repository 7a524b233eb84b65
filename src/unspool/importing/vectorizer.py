"""Keras' `TextVectorization`: texts to ids by words that are in the model's file."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import Any

from unspool.errors import DataError
from unspool.importing.keras_config import KerasLayer
from unspool.importing.keras_settings import Settings
from unspool.saved import Fields

STANDARDS = ("none", "lower", "strip_punctuation", "lower_and_strip_punctuation")
SPLITS = ("none", "whitespace", "character")
SPECIAL = ["", "[UNK]"]  # the pad, 0, and what is not known, 1
MAX_GRAMS = 32
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Vectorizer:
    """Texts to ids: 0 is the pad, 1 any token that is not known, 2, 3, ... the tokens of `words`.

    standardize: what is done to a text first: its letters of ASCII made small, its punctuation taken out, both, "none".
    split: "whitespace", "character", or "none": a text is one token. grams: tokens in a row that are taken together,
    each number of them once over the whole text.
    """

    def __init__(self, words: list[str], standardize: str, split: str, grams: tuple[int, ...] = ()) -> None:
        self.words, self.standardize, self.split, self.grams = words, standardize, split, grams
        self.word_index = {word: number for number, word in enumerate(words, 2)}

    def tokens(self, text: str) -> list[str]:
        """What a text is made of."""
        if self.standardize.startswith("lower"):
            text = text.translate(_LOWER)
        if self.standardize.endswith("punctuation"):
            text = text.translate(_PUNCTUATION)
        if self.split == "whitespace":
            found = [token for token in re.split(r"[ \t\n\v\f\r]+", text) if token]
        else:
            found = list(text) if self.split == "character" else [text]
        if not self.grams:
            return found
        return [" ".join(found[at : at + n]) for n in self.grams for at in range(len(found) - n + 1)]

    def texts_to_sequences(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each text; `DataError` for one that is none."""
        found = []
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"Text {number} must be a str. Got {type(text).__name__}.")
            found.append([self.word_index.get(token, 1) for token in self.tokens(text)])
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": "vectorizer",
            "words": self.words,
            "standardize": self.standardize,
            "split": self.split,
            "grams": list(self.grams),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Vectorizer:
        """What `to_dict` wrote; `ModelFileError` for anything else."""
        grams = tuple(fields.items("grams", int))
        if len(grams) > MAX_GRAMS or not all(1 <= n <= MAX_GRAMS for n in grams):
            fields._bad("grams", f"ints in [1, {MAX_GRAMS}]", list(grams))
        return cls(
            fields.items("words", str),
            fields.choice("standardize", STANDARDS),
            fields.choice("split", SPLITS),
            grams,
        )


def vectorizer_of(
    layer: KerasLayer, version: str | None, kept: list[str] | None
) -> tuple[Vectorizer, int | None]:
    """(what a `TextVectorization` does, the number of ids that every text is brought to). kept: its words where the
    file has them beside its settings. `ModelFileError` for settings that are not supported and for lost words."""
    settings = Settings(layer, version).ignore(
        *"max_tokens pad_to_max_tokens ragged encoding vocabulary_size idf_weights".split()
    )
    if settings.value("output_mode", "int") != "int":
        settings.refuse("output_mode", "'int'")
    settings.require_off("sparse")
    standardize, split = (settings.value(name, None) or "none" for name in ("standardize", "split"))
    if standardize not in STANDARDS:
        settings.refuse("standardize", f"one of {list(STANDARDS[1:])} or null")
    if split not in SPLITS:
        settings.refuse("split", "'whitespace', 'character' or null")
    grams = settings.value("ngrams", None) or []
    grams = list(range(1, grams + 1)) if type(grams) is int and grams <= MAX_GRAMS else grams
    if not isinstance(grams, list) or not all(type(n) is int and 1 <= n <= MAX_GRAMS for n in grams):
        settings.refuse("ngrams", f"an int in [1, {MAX_GRAMS}] or a list of them")
    length = settings.value("output_sequence_length", None)
    if length is not None and (type(length) is not int or length < 1):
        settings.refuse("output_sequence_length", "an int of 1 or more")
    words = settings.value("vocabulary", None)
    words = kept if words is None else words
    settings.finish()
    if words is None:
        settings.refuse("vocabulary", "in the file (a .keras file has it, HDF5 does not)")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        settings.refuse("vocabulary", "a list of texts")
    words = words[2:] if words[:2] == SPECIAL else words
    return Vectorizer(words, standardize, split, tuple(grams)), length
