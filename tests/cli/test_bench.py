"""`unspool bench`: what it prints and refuses; no time is tested."""

from __future__ import annotations

import json

import pytest

from .conftest import run


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("unspool.cli.bench.SECONDS", 0.01)


TINY = ["--batch", "3", "--length", "6"]


def test_rows_and_paths() -> None:
    result = json.loads(
        run(
            "bench", "--cell", "gru", "--cell", "mgu", "--hidden", "5", "--features", "3", *TINY, "--json"
        ).stdout
    )
    assert result["paths"] == {"gru": "native", "mgu": "native"}
    assert [row["case"].split(",")[:2] for row in result["rows"]] == [
        ["gru 5", " forward"],
        ["gru 5", " training"],
        ["mgu 5", " forward"],
        ["mgu 5", " training"],
    ]
    peers = [set(row["ratios"]) for row in result["rows"]]
    assert peers == [{"torch padded", "torch packed", "plain loop"}] * 2 + [{"plain loop"}] * 2
    for row in result["rows"]:
        assert all(ratio > 0 for ratio in row["ratios"].values()) and 0 < row["share_of_peak"] < 1


def test_every_cell_is_listed_and_one_way_can_be_asked_for() -> None:
    result = json.loads(
        run("bench", "--cell", "rnn", "--hidden", "4", "--dense", "--directions", "1", *TINY, "--json").stdout
    )
    assert "one direction" in result["rows"][0]["case"] and "dense" in result["rows"][0]["case"]
    table = run("bench", "--cell", "rnn", "--hidden", "4", *TINY).stdout
    assert "the other's time / ours" in table and "native" in table


def test_a_saved_model(classified) -> None:
    result = json.loads(run("bench", "--model", classified / "model", *TINY, "--json").stdout)
    assert [row["path"] for row in result["rows"]] == ["native", "native"]
    assert all({"torch padded", "plain loop"} <= set(row["ratios"]) for row in result["rows"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "grx"], "Did you mean 'gru'"),
        (["--hidden", "0"], "'hidden'"),
        (["--batch", "-1"], "'batch'"),
        (["--directions", "3"], "directions"),
        (["--model", "nowhere"], "nowhere"),
        (["--model", "nowhere", "--cell", "gru"], "the model has its own"),
    ],
)
def test_refused(arguments: list[str], message: str) -> None:
    failed = run("bench", *arguments, code=2)
    assert message in failed.stderr and "Traceback" not in failed.stderr
