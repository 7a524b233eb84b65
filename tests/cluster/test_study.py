"""Studies on a cluster: the table is that of one machine, whatever happens to the nodes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import unspool
from unspool import study
from unspool.study.store import Store

WORTH = {"good": 1.0, "fine": 0.5, "dull": -0.5, "awful": -1.0}
SMALL = {"hidden_size": 6, "embedding_dim": 6, "epochs": 2, "batch_size": 16, "learning_rate": 0.02}
GIVEN = {"arrangements": ["gru/last/one", "lstm/max/bidirectional"], "repeats": 3, "drop_hopeless": False}


def reviews(n: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([*WORTH, "the", "day", "was"], rng.integers(2, 7))) for _ in range(n)]
    return texts, np.array([sum(WORTH.get(word, 0.0) for word in text.split()) for text in texts]) > 0


def timeless(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop([name for name in frame.columns if "seconds" in name])


def compare(out=None, **options):
    texts, labels = reviews(120)
    estimator = unspool.SequenceClassifier(**SMALL)
    return study.compare(texts, labels, estimator=estimator, test=0.2, out=out, **{**GIVEN, **options})


@pytest.fixture(scope="module")
def alone():
    """The study in this process."""
    return compare(jobs=1, verbose=0)


def same(one, two) -> bool:
    """Equal to the last digit, in every run and epoch."""
    losses = [[run.history for e in r.entries for _, run in sorted(e.runs.items())] for r in (one, two)]
    return (
        timeless(one.table).equals(timeless(two.table))
        and timeless(one.runs).equals(timeless(two.runs))
        and all(
            [epoch["validation_loss"] for epoch in a] == [epoch["validation_loss"] for epoch in b]
            for a, b in zip(*losses, strict=True)
        )
    )


def test_the_table_is_that_of_one_machine(nodes, alone, capfd):
    assert same(alone, compare(cluster="auto"))
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("Cluster: 2 nodes, 2 processors: ")
    assert said[-1].startswith("Ran ") and said[-1].count(" on 127.0.0.1 (") in (
        1,
        2,
    )  # whichever node is free


def test_a_node_is_killed_and_the_study_goes_on_later(nodes, alone, tmp_path, monkeypatch):
    kept, add = [], Store.add

    def kill_after_two(store, task, runs):
        add(store, task, runs)
        kept.append(store.key(task))
        if len(kept) == 2:
            nodes.kill()

    monkeypatch.setattr(Store, "add", kill_after_two)
    part = compare(cluster="auto", verbose=0, out=tmp_path / "s", budget_runs=4)
    assert (
        len(part.runs) == 4 + 2 and len(kept) == len(set(kept)) == 5
    )  # runs, and the two baselines of one task
    rest = compare(cluster="auto", verbose=0, out=tmp_path / "s")
    assert len(kept) == len(set(kept)) == 7  # nothing that was finished is run again
    assert same(alone, rest)
    again = compare(jobs=1, verbose=0, out=tmp_path / "s")
    assert len(kept) == 7 and again.table.equals(rest.table)


def test_another_address_than_the_connected_one(nodes):
    with pytest.raises(unspool.errors.UnspoolError, match="connected to a Ray cluster already"):
        compare(cluster="local", verbose=0)


def test_a_search_for_settings(nodes, capfd):
    texts, labels = reviews(60)

    def search(**options):
        return unspool.tune(
            texts,
            labels.astype(float),
            estimator=unspool.SequenceRegressor(**SMALL, blend=False),
            space={"dropout": (0.0, 0.5)},
            trials=2,
            repeats=2,
            jobs=1,  # what is drawn depends on what has ended
            **options,
        )

    alone = search(verbose=0)
    capfd.readouterr()
    together = search(cluster="auto")
    drawn = [[(t.settings, t.outcome.metrics, t.outcome.curve) for t in r.trials] for r in (alone, together)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3
    said = capfd.readouterr().out
    assert "Cluster: 2 nodes" in said and "Ran " in said
