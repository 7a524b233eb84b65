"""`unspool bench`: what it prints and refuses; no time is tested."""

from __future__ import annotations

import json

import pytest

from unspool import cells
from unspool.bench import Case
from unspool.bench.saved import model_runs
from unspool.estimators.network import SequenceNetwork

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
    told = [
        (row["cell"], row["hidden"], row["work"], row["features"], row["length"]) for row in result["rows"]
    ]
    assert told == [(cell, 5, work, 3, 6) for cell in ("gru", "mgu") for work in ("forward", "training")]
    peers = [set(row["ratios"]) for row in result["rows"]]
    assert peers == [{"torch padded", "torch packed", "plain loop"}] * 2 + [{"plain loop"}] * 2
    for row in result["rows"]:
        assert all(ratio > 0 for ratio in row["ratios"].values()) and 0 < row["share_of_peak"] < 1


def test_every_cell_is_listed_and_one_way_can_be_asked_for() -> None:
    result = json.loads(
        run("bench", "--cell", "rnn", "--hidden", "4", "--dense", "--directions", "1", *TINY, "--json").stdout
    )
    assert (result["rows"][0]["directions"], result["rows"][0]["shape"]) == (1, "dense")
    table = run("bench", "--hidden", "4", *TINY).stdout
    assert "the other's time / ours" in table and "Not native" not in table
    assert all(name in table for name in cells.names())


def test_a_saved_model(classified) -> None:
    result = json.loads(run("bench", "--model", classified / "model", *TINY, "--json").stdout)
    assert [row["path"] for row in result["rows"]] == ["native", "native"]
    # torch has no layer whose input is dropped for a whole sequence
    assert all(set(row["ratios"]) == {"plain loop"} for row in result["rows"])


@pytest.mark.parametrize(
    ("settings", "peers"),
    [
        ({"cell": "gru", "num_layers": 2, "bidirectional": True}, {"torch padded", "torch packed"}),
        ({"cell": "lstm", "num_layers": 2, "connection": "residual"}, set()),
        ({"cell": "lstm", "bidirectional": True, "merge": "sum"}, set()),
        ({"cell": "lstm", "recurrent_dropout": 0.1}, set()),
        ({"cell": "gru", "hidden_size": [4, 6]}, set()),
        ({"cell": "min_gru"}, set()),
    ],
)
def test_torch_is_a_peer_only_of_layers_that_it_has(settings, peers) -> None:
    sizes = {"embedding_dim": 4, "hidden_size": 4, "num_layers": 1, "bidirectional": False, "dropout": 0.0}
    network = SequenceNetwork(
        vocabulary_size=9,
        n_features=0,
        pooling="last",
        dense=(),
        output_size=1,
        sparse_embedding=False,
        **{**sizes, **settings},
    )
    runs = model_runs(network, Case("", 4, batch=2, length=3))
    assert set(runs) == {"unspool", "plain loop"} | peers
    for run_once in runs.values():
        run_once(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "grx"], "Did you mean 'gru'"),
        (["--cell", "LSTMCell"], "Did you mean 'lstm'"),
        (["--hidden", "0"], "--hidden must be"),
        (["--features", "0"], "--features must be"),
        (["--directions", "0"], "directions"),
        (["--batch", "-1"], "--batch must be"),
        (["--directions", "3"], "directions"),
        (["--model", "nowhere"], "nowhere"),
        (["--model", "nowhere", "--cell", "gru"], "the model has its own"),
    ],
)
def test_refused(arguments: list[str], message: str) -> None:
    failed = run("bench", *arguments, code=2)
    assert message in failed.stderr and "Traceback" not in failed.stderr
