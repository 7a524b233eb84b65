"""Files -> tables; the expected cells are written by hand."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import hashlib
import json
import lzma
import os
from pathlib import Path

import polars as pl
import pytest
from tables.workbooks import workbook

from unspool.errors import DataError, InvalidParameterError
from unspool.tables import label_column, read_table, require_columns, write_table

EMOBANK = Path(__file__).resolve().parents[2] / "../shared/data/emobank/emobank.csv"


def table(tmp_path: Path, data: bytes | str, name: str = "t.csv", **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path, **options)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("text,n\nNA,1\nnull,2\nNone,3\nnan,4\n", [("NA", "1"), ("null", "2"), ("None", "3"), ("nan", "4")]),
        ('text,n\n"a, ""b""\nnext",1\n', [('a, "b"\nnext', "1")]),
        ('text,n\n5" disk,1\n', [('5" disk', "1")]),
        ('text,n\n,1\n"",2\n', [(None, "1"), (None, "2")]),
        (b"\xef\xbb\xbftext,n\r\ncaf\xc3\xa9,1\r\n\r\nb,2", [("café", "1"), ("b", "2")]),
        ("text,n\na\u2028b\x0bc,1\n", [("a\u2028b\x0bc", "1")]),
    ],
)
def test_csv_cells(tmp_path, data, rows):
    result = table(tmp_path, data)
    assert result.frame.columns == ["text", "n"]
    assert result.frame.rows() == rows
    assert result.rows.tolist() == list(range(1, len(rows) + 1))


def test_a_cell_of_a_million_characters(tmp_path):
    limit = 131_072  # the csv module's own
    csv.field_size_limit(limit)
    assert len(table(tmp_path, f"text\n{'x' * 1_000_000}\n").frame["text"][0]) == 1_000_000
    assert csv.field_size_limit() == limit


def test_tsv_delimiter_and_quotes(tmp_path):
    assert table(tmp_path, 'text\tn\n"a\tb"\t1\n', "t.tsv").frame.rows() == [("a\tb", "1")]
    assert table(tmp_path, 'text\tn\n"a\t1\n', "t.tsv", quotes=False).frame.rows() == [('"a', "1")]
    assert table(tmp_path, "text;n\na,b;1\n", delimiter=";").frame.rows() == [("a,b", "1")]
    assert table(tmp_path, "text\tn\na,b\t1\n", "t.txt", format="tsv").frame.rows() == [("a,b", "1")]


def test_encodings(tmp_path):
    latin = "text,n\nx,1\ncafé,2\n".encode("latin-1")
    with pytest.raises(DataError, match=r"is not utf-8: byte 0xe9 in line 3\. .*--encoding latin-1"):
        table(tmp_path, latin)
    assert table(tmp_path, latin, encoding="latin-1").frame["text"][1] == "café"
    with pytest.raises(DataError, match=r"UTF-16.*--encoding utf-16"):
        table(tmp_path, "text\na\n".encode("utf-16"))
    assert table(tmp_path, "text\na\n".encode("utf-16"), encoding="utf-16").frame.rows() == [("a",)]
    with pytest.raises(DataError, match="Unknown encoding 'klingon'"):
        table(tmp_path, "text\na\n", encoding="klingon")


def test_a_delimiter_is_one_character(tmp_path):
    for mark in ("", ";;"):
        with pytest.raises(DataError, match=f"must be one character. Got '{mark}'"):
            table(tmp_path, "text,n\na,1\n", delimiter=mark)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "text,n\n", "has no rows below its header"),
        ("t.csv", 'text,n\na,1\n"b,2\n', "line 3: a quote is never closed.*--no-quotes"),
        ("t.csv", 'text,n\n"a" b,1\n', "line 2: .*--no-quotes"),
        ("t.csv", "text,n\na,1\nb\n", "line 3: 1 cells where the header has 2"),
        ("t.csv", "text;n\na,b;1\n", r"another delimiter needed: --delimiter ';'"),
        ("t.csv", "text\tn\na,b\t1\n", r"another delimiter needed: --delimiter tab"),
        ("t.csv", "text,n\na,1\nb,2,3\n", "line 3: 3 cells where the header has 2"),
        ("t.csv", "# a comment\ntext,n\na,1\n", "line 2: .*first line a title or a comment"),
        ("t.json", '[{"text": "\\ud800"}]', "Cannot read .*surrogates not allowed"),
        ("t.jsonl", "", "is empty"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b', "line 2 is not JSON.*half-written"),
        ("t.jsonl", '{"text": "a"}\n[1]\n', "line 2: expected one JSON object a line"),
        ("t.parquet", b"PAR1garbage", "Cannot read .* as Parquet.*half-written"),
        ("t.parquet", b"", "Cannot read .* as Parquet"),
        ("t.xlsx", b"", "as an Excel sheet"),
        ("t.doc", b"", "Cannot tell the format.*--format"),
    ],
)
def test_bad_files(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, data, name)


def test_missing_file_folder_and_format(tmp_path):
    with pytest.raises(DataError, match="No file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"is a folder"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(DataError, match=r"an address. Download"):
        read_table("https://example.org/t.csv")
    with pytest.raises(DataError, match=r"read from a file. Got '-'"):
        read_table("-")
    with pytest.raises(DataError, match=r"read from a path. Got a DataFrame"):
        read_table(pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="columns must name one column or more"):
        table(tmp_path, "a\n1\n", columns=[])
    assert table(tmp_path, "a,b\n1,2\n", columns="b").frame.columns == ["b"]
    with pytest.raises(InvalidParameterError, match="Did you mean 'csv'"):
        table(tmp_path, "a\n1\n", format="cvs")


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are POSIX")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"is a pipe or a device. Write"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["hex", "rot13", "idna", "unicode_escape", "undefined", "a\0", None])
def test_codecs_that_are_no_encodings_of_files(tmp_path, encoding):
    with pytest.raises(DataError, match=r"Unknown encoding.*Common ones: utf-8"):
        table(tmp_path, "text\na\n", encoding=encoding)


def test_byte_order_marks_of_joined_files(tmp_path):
    assert table(tmp_path, "\ufeff\ufefftext,n\na,1\n").frame.columns == ["text", "n"]


def test_json_lines(tmp_path):
    data = '\ufeff{"text": "a\\nb", "n": 1}\n\n{"text": "None", "n": 2.5}\n{"text": "", "n": null}\n'
    assert table(tmp_path, data, "t.jsonl").frame.rows() == [("a\nb", 1.0), ("None", 2.5), (None, None)]


@pytest.mark.parametrize(
    "name",
    [
        "t.csv",
        "t.tsv",
        "t.jsonl",
        "t.json",
        "t.parquet",
        "t.csv.gz",
        "t.jsonl.bz2",
        "t.tsv.xz",
        "new/er/t.csv",
    ],
)
def test_what_is_written_is_read_again(tmp_path, name):
    texts = ["NA", 'say "hi", you', "two\nlines\tand a tab", "é\u2028ü", "None"]
    frame = pl.DataFrame({"text": texts, "n": [1.5, 2.0, -3.25, 1e-9, 7.0]})
    write_table(frame, tmp_path / name)
    again = read_table(tmp_path / name).frame
    assert again["text"].to_list() == texts
    assert again["n"].cast(pl.Float64).to_list() == frame["n"].to_list()
    assert [p.name for p in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full)
    with pytest.raises(OSError, match="No space"):
        write_table(pl.DataFrame({"a": [1]}), path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not EMOBANK.is_file(), reason="EmoBank is not beside the repository")
def test_emobank_as_the_csv_module_reads_it():
    result = read_table(EMOBANK)
    with open(EMOBANK, newline="", encoding="utf-8") as file:
        expected = [row["text"] for row in csv.DictReader(file)]
    assert result.frame["text"].to_list() == expected
    assert len(result) == 10_062
    assert dict(result.frame["split"].value_counts().rows()) == {"train": 8062, "dev": 1000, "test": 1000}


@pytest.mark.parametrize(
    ("pack", "name"), [(gzip.compress, "t.csv.gz"), (bz2.compress, "t.csv"), (lzma.compress, "t.csv.xz")]
)
def test_compressed_whatever_the_extension(tmp_path, pack, name):
    assert table(tmp_path, pack(b"\xef\xbb\xbftext\na\n"), name).frame.rows() == [("a",)]
    with pytest.raises(DataError, match=r"cannot be unpacked.*half-written"):
        table(tmp_path, pack(b"text\n" + bytes(range(256)) * 50)[:-20], name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text,n\nab,1\n".encode("utf-16-le"), "UTF-16-LE, not utf-8.*--encoding utf-16-le"),
        ("text,n\nab,1\n".encode("utf-16-be"), "UTF-16-BE, not utf-8.*--encoding utf-16-be"),
        ("text\na\n".encode("utf-32"), "UTF-32, not utf-8.*--encoding utf-32"),
        (b"PAR1xxxx", "a Parquet file.*--format parquet"),
        (b"PK\x03\x04xxxx", "--format xlsx"),
        (b"\x28\xb5\x2f\xfdxxxx", "zstd"),
        (b"text\n\0\0a\n", "zero bytes"),
        (b"ARROW1\0\0xxxx", "Arrow or Feather.*Parquet"),
        (b"Obj\x01xxxx", "Avro.*Parquet"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive"),
        (b"\x04\x22\x4d\x18xxxx", "LZ4"),
        ("\n<!DOCTYPE html><table>", "web page"),
    ],
)
def test_what_the_bytes_are_instead(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, data)
    if isinstance(data, bytes) and "zero" not in message and "UTF" not in message:
        with pytest.raises(DataError, match=message):  # whatever the file is called
            table(tmp_path, data, "t.data")
    if "UTF" in message:
        encoding = message.rsplit(" ", 1)[1]
        assert table(tmp_path, data, encoding=encoding).frame.columns[0] == "text"


def test_without_a_header_and_with_chosen_columns(tmp_path):
    made = table(tmp_path, "a,1\nb,2\n", header=False)
    assert made.frame.columns == ["column_1", "column_2"] and made.frame.rows() == [("a", "1"), ("b", "2")]
    assert table(tmp_path, "x,y,z\n1,2,3\n", columns=["z", "x"]).frame.rows() == [("3", "1")]
    with pytest.raises(DataError, match="no column 'w'"):
        table(tmp_path, "x,y,z\n1,2,3\n", columns=["w"])


def test_names_that_nobody_asks_for(tmp_path):
    made = table(tmp_path, "a,,text,a,,a_2\n1,2,3,4,5,6\n")
    assert made.frame.columns == ["a", "column_2", "text", "a_2_", "column_5", "a_2"]
    require_columns(made, ["text", "a_2"])
    with pytest.raises(DataError, match="more than one column named 'a'"):
        require_columns(made, ["a"])


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_line_that_names_the_delimiter(tmp_path, mark):
    data = f"sep={mark}\r\ntext{mark}n\r\na,b{mark}1\r\n"
    assert table(tmp_path, "\ufeff" + data).frame.rows() == [("a,b", "1")]
    with pytest.raises(DataError, match="line 4: 1 cells"):
        table(tmp_path, data + "c\r\n")


def test_json_arrays_numbers_and_nested_values(tmp_path):
    rows = [{"text": "a", "n": float("nan"), "tags": ["x"]}, {"text": "", "n": 2, "tags": None}]
    for name, data in (("t.json", json.dumps(rows)), ("t.jsonl", "\n".join(map(json.dumps, rows)))):
        frame = table(tmp_path, data, name).frame
        assert frame["text"].to_list() == ["a", None] and frame["tags"].to_list() == [["x"], None]
        assert str(frame["n"].to_list()) == "[nan, 2.0]"
    with pytest.raises(DataError, match="one JSON array of objects"):
        table(tmp_path, '{"a": 1}', "t.json")
    with pytest.raises(DataError, match="--format jsonl"):
        table(tmp_path, '{"a": 1}\n{"a": 2}', "t.json")
    with pytest.raises(DataError, match="--format json"):
        table(tmp_path, '[{"a": 1}]', "t.jsonl")
    mixed = table(tmp_path, f'[{{"y": {2**60 + 1}}}, {{"y": 2.0}}, {{"y": {2**60 + 3}}}]', "t.json")
    assert label_column(mixed, "y").tolist() == [2**60 + 1, 2, 2**60 + 3]
    beyond = table(tmp_path, f'[{{"y": {2**60 + 1}}}, {{"y": {2**70}}}]', "t.json")
    assert beyond.frame["y"].to_list() == [str(2**60 + 1), str(2**70)]
    assert table(tmp_path, '[{"y": "a"}, {"y": 1}, {"y": true}]', "t.json").frame["y"].to_list() == [
        "a",
        "1",
        "true",
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([["a"], []], [["a"], []]),
        ([[1], [1.5]], [[1.0], [1.5]]),
        ([{"a": 1}, {"b": [2]}], [{"a": 1, "b": None}, {"a": None, "b": [2]}]),
        (["a b", ["a", "b"]], "texts and lists"),
        ([True, {"a": 1}, 2.5], "truths and objects and numbers"),
        ([[1], ["a"]], "lists of values of several kinds"),
        ([{"a": 1}, {"a": "x"}], "objects of values of several kinds"),
    ],
)
def test_nested_values_are_of_one_kind(tmp_path, values, found):
    data = "\n".join(json.dumps({"c": value}) for value in values)
    if isinstance(found, list):
        assert table(tmp_path, data, "t.jsonl").frame["c"].to_list() == found
    else:
        with pytest.raises(
            DataError, match=f"Column 'c' of t.jsonl must hold values of one kind.* holds {found}"
        ):
            table(tmp_path, data, "t.jsonl")


def test_excel(tmp_path):
    pytest.importorskip("fastexcel")
    cells = [["text", "n", ""], ["NA", 1.5, "x"], ["two", 2, "y"]]
    workbook(tmp_path / "t.xlsx", cells)
    frame = read_table(tmp_path / "t.xlsx").frame
    assert frame.columns == ["text", "n", "column_3"]
    assert frame.rows() == [("NA", 1.5, "x"), ("two", 2.0, "y")]
    assert read_table(tmp_path / "t.xlsx", header=False).frame["column_1"].to_list() == ["text", "NA", "two"]
    with pytest.raises(DataError, match="read, not written"):
        write_table(frame, tmp_path / "p.xlsx")
    workbook(tmp_path / "e.xlsx", [])
    with pytest.raises(
        DataError, match=r"as an Excel sheet: its first sheet, .*, is empty, and others are not read"
    ):
        read_table(tmp_path / "e.xlsx")


@pytest.mark.parametrize(
    ("column", "name", "message"),
    [
        ([["a"], []], "t.csv", "holds List.* a csv file cannot. Write .jsonl or .parquet"),
        ([{"a": 1}, {"a": 2}], "t.tsv", "holds Struct.* a tsv file cannot"),
        ([b"a", b"b"], "t.jsonl", "holds Binary.* a jsonl file cannot. Write .parquet"),
    ],
)
def test_columns_that_a_format_cannot_hold(tmp_path, column, name, message):
    frame = pl.DataFrame({"n": column})
    with pytest.raises(DataError, match=message):
        write_table(frame, tmp_path / name)
    write_table(frame, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").frame["n"].to_list() == column


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_table(pl.DataFrame({"a": ["x"]}), "~/t.csv")
    assert (tmp_path / "t.csv").is_file() and read_table("~/t.csv").frame.rows() == [("x",)]


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet", "csv.gz"])
def test_a_full_disk_is_told_of_the_file_and_leaves_nothing(tmp_path, kind):
    """A file may hold 1,000 bytes: the system refuses more, to polars and to Python, as it does on a full disk."""
    import resource

    path, kept = tmp_path / f"t.{kind}", resource.getrlimit(resource.RLIMIT_FSIZE)
    frame = pl.DataFrame({"a": [hashlib.sha256(bytes([n])).hexdigest() for n in range(256)]})
    with pytest.raises(OSError) as full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, kept[1]))
        try:
            write_table(frame, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert full.value.errno == errno.EFBIG and full.value.filename == str(path)
    assert not [*tmp_path.iterdir()]
