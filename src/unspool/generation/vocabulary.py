"""Texts to token numbers and exactly back: characters, words, or byte-pair subwords."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from unspool.arrays import unwrapped
from unspool.errors import DataError, ModelFileError
from unspool.saved import Fields

END_ID, UNKNOWN_ID, FIRST_ID = 0, 1, 2
UNKNOWN = "<unk>"
# A Chinese character; a word, with inner apostrophes; any other mark; each with a space before it. Other white space.
_PIECE = r" ?(?:\p{Han}\p{M}*|[\w&&[^\p{Han}]]+(?:'[\w&&[^\p{Han}]]+)*|[^\w\s]\p{M}*)|\s"
# No token of any level reaches over such a place.
_LINE = re.compile(r"(?<=\n)(?=\S)")


class Vocabulary(ABC):
    """Token numbers of texts. 0 is the mark around texts, 1 an unknown token, 2 the first known one.

    Nothing of a text is changed: the known tokens of a text, one after the other, are the text.
    """

    level: ClassVar[str]

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.bytes = [b"", UNKNOWN.encode(), *map(self._bytes, self.tokens)]

    def __len__(self) -> int:
        """The numbers are below it."""
        return len(self.bytes)

    @classmethod
    @abstractmethod
    def fit(cls, texts: Sequence[str], size: int) -> Vocabulary:
        """The `size` most frequent tokens of `texts`; of subwords the most that are made."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """(n,) int64."""

    @abstractmethod
    def tokenizer(self) -> RustTokenizer:
        """The same numbers by the tokenizers library alone, for other programs."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens. The mark is nothing, an unknown token "<unk>"; bytes that are no text are "\ufffd"."""
        return b"".join(self.bytes[i] for i in ids).decode(errors="replace")

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """Each token of `text` that is not known, once, in the order of their places."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_fields` reads."""
        return {"level": self.level, "tokens": self.tokens}

    @classmethod
    def _from_fields(cls, fields: Fields) -> Vocabulary:
        return cls(fields.items("tokens", str))

    def _bytes(self, token: str) -> bytes:
        return token.encode()


class Characters(Vocabulary):
    """Every character a token."""

    level = "char"

    def __init__(self, tokens: Sequence[str]) -> None:
        if any(len(token) != 1 for token in tokens):
            raise ModelFileError("The saved vocabulary has words where characters belong. It is damaged.")
        super().__init__(tokens)
        points = [ord(token) for token in tokens]
        self.numbers = np.full(max(points, default=0) + 2, UNKNOWN_ID, dtype=np.int64)  # the last: any beyond
        self.numbers[points] = np.arange(FIRST_ID, len(points) + FIRST_ID)

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> Characters:
        counts = np.zeros(0x110000, dtype=np.int64)
        for text in texts:
            found = np.bincount(_points(text))
            counts[: len(found)] += found
        order = np.argsort(-counts, kind="stable")
        return cls([chr(point) for point in order[: min(size, int((counts > 0).sum()))]])

    def encode(self, text: str) -> np.ndarray:
        return self.numbers[np.minimum(_points(text), len(self.numbers) - 1)]

    def tokenizer(self) -> RustTokenizer:
        rust = RustTokenizer(models.WordLevel(_numbered(self.tokens), unk_token=UNKNOWN))
        rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        rust.decoder = decoders.Fuse()
        return rust

    def unknown(self, text: str) -> list[str]:
        known = set(self.tokens)
        return [character for character in dict.fromkeys(text) if character not in known]


class Words(Vocabulary):
    """Words with the space before them, punctuation marks, and other white space, each a token."""

    level = "word"

    def __init__(self, tokens: Sequence[str]) -> None:
        super().__init__(tokens)
        self.rust = _splitting()
        self.rust.model = models.WordLevel(_numbered(tokens), unk_token=UNKNOWN)

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> Words:
        rust = _splitting()
        trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=[], show_progress=False)
        rust.train_from_iterator((line for text in texts for line in _lines(text)), trainer)
        numbers = rust.get_vocab()
        return cls(sorted(numbers, key=numbers.__getitem__))

    def encode(self, text: str) -> np.ndarray:
        return _encoded(self.rust, text)

    def tokenizer(self) -> RustTokenizer:
        rust = RustTokenizer.from_str(self.rust.to_str())
        rust.decoder = decoders.Fuse()
        return rust

    def unknown(self, text: str) -> list[str]:
        known, split = set(self.tokens), self.rust.pre_tokenizer.pre_tokenize_str
        pieces = dict.fromkeys(piece for line in _lines(text) for piece, _ in split(line))
        return [piece for piece in pieces if piece not in known]


class Subwords(Vocabulary):
    """Byte-pair subwords (Sennrich, Haddow & Birch 2016, arXiv:1508.07909) of UTF-8 bytes: no text has unknown ones.

    Tokens are written in the alphabet of the `tokenizers` library, one character a byte.
    """

    level = "subword"

    def __init__(self, tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        self.letters = _byte_letters()
        self.merges = [(a, b) for a, b in merges]
        numbers = {token: i for i, token in enumerate(tokens)}
        if not set(self.letters) <= set(numbers) or len(numbers) != len(tokens):
            raise ModelFileError("The saved subwords lack bytes or are repeated. The file is damaged.")
        super().__init__(tokens)
        self.rust = RustTokenizer(models.BPE())
        self.rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        try:
            self.rust.model = models.BPE(numbers, self.merges)
        except Exception as error:  # whatever the Rust library makes of a pair that it does not know
            raise ModelFileError(f"The saved subwords do not hold ({error}). The file is damaged.") from error

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> Subwords:
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = list(_byte_letters())
        trainer = trainers.BpeTrainer(
            vocab_size=max(size, len(alphabet)),
            initial_alphabet=alphabet,
            special_tokens=[],
            show_progress=False,
        )
        rust.train_from_iterator((line for text in texts for line in _lines(text)), trainer)
        model = json.loads(rust.to_str())["model"]
        numbers = model["vocab"]
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        return cls(sorted(numbers, key=numbers.__getitem__), [(a, b) for a, b in pairs])

    def encode(self, text: str) -> np.ndarray:
        return _encoded(self.rust, text) + FIRST_ID

    def tokenizer(self) -> RustTokenizer:
        numbers = {"\0end": END_ID, UNKNOWN: UNKNOWN_ID}
        numbers |= {token: i for i, token in enumerate(self.tokens, FIRST_ID)}
        rust = RustTokenizer(models.BPE(numbers, self.merges))
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rust.decoder = decoders.ByteLevel()
        return rust

    def unknown(self, text: str) -> list[str]:
        return []

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "merges": [list(pair) for pair in self.merges]}

    @classmethod
    def _from_fields(cls, fields: Fields) -> Subwords:
        pairs = fields.items("merges", list)
        if not all(len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs):
            raise ModelFileError(
                "The merges of the saved subwords must be pairs of str. The file is damaged."
            )
        return cls(fields.items("tokens", str), [tuple(pair) for pair in pairs])

    def _bytes(self, token: str) -> bytes:
        try:
            return bytes(self.letters[letter] for letter in token)
        except KeyError as error:
            raise ModelFileError(
                f"A saved subword has a letter that is no byte, {error}. It is damaged."
            ) from error


#: Name of a level -> its vocabulary.
LEVELS: dict[str, type[Vocabulary]] = {cls.level: cls for cls in (Characters, Words, Subwords)}


def vocabulary_from_fields(fields: Fields) -> Vocabulary:
    """What `to_dict` wrote; `ModelFileError` where the fields do not hold."""
    kind = LEVELS[fields.choice("level", LEVELS)]
    tokens = fields.items("tokens", str)
    if not tokens or len(set(tokens)) != len(tokens):
        raise ModelFileError("the tokens of the saved vocabulary are missing or repeated.")
    return kind._from_fields(fields)


def read_texts(owner: str, texts: Any, what: str = "texts") -> list[str]:
    """A list of str, out of one str or a list, array or column of them; `DataError` for anything else."""
    items = [texts] if isinstance(texts, str) else texts
    if hasattr(items, "columns"):
        raise DataError(
            f"The {what} of {owner} must be one column of a table, such as table['text']. Got a table."
        )
    if isinstance(items, (bytes, dict, set, frozenset)) or not isinstance(items, Iterable):
        raise DataError(f"The {what} of {owner} must be a str, or a list of str. Got {type(texts).__name__}.")
    items = list(unwrapped(items))
    for i, text in enumerate(items):
        if not isinstance(text, str):
            raise DataError(f"Text {i} of the {what} must be a str. Got {type(text).__name__}: {text!r:.50}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"Text {i} of the {what} is not valid Unicode ({error.reason}). Read the file as UTF-8."
            ) from error
    return items


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(["\0end", UNKNOWN, *tokens])}


def _lines(text: str) -> list[str]:
    return _LINE.split(text)


def _splitting() -> RustTokenizer:
    rust = RustTokenizer(models.WordLevel({}, unk_token=UNKNOWN))
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), "isolated")
    return rust


def _encoded(rust: RustTokenizer, text: str) -> np.ndarray:
    """By the line, so that the library holds little, and reads lines side by side."""
    lines, parts = _lines(text), [np.zeros(0, dtype=np.int64)]
    for i in range(0, len(lines), 4096):
        found = rust.encode_batch_fast(lines[i : i + 4096], add_special_tokens=False)
        parts += [np.array(line.ids, dtype=np.int64) for line in found]
    return np.concatenate(parts)


def _byte_letters() -> dict[str, int]:
    """letter -> byte, of the byte-level alphabet: printable Latin-1 is itself, other bytes follow from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {**{chr(byte): byte for byte in plain}, **{chr(256 + i): byte for i, byte in enumerate(rest)}}
