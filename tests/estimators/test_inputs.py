"""X and y as other libraries have them: read as the same sequences, or named in an error or a warning."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

import unspool
from unspool import Ragged, SequenceClassifier, SequenceRegressor, SequenceTagger
from unspool.encode import IdInput, new_input, read_input
from unspool.errors import DataError
from unspool.generation.vocabulary import read_texts
from unspool.seq2seq.estimator import read_pairs

SMALL = {
    "hidden_size": 4,
    "embedding_dim": 4,
    "epochs": 1,
    "early_stopping": False,
    "random_state": 0,
    "verbose": 0,
}
IDS = np.array([[1, 2, 3], [4, 5, 6], [3, 2, 0], [6, 1, 0]])
SERIES = np.random.default_rng(0).normal(size=(4, 5, 2))


class Arrow:
    """A column that speaks Arrow's interface and nothing else, as pyarrow's do."""

    def __init__(self, values: list) -> None:
        self.column = pl.Series(values)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.column.__arrow_c_stream__(requested_schema)


class Scalar:
    """A scalar of pyarrow: a buffer of bytes that NumPy would read as numbers."""

    def __init__(self, value: str) -> None:
        self.value = value

    def as_py(self) -> str:
        return self.value


def same(X, kind: str, expected: Ragged) -> None:
    raw = read_input(X)
    assert raw.kind == kind and raw.data.offsets.tolist() == expected.offsets.tolist()
    assert np.allclose(raw.data.values.numpy(), expected.values.numpy())


@pytest.mark.parametrize(
    "texts", [Arrow(["a b", "c"]), [Scalar("a b"), Scalar("c")], pl.Series(["a b", "c"])]
)
def test_arrow_columns_of_texts(texts):
    raw = read_input(texts)
    assert raw.kind == "text" and raw.data == ["a b", "c"]


def test_pyarrow_itself():
    pa = pytest.importorskip("pyarrow")
    for texts in (pa.array(["a b", "c"]), pa.chunked_array([["a b"], ["c"]]), list(pa.array(["a b", "c"]))):
        assert read_input(texts).data == ["a b", "c"]


def test_arrow_lists_and_labels():
    same(Arrow([[1, 2, 3], [4]]), "ids", Ragged.from_list([[1, 2, 3], [4]]))
    model = SequenceClassifier(**SMALL).fit(["a", "b", "c"], Arrow(["x", "y", "x"]))
    assert model.classes_.tolist() == ["x", "y"]


@pytest.mark.parametrize("form", [np.array, tuple, pl.Series, "pandas.Series", "pyarrow.array"])
def test_texts_that_are_their_own_targets(form):
    """Of `SequenceGenerator` and `Seq2Seq`."""
    if isinstance(form, str):
        module, name = form.split(".")
        form = getattr(pytest.importorskip(module), name)
    assert read_texts("SequenceGenerator", form(["ab", "c"])) == ["ab", "c"]
    assert read_pairs(form(["ab", "c"]), form(["x", "y"])) == (["ab", "c"], ["x", "y"])


@pytest.mark.parametrize("texts", [pl.DataFrame({"text": ["ab", "c"]}), {"ab", "c"}, b"ab", {"text": ["ab"]}])
def test_tables_and_sets_are_no_texts(texts):
    with pytest.raises(DataError, match=r"must be (a str, or a list of str|one column of a table)"):
        read_texts("SequenceGenerator", texts)


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (SequenceClassifier, [float("nan"), "a", "b"], "must have a label in every row. Got none in row 0"),
        (SequenceClassifier, [1, "a", "b"], "labels of one type. Got int, str"),
        (SequenceRegressor, [None, 1.0, 2.0], "finite real numbers. Got None in row 0"),
        (SequenceRegressor, np.array(["2024-01-01"] * 3, "M8[D]"), "Got datetime64.D.: make numbers of them"),
        (SequenceRegressor, [1e300, -1e300, 1.0], "squares float64 holds.*another unit"),
        (SequenceRegressor, [1e-300, -1e-300, 0.0], "squares float64 holds.*another unit"),
        (SequenceRegressor, np.ones((3, 0)), "one column of numbers or more"),
        (SequenceRegressor, [1j, 2.0, 3.0], r"real numbers\. Got \(?1(\+0)?j"),
        (SequenceClassifier, np.array(["2024-01-01"] * 3, "M8[D]"), "Got datetime64.*Make texts of them"),
        (SequenceClassifier, [Fraction(1, 3), Fraction(1), Fraction(1)], "Got Fraction.*Make texts of them"),
        (SequenceClassifier, [1j, 2j, 1j], "Got complex128.*Make texts of them"),
        (SequenceClassifier, [True, 2, 1], "labels of one type. Got bool, int"),
        (SequenceClassifier, [2**70, 2**70 + 1, 1], "beyond 64 bits. Make texts"),
        (SequenceClassifier, ["a\0", "a", "b"], "ends in a zero character, 'a.x00'"),
        (SequenceClassifier, ["\ud800", "a", "b"], "not valid Unicode"),
        (SequenceClassifier, {"a", "b", "c"}, "Got a set. Pass a list, in the order of X"),
        (SequenceClassifier, (v for v in "abc"), "Got a generator. Pass a list"),
        (SequenceClassifier, csr_array(np.eye(3)), r"Got a csr_array.*Pass y\.toarray"),
    ],
)
def test_targets_that_are_missing_or_mixed(estimator, y, message):
    with pytest.raises(DataError, match=message):
        estimator().fit(["a b", "c", "d"], y)


def test_labels_of_sentences_that_are_missing():
    with pytest.raises(DataError, match="labels must be strings or whole numbers, none missing"):
        SequenceTagger().fit([["a"], ["b"], ["c"]], [["O"]] * 3, labels=[float("nan"), "x", "y"])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"a b", "c"}, "Got set. A set has no order: pass a list"),
        ([["a", "b"], ["c"]], r"Row 0 of X holds 2 texts.*' '.join\(row\)"),
        (np.array([["a b", "c"], ["c", "d"]], object), r"Row 0 of X holds 2 texts.*X\[:, 0\]"),
        ([{"text": "a"}], "Row 0 of X is a dict"),
        (np.array("abc"), "an array of no axes, 'abc'"),
        (np.full((2, 2), 2**63, np.uint64), "holds 9223372036854775808: token ids are below"),
        ([[2**70, 1]], "whole numbers beyond 64 bits"),
    ],
)
def test_what_is_no_sequence(X, message):
    with pytest.raises(DataError, match=message):
        read_input(X)


def test_tables_with_missing_numbers_and_views_of_memory():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([3, 4], dtype="Int64")})
    found = read_input(frame).data.values[:, 0]
    assert found.isnan().tolist() == [False, False, True, False] and found[[0, 1, 3]].tolist() == [1, 3, 4]
    same(memoryview(SERIES), "series", Ragged.from_list(list(torch.from_numpy(SERIES))))
    with pytest.raises(DataError, match="Got none in row 1"):
        SequenceClassifier().fit(["a", "b"], pd.array([True, None], dtype="boolean"))


def test_labels_of_numpy_texts_and_marks_that_are_not_seen():
    if hasattr(np.dtypes, "StringDType"):
        labels = np.array(["x", "y", "x"], dtype=np.dtypes.StringDType())
        assert SequenceClassifier(**SMALL).fit(["a", "b", "c"], labels).classes_.tolist() == ["x", "y"]
    with pytest.warns(UserWarning, match="differ in case or blanks only"):
        SequenceClassifier(**SMALL).fit(["a", "b", "c"], ["x", "x\u200b", "y"])


@pytest.mark.parametrize("rows", [[b"ab", b"c"], [bytearray(b"ab")] * 2, [memoryview(b"ab")] * 2])
def test_bytes_are_no_ids(rows):
    with pytest.raises(DataError, match=r"Got (bytes|bytearray|memoryview) in row 0"):
        read_input(rows)


@pytest.mark.parametrize("dtype", [">i4", ">i8", ">u2", ">u4"])
def test_ids_in_any_byte_order(dtype):
    expected = read_input(IDS).data
    same(IDS.astype(dtype), "ids", expected)
    same([row[row > 0].astype(dtype) for row in IDS], "ids", expected)
    same(IDS[::-1].astype(dtype)[::-1], "ids", expected)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">f2", "f2", np.longdouble])
def test_series_in_any_float_type(dtype):
    X = SERIES.astype(dtype)
    expected = Ragged.from_list([torch.from_numpy(row.astype(np.float64)) for row in X])
    for given in (X, list(X), Ragged.from_list(list(X))):
        same(given, "series", expected)
    y = np.arange(4.0).astype(dtype)
    assert SequenceRegressor(**SMALL).fit(X, y, sample_weight=np.ones(4).astype(dtype)).predict(X).shape == (
        4,
    )


def test_labels_in_any_byte_order(tmp_path):
    model = SequenceClassifier(**SMALL).fit(IDS, np.array([7, 9, 7, 9], dtype=">i4"))
    model.save(tmp_path / "m")
    assert unspool.load(tmp_path / "m").classes_.tolist() == [7, 9]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_of_any_layout():
    rows = [torch.randn(3, 2), torch.randn(1, 2), torch.randn(4, 2)]
    expected = Ragged.from_list(rows)
    same(torch.nested.nested_tensor(rows, layout=torch.jagged), "series", expected)
    same(torch.nested.nested_tensor(rows), "series", expected)
    same(torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False), "series", expected)
    same(
        [row.bfloat16().float().bfloat16() for row in rows],
        "series",
        Ragged.from_list([r.bfloat16().float() for r in rows]),
    )
    same(
        torch.stack([rows[0]] * 2).bfloat16().requires_grad_(),
        "series",
        Ragged.from_list([rows[0].bfloat16().float()] * 2),
    )
    same(
        torch.nested.nested_tensor([torch.tensor([1, 2]), torch.tensor([3])], layout=torch.jagged),
        "ids",
        Ragged.from_list([[1, 2], [3]]),
    )
    for tensor in (torch.eye(3).to_sparse(), torch.empty(3, 3, device="meta")):
        with pytest.raises(DataError, match="Expected a dense tensor"):
            read_input(tensor)
    with pytest.raises(DataError, match=r"mask=~X.mask"):
        read_input(np.ma.masked_array(np.ones((2, 3)), mask=np.eye(2, 3)))


def test_measurements_in_integers_are_told():
    random = np.random.default_rng(0)
    walk = np.abs(100 + random.integers(-3, 4, (8, 50)).cumsum(1))
    with pytest.warns(UserWarning, match=r"read as token ids.*measurements pass floats"):
        new_input("ids", {}).fit(read_input(walk))
    for ids in (random.integers(1, 100, (8, 50)), IDS):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new_input("ids", {}).fit(read_input(ids))
    with pytest.raises(DataError, match=r"0 or more. Got -1 in sequence 0.*pass floats"):
        new_input("ids", {}).fit(read_input([[1, -1]]))


def test_few_ids_of_a_wide_range_are_renumbered(tmp_path):
    wide = [[10_000_000, 5, 7], [2**40], [5, 9_999_999]]
    small = [[4, 1, 2], [5], [1, 3]]
    model = SequenceRegressor(**SMALL).fit(wide, [1, 2, 3])
    assert model.network_.embedding.weight.shape[0] == 6
    same_model = SequenceRegressor(**SMALL).fit(small, [1, 2, 3])
    assert np.array_equal(model.predict(wide), same_model.predict(small))
    model.save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    assert np.array_equal(again.predict(wide), model.predict(wide))
    assert again.input_.decode(again.input_.encode(read_input(wide))) == wide
    with pytest.warns(UserWarning, match="1 of 2 ids do not occur in training"):
        assert np.isfinite(again.predict([[6, 5]])).all()


def test_ids_that_are_all_there_keep_their_numbers_up_to_a_limit():
    encoder = IdInput().fit(read_input([list(range(150_000))]))
    assert encoder.known is None and encoder.vocabulary_size == 150_000
    with pytest.raises(DataError, match=r"12,000,001 of them would need 0\.0 GB"):
        IdInput().fit(read_input([np.arange(12_000_001)]))


class Frame:
    """What a table of pandas looks like."""

    columns = ("a", "b")

    def __init__(self, values: np.ndarray, levels: int = 1) -> None:
        self.values, self.index = values, type("Index", (), {"nlevels": levels})()

    def to_numpy(self) -> np.ndarray:
        return self.values


def test_containers_with_channels_first_are_named():
    channels = SERIES.transpose(0, 2, 1)
    with pytest.warns(UserWarning, match=r"2 steps with 5 features.*sktime.*transpose\(0, 2, 1\)"):
        read_input(channels)
    with pytest.warns(UserWarning, match="sktime"):
        read_input(list(channels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_input(SERIES)
        read_input(channels, "series")
    with pytest.raises(DataError, match=r"agree in the number of features.*\[x.T for x in X\]"):
        read_input([np.zeros((2, 7)), np.zeros((2, 9))])
    with pytest.raises(DataError, match=r"pd-multiindex.*groupby"):
        read_input(Frame(np.ones((6, 2)), levels=2))
    cells = np.empty((3, 2), dtype=object)
    for place in np.ndindex(3, 2):
        cells[place] = np.ones(4)
    with pytest.raises(DataError, match=r"nested_univ.*np.stack"):
        read_input(Frame(cells))


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_one_hot_labels(dtype):
    numbers = [0, 2, 1, 2]
    model = SequenceClassifier(**SMALL).fit(IDS, np.eye(3, dtype=dtype)[numbers])
    plain = SequenceClassifier(**SMALL).fit(IDS, numbers)
    assert model.classes_.tolist() == [0, 1, 2] and np.array_equal(model.predict(IDS), plain.predict(IDS))
    assert model.score(IDS, np.eye(3)[numbers]) == plain.score(IDS, numbers)


def test_rows_of_several_labels_fit_no_model_of_one():
    model = SequenceClassifier(**SMALL).fit(IDS, np.eye(3)[[0, 2, 1, 2]])
    with pytest.raises(
        DataError, match=r"one label a sequence, as in training. Row 1 of y \(4, 3\) has 2 ones"
    ):
        model.score(IDS, [[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(DataError, match="no lists of labels"):
        SequenceClassifier(**SMALL).fit(IDS, [["a"], ["a", "b"], ["b"], []])


def test_labels_never_merge():
    big = [2**60 + 1, 2**60 + 3, 2**60 + 1, 2**60 + 3]
    assert SequenceClassifier(**SMALL).fit(IDS, big).classes_.tolist() == big[:2]
    with pytest.raises(DataError, match="labels of one type"):
        SequenceClassifier(**SMALL).fit(IDS, [2**63 + 1, 2**63 + 3, -1, -1])


@pytest.mark.parametrize(
    "labels", [["Yes", "yes", "no", "no"], ["a b", " a  b", "c", "c"], ["\u00e9", "e\u0301", "x", "x"]]
)
def test_labels_that_differ_in_case_or_blanks_are_told(labels):
    with pytest.warns(UserWarning, match="differ in case or blanks only"):
        SequenceClassifier(**SMALL).fit(IDS, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SequenceClassifier(**SMALL).fit(IDS, ["yes", "no", "maybe", "no"])


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (["ฉันรักคุณ", "ไม่ชอบ"], "Thai"),
        (["ຂ້ອຍຮັກເຈົ້າ"], "Lao"),
        (["ខ្ញុំស្រឡាញ់អ្នក"], "Khmer"),
        (["ငါမင်းကိုချစ်တယ်"], "Burmese"),
        (["わたしはあなたがすきです", "カタカナ"], "Japanese kana"),
    ],
)
def test_scripts_without_spaces_are_told(texts, script):
    fit = {"max_words": 100, "vectors": None, "characters": None, "vector_words": 1, "embedding_dim": 4}
    with pytest.warns(UserWarning, match=f"hold {script}.*level='char'"):
        new_input("text", {"level": "word", **fit}).fit(read_input(texts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new_input("text", {"level": "char", **fit}).fit(read_input(texts))
        new_input("text", {"level": "word", **fit}).fit(read_input(["hello there", "我爱你", "नमस्ते दुनिया"]))
