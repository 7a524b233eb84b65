"""Parquet files are read in a process of their own: however it ends, there is one error, and nothing is left of it."""

from __future__ import annotations

import base64
import subprocess

import polars as pl
import pytest

from unspool.errors import DataError
from unspool.tables import apart, read_pieces, read_table
from unspool.tables.apart import parquet_frames

# Four rows of three columns with a byte changed: polars 2.1 asks for more memory than there is, and ends its process.
FORGED = (
    "UEFSMRUEFTwVPEwVBhUAAAAEAAAAZ29vZAkAAABiYWQsIHZlcnkFAAAAYSAiYiIVABUUFRQsFQkVEBUGFQYAAAIAAAADCwID"
    "JAAVDBk1AAYQGRgEdGV4dBUAFggWjAEWjAEmXiYIABUAFUwVTCwVAAADAAAAAAAAAAQAAAAAAAAAFQAVFBUULBUIFRAVBhUG"
    "AAACAAAACAECA+QAFQQZNQAGEBkYAW4VABYIFpABFpABJsoDJvACABkcFl4VNhYAAAAZHBbOARVuFgAAABkcFsoDFTYWAAAA"
    "FQIZTEgEcm9vdBUGABUMJQIYBHRleHQlAEwcAAAAFQolAhgFc2NvcmUAFQQlAhgBbgAWCBkcGTwm6gEcFQwZNQAGEBkYBHRl"
    "eHQVABYIFowBFowBJl4mCAAWuAQVFAAmvAIcFQoZJQAGGRgFc2NvcmUVABYIFm4WbibOAQAWzAQVFgAm2gQcFQQZNQAGEBkY"
    "AW4VABYIFpABFpABJsoDJvACABbiBBUWABaKAxYIJggWigMUAAAZHBgMQVJST1c6c2NoZW1hGKwCLy8vLy85a0FBQUFFQUFB"
    "QTh2Ly8veFFBQUFBRUFBRUFBQUFLQUFzQUNBQUtBQVFBK1AvLy93d0FBQUFJQUFnQUFBQUVBQU1BQUFCd0FBQUFQQUFBQUFR"
    "QUFBQ0kvLy8vS0FBQUFCQUFBQUFJQUFBQUFRSUFBQUFBQUFEMC8vLy9RQUFBQUFFQUFBQUlBQWtBQkFBSUFBRUFBQUJ1QUFB"
    "QXZQLy8veUFBQUFBUUFBQUFDQUFBQUFFREFBQUFBQUFBK3YvLy93SUFCZ0FHQUFRQUJRQUFBSE5qYjNKbEFBQUE3UC8vL3l3"
    "QUFBQWdBQUFBR0FBQUFBRVVBQUFRQUJJQUJBQVFBQkVBQ0FBQUFBd0FBQUFBQVB6Ly8vOEVBQVFBQkFBQUFIUmxlSFFBABhO"
    "UG9sYXJzIChweXRob24pIHZlcnNpb24gMi4xLjAgKGJ1aWxkIDdmOTAyYmQzZmZkMjdmZjgyZDE0Mjc4YTA5YTI5NWZmMmY3"
    "YWVkOTIpGTwcAAAcAAAcAAAAUgIAAFBBUjE="
)


@pytest.mark.parametrize(
    "read", [read_table, lambda path: list(read_pieces(path, None))], ids=["whole", "pieces"]
)
def test_a_forged_file_is_an_error(tmp_path, read):
    path = tmp_path / "t.parquet"
    path.write_bytes(base64.b64decode(FORGED))
    with pytest.raises(DataError, match=r"^Cannot read '[^']*/t\.parquet' as Parquet: "):
        read(path)


CHILDREN = {
    "import os; os.abort()": r"crashed \(exit code -6\)",
    "": r"crashed \(exit code 0\)",
    'print(\'{"names": ["a"]}\\n{"bytes": 9}\\nabc\', end="", flush=True)': r"crashed \(exit code 0\)",
    "import time; time.sleep(60)": "took longer than 1 s",
    'print(\'{"error": "no bytes."}\')': "as Parquet: no bytes. It may be half-written.",
}


@pytest.mark.parametrize(
    "code", CHILDREN, ids=["abort", "nothing", "half a piece", "no end", "its own error"]
)
def test_ends_of_the_process(tmp_path, monkeypatch, code):
    monkeypatch.setattr(apart, "SECONDS", 1.0 if "sleep" in code else 60.0)
    monkeypatch.setattr(apart, "CHILD", tmp_path / "child.py")
    (tmp_path / "child.py").write_text(code)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=CHILDREN[code]):
        read_table(tmp_path / "t.parquet")


def test_who_reads_a_part_leaves_no_process(tmp_path, monkeypatch):
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    pl.DataFrame({"a": range(100_000)}).write_parquet(tmp_path / "t.parquet")
    frames = parquet_frames(tmp_path / "t.parquet", ["a"], 10)
    assert next(frames) == ["a"] and next(frames)["a"].to_list() == list(range(10))
    assert [child.poll() for child in started] == [None]
    frames.close()
    assert [child.poll() is None for child in started] == [False]


def test_kinds_of_columns_come_as_they_are(tmp_path):
    kind = pl.Enum(["low", "high"])
    frame = pl.DataFrame(
        {
            "level": pl.Series(["high", None, "low"], dtype=kind),
            "kind": pl.Series(["b", "a", None], dtype=pl.Categorical),
            "list": [[1, 2], None, []],
            "inside": [{"x": 1.5}, {"x": None}, None],
            "when": pl.Series(["2020-01-01", None, "2021-02-03"]).str.to_date(),
            "long": ["x" * 100_000, "", "é"],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    (found,) = [f for f in parquet_frames(tmp_path / "t.parquet") if isinstance(f, pl.DataFrame)]
    assert found.equals(frame) and found.schema == frame.schema
    assert read_table(tmp_path / "t.parquet").orders == {"level": ["low", "high"]}


def test_a_line_without_an_end_is_an_error(tmp_path, monkeypatch):
    from unspool.tables import pieces

    monkeypatch.setattr(pieces, "LONGEST", 1000)
    for name, text in (("t.csv", "a,b\n1," + "x" * 2000), ("t.jsonl", '{"a": "' + "x" * 2000 + '"}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="has a line of more than 1,000 characters"):
            list(read_pieces(tmp_path / name, ["a"]))
    (tmp_path / "t.csv").write_text('a,b\n1,"' + "x\n" * 2000)
    with pytest.raises(DataError, match="field larger than field limit"):
        list(read_pieces(tmp_path / "t.csv", ["a"]))
