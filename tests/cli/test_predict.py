"""`unspool predict`, `evaluate`, `inspect`, `doctor` on saved models, against the library's own answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as oracle
from typer.testing import CliRunner

import unspool
from unspool import __version__
from unspool.cli.app import app
from unspool.tables import read_table

from .conftest import reviews, run

TEXTS = ["a good day", "awful and dull", "NA"]


def test_texts_on_the_command_line(trained):
    expected = unspool.load(trained / "model").predict(TEXTS)
    lines = run("predict", trained / "model", *TEXTS).stdout.splitlines()
    assert lines == [f"{value:.4f}\t{text}" for value, text in zip(expected, TEXTS, strict=True)]


def test_labels_and_their_probability(classified):
    model = unspool.load(classified / "model")
    lines = run("predict", classified / "model", *TEXTS).stdout.splitlines()
    pairs = zip(model.predict(TEXTS), model.predict_proba(TEXTS).max(1), TEXTS, strict=True)
    assert lines == [f"{label}\t{share:.4f}\t{text}" for label, share, text in pairs]


def test_lines_of_stdin(trained):
    given = run("predict", trained / "model", *TEXTS).stdout
    assert run("predict", trained / "model", stdin="\n".join(TEXTS) + "\n").stdout == given
    assert "stdin is empty" in run("predict", trained / "model", code=2, stdin="").stderr


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.jsonl", "p.parquet"])
def test_a_table(trained, tmp_path, name):
    table, out = trained / "reviews.csv", tmp_path / name
    run("predict", trained / "model", table, "--input", "text", "--out", out)
    written, original = read_table(out).frame, read_table(table).frame
    assert written.columns == [*original.columns, "prediction"]
    assert written["text"].to_list() == original["text"].to_list()
    expected = unspool.load(trained / "model").predict(original["text"].to_list())
    assert np.allclose(written["prediction"].cast(float).to_numpy(), expected, atol=1e-6)


def test_a_table_to_stdout(classified):
    output = run("predict", classified / "model", classified / "reviews.csv", "--input", "text").stdout
    frame = pl.read_csv(output.encode(), infer_schema=False)
    assert frame.columns[-3:] == ["prediction", "probability_down", "probability_up"]
    assert np.allclose(
        frame.select("probability_down", "probability_up").cast(float).sum_horizontal(), 1, atol=1e-5
    )


def test_what_predict_cannot_do(trained, tmp_path):
    model, table = trained / "model", trained / "reviews.csv"
    assert "name its column of texts with --input" in run("predict", model, table, code=2).stderr
    assert "--input" in run("predict", model, "text", "--out", tmp_path / "p.csv", code=2).stderr
    assert "No file 'none.csv'" in run("predict", model, "none.csv", code=2).stderr
    assert "needs one table" in run("predict", model, "--input", "text", code=2).stderr
    same = run("predict", model, table, "--input", "text", "--out", table, code=2)
    assert "is the table that is read" in same.stderr
    assert "Did you mean 'text'" in run("predict", model, table, "--input", "texts", code=2).stderr
    assert (
        ".docx"
        in run("predict", model, table, "--input", "text", "--out", tmp_path / "p.docx", code=2).stderr
    )
    reviews(3).rename({"score": "prediction"}).write_csv(tmp_path / "t.csv")
    taken = run("predict", model, tmp_path / "t.csv", "--input", "text", code=2)
    assert "has a column 'prediction' already" in taken.stderr


def test_a_text_without_a_known_token_is_warned_about(trained):
    result = run("predict", trained / "model", "zebra xylophone", "good day")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("warning: 1 ") and len(result.stderr.splitlines()) == 1


def test_evaluate_regression(trained, tmp_path):
    reviews(50, seed=3).write_csv(tmp_path / "new.csv")
    frame = read_table(tmp_path / "new.csv").frame
    true = frame["score"].cast(float).to_numpy()
    predicted = unspool.load(trained / "model").predict(frame["text"].to_list())
    command = ["evaluate", trained / "model", tmp_path / "new.csv", "--input", "text", "--target", "score"]
    output = run(*command, "--report", tmp_path / "report").stdout
    rmse = oracle.root_mean_squared_error(true, predicted)
    assert f"{rmse:.4g}" in output and f"{oracle.r2_score(true, predicted):.4g}" in output
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"]["score"]
    assert metrics["rmse"] == pytest.approx(rmse, rel=1e-6)
    wrong = run(*command, "--target", "text", code=2)
    assert "The model predicts 1 targets" in wrong.stderr or "must hold finite numbers" in wrong.stderr


def test_evaluate_classification_with_an_unknown_class(classified, tmp_path):
    frame = reviews(50, seed=3).with_columns(
        mood=pl.when(pl.int_range(50) < 5).then(pl.lit("sideways")).otherwise(pl.col("mood"))
    )
    frame.write_csv(tmp_path / "new.csv")
    predicted = unspool.load(classified / "model").predict(frame["text"].to_list())
    accuracy = oracle.accuracy_score(frame["mood"].to_numpy(), predicted)
    command = ["evaluate", classified / "model", tmp_path / "new.csv", "--input", "text", "--target", "mood"]
    result = run(*command)
    assert "warning: 5 rows have a class that the model does not know, such as 'sideways'" in result.stderr
    assert f"{accuracy:.4g}" in result.stdout


@pytest.mark.parametrize("form", ["float32", "bfloat16", "int8"])
def test_weights_of_predict(trained, classified, form):
    exact = unspool.load(trained / "model").predict(TEXTS)
    expected = exact if form == "float32" else unspool.load(trained / "model").freeze(form).predict(TEXTS)
    lines = run("predict", trained / "model", *TEXTS, "--weights", form).stdout.splitlines()
    assert lines == [f"{value:.4f}\t{text}" for value, text in zip(expected, TEXTS, strict=True)]
    assert np.abs(expected - exact).max() < 0.03 and np.array_equal(expected, exact) == (form == "float32")
    shares = [
        [
            float(line.split("\t")[1])
            for line in run("predict", classified / "model", *TEXTS, *more).stdout.splitlines()
        ]
        for more in ((), ("--weights", form))
    ]
    assert len(shares[0]) == 3 and np.allclose(*shares, atol=0.02)


def test_weights_of_a_table(trained, tmp_path):
    out, texts = tmp_path / "p.csv", read_table(trained / "reviews.csv").frame["text"].to_list()
    command = ["predict", trained / "model", trained / "reviews.csv", "--input", "text"]
    run(*command, "--out", out, "--weights", "bfloat16")
    expected = unspool.load(trained / "model").freeze("bfloat16").predict(texts)
    assert np.allclose(read_table(out).frame["prediction"].cast(float).to_numpy(), expected, atol=1e-6)


def test_evaluate_with_weights(trained, tmp_path):
    reviews(50, seed=3).write_csv(tmp_path / "new.csv")
    frame = read_table(tmp_path / "new.csv").frame
    predicted = unspool.load(trained / "model").freeze("int8").predict(frame["text"].to_list())
    rmse = oracle.root_mean_squared_error(frame["score"].cast(float).to_numpy(), predicted)
    command = ["evaluate", trained / "model", tmp_path / "new.csv", "--input", "text", "--target", "score"]
    outputs = [run(*command, *more).stdout for more in ((), ("--weights", "int8"))]
    assert f"{rmse:.4g}" in outputs[1] and outputs[0] != outputs[1]


def test_unknown_weights(trained):
    table = [trained / "reviews.csv", "--input", "text"]
    for command in (["predict", "text"], ["predict", *table], ["evaluate", *table, "--target", "score"]):
        result = run(command[0], trained / "model", *command[1:], "--weights", "int9", code=2)
        assert result.stderr.startswith("error: --weights must be") and "Got 'int9'" in result.stderr
        assert "Did you mean 'int8'?" in result.stderr and len(result.stderr.splitlines()) == 1
        assert result.stdout == ""


def test_inspect(trained):
    model = unspool.load(trained / "model")
    output = run("inspect", trained / "model").stdout
    assert "SequenceRegressor" in output
    assert f"{model.n_parameters_:,}" in output or str(model.n_parameters_) in output
    for setting in ("cell", "hidden_size", "learning_rate", "random_state"):
        assert setting in output
    texts = reviews(240).filter(pl.col("split") == "train")["text"]
    words = {word.lower() for text in texts for word in text.split()}
    assert f"Vocabulary: {len(words)} words, most frequent: " in output
    kept = next(line for line in output.splitlines() if "*" in line)
    best = min(model.history_, key=lambda epoch: epoch["validation_loss"])
    assert kept.split()[0] == str(best["epoch"]) and f"{best['validation_loss']:.4g}" in kept


def test_doctor_passes(monkeypatch):
    output = run("doctor").stdout
    assert "agrees with the plain loop for every registered cell" in output
    assert "device cuda: " in output and "generated kernels: " in output
    for name in unspool.cells.names():
        assert f"{name}, both directions" in output


def test_doctor_finds_a_wrong_engine(monkeypatch):
    from unspool.cli import doctor

    monkeypatch.setattr(doctor, "VALUE_TOLERANCE", -1.0)
    result = run("doctor", code=1)
    assert "the native engine is wrong on this machine for rnn, one direction" in result.stderr


def test_help_is_quick_and_version():
    command = [sys.executable, "-m", "unspool"]
    before = os.times()
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    after = os.times()  # of a processor: on a busy machine the clock says nothing
    seconds = sum(after[2:4]) - sum(before[2:4])
    assert "evaluate" in done.stdout
    heavy = {"torch", "polars", "sklearn", "matplotlib"}
    code = f"import sys, unspool.cli.app; print([*({heavy} & sys.modules.keys())])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n" and seconds < 5
    assert run("--version").stdout.startswith(f"unspool {__version__}, Python 3.")


def test_rows_without_a_text_stay(trained, tmp_path):
    (tmp_path / "t.csv").write_text("id,text\n1,good day\n2,\n3,awful\n")
    model = unspool.load(trained / "model")
    result = run(
        "predict", trained / "model", tmp_path / "t.csv", "--input", "text", "--out", tmp_path / "n/p.jsonl"
    )
    assert "1 rows have no text" in result.stderr and "2 predictions" in result.stdout
    frame = read_table(tmp_path / "n/p.jsonl").frame
    good, awful = model.predict(["good day", "awful"])
    assert frame["id"].to_list() == ["1", "2", "3"] and frame["prediction"].to_list() == [good, None, awful]
    dropped = run(
        "predict", trained / "model", tmp_path / "t.csv", "--input", "text", "--drop-missing"
    ).stdout
    assert len(dropped.splitlines()) == 3


def test_nested_columns_are_written_back_or_refused_before_the_model_is_asked(trained, tmp_path):
    rows = [
        {"text": "good", "tags": ["a", "b"], "more": {"x": 1}},
        {"text": "dull", "tags": [], "more": {"x": 2}},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [tmp_path / "t.jsonl", "--input", "text"]
    run("predict", trained / "model", *command, "--out", tmp_path / "p.jsonl")
    written = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "prediction"} for row in written] == rows
    for out in ([], ["--out", tmp_path / "p.csv"]):
        result = run("predict", trained / "model", *command, *out, code=2)
        assert "Column 'tags' holds List(String) values, which a csv file cannot" in result.stderr
    assert "prediction" in run("predict", trained / "model", *command, "--columns", "text").stdout


def test_stdin_has_a_mark_and_an_encoding(trained):
    def lines(data: bytes, *more: str) -> list[str]:
        done = CliRunner().invoke(app, ["predict", str(trained / "model"), *more], input=data)
        assert done.exit_code == 0, done.stderr
        return [line.split("\t")[1] for line in done.stdout.splitlines()]

    assert lines(b"\xef\xbb\xbfgood\r\n\r\nfine\n") == ["good", "", "fine"]
    assert lines("caf\xe9 good".encode("latin-1"), "--encoding", "latin-1") == ["caf\xe9 good"]
    assert lines("good\nfine\n".encode("utf-16"), "--encoding", "utf-16") == ["good", "fine"]


def test_closed_stdin(trained, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it where the descriptor is closed
    with pytest.raises(SystemExit) as ended:
        app(["predict", str(trained / "model")])
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: Nothing to predict")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(trained):
    program = f"{sys.executable} -m unspool predict {trained / 'model'}"
    full = subprocess.run(f"{program} good > /dev/full", shell=True, capture_output=True, text=True)
    assert full.returncode == 2 and full.stderr.startswith("error: No space left on device")
    assert len(full.stderr.splitlines()) == 1
