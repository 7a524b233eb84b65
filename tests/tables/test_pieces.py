"""Tables in pieces are the tables that are read whole; damage is told of with its place."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from unspool.errors import DataError
from unspool.tables import pieces, read_table
from unspool.tables.pieces import read_pieces

ROWS = [{"a": f'say "{i}"\nor, {i}', "b": str(i), "c": i / 2} for i in range(25)]


def whole(path, columns, rows, **more):
    found = list(read_pieces(path, columns, rows=rows, **more))
    assert all(len(p) <= rows for p in found)
    numbers = [n for p in found for n in p.rows.tolist()]
    assert numbers == list(range(1, len(numbers) + 1))
    return pl.concat([p.frame for p in found])


@pytest.mark.parametrize("rows", [1, 7, 25, 100])
@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.tsv", "t.jsonl", "t.csv.gz"])
def test_pieces_are_the_table(tmp_path, monkeypatch, name, rows):
    monkeypatch.setattr(pieces, "TOGETHER", 4)
    frame, path = pl.DataFrame(ROWS), tmp_path / name
    if name == "t.parquet":
        frame.write_parquet(path, row_group_size=4)
    elif name == "t.jsonl":
        frame.write_ndjson(path)
    elif name == "t.csv.gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        frame.write_csv(path, separator="\t" if name == "t.tsv" else ",")
    expected = read_table(path, columns=["c", "a"])
    assert whole(path, ["c", "a"], rows).equals(expected.frame)


def test_marks_and_headers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfsep=;\r\nx;y\r\n1;2\r\n\r\n3;4\r\n")
    assert whole(path, ["y"], 1)["y"].to_list() == ["2", "4"]
    path.write_text("1,2\n3,4\n")
    assert whole(path, ["column_2"], 1, header=False)["column_2"].to_list() == ["2", "4"]
    path.write_bytes("x\n\xe9t\xe9\n".encode("latin-1"))
    assert whole(path, ["x"], 1, encoding="latin-1")["x"].to_list() == ["été"]
    with pytest.raises(DataError, match=r"is not utf-8.*--encoding latin-1"):
        whole(path, ["x"], 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "x,y\n1,2\n3\n", "1 cells where the header has 2"),
        ("t.csv", 'x,y\n1,"2\n', "may be half-written"),
        ("t.csv", "x,x\n1,2\n", "more than one column named 'x'"),
        ("t.csv", "y,x\n", "has no rows"),
        ("t.csv", "", "is empty"),
        ("t.jsonl", '{"x": 1}\n{"x": ', "line 2 is not JSON"),
        ("t.jsonl", '{"x": 1}\n[2]', "line 2: expected one JSON object a line"),
        ("t.jsonl", '{"y": 1}\n', "no column 'x'"),
        ("t.parquet", "PAR1", "as Parquet"),
        ("t.xlsx", "x", "has no pieces"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_pieces(tmp_path / name, ["x"], rows=1))


def test_a_later_object_may_lack_a_name(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"x": "a"}\n{"y": 1}\n{"x": "c"}\n')
    pieces = [p.frame["x"].to_list() for p in read_pieces(tmp_path / "t.jsonl", ["x"], rows=1)]
    assert pieces == [["a"], [None], ["c"]]
