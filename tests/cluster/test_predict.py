"""`unspool predict --cluster`: every row once and in order, as on one machine, whatever happens to the nodes."""

from __future__ import annotations

import re

import polars as pl
import pytest
from typer.testing import CliRunner

import unspool
from unspool.cli import on_cluster
from unspool.cli.app import app

from .test_study import SMALL, reviews


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    texts, labels = reviews(120)
    path = tmp_path_factory.mktemp("model") / "model"
    unspool.SequenceClassifier(**SMALL, random_state=0).fit(texts, labels).save(path)
    return path


@pytest.fixture
def table(tmp_path, monkeypatch):
    """4,000 numbered rows, every fiftieth without a text; read in pieces of 200."""
    monkeypatch.setattr(on_cluster, "PIECE", 200)
    texts = (reviews(400)[0]) * 10
    frame = pl.DataFrame(
        {"n": range(4000), "text": [None if n % 50 == 7 else t for n, t in enumerate(texts)]}
    )
    frame.write_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def predicted(model, table, name, *options):
    out = table.parent / name
    said = run("predict", model, table, "--input", "text", "--out", out, *options)
    return pl.read_parquet(out), said


def test_as_on_one_machine(nodes, model, table):
    alone, _ = predicted(model, table, "alone.parquet")
    together, said = predicted(model, table, "together.parquet", "--cluster", "auto")
    assert together.equals(alone) and together["n"].to_list() == [*range(4000)]
    assert said.stderr.startswith("Cluster: 2 nodes, 2 processors: ")
    assert sum(int(count) for count in re.findall(r"(\d+) on 127", said.stderr)) == 20
    assert "warning: 80 rows have no text, and get no prediction." in said.stderr
    assert "3920 predictions: " in said.stdout and "4,000 rows" in said.stderr


def test_a_node_is_killed(nodes, model, table, monkeypatch):
    alone, _ = predicted(model, table, "alone.parquet", "--drop-missing")
    write = on_cluster.write_pieces

    def kill_in_between(frames, out):
        def watched():
            for number, frame in enumerate(frames):
                yield frame
                if number == 2:
                    nodes.kill()

        write(watched(), out)

    monkeypatch.setattr(on_cluster, "write_pieces", kill_in_between)
    together, said = predicted(model, table, "together.parquet", "--cluster", "auto", "--drop-missing")
    assert nodes.second is None and together.equals(alone)
    assert "80 rows without a text dropped." in said.stdout


def test_an_error_in_a_late_piece(nodes, model, table):
    lines = [f'{n},"a good day"\n' for n in range(1000)]
    lines[777] = "half a line\n"
    (table.parent / "broken.csv").write_text("n,text\n" + "".join(lines))
    out = table.parent / "out.csv"
    given = ["predict", model, table.parent / "broken.csv", "--input", "text", "--out", out]
    alone = run(*given, code=2).stderr.splitlines()[-1]
    together = run(*given, "--cluster", "auto", code=2).stderr.splitlines()[-1]
    assert "1 cells where the header has 2" in together and "error: " in alone and not out.exists()


def test_what_is_said_before_a_cluster_is_asked(model, table):
    given = ["predict", model, table, "--input", "text", "--cluster"]
    assert "ray job submit" in run(*given, "ray://head:10001", code=2).stderr
    assert "HOST:PORT" in run(*given, "head", code=2).stderr
    assert "is the table that is read" in run(*given, "auto", "--out", table, code=2).stderr
    assert "Did you mean 'text'?" in run(*given[:4], "texd", "--cluster", "auto", code=2).stderr
    assert "--cluster is for a table" in run("predict", model, "a text", "--cluster", "auto", code=2).stderr


def test_texts_to_texts(nodes, table, tmp_path):
    texts = reviews(40)[0]
    settings = {"hidden_size": 4, "embedding_dim": 3, "epochs": 1, "random_state": 0, "verbose": 0}
    model = tmp_path / "pairs"
    unspool.Seq2Seq(**settings).fit(texts, [text[:3] for text in texts]).save(model)
    pl.read_parquet(table).head(450).write_parquet(table)
    decoding = ["--max-new-tokens", 3, "--num-beams", 2]
    alone, _ = predicted(model, table, "alone.parquet", *decoding)
    together, said = predicted(model, table, "together.parquet", *decoding, "--cluster", "auto")
    number = "log_probability_prediction"  # up to rounding: a piece makes other batches than the whole table
    assert together.drop(number).equals(alone.drop(number)) and "Cluster: 2 nodes" in said.stderr
    assert together[number].is_null().equals(alone[number].is_null())
    assert (together[number] - alone[number]).abs().max() < 1e-5
    assert sum(int(count) for count in re.findall(r"(\d+) on 127", said.stderr)) == 3


def test_a_tagger(nodes, monkeypatch, tmp_path):
    monkeypatch.setattr(on_cluster, "PIECE", 20)
    sentences = [text.split() for text in reviews(70)[0]]
    tags = [["B-x" if len(word) > 3 else "O" for word in sentence] for sentence in sentences]
    settings = {"hidden_size": 4, "embedding_dim": 3, "epochs": 1, "random_state": 0, "verbose": 0}
    unspool.SequenceTagger(**settings).fit(sentences, tags).save(tmp_path / "tagger")
    (tmp_path / "new.conll").write_text("\n\n".join("\n".join(sentence) for sentence in sentences))
    given = ["predict", tmp_path / "tagger", tmp_path / "new.conll", "--file", "--probabilities"]
    alone, together = run(*given), run(*given, "--cluster", "auto")
    assert together.stdout == alone.stdout and "70 rows" in together.stderr
    assert sum(int(count) for count in re.findall(r"(\d+) on 127", together.stderr)) == 4
    assert "--cluster is for a file" in run(*given[:2], "a word", "--cluster", "auto", code=2).stderr
