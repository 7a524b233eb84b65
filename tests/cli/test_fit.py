"""`unspool fit`: the numbers printed are those of the predictions written."""

from __future__ import annotations

import inspect
import json
import re

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as oracle

import unspool
from unspool.cli.fit import fit as fit_command
from unspool.errors import DataError
from unspool.parameters.checks import read_vectors
from unspool.tables import read_table

from .conftest import SMALL, reviews, run


def printed(text: str, row: str) -> list[float]:
    """The numbers of the printed table's row that starts with `row`."""
    line = next(line for line in text.splitlines() if line.strip().startswith(row))
    return [float(cell) if cell != "-" else np.nan for cell in line.strip()[len(row) :].split()]


def test_regression_metrics_are_those_of_the_predictions(trained):
    rows = read_table(trained / "model-report" / "test_predictions.csv").frame
    true, predicted = rows["score"].cast(float).to_numpy(), rows["predicted_score"].cast(float).to_numpy()
    expected = [
        oracle.root_mean_squared_error(true, predicted),
        oracle.mean_absolute_error(true, predicted),
        pearsonr(true, predicted).statistic,
        oracle.r2_score(true, predicted),
    ]
    written = json.loads((trained / "model-report" / "metrics.json").read_text())
    assert list(written["metrics"]["score"].values()) == pytest.approx(expected, rel=1e-6)
    output = (trained / "fit.txt").read_text()
    assert printed(output, "this model") == pytest.approx(expected, rel=1e-3)
    assert expected[2] > 0.8, "the score is a sum over words, which the model must have learnt"


def test_test_rows_and_texts_are_those_of_the_split(trained):
    table = reviews(240)
    rows = read_table(trained / "model-report" / "test_predictions.csv").frame
    expected = table.with_row_index("row", offset=1).filter(pl.col("split") == "test")
    assert rows["row"].cast(int).to_list() == expected["row"].to_list()
    assert rows["text"].to_list() == expected["text"].to_list()


def test_the_saved_model_gives_the_same_predictions(trained):
    rows = read_table(trained / "model-report" / "test_predictions.csv").frame
    again = unspool.load(trained / "model").predict(rows["text"].to_list())
    assert np.allclose(again, rows["predicted_score"].cast(float).to_numpy(), rtol=0, atol=1e-6)


def test_the_mean_baseline_is_the_mean_of_the_training_part(trained):
    table = reviews(240)
    mean = table.filter(pl.col("split") == "train")["score"].mean()
    true = table.filter(pl.col("split") == "test")["score"].to_numpy()
    rmse = np.sqrt(np.mean((true - mean) ** 2))
    assert printed((trained / "fit.txt").read_text(), "mean")[0] == pytest.approx(rmse, rel=1e-3)


def test_the_verdict_follows_from_the_printed_numbers(trained):
    output = (trained / "fit.txt").read_text()
    model, ridge = printed(output, "this model"), printed(output, "TF-IDF + ridge")
    better = np.array([ridge[0] < model[0], ridge[1] < model[1], ridge[2] > model[2], ridge[3] > model[3]])
    assert ("The TF-IDF + ridge baseline is better than this model" in output) == bool(better.any())


def test_what_is_said_before_training(trained):
    output = (trained / "fit.txt").read_text()
    assert "Task: regression ('score' holds numbers with fractions)." in output
    counts = {part: (reviews(240)["split"] == part).sum() for part in ("train", "dev", "test")}
    expected = (
        f"Rows: {counts['train']} training, {counts['dev']} validation, {counts['test']} test (parts from"
    )
    assert expected in output
    assert (trained / "model-report" / "predicted_vs_true.png").read_bytes()[:4] == b"\x89PNG"


def test_classification(classified):
    output = (classified / "fit.txt").read_text()
    assert "Task: classification ('mood' holds 2 distinct labels, not numbers). 2 classes: down" in output
    rows = read_table(classified / "model-report" / "test_predictions.csv").frame
    true, predicted = rows["mood"].to_numpy(), rows["predicted_mood"].to_numpy()
    probabilities = rows.select("probability_down", "probability_up").cast(float).to_numpy()
    expected = [
        oracle.accuracy_score(true, predicted),
        oracle.f1_score(true, predicted, average="macro"),
        oracle.log_loss(true, probabilities / probabilities.sum(1, keepdims=True), labels=["down", "up"]),
    ]
    assert printed(output, "this model") == pytest.approx(expected, rel=2e-3)
    shares = (reviews(240)["mood"] == "up").mean()
    assert abs((true == "up").mean() - shares) < 0.02, "the random test part keeps the classes' shares"
    assert "TF-IDF + logistic regression" in output and "majority" in output
    assert (classified / "model-report" / "predicted_vs_true.png").is_file()


def test_two_targets_zip_and_another_format(tmp_path):
    frame = reviews(80).with_columns(minus=-pl.col("score"))
    frame.write_parquet(tmp_path / "reviews.parquet")
    report = tmp_path / "elsewhere"
    command = [
        "fit",
        tmp_path / "reviews.parquet",
        "--input",
        "text",
        "--target",
        "score",
        "--target",
        "minus",
    ]
    output = run(*command, "--out", tmp_path / "model.zip", "--report", report, *SMALL).stdout
    assert (tmp_path / "model.zip").is_file()
    written = json.loads((report / "metrics.json").read_text())["metrics"]
    assert set(written) == {"score", "minus"}
    assert "for 'score'" in output and "for 'minus'" in output
    lines = run("predict", tmp_path / "model.zip", "good day").stdout.splitlines()
    assert re.fullmatch(r"-?\d+\.\d{4}\t-?\d+\.\d{4}\tgood day", lines[0])


def test_another_table_for_the_test_and_shared_texts(table, tmp_path):
    frame = reviews(60)
    other = pl.concat([reviews(20, seed=9), frame.head(3)])
    other.write_ndjson(tmp_path / "other.jsonl")
    shared = sum(text in set(frame["text"]) for text in other["text"])
    command = ["fit", table, "--input", "text", "--target", "score", "--test", tmp_path / "other.jsonl"]
    result = run(*command, "--out", tmp_path / "m", *SMALL, "--epochs", "1")
    assert "Rows: 60 training, 23 test (test rows from other.jsonl)." in result.stdout
    assert f"warning: {shared} of 23 test texts stand in the training part too" in result.stderr


def test_the_same_seed_gives_the_same_numbers(table, tmp_path):
    outputs = []
    for name in ("a", "b"):
        command = ["fit", table, "--input", "text", "--target", "score", "--epochs", "2", "--seed", "5"]
        run(*command, "--out", tmp_path / name, *SMALL[:4], "--quiet")
        outputs.append((tmp_path / f"{name}-report" / "test_predictions.csv").read_bytes())
    assert outputs[0] == outputs[1]


def test_whole_numbers_as_classes_and_when_forced_as_numbers(tmp_path):
    frame = reviews(60).with_columns(stars=(pl.col("score") > 0).cast(int) + 1)
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    command = ["fit", tmp_path / "t.tsv", "--input", "text", "--target", "stars", *SMALL, "--epochs", "1"]
    output = run(*command, "--out", tmp_path / "a").stdout
    assert "Task: classification ('stars' holds 2 distinct whole numbers). 2 classes: 1 " in output
    assert unspool.load(tmp_path / "a").classes_.tolist() == [1, 2]
    assert (
        "Task: regression (asked for" in run(*command, "--out", tmp_path / "b", "--task", "regression").stdout
    )


def test_defaults_are_the_estimators():
    signature = inspect.signature(unspool.SequenceRegressor).parameters
    options = inspect.signature(fit_command).parameters
    mirrored = [name for name in options if name in signature]
    assert set(signature) - set(mirrored) == {
        "random_state",
        "text_column",
        "verbose",
        "warm_start",
        "multilabel",
    }, "--seed, --input, --quiet and --task"
    differing = {name for name in mirrored if options[name].default != signature[name].default}
    # No --dense, --numeric or --categorical is None on the command line and () in the estimator, no --vectors "texts".
    assert differing == {"dense", "numeric", "categorical", "vectors"} and signature["dense"].default == ()
    assert read_vectors(options["vectors"].default) == signature["vectors"].default == "texts"


def test_every_setting_reaches_the_estimator(table, tmp_path, monkeypatch):
    wanted = {
        "cell": "gru",
        "hidden_size": (9, 8),
        "num_layers": 2,
        "bidirectional": False,
        "merge": "mean",
        "connection": "highway",
        "embedding_dim": 11,
        "pooling": "mean+max",
        "dense": (6, 5),
        "dropout": 0.25,
        "input_dropout": 0.15,
        "recurrent_dropout": 0.35,
        "zoneout": (0.05, 0.5),
        "weight_dropout": 0.45,
        "word_dropout": 0.05,
        "max_words": 77,
        "vectors": ["glove-6b-50d", "texts"],
        "vector_words": 123,
        "vectors_rate": 0.2,
        "blend": False,
        "numeric": ("price",),
        "categorical": ("shop", "split"),
        "ensemble": 2,
        "loss": "huber",
        "quantile": 0.7,
        "label_smoothing": 0.2,
        "class_weight": "balanced",
        "schedule": "cosine",
        "warmup": 5,
        "averaging": 0.9,
        "level": "char",
        "epochs": 4,
        "batch_size": 13,
        "learning_rate": 0.03,
        "weight_decay": 0.01,
        "gradient_clip": 0.5,
        "gradient_clip_value": 0.1,
        "embedding_update": "sparse",
        "early_stopping": False,
        "patience": 8,
        "validation_fraction": 0.3,
        "random_state": 21,
        "verbose": 0,
    }
    options: list[object] = ["--quiet"]
    for name, value in wanted.items():
        option = f"--{'seed' if name == 'random_state' else name.replace('_', '-')}"
        if isinstance(value, bool):
            options.append(option.replace("--", "--no-"))
        elif name in ("hidden_size", "zoneout"):
            options += [option, ",".join(map(str, value))]
        elif name != "verbose":
            values = value if isinstance(value, (tuple, list)) else (value,)
            options += [part for v in values for part in (option, v)]
    pl.read_csv(table).with_columns(price=1.5, shop=pl.lit("a")).write_csv(table)
    seen = {}

    def record(self, *_, **__):
        seen.update(self.get_params())
        raise DataError("seen")

    monkeypatch.setattr(unspool.SequenceRegressor, "fit", record)
    run("fit", table, "--input", "text", "--target", "score", "--out", tmp_path / "m", *options, code=2)
    assert {name: seen[name] for name in wanted} == wanted


def test_a_column_weighs_the_rows(tmp_path):
    frame = reviews(60)
    weights = [float(i % 4) for i in range(60)]
    frame.with_columns(trust=pl.Series(weights)).write_csv(tmp_path / "t.csv")
    command = ["fit", tmp_path / "t.csv", "--input", "text", "--target", "score", "--split-column", "split"]
    run(*command, *SMALL, "--epochs", "1", "--weight", "trust", "--out", tmp_path / "model")
    parts = [frame.filter(split=name) for name in ("train", "dev")]
    (X, y), held = [(part["text"].to_list(), part["score"].to_numpy()) for part in parts]
    kept = [weight for weight, part in zip(weights, frame["split"], strict=True) if part == "train"]
    settings = {"hidden_size": 8, "embedding_dim": 8, "epochs": 1, "batch_size": 16, "learning_rate": 0.02}
    direct = unspool.SequenceRegressor(**settings, random_state=0, verbose=0)
    found = unspool.load(tmp_path / "model").predict(X)
    assert direct.fit(X, y, kept, held).predict(X) == pytest.approx(found)
    assert direct.fit(X, y, None, held).predict(X) != pytest.approx(found)
