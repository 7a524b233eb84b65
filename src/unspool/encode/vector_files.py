"""Files of word vectors, read a line or a row at a time: memory holds the rows that are wanted, and no more.

`read(path, wanted, extra)` finds the format by what the file holds, not by its name:
- text, a word and its numbers a line (GloVe, word2vec, fastText's .vec), with or without the header
  "words dimensions"; words may hold spaces; gzip;
- word2vec's binary form: the header, then each word, a space, float32 numbers; gzip;
- .npy, a table (V, E) of floats, its words in a file of the same stem beside it: .txt, .words or .vocab (one a
  line), .json (a list) or .parquet (its first column of strings). Mapped into memory, never unpickled.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from unspool.errors import DataError

MAX_LINE = 2**20  # bytes
MAX_DIMENSIONS = 2**14
SAMPLE = 200  # lines that tell how many numbers a line has
FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
#: What numpy raises for a .npy file that is none: it reads a header as Python's literals.
UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    TokenError,
    SyntaxError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
)
WORD_FILES = (".txt", ".words", ".vocab", ".json", ".parquet")


@dataclass(frozen=True)
class Rows:
    """Words, the most frequent first as the file has them, with a row each of a float32 table (V, E)."""

    words: list[str]
    table: np.ndarray


def read(path: str | os.PathLike[str], wanted: Collection[str], extra: int) -> Rows:
    """The rows of `wanted` words that the file has, and the first `extra` words besides.

    A word is wanted too where its lower-case form is: what to make of that is the caller's. `DataError` for a file
    that is none of the formats, damaged, or has numbers that are not finite.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"There is no file of word vectors at {str(path)!r}.")
    choose = Chooser(wanted, extra)
    if file.suffix.lower() == ".npy":
        return read_array(file, _word_file(file), choose)
    with _opened(file) as stream:
        try:
            head = stream.peek(4)[:4]  # type: ignore[attr-defined]
            if head == FASTTEXT_MAGIC:
                raise DataError(
                    f"{file.name} is a model of fastText. Expected word vectors: give the .vec file that comes with it."
                )
            if not head:
                raise DataError(f"The file of word vectors {file.name} is empty.")
            return _read_stream(stream, file.name, choose)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"The file of word vectors {file.name} is damaged ({error}).") from error


class Chooser:
    """Says of each word, in the order of the file, whether its row is kept; the first of equal words is."""

    def __init__(self, wanted: Collection[str], extra: int) -> None:
        self.wanted, self.extra = wanted, extra
        self.taken: set[str] = set()

    def __call__(self, word: str) -> bool:
        if not word or word in self.taken:
            return False
        if word not in self.wanted and word.lower() not in self.wanted:
            if self.extra <= 0:
                return False
            self.extra -= 1
        self.taken.add(word)
        return True


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    opener: Callable = gzip.open if zipped else open
    with opener(file, "rb") as stream:
        yield stream


def _read_stream(stream: BinaryIO, name: str, choose: Chooser) -> Rows:
    first = _line(stream, name)
    declared = _header(first)
    if declared is not None and not _is_text(stream, declared[1]):
        return _read_binary(stream, name, declared, choose)
    sample = list(islice(iter(lambda: _line(stream, name), b""), SAMPLE))
    if declared is not None and _fits(sample, declared):
        return _read_text(stream, name, sample, declared[1], 2, choose)
    sample.insert(0, first)
    # A word that holds spaces makes a line longer, never shorter.
    dimensions = min(len(line.split(b" ")) for line in map(_bare, sample)) - 1
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise DataError(
            f"{name} is not a file of word vectors: expected a word and its numbers in each line. "
            f"Got {first[:40].decode(errors='replace')!r}."
        )
    return _read_text(stream, name, sample, dimensions, 1, choose)


def _header(line: bytes) -> tuple[int, int] | None:
    """(words, dimensions), where the first line may be such a header."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 12 for field in fields):
        return None
    words, dimensions = map(int, fields)
    return (words, dimensions) if 0 < dimensions <= MAX_DIMENSIONS else None


def _is_text(stream: BinaryIO, dimensions: int) -> bool:
    """Whether what follows a header is a line with a word and so many numbers."""
    line = stream.peek(dimensions * 32)[: dimensions * 32].split(b"\n")[0]  # type: ignore[attr-defined]
    fields = _bare(line).split(b" ")[1 : dimensions + 1]
    return bool(fields) and all(_is_number(field) for field in fields[:-1] or fields)


def _fits(sample: list[bytes], header: tuple[int, int]) -> bool:
    return all(len(_bare(line).split(b" ")) > header[1] for line in sample[:1])


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _line(stream: BinaryIO, name: str) -> bytes:
    line = stream.readline(MAX_LINE)
    if len(line) == MAX_LINE and not line.endswith(b"\n"):
        raise DataError(
            f"{name} is not a file of word vectors: it has a line of more than {MAX_LINE:,} bytes."
        )
    return line


def _bare(line: bytes) -> bytes:
    """Without the ends: fastText and word2vec write a space after the last number."""
    return line.rstrip(b" \r\n").replace(b"\t", b" ")


def _read_text(
    stream: BinaryIO, name: str, sample: list[bytes], dimensions: int, first: int, choose: Chooser
) -> Rows:
    words: list[str] = []
    rows: list[np.ndarray] = []

    def take(line: bytes, number: int) -> None:
        bare = _bare(line)
        if not bare:
            return
        word, *numbers = bare.rsplit(b" ", dimensions)
        if len(numbers) < dimensions:
            raise DataError(
                f"Line {number} of {name} must hold a word and {dimensions} numbers. Got {len(numbers)} numbers."
            )
        text = word.decode(errors="replace")
        if choose(text):
            words.append(text)
            rows.append(_numbers(numbers, name, number))

    for number, line in enumerate(sample, first):
        take(line, number)
    number = first + len(sample) - 1
    while line := _line(stream, name):
        number += 1
        take(line, number)
    return _rows(words, rows, dimensions)


def _numbers(fields: list[bytes], name: str, number: int) -> np.ndarray:
    try:
        row = np.array(list(map(float, fields)), np.float32)
    except ValueError as error:
        raise DataError(f"Line {number} of {name} must end with numbers. {error}.".capitalize()) from error
    if not np.isfinite(row).all():
        raise DataError(f"Line {number} of {name} has numbers that are not finite.")
    return row


def _read_binary(stream: BinaryIO, name: str, header: tuple[int, int], choose: Chooser) -> Rows:
    count, dimensions = header
    words: list[str] = []
    rows: list[np.ndarray] = []
    for number in range(1, count + 1):
        word = bytearray()
        while (byte := stream.read(1)) != b" ":
            if not byte or len(word) > MAX_LINE:
                raise DataError(
                    f"{name} is truncated: it declares {count:,} words. Word {number:,} has no end."
                )
            if byte != b"\n":  # some write a line's end after the numbers
                word += byte
        data = stream.read(4 * dimensions)
        if len(data) < 4 * dimensions:
            raise DataError(
                f"{name} is truncated: it declares {count:,} words. Word {number:,} has no numbers."
            )
        text = word.decode(errors="replace")
        if choose(text):
            row = np.frombuffer(data, "<f4").astype(np.float32)
            if not np.isfinite(row).all():
                raise DataError(f"Word {number:,} of {name} has numbers that are not finite.")
            words.append(text)
            rows.append(row)
    return _rows(words, rows, dimensions)


def _rows(words: list[str], rows: list[np.ndarray], dimensions: int) -> Rows:
    return Rows(words, np.stack(rows) if rows else np.zeros((0, dimensions), np.float32))


def _word_file(file: Path) -> Path:
    beside = [file.with_suffix(suffix) for suffix in WORD_FILES]
    for path in beside:
        if path.is_file():
            return path
    raise DataError(f"{file.name} has no words: expected one of {[p.name for p in beside]} beside it.")


def read_words(path: Path) -> list[str]:
    """The words of a list: .json, .parquet, or a text with one a line."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import polars as pl

            from unspool.tables.read import read_parquet

            frame = read_parquet(path)
            names = [name for name, kind in frame.schema.items() if kind == pl.String]
            if not names:
                raise DataError(
                    f"The word list {path.name} must have a column of strings. Got {frame.schema}."
                )
            words = frame[names[0]].to_list()
        elif suffix == ".json":
            words = json.loads(path.read_text(encoding="utf-8"))
        else:
            words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"The word list {path.name} cannot be read ({error}).") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"The word list {path.name} must hold strings, one for each row.")
    return [word.removesuffix("\r") for word in words]


def read_array(file: Path, words: Path, choose: Chooser) -> Rows:
    """As `read`, of a .npy table and the list of its words."""
    try:
        table = np.load(file, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(f"{file.name} is not a .npy table of numbers ({error}).") from error
    return choose_rows(file.name, read_words(words), table, choose)


def choose_rows(name: str, words: list[str], table: np.ndarray, choose: Callable[[str], bool]) -> Rows:
    """The chosen rows of a table (V, E) with a word each; `DataError` where the two do not fit."""
    if table.ndim != 2 or table.dtype.kind != "f" or not 0 < table.shape[1] <= MAX_DIMENSIONS:
        raise DataError(
            f"{name} must be floats of shape (words, dimensions). Got {table.dtype} {table.shape}."
        )
    if len(words) != len(table):
        raise DataError(
            f"{name} must have a word for each of its {len(table):,} rows. Got {len(words):,} words."
        )
    kept = [i for i, word in enumerate(words) if choose(word)]
    rows = np.asarray(table[kept], dtype=np.float32)
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        raise DataError(
            f"The row of {words[kept[int(bad.argmax())]]!r} in {name} has numbers that are not finite."
        )
    return Rows([words[i] for i in kept], rows)
