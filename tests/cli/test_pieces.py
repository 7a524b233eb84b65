"""`unspool predict` of a table in pieces: what it writes of the whole."""

from __future__ import annotations

import threading

import polars as pl
import pytest
import torch

import unspool
from unspool.cli import answers
from unspool.cli.threads import heard, in_order
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
    assert "The first 7 rows of" in run(*command, code=2).stderr
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


def test_pieces_that_threads_answer_are_those_of_one(trained, small_pieces, tmp_path):
    words = ["good", "awful", "xyzzy", "fine"]  # the third is unknown: a piece says of how many texts
    frame = pl.DataFrame({"text": [words[2 if i % 7 < i // 7 else i % 2] for i in range(60)]})
    frame.write_csv(tmp_path / "in.csv")
    model = answers.laid_out(unspool.load(trained / "model"))
    found = []
    for threads in (1, 3):
        with heard():
            asked = answers.Answers(model, "text")
            tables = pieces.read_pieces(tmp_path / "in.csv", ["text"])
            found.append((pl.concat(asked.frames(tables, threads)), asked.rows, asked.warned))
    assert found[0][0].equals(found[1][0]) and found[0][1:] == found[1][1:]
    assert found[0][1] == 60 and len(set(found[0][2])) > 2


def test_few_rows_at_a_time_say_the_same(trained, small_pieces, tmp_path):
    """Of each piece its rows without an answer, and how many of the others hold no known word, as of the whole."""
    texts = ["good", "xyzzy", None, "awful", "xyzzy good", "plugh", None]
    pl.DataFrame({"text": [texts[i * i % 7] for i in range(40)], "n": range(40)}).write_csv(
        tmp_path / "in.csv"
    )
    model = answers.laid_out(unspool.load(trained / "model"))
    found = []
    for together in (None, 2):
        with heard():
            asked = answers.Answers(model, "text", together=together)
            tables = pieces.read_pieces(tmp_path / "in.csv", ["text", "n"])
            found.append((pl.concat(asked.frames(tables, 2)), asked.rows, asked.empty, asked.warned))
    assert found[0][0].equals(found[1][0]) and found[0][1:] == found[1][1:]
    assert found[0][2] > 0 and all(" of " in text for text in found[0][3]) and len(set(found[0][3])) > 1


def test_in_order():
    threads = torch.get_num_threads()
    begun, taken = threading.Event(), []

    def items():
        for number in range(9):
            taken.append(number)
            yield number

    def work(number):
        if number == 0:
            assert begun.wait(60)  # the second runs beside the first
        begun.set() if number == 1 else None
        if number == 5:
            raise KeyError(number)
        return number, torch.get_num_threads()

    done = []
    with pytest.raises(KeyError):
        for answer, of_torch in in_order(work, items(), 2):
            done.append(answer)
            assert of_torch == max(1, threads // 2) and len(taken) <= answer + 3
    assert done == [0, 1, 2, 3, 4] and torch.get_num_threads() == threads
