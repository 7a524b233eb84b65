"""`unspool import`, and `predict` and `inspect` of what it saved."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from keras_preprocessing.text import Tokenizer
from typer.testing import CliRunner

import unspool
from unspool.cli.answers import Answers
from unspool.cli.app import app
from unspool.cli.import_ import of_columns
from unspool.importing import from_keras
from unspool.tables import read_table

from .onnx_cases import recurrent, save
from .reference import FILES, references, write_h5


def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Any:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


TEXTS = ["what a lovely day", "no", "a day"]


@pytest.mark.usefixtures("read_within")
def test_a_keras_model_of_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(num_words=11)
    tokenizer.fit_on_texts(TEXTS)
    (tmp_path / "tok.json").write_text(tokenizer.to_json())
    old = write_h5(references()["keras_2"], tmp_path / "old.h5")
    told = run("import", old, "--tokenizer", tmp_path / "tok.json", "--out", tmp_path / "model").stdout
    assert "Imported from keras 2.2.4; reads ids." in told and "tokenizer of 5 words" in told
    expected = from_keras(old).predict(tokenizer.texts_to_sequences(TEXTS))
    lines = run("predict", tmp_path / "model", *TEXTS).stdout.splitlines()
    assert lines == [f"{y[0]:.6f}\t{text}" for y, text in zip(expected, TEXTS)]
    assert run("predict", tmp_path / "model", stdin="\n".join(TEXTS)).stdout.splitlines() == lines
    frame = pl.DataFrame({"text": [*TEXTS, None], "kept": [1, 2, 3, 4]})
    frame.write_csv(tmp_path / "t.csv")
    run("predict", tmp_path / "model", tmp_path / "t.csv", "--input", "text", "--out", tmp_path / "p.csv")
    table = pl.read_csv(tmp_path / "p.csv")
    assert table.columns == ["text", "kept", "prediction"] and table["prediction"][3] is None
    np.testing.assert_allclose(table["prediction"][:3], expected[:, 0], rtol=1e-5)
    assert run("predict", tmp_path / "model", tmp_path / "t.csv", "--input", "text").stdout.startswith(
        "text,kept"
    )
    assert "lstm 4 -> 3, last" in run("inspect", tmp_path / "model").stdout
    short = run("import", old, "--tokenizer", tmp_path / "tok.json", "--out", tmp_path / "m", "--maxlen", 2)
    assert "brought to 2 steps: filled with 0 (pre), cut (pre)" in short.stdout
    run("import", FILES / "tagger.keras", "--tokenizer", tmp_path / "tok.json", "--out", tmp_path / "t")
    (line,) = run("predict", tmp_path / "t", "a day").stdout.splitlines()
    assert line.count(" | ") == 1 and line.endswith("\ta day")


def test_a_torch_layer(tmp_path: Path) -> None:
    torch.save(
        {"a": torch.nn.GRU(2, 3).state_dict(), "b": torch.nn.RNN(2, 3).state_dict()}, tmp_path / "w.pt"
    )
    told = run("import", tmp_path / "w.pt", "--prefix", "a", "--out", tmp_path / "m").stdout
    assert "reads series of 2 features" in told and "gru 2 -> 3, steps" in told
    refused = run("predict", tmp_path / "m", "text", code=2)
    assert "reads no texts" in refused.stderr


def test_an_onnx_model(tmp_path: Path) -> None:
    path = save(recurrent("GRU", direction="bidirectional"), tmp_path / "m.onnx")
    told = run("import", path, "--out", tmp_path / "m").stdout
    assert (
        "Imported from onnx; reads series of 3 features" in told
        and "gru 3 -> 4 and gru 3 -> 4, steps" in told
    )
    assert ", last" in run("import", path, "--output", "Y_h", "--out", tmp_path / "m").stdout


def test_what_is_refused(tmp_path: Path) -> None:
    out = ["--out", tmp_path / "m"]
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    for arguments, message in (
        ([FILES / "models.npz", *out], "must end in one of .keras"),
        ([tmp_path / "w.pt", "--maxlen", 3, *out], "--maxlen is for Keras files"),
        ([FILES / "sum.h5", "--prefix", "a", *out], "are for torch files"),
        ([FILES / "sum.h5", "--output", "a", *out], "--output is for ONNX files"),
        ([tmp_path / "no.h5", *out], "No such file"),
        ([tmp_path / "saved", *out], "a SavedModel of TensorFlow"),
        ([tmp_path / "saved" / "saved_model.pb", *out], "save it as .keras or .h5"),
        ([FILES / "sum.h5", "--padding", "left", *out], "--padding must be one of"),
    ):
        assert message in run("import", *arguments, code=2).stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("read_within")
def test_a_keras_model_of_several_inputs(tmp_path: Path) -> None:
    tokenizer = Tokenizer(num_words=11)
    tokenizer.fit_on_texts(TEXTS)
    (tmp_path / "tok.json").write_text(tokenizer.to_json())
    model = tmp_path / "model"
    told = run("import", FILES / "pair.keras", "--tokenizer", tmp_path / "tok.json", "--out", model).stdout
    assert "reads title: ids, body: ids, numbers: rows of 3 numbers." in told
    ids = tokenizer.texts_to_sequences(TEXTS)
    rows = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0], [4.0, 5.0, 6.0]]
    expected = from_keras(FILES / "pair.keras").predict([ids, ids[::-1], rows])
    columns = {"head": [*TEXTS, "day", None], "text": [*TEXTS[::-1], None, "day"]}
    numbers = {name: [*(row[k] for row in rows), 1.0, 1.0] for k, name in enumerate("abc")}
    pl.DataFrame({**columns, **numbers}).write_csv(tmp_path / "t.csv")
    asked = ["--input", "title=head", "--input", "body=text", *(f"--input=numbers={name}" for name in "abc")]
    done = run("predict", model, tmp_path / "t.csv", *asked, "--out", tmp_path / "p.csv")
    assert "2 rows lack a value, and get no prediction" in done.stderr
    table = pl.read_csv(tmp_path / "p.csv")
    assert table.columns == ["head", "text", "a", "b", "c", "prediction_0", "prediction_1"]
    np.testing.assert_allclose(table[:3, 5:].to_numpy(), expected, rtol=1e-5)
    assert table["prediction_0"].null_count() == 2
    of = {"title": ["head"], "body": ["text"], "numbers": [*"abc"]}
    sent = pickle.loads(pickle.dumps(partial(of_columns, of)))
    answers = Answers(sent(unspool.load(model)), "head")  # as a node of a cluster has it
    given = read_table(tmp_path / "t.csv")
    assert answers.complete(answers.read(given)).tolist() == [0, 1, 2]
    assert answers.frame(given)["prediction_1"].null_count() == answers.empty == 2
    for arguments, message in (
        (["a", "b"], "has 3 inputs: give a table, and --input title=COLUMN --input body=COLUMN"),
        (
            [tmp_path / "t.csv", "--input", "head"],
            "--input must be NAME=COLUMN, NAME one of title, body, numbers",
        ),
        ([tmp_path / "t.csv", *asked[:-1]], "'numbers' needs 3 columns: --input numbers=COLUMN. Got 2"),
        (
            [tmp_path / "t.csv", *asked[:-1], "--input=numbers=text"],
            "'text' of t.csv must hold finite numbers",
        ),
        ([tmp_path / "t.csv", *asked[:-1], "--input=numbers=z"], "no column 'z'"),
    ):
        assert message in " ".join(run("predict", model, *arguments, code=2).stderr.split()), message
    for given, message in (
        (["--maxlen", "title=3", "--maxlen", "4"], "Several --maxlen must each be NAME=VALUE"),
        (["--maxlen", "long"], "--maxlen must be a whole number of steps"),
        (["--tokenizer", f"numbers={tmp_path / 'tok.json'}"], "its input 'numbers' is a row"),
    ):
        refused = run("import", FILES / "pair.keras", *given, "--out", tmp_path / "m", code=2).stderr
        assert message in " ".join(refused.split())
