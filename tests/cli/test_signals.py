"""`fit`, `predict` and `evaluate` on series and recordings, by files of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli.conftest import run

import unspool

SMALL = ["--hidden-size", "8", "--epochs", "8", "--learning-rate", "0.03", "--quiet"]


def rising(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Series of two features, of which the second rises ("up") or falls ("down")."""
    rng = np.random.default_rng(seed)
    names = ["up", "down"] * (count // 2)
    slopes = [1 if name == "up" else -1 for name in names]
    lengths = rng.integers(4, 9, count)
    noise = [0.2 * rng.normal(size=(n, 2)) for n in lengths]
    return [x + np.arange(len(x))[:, None] * [0, slope] for x, slope in zip(noise, slopes)], names


def write_ts(path: Path, X: list[np.ndarray], y: list[str]) -> Path:
    cases = [
        ":".join(",".join(f"{v:.4f}" for v in channel) for channel in x.T) + f":{label}"
        for x, label in zip(X, y)
    ]
    path.write_text("\n".join(["@classLabel true up down", "@data", *cases]) + "\n")
    return path


def long_table(X: list[np.ndarray], y: list[str]) -> pl.DataFrame:
    rows = [(f"s{i}", t, *x[t], label) for i, (x, label) in enumerate(zip(X, y)) for t in range(len(x))]
    return pl.DataFrame(rows, schema=["unique_id", "step", "a", "b", "label"], orient="row")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with train.ts, test.ts and the model of them."""
    folder = tmp_path_factory.mktemp("series")
    train, test = write_ts(folder / "train.ts", *rising(60)), write_ts(folder / "test.ts", *rising(20, 1))
    said = run("fit", train, "--test", test, "--out", folder / "model", *SMALL).stdout
    assert "Series: 60 training, 20 test (from test.ts); 2 features, 4 to 8 steps." in said
    assert "summary + logistic regression" in said and "majority" in said
    return folder


def test_inspect_draws_without_texts(model: Path) -> None:
    told = run("inspect", model / "model", "--gradients", "--diagram", "--out", model / "seen").stdout
    assert "Classes: down, up" in told and "One step of the cell" in told
    assert all((model / "seen" / name).stat().st_size > 1000 for name in ("gradients.png", "cell.svg"))
    refused = run("inspect", model / "model", "--text", "up", code=2).stderr
    assert "--text needs a model of texts" in refused


def test_a_ts_file_to_a_model_its_measures_and_predictions(model: Path) -> None:
    facts = json.loads((model / "model-report" / "metrics.json").read_text())
    assert facts["metrics"]["label"]["accuracy"] == 1 and facts["input_kind"] == "series"
    assert [*facts["baselines"]] == ["majority", "summary + logistic regression"]
    run("predict", model / "model", model / "test.ts", "--out", model / "out.csv")
    table = pl.read_csv(model / "out.csv")
    assert table.columns == ["series", "label", "prediction", "probability_down", "probability_up"]
    assert table["label"].to_list() == table["prediction"].to_list()
    assert "1" in run("evaluate", model / "model", model / "test.ts").stdout
    assert "series of 2 features a step" in run("inspect", model / "model").stdout


def test_a_long_table_keeps_the_names_of_its_features(tmp_path: Path) -> None:
    table = long_table(*rising(60))
    table.write_csv(tmp_path / "long.csv")
    command = ["fit", tmp_path / "long.csv", "--input-kind", "series", "--test-pattern", "[0369]$"]
    run(*command, "--out", tmp_path / "model", *SMALL)
    assert unspool.load(tmp_path / "model").feature_names_in_.tolist() == ["a", "b"]
    new = table.filter(pl.col("unique_id").is_in(["s7", "s8"])).reverse()
    new.select("b", "step", "unique_id", "a").write_parquet(tmp_path / "new.parquet")
    found = run("predict", tmp_path / "model", tmp_path / "new.parquet").stdout.splitlines()
    assert found[0].startswith("unique_id,prediction,probability_down")
    assert [line.split(",")[:2] for line in found[1:]] == [["s8", "up"], ["s7", "down"]]
    said = run("predict", tmp_path / "model", tmp_path / "new.parquet", "--feature", "a", code=2).stderr
    assert "The model has the features a, b. Got --feature a." in said


def test_numbers_are_regression_and_panels_name_their_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2, 5))
    np.savez(tmp_path / "panel.npz", X=X, y=X.mean((1, 2)))
    command = ["fit", tmp_path / "panel.npz", "--out", tmp_path / "model", *SMALL]
    assert "--layout must be one of" in run(*command, code=2).stderr
    said = run(*command, "--layout", "features-time").stdout
    assert "Task: regression." in said and "2 features, 5 to 5 steps" in said and "summary + ridge" in said


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for i in range(24):
        name = ["low", "high"][i % 2]
        path = tmp_path / "sounds" / name / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(1200) / 8000
        soundfile.write(
            path, 0.3 * np.sin(2 * np.pi * (400 if i % 2 else 1500) * t) + 0.01 * rng.normal(size=1200), 8000
        )
    sounds = tmp_path / "sounds"
    said = run("fit", sounds, "--test-pattern", r"[0-4]\.wav", "--out", tmp_path / "model", *SMALL).stdout
    assert "Recordings: 10 training, 14 test (names that match)." in said
    assert "log-spectrum + logistic regression" in said
    found = run("predict", tmp_path / "model", sounds / "low").stdout.splitlines()
    assert found[0].startswith("file,prediction") and {line.split(",")[1] for line in found[1:]} == {"low"}
    pl.DataFrame({"file": ["low/0.wav", "high/1.wav"], "mood": ["low", "high"]}).write_csv(
        tmp_path / "moods.csv"
    )
    labels = ["--labels", tmp_path / "moods.csv", "--target", "mood"]
    assert "mood: 2 test rows" in run("evaluate", tmp_path / "model", sounds, *labels).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--test-pattern", "x"], "matches 0 of 20 names"),
        (["--test-pattern", "("], "must be a regular expression"),
        (["--test-pattern", "1", "--test-fraction", "0.5"], "--test-pattern and --test-fraction both say"),
        (["--input-kind", "video"], "--input-kind must be series or audio. Got 'video'"),
        (["--task", "regression"], "must be finite numbers for regression. Number 1 of 20 is 'up'"),
        (
            ["--task", "tags"],
            "--task must be one of",
        ),
        (["--vectors", "x"], "No such option"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, options: list[str], said: str) -> None:
    source = write_ts(tmp_path / "some.ts", *rising(20))
    assert said in run("fit", source, "--out", tmp_path / "model", *SMALL, *options, code=2).stderr


def test_labels_and_numbers_that_are_none_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    X, y = np.ones((12, 3, 1)), np.arange(12) / 4
    for name, own, labels, said in (
        (
            "y",
            X,
            np.where(y == 1.75, np.nan, y),
            "must be finite numbers for regression. Number 8 of 12 is nan.",
        ),
        ("x", np.where(y[:, None, None] == 1.75, np.inf, X), y, "Series 7 of x.npz holds infinity."),
    ):
        np.savez(tmp_path / f"{name}.npz", X=own, y=labels)
        panel = ["fit", tmp_path / f"{name}.npz", "--layout", "time-features"]
        assert said in run(*panel, "--out", tmp_path / "model", code=2).stderr
    for name in ("a.wav", "a.arff"):
        assert "is no table" in run("fit", tmp_path / name, "--out", tmp_path / "model", code=2).stderr


def test_a_table_with_decimal_commas_and_a_class_that_the_model_does_not_know(
    model: Path, tmp_path: Path
) -> None:
    rows = [
        f"{i};{t};{'1,5' if i % 2 else 'NA' if t == 1 else '0,5'};{'yx'[i % 2]}"
        for i in range(12)
        for t in range(3)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["unique_id;step;v;label", *rows]))
    table = [tmp_path / "t.csv", "--delimiter", ";", "--decimal", ","]
    run("fit", *table, "--input-kind", "series", "--out", tmp_path / "model", *SMALL)
    (tmp_path / "t.csv").write_text("unique_id;step;v;label\n1;1;1,5;z\n2;1;1,5;x\n")
    told = run("evaluate", tmp_path / "model", *table).stderr
    assert "warning: 1 rows have a class that the model does not know, such as 'z'" in told


def test_compare(model: Path) -> None:
    study = ["--arrangements", "gru/last/one,rnn/max/one", "--repeats", "2", "--jobs", "1"]
    train, test = model / "train.ts", model / "test.ts"
    said = run("compare", train, "--test", test, *study, *SMALL, "--out", model / "study").stdout
    assert "Best on the validation part" in said
    table = pl.read_csv(model / "study" / "table.csv")
    assert table["arrangement"].to_list()[2:] == ["majority", "summary + logistic regression"]
    assert table["test_mean"].null_count() == 0
    found = unspool.load(model / "study" / "model")
    assert f"{found.cell}/{found.pooling}/one" == table["arrangement"][0]


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long table of series whose level tells a grade, a count and a cost."""
    rng = np.random.default_rng(0)
    rows = []
    for series in range(90):
        level = rng.uniform(0, 2)
        told = {
            "grade": ["low", "mid", "high"][int(level * 1.499)],
            "count": int(rng.poisson(np.exp(level))),
            "cost": float(np.exp(level) * rng.lognormal(0, 0.1)),
        }
        rows += [
            {"unique_id": series, "step": step, "x": level + rng.normal(0, 0.1), **told}
            for step in range(int(rng.integers(3, 7)))
        ]
    path = tmp_path_factory.mktemp("sensors") / "long.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("target", "more", "task", "metric", "linear"),
    [
        ("grade", ["--task", "ordinal", "--order", "low,mid,high"], "ordinal", "rank_mae", "logistic"),
        ("count", ["--task", "count"], "count", "deviance", "Poisson"),
        ("cost", ["--loss", "lognormal"], "positive", "deviance", "gamma"),
    ],
)
def test_other_targets(sensors, tmp_path, target, more, task, metric, linear) -> None:
    how = ["--input-kind", "series", "--target", target, "--feature", "x"]
    small = ["--epochs", "25", "--hidden-size", "6", "--quiet", "--early-stopping"]
    said = run("fit", sensors, *how, *more, *small, "--out", tmp_path / "model").stdout
    assert f"Task: {task}." in said and f"summary + {linear} regression" in said
    facts = json.loads((tmp_path / "model-report" / "metrics.json").read_text())
    constant, line = (
        row["metrics"][0] if isinstance(row["metrics"], list) else row["metrics"]
        for row in map(dict, facts["baselines"].values())
    )
    constant, line = (row.get(target, row) for row in (constant, line))
    assert line[metric] < 0.7 * constant[metric] and facts["metrics"][target][metric] < constant[metric]
    evaluated = run("evaluate", tmp_path / "model", sensors, "--target", target).stdout
    assert "Weighted kappa" in evaluated or "Deviance" in evaluated
    level = ["--level", "70", "--out", tmp_path / "p.csv"]
    run("predict", tmp_path / "model", sensors, "--target", target, *level)
    frame = pl.read_csv(tmp_path / "p.csv")
    if task == "ordinal":
        held = [
            str(y) in str(found).split("|") or str(y) in str(found)
            for y, found in zip(frame[target], frame["prediction_set"])
        ]
    else:
        held = (
            (frame["prediction_low"] <= frame[target]) & (frame[target] <= frame["prediction_high"])
        ).to_list()
    assert np.mean(held) > 0.5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--target", "grade", "--task", "ordinal"], "Give it from the lowest to the highest"),
        (["--target", "grade", "--order", "low,mid"], "a class that the order has not: 'high'"),
        (["--target", "grade", "--task", "count"], "must be finite numbers for count"),
        (["--target", "count", "--task", "positive"], "needs targets above 0"),
        (["--target", "count", "--task", "cont"], "--task must be one of auto"),
        (["--target", "cost", "--task", "count", "--loss", "huber"], "goes with --loss"),
    ],
)
def test_other_targets_that_cannot_be(sensors, tmp_path, more, said) -> None:
    how = ["--input-kind", "series", "--feature", "x", *more, "--out", tmp_path / "model", "--epochs", "1"]
    lines = run("fit", sensors, *how, code=2).stderr.splitlines()
    assert said in lines[-1] and sum(line.startswith("error:") for line in lines) == 1
