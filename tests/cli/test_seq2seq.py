"""Two columns of texts to a model, to texts, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch

import unspool

from .conftest import run

LETTERS = ["a", "b", "c", "ab", "ba", "ac", "ca", "bc", "cb", "abc", "cab", "bca", "cba", "aab", "abb"]
SMALL = [
    *("--hidden-size", "24", "--embedding-dim", "12", "--batch-size", "8", "--epochs", "12"),
    *("--learning-rate", "0.02", "--dropout", "0", "--quiet"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks take longer on two threads of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs.csv, its `model`, the report, and what `fit` printed."""
    folder = tmp_path_factory.mktemp("seq2seq")
    words = [" ".join(text.upper()) for text in LETTERS]
    parts = ["test", "dev", *["train"] * (len(LETTERS) - 2)]
    table = pl.DataFrame({"low": LETTERS * 3, "high": words * 3, "part": parts[::-1] * 3})
    table.write_csv(folder / "pairs.csv")
    command = ["fit", folder / "pairs.csv", "--task", "seq2seq", "--input", "low", "--target", "high"]
    command += ["--target-level", "word", "--split-column", "part", "--out", folder / "model"]
    (folder / "fit.txt").write_text(run(*command, *SMALL).output)
    return folder


def test_fit_measures_beside_baselines(folder):
    printed = (folder / "fit.txt").read_text()
    assert "Pairs: 39 training, 3 validation, 3 test (parts from column 'part')." in printed
    assert "nearest training pair" in printed and "token by token" in printed
    facts = json.loads((folder / "model-report" / "metrics.json").read_text())
    assert set(facts["metrics"]) == {"exact_match", "wer", "cer", "bleu"}
    assert facts["baselines"]["token by token"]["exact_match"] == 1.0  # letter for letter
    assert facts["verdicts"][0] in " ".join(printed.split())
    assert facts["settings"]["target_level"] == "word" and facts["decoding"]["num_beams"] == 1
    predictions = pl.read_csv(folder / "model-report" / "test_predictions.csv")
    assert predictions.columns == ["row", "low", "high", "predicted_high", "log_probability_predicted_high"]
    model = unspool.load(folder / "model")
    assert predictions["predicted_high"].to_list() == model.predict(predictions["low"].to_list()).tolist()
    right = (predictions["high"] == predictions["predicted_high"]).mean()
    assert facts["metrics"]["exact_match"] == pytest.approx(right)


def test_predict_lines(folder):
    model = unspool.load(folder / "model")
    found = model.columns(["abc", "b"], num_beams=3, length_penalty=0.0, early_stopping="never")
    values = found["log_probability_prediction"]
    expected = [f"{t}\t{v:.4f}\t{s}" for t, v, s in zip(found["prediction"], values, ["abc", "b"])]
    asked = ["predict", folder / "model", "abc", "b", "--num-beams", "3", "--length-penalty", "0"]
    assert run(*asked, "--stop-beams", "never").stdout.splitlines() == expected
    assert run("predict", folder / "model", stdin="abc\nb\n").stdout.count("\n") == 2


def test_predict_a_table(folder, tmp_path):
    pl.DataFrame({"n": [1, 2, 3], "low": ["ab", None, "c"]}).write_csv(tmp_path / "new.csv")
    result = run(
        "predict", folder / "model", tmp_path / "new.csv", "--input", "low", "--out", tmp_path / "out.csv"
    )
    assert "1 rows have no text" in result.output
    written = pl.read_csv(tmp_path / "out.csv")
    assert written.columns == ["n", "low", "prediction", "log_probability_prediction"]
    expected = unspool.load(folder / "model").predict(["ab", "c"]).tolist()
    assert written["prediction"].to_list() == [expected[0], None, expected[1]]
    again = run("predict", folder / "model", tmp_path / "out.csv", "--input", "low", code=2)
    assert "has a column 'prediction' already" in again.output


def test_evaluate(folder, tmp_path):
    asked = ["evaluate", folder / "model", folder / "pairs.csv", "--input", "low", "--target", "high"]
    result = run(*asked, "--report", tmp_path / "report", "--weights", "int8", "--num-beams", "2")
    assert "high: 45 test pairs" in result.output and "BLEU" in result.output
    facts = json.loads((tmp_path / "report" / "metrics.json").read_text())
    words = [" ".join(text.upper()) for text in LETTERS]
    model = unspool.load(folder / "model").freeze("int8")
    assert facts["metrics"] == pytest.approx(model.evaluate(LETTERS * 3, words * 3, num_beams=2))


def test_inspect(folder):
    printed = run("inspect", folder / "model", "ab").output
    assert "state handed over" in printed and "nats a token" in printed and "attended to" in printed


def test_a_source_is_in_one_part(folder, tmp_path):
    table = pl.DataFrame({"low": LETTERS * 3, "high": LETTERS * 3})
    table.write_csv(tmp_path / "pairs.csv")
    command = ["fit", tmp_path / "pairs.csv", "--task", "seq2seq", "--input", "low", "--target", "high"]
    command += ["--out", tmp_path / "model", *SMALL, "--epochs", "1", "--test-fraction", "0.4"]
    result = run(*command)
    assert "Pairs: 27 training, 18 test (test sources drawn with seed 0)." in result.output
    facts = json.loads((tmp_path / "model-report" / "metrics.json").read_text())
    assert facts["rows"]["test_sources_also_in_training"] == 0


def test_a_column_weighs_the_pairs(folder, tmp_path):
    table = pl.read_csv(folder / "pairs.csv")
    weights = [float(i % 4) for i in range(table.height)]
    table.with_columns(trust=pl.Series(weights)).write_csv(tmp_path / "pairs.csv")
    command = ["fit", tmp_path / "pairs.csv", "--task", "seq2seq", "--input", "low", "--target", "high"]
    command += ["--split-column", "part", "--weight", "trust", "--out", tmp_path / "model", *SMALL]
    run(*command, "--epochs", "1")
    parts = [table.filter(part=name) for name in ("train", "dev")]
    (xs, ys), held = [(part["low"].to_list(), part["high"].to_list()) for part in parts]
    kept = [weight for weight, part in zip(weights, table["part"], strict=True) if part == "train"]
    settings = {
        "hidden_size": 24,
        "embedding_dim": 12,
        "batch_size": 8,
        "learning_rate": 0.02,
        "dropout": 0.0,
    }
    direct = unspool.Seq2Seq(**settings, epochs=1, verbose=0, random_state=0)
    loss = unspool.load(tmp_path / "model").history_[0]["validation_loss"]
    assert direct.fit(xs, ys, held, sample_weight=kept).history_[0]["validation_loss"] == pytest.approx(loss)
    assert direct.fit(xs, ys, held).history_[0]["validation_loss"] != pytest.approx(loss)


@pytest.mark.parametrize(
    "changes, message",
    [
        (["--target", "low"], "--input and --target must be different columns"),
        (["--target", "hihg"], "Did you mean 'high'?"),
        (["--test", "x.csv"], "--split-column and --test both say"),
        (["--stop-beams", "maybe"], "one of"),
        (["--attention", "dot"], "multiplicative"),
        (["--hidden-size", "0"], "--hidden-size must be"),
    ],
)
def test_errors_in_one_line(folder, tmp_path, changes, message):
    command = ["fit", folder / "pairs.csv", "--task", "seq2seq", "--input", "low", "--target", "high"]
    command += ["--split-column", "part", "--out", tmp_path / "model", *changes]
    result = run(*command, code=2)
    assert message in result.output and result.output.count("error:") == 1
