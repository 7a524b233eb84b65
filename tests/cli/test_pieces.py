"""`unspool predict` of a table in pieces: what it writes of the whole."""

from __future__ import annotations

import polars as pl
import pytest

import unspool
from unspool.cli import answers
from unspool.tables import pieces, read_table

from .conftest import run


@pytest.fixture
def small_pieces(monkeypatch):
    """Every table is large, and a piece 7 rows."""
    monkeypatch.setattr(answers, "LARGE", 0)
    monkeypatch.setattr(
        pieces.read_pieces, "__kwdefaults__", {**pieces.read_pieces.__kwdefaults__, "rows": 7}
    )


@pytest.fixture
def table(trained, tmp_path):
    """20 rows: a name, a text (two are missing, all of one piece's but one) and a number."""
    texts = [f"a {word} day" for word in ["good", "awful", "dull", "fine"] * 5]
    texts[3] = texts[19] = None
    frame = pl.DataFrame({"name": [f'n{i}, "{i}"' for i in range(20)], "text": texts, "n": range(20)})
    return frame


@pytest.mark.parametrize("written", ["csv", "csv.gz", "tsv", "json", "jsonl.xz", "parquet"])
@pytest.mark.parametrize("read", ["csv", "jsonl", "parquet"])
def test_as_the_whole(trained, table, tmp_path, monkeypatch, request, read, written):
    source = tmp_path / f"in.{read}"
    {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[read](source)
    whole, parts = tmp_path / f"whole.{written}", tmp_path / f"parts.{written}"
    run("predict", trained / "model", source, "--input", "text", "--out", whole)
    request.getfixturevalue("small_pieces")
    said = run("predict", trained / "model", source, "--input", "text", "--out", parts)
    assert "18 predictions" in said.stdout and "2 rows have no text" in said.stderr
    assert "7 rows\r14 rows\r20 rows" in said.stderr
    one, other = read_table(whole).frame, read_table(parts).frame
    numbers = pl.col("prediction").cast(float)
    assert one.drop("prediction").equals(other.drop("prediction"))
    difference = one.select(numbers).to_series() - other.select(numbers).to_series()
    assert difference.null_count() == 2 and difference.abs().max() < 1e-5
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_stdout_and_rows_without_a_text(trained, table, tmp_path, small_pieces):
    source = tmp_path / "in.csv"
    table.write_csv(source)
    lines = run("predict", trained / "model", source, "--input", "text", "--drop-missing").stdout.splitlines()
    assert lines[0] == "name,text,n,prediction" and len(lines) == 19
    answer = unspool.load(trained / "model").predict(["a good day"])[0]
    assert abs(float(lines[1].rsplit(",", 1)[1]) - answer) < 1e-5


def test_faults_leave_what_is_there(trained, table, tmp_path, small_pieces):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    out.write_text("kept")
    table.rename({"n": "prediction"}).write_csv(source)
    command = ["predict", trained / "model", source, "--input", "text", "--out", out]
    assert "has a column 'prediction' already" in run(*command, code=2).stderr
    table.write_csv(source)
    source.write_text(source.read_text() + "half,a row\n")
    assert "2 cells where the header has 3" in run(*command, code=2).stderr
    table.with_columns(text=pl.lit(None, pl.String)).write_csv(source)
    assert "has no text in its first 7 rows" in run(*command, code=2).stderr
    late = tmp_path / "late.jsonl"
    late.write_text('{"text": "a"}\n' * 7 + '{"text": "b", "more": 1}\n')
    command[2] = late
    assert "has a column 'more' that its first 7 rows lack" in run(*command, code=2).stderr
    assert out.read_text() == "kept" and len(list(tmp_path.iterdir())) == 3


def test_a_column_that_is_not_there(trained, table, tmp_path, small_pieces):
    table.write_csv(tmp_path / "in.csv")
    for option in ([], ["--drop-missing"]):
        said = run("predict", trained / "model", tmp_path / "in.csv", "--input", "texd", *option, code=2)
        assert "Did you mean 'text'?" in said.stderr


def test_the_weights_of_a_large_table_are_laid_out(trained):
    texts = [f"a {word} day" for word in ["good", "awful", "dull", "fine"]]
    model = unspool.load(trained / "model")
    expected = model.predict(texts)
    assert answers.laid_out(model) is model and hasattr(model, "frozen_")
    assert model.predict(texts).tolist() == expected.tolist()
