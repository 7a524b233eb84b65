"""`--numeric` and `--categorical`: read by name in every command, by model and baselines alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from .conftest import SMALL, run


def write(path: Path, count: int = 300, seed: int = 0) -> Path:
    """The score is of price and shop alone; each tenth price is missing."""
    rng = np.random.default_rng(seed)
    price, shop = rng.normal(50, 10, count), rng.choice(["n", "s"], count)
    texts = [" ".join(rng.choice(list("uvwxyz"), rng.integers(1, 6))) for _ in range(count)]
    score = price / 10 + 3 * (shop == "n")
    shown = [None if i % 10 == 0 else f"{p:.6f} " for i, p in enumerate(price)]
    frame = pl.DataFrame(
        {
            "words": texts,
            "price": shown,
            "shop": shop,
            "score": score,
            "kind": np.where(score > 6.5, "up", "down"),
        }
    )
    frame.write_csv(path)
    return path


NAMED = ("--numeric", "price", "--categorical", "shop")


@pytest.mark.parametrize(("target", "metric"), [("score", "pearson_r"), ("kind", "accuracy")])
def test_fit_evaluate_and_predict(tmp_path: Path, target: str, metric: str) -> None:
    table, fresh = write(tmp_path / "t.csv"), write(tmp_path / "fresh.csv", 100, 1)
    out = tmp_path / "model"
    command = [
        "fit",
        table,
        "--input",
        "words",
        "--target",
        target,
        "--out",
        out,
        *SMALL,
        *NAMED,
        "--epochs",
        "15",
    ]
    shown = run(*command).stdout
    assert "beside it price (number, missing ones as the mean and told apart), shop (2 categories)" in shown
    report = json.loads((tmp_path / "model-report" / "metrics.json").read_text())
    least = 0.85 if metric == "accuracy" else 0.8
    assert report["metrics"][target][metric] > least
    linear = next(b for name, b in report["baselines"].items() if name.startswith("TF-IDF"))
    assert linear["metrics"][target][metric] > least
    assert "rows" in run("evaluate", out, fresh, "--input", "words", "--target", target).stdout
    pl.read_csv(fresh).rename({"words": "text"}).write_csv(fresh)
    run("predict", out, fresh, "--input", "text", "--out", tmp_path / "p.csv")
    found = pl.read_csv(tmp_path / "p.csv")
    if target == "score":
        assert np.corrcoef(found["prediction"], found["score"])[0, 1] > 0.8
    else:
        assert (found["prediction"] == found["kind"]).mean() > 0.85


def test_a_validation_part_and_rows_without_a_text(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv")
    frame = pl.read_csv(table).with_columns(part=pl.Series((["train"] * 7 + ["dev"] + ["test"] * 2) * 30))
    frame.write_csv(table)
    command = ["fit", table, "--input", "words", "--target", "score", "--split-column", "part"]
    run(*command, "--out", tmp_path / "m", *SMALL, *NAMED, "--epochs", "2")
    frame[:5].with_columns(words=pl.Series(["u", None, "v", "w", "x"])).write_csv(table)
    result = run("predict", tmp_path / "m", table, "--input", "words", "--out", tmp_path / "p.csv")
    assert "1 rows have no text" in result.stderr
    found = pl.read_csv(tmp_path / "p.csv")["prediction"]
    assert found.is_null().to_list() == [False, True, False, False, False]
    whole = pl.read_csv(tmp_path / "p.csv").filter(pl.col("words") == "x")
    whole.drop("prediction").write_csv(table)
    run("predict", tmp_path / "m", table, "--input", "words", "--out", tmp_path / "q.csv")
    assert pl.read_csv(tmp_path / "q.csv")["prediction"][0] == pytest.approx(found[4], abs=1e-5)


def test_errors(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 60)
    fit = [
        "fit",
        table,
        "--input",
        "words",
        "--target",
        "score",
        "--out",
        tmp_path / "m",
        *SMALL,
        "--epochs",
        "1",
    ]
    assert "no column 'prise'" in run(*fit, "--numeric", "prise", code=2).stderr
    assert "'shop' of t.csv" in run(*fit, "--numeric", "shop", code=2).stderr
    assert "must be different columns" in run(*fit, "--numeric", "score", code=2).stderr
    run(*fit, *NAMED)
    assert (
        "needs the columns 'price', 'shop' beside a text"
        in run("predict", tmp_path / "m", "u v", code=2).stderr
    )
    pl.read_csv(table).drop("price").write_csv(table)
    for command in (["predict"], ["evaluate", "--target", "score"]):
        result = run(command[0], tmp_path / "m", table, "--input", "words", *command[1:], code=2)
        assert "no column 'price'" in result.stderr


def test_compare_takes_them_too(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv")
    command = ["compare", table, "--input", "words", "--target", "score", "--metric", "pearson_r"]
    command += ["--arrangements", "gru/mean/one", "--repeats", "1", "--jobs", "1", *NAMED]
    settings = [word for word in SMALL if word != "--quiet"]
    run(*command, "--out", tmp_path / "study", *settings, "--quiet")
    rows = {r["name"]: r for r in pl.read_csv(tmp_path / "study" / "runs.csv").to_dicts()}
    found = {name: row["test_pearson_r"] for name, row in rows.items() if row["test_pearson_r"] is not None}
    assert found["gru/mean/one"] > 0.8 and found["TF-IDF + ridge"] > 0.8, found
    fresh = write(tmp_path / "fresh.csv", 50, 1)
    told = run(
        "evaluate", tmp_path / "study" / "model", fresh, "--input", "words", "--target", "score"
    ).stdout
    assert "50 test rows" in told
    other = [
        "compare",
        write(tmp_path / "t.csv", 300, 2),
        *command[2:],
        "--out",
        tmp_path / "study",
        *settings,
    ]
    assert "holds another study" in run(*other, "--quiet", code=2).stderr
