"""Sentences that are split into tokens already, to token ids, and to the characters of the tokens beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from unspool.arrays import check_texts, unwrapped
from unspool.encode import vectors
from unspool.encode.reading import Raw
from unspool.encode.text import TextInput
from unspool.errors import DataError, ModelFileError, check_int
from unspool.ragged import Ragged
from unspool.saved.fields import checked
from unspool.text.words import PAD, UNKNOWN, UNKNOWN_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

_EXPECTED = "X must be a list of sentences, each a list of tokens (str)"


class TokenEncoder:
    """Numbers tokens, the most frequent first, ties in the order of their letters; 0 is none, 1 an unknown one.

    max_words: at most so many are known. lower: "The" and "the" are one.
    """

    level = "token"

    def __init__(self, max_words: int = 50000, lower: bool = True) -> None:
        self.max_words = check_int("TokenEncoder", "max_words", max_words)
        self.lower = lower
        self._numbers: dict[str, int] | None = None

    def fit(self, sentences: Sequence[Sequence[str]]) -> TokenEncoder:
        """Learn the tokens of the training part; `DataError` where there are none."""
        counts = Counter(self._folded(token) for sentence in sentences for token in sentence)
        if not counts:
            raise DataError(f"None of the {len(sentences)} sentences holds a token.")
        return self.know(sorted(counts, key=lambda token: (-counts[token], token))[: self.max_words])

    def know(self, words: Sequence[str]) -> TokenEncoder:
        """Know these tokens, in this order."""
        self._numbers = {word: number for number, word in enumerate(words, UNKNOWN_ID + 1)}
        return self

    def encode(self, sentences: Sequence[Sequence[str]]) -> Ragged:
        """Ragged of (N,) int64."""
        numbers = self._known()
        tokens = chain.from_iterable(sentences)
        ids = [numbers.get(self._folded(token), UNKNOWN_ID) for token in tokens]
        offsets = [0, *accumulate(len(sentence) for sentence in sentences)]
        return Ragged(torch.tensor(ids, dtype=torch.int64, device="cpu"), offsets)

    def decode(self, ids: Ragged) -> list[list[str]]:
        """The tokens of each row, as they are known."""
        names = [PAD, UNKNOWN, *self.words]
        return [[names[i] for i in row.tolist()] for row in ids]

    def tokenizer(self) -> RustTokenizer:
        """The same numbers by the tokenizers library alone: `encode_batch(sentences, is_pretokenized=True)`.

        A capital Σ at the end of a token is σ there and ς here.
        """
        from tokenizers import Tokenizer, models, normalizers

        numbers = {word: i for i, word in enumerate([PAD, UNKNOWN, *self.words])}
        rust = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
        if self.lower:
            rust.normalizer = normalizers.Lowercase()
        return rust

    @property
    def words(self) -> list[str]:
        """The known tokens, in the order of their numbers, from 2 on."""
        return list(self._known())

    @property
    def vocabulary_size(self) -> int:
        """Known tokens + 2."""
        return len(self._known()) + 2

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` reads it."""
        return {"max_words": self.max_words, "lower": self.lower, "words": self.words}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> TokenEncoder:
        """The encoder that `to_dict` wrote; `ModelFileError` where `state` is not such a dict."""
        state = checked("TokenEncoder", state, max_words=int, lower=bool, words=[str])
        words = state.pop("words")
        if not words or len(set(words)) < len(words) or state["max_words"] < 1:
            raise ModelFileError(
                "The words of the saved TokenEncoder are missing or repeated. It is damaged."
            )
        return cls(**state).know(words)

    def _folded(self, token: str) -> str:
        return token.lower() if self.lower else token

    def _known(self) -> dict[str, int]:
        if self._numbers is None:
            raise DataError("This TokenEncoder has no vocabulary yet. Call fit first.")
        return self._numbers


class TokenInput(TextInput):
    """Lists of tokens to a Ragged of ids (N,), or with their characters, see `beside_ids`. Characters keep their case,
    whatever the vocabulary does. Vectors as of `TextInput`."""

    kind: ClassVar[str] = "tokens"
    encoder_class = TokenEncoder

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> TokenInput:
        """settings: the parameters of a `SequenceTagger`."""
        encoder = TokenEncoder(settings["max_words"], settings["lower"])
        sources, spelled = vectors.as_list(settings["vectors"]), settings["characters"] is not None
        return cls(encoder, sources, settings["vector_words"], settings["embedding_dim"], spelled)

    def _worth_counting(self) -> bool:
        return True

    def _written(self, texts: Any) -> list[str]:
        return [*chain.from_iterable(texts)]

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        """Ragged of (N,) or (N, 2 + width). Never warns: characters and neighbours tell of unknown tokens."""
        return super().encode(raw)

    def describe(self) -> str:
        known = f"tokens, {self.vocabulary_size:,} known"
        if self.characters is not None:
            known += ", with their characters"
        return f"{known}, vectors for {self.coverage:.1%} of the training tokens" if self.coverage else known


def read_sentences(X: Any, name: str = "X") -> list[list[str]]:
    """Lists of tokens, out of lists, arrays or a column of lists; `DataError` for anything else, with the row."""
    if hasattr(X, "to_list"):  # a pandas or polars Series
        X = X.to_list()
    X = unwrapped(X)
    if isinstance(X, (str, bytes, dict)) or not hasattr(X, "__iter__"):
        raise DataError(f"{_EXPECTED}. Got {type(X).__name__}.")
    sentences = []
    for row, sentence in enumerate(X):
        if isinstance(sentence, str):
            raise DataError(
                f"{_EXPECTED}. Row {row} of {name} is one str: {sentence!r:.50}. Split it into tokens."
            )
        if not hasattr(sentence, "__iter__") or isinstance(sentence, (bytes, Mapping, Set)):
            raise DataError(f"{_EXPECTED}. Row {row} of {name} is {type(sentence).__name__}.")
        tokens = list(sentence)
        for token in tokens:
            if not isinstance(token, str):
                raise DataError(
                    f"{_EXPECTED}. Row {row} of {name} holds {type(token).__name__}: {token!r:.50}."
                )
        check_texts(tokens, f"{name}, row {row},")
        sentences.append([str(token) for token in tokens])
    return sentences
