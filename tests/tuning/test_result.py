"""What is said of a search, from made-up runs: no training."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import unspool
from unspool.tuning.result import Tried, Tuning
from unspool.tuning.space import choose
from unspool.tuning.trials import Outcome

TRAINING, VALIDATION = 900, 100


def run(value, metric="r2", state="complete"):
    return Outcome(
        state, metrics={metric: value} if state == "complete" else {}, seconds=1.0, error="it diverged."
    )


def tuning(pairs, metric="r2", sign=1, chosen=True, looked=()):
    estimator = unspool.SequenceRegressor()
    problem = SimpleNamespace(
        metric=metric,
        sign=sign,
        ratio=VALIDATION / TRAINING,
        validation=np.arange(VALIDATION),
        estimator=estimator,
        data=SimpleNamespace(metrics={metric: ("", sign > 0)}),
    )
    best = Tried(3, {"dropout": 0.25, "cell": "gru"}, run(0.9, metric))
    trials = [
        Tried(0, {}, run(0.5, metric), default=True),
        best,
        Tried(4, {"dropout": 0.1, "cell": "lstm"}, run(0, state="failed")),
    ]
    axes = choose(estimator, "text", ["dropout", "cell"])
    pairs = [(run(old, metric), run(new, metric)) for old, new in pairs]
    return Tuning(
        problem,
        axes,
        run(0.5, metric),
        trials,
        best if chosen else None,
        pairs,
        1.0,
        ([], [], None),
        looked=list(looked),
    )


def test_the_difference_is_the_corrected_resampled_t_test():
    old, new = np.array([0.50, 0.52, 0.49, 0.51]), np.array([0.60, 0.63, 0.58, 0.62])
    found = tuning(list(zip(old, new))).difference
    d = new - old
    error = math.sqrt((1 / 4 + VALIDATION / TRAINING) * d.var(ddof=1))
    assert found.mean == pytest.approx(d.mean())
    assert found.p == pytest.approx(2 * stats.t.sf(d.mean() / error, 3))
    assert found.low == pytest.approx(d.mean() - stats.t.ppf(0.975, 3) * error)


def test_the_chosen_is_kept_only_beyond_the_noise():
    clear = tuning([(0.50, 0.60), (0.52, 0.63), (0.49, 0.58)])
    assert clear.kept == "chosen" and clear.settings == {"dropout": 0.25, "cell": "gru"}
    assert "the chosen settings are kept" in clear.verdict()[-1]
    noisy = tuning([(0.50, 0.60), (0.52, 0.50), (0.49, 0.58)])
    assert noisy.kept == "default" and noisy.settings == {}
    assert "the default is kept" in noisy.verdict()[-1]
    worse = tuning([(0.60, 0.50), (0.63, 0.52), (0.58, 0.49)])
    assert worse.kept == "default"


def test_less_is_better_for_an_error():
    pairs = [(0.60, 0.50), (0.63, 0.52), (0.58, 0.49)]
    found = tuning(pairs, "rmse", -1)
    assert found.kept == "chosen" and found.difference.mean > 0
    assert "difference -0.1" in found.verdict()[-2]
    assert tuning([(new, old) for old, new in pairs], "rmse", -1).kept == "default"


def test_what_was_not_repeated_or_failed_is_not_kept():
    assert tuning([]).kept == "default" and "not repeated" in tuning([]).verdict()[-1]
    failed = tuning([(0.5, 0.6), (0.5, 0.6)])
    failed.repeats[1] = (run(0.5), run(0, state="failed"))
    assert failed.kept == "default" and "A repeated run failed: it diverged." in failed.verdict()[-1]
    none = tuning([], chosen=False)
    assert none.kept == "default" and "None was better than the default" in none.verdict()[-1]


def test_the_counts_and_the_table_have_every_trial():
    found = tuning([])
    assert (
        "2 trials: 1 complete, 1 failed." in found.verdict()
        and "A trial failed: it diverged." in found.verdict()
    )
    table = found.table
    assert table["trial"].to_list() == [0, 3, 4] and table["state"].to_list() == [
        "default",
        "complete",
        "failed",
    ]
    assert table["cell"].to_list() == ["lstm", "gru", "lstm"] and table["validation_r2"].to_list() == [
        0.5,
        0.9,
        None,
    ]


def test_an_earlier_look_at_the_test_part_is_told():
    assert tuning([]).looked_before() is None and tuning([], looked=[3]).looked_before() is None
    assert "was looked at before" in tuning([], looked=[1, 3]).looked_before()
