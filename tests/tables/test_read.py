"""Files -> tables; the expected cells are written by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.tables import read_table, write_table

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


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "text,n\n", "has no rows below its header"),
        ("t.csv", 'text,n\na,1\n"b,2\n', "line 3: a quote is never closed.*--no-quotes"),
        ("t.csv", 'text,n\n"a" b,1\n', "line 2: .*--no-quotes"),
        ("t.csv", "text,n\na,1\nb\n", "line 3: 1 cells where the header has 2"),
        ("t.csv", "text,n\na,1\nb,2,3\n", "line 3: 3 cells where the header has 2"),
        ("t.csv", "text,text\na,1\n", "more than one column named 'text'"),
        ("t.jsonl", "", "is empty"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b', "line 2 is not JSON.*half-written"),
        ("t.jsonl", '{"text": "a"}\n[1]\n', "line 2: expected one JSON object a line"),
        ("t.parquet", b"PAR1garbage", "Cannot read .* as Parquet.*half-written"),
        ("t.parquet", b"", "Cannot read .* as Parquet"),
        ("t.xlsx", b"", "Cannot tell the format.*--format"),
    ],
)
def test_bad_files(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, data, name)


def test_missing_file_folder_and_format(tmp_path):
    with pytest.raises(DataError, match="No file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="No file"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(InvalidParameterError, match="Did you mean 'csv'"):
        table(tmp_path, "a\n1\n", format="cvs")


def test_json_lines(tmp_path):
    data = '\ufeff{"text": "a\\nb", "n": 1}\n\n{"text": "None", "n": 2.5}\n{"text": "", "n": null}\n'
    assert table(tmp_path, data, "t.jsonl").frame.rows() == [("a\nb", 1.0), ("None", 2.5), (None, None)]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_what_is_written_is_read_again(tmp_path, name):
    texts = ["NA", 'say "hi", you', "two\nlines\tand a tab", "é\u2028ü", "None"]
    frame = pl.DataFrame({"text": texts, "n": [1.5, 2.0, -3.25, 1e-9, 7.0]})
    write_table(frame, tmp_path / name)
    again = read_table(tmp_path / name).frame
    assert again["text"].to_list() == texts
    assert again["n"].cast(pl.Float64).to_list() == frame["n"].to_list()
    assert [p.name for p in tmp_path.iterdir()] == [name]


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
