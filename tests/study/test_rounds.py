"""The order of the runs, the budget, early dropping and the sentences, on made-up runs."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.study import charts, compare, store
from unspool.study.arrangements import TWELVE

X = ["a b", "c d"] * 200
Y = np.array([0, 1] * 200)
THREE = ["rnn/last/one", "gru/last/one", "lstm/last/one"]


def study(**options):
    given = {"arrangements": THREE, "jobs": 1, "verbose": 0, "repeats": 4}
    return compare(X, Y, **{**given, **options})


def normal(spread: float, **means: float):
    """Scores around a mean for each cell, the same for each task whenever it runs."""

    def score(name: str, repeat: int, fold: int) -> float:
        seed = [*name.encode(), repeat, fold]
        return means.get(name.split("/")[0], 0.5) + spread * float(np.random.default_rng(seed).normal())

    return score


def test_the_twelve_by_name():
    assert sorted(TWELVE) == sorted(
        [
            *("lstm/last/one", "lstm/last/stacked", "lstm/last/bidirectional"),
            *("lstm/max/one", "lstm/max/stacked", "lstm/max/bidirectional"),
            *("gru/last/one", "gru/last/stacked", "gru/last/bidirectional"),
            *("gru/max/one", "gru/max/stacked", "gru/max/bidirectional"),
        ]
    )


def test_every_first_run_comes_before_any_second(made_up):
    clock = made_up(normal(0.1))
    result = study(arrangements="twelve", repeats=2)
    assert clock.seen[:12] == [(name, 0, 0) for name in TWELVE]
    assert clock.seen[12:] == [(name, 1, 0) for name in TWELVE]
    assert sorted(set(result.runs["seed"].to_list())) == [0, 1]


def test_the_grid_has_every_combination_once(made_up):
    clock = made_up(normal(0.1))
    study(arrangements=None, cells=["gru", "gru"], poolings=["last", "mean+max"], layouts=["one", "stacked"])
    names = {name for name, _, _ in clock.seen}
    assert names == {f"gru/{p}/{y}" for p in ("last", "mean+max") for y in ("one", "stacked")}


def test_in_a_cross_validation_too(made_up):
    clock = made_up(normal(0.1))
    study(cv=3, repeats=2, random_state=7)
    assert clock.seen[:6] == [(name, 0, fold) for fold in (0, 1) for name in THREE]
    assert len(clock.seen) == 3 * 3 * 2


def test_no_run_starts_that_would_end_after_the_budget(made_up):
    clock = made_up(normal(0.1))
    result = study(budget_seconds=75.0)
    # runs of 10 s: the seventh ends at 70, the eighth would at 80
    assert len(clock.seen) == 7 and clock.now == 70.0
    # the seventh is of the third round, which only one arrangement has begun: two runs of each count
    assert result.table["runs"].to_list() == [2, 2, 2] and len(result.runs) == 7
    assert "The budget of 1 min 15 s was spent before every run was done." in result.verdict


def test_with_a_folder_time_is_kept_to_train_the_winner(made_up, tmp_path, monkeypatch):
    clock = made_up(normal(0.1))
    monkeypatch.setattr("unspool.study.comparison.Comparison.write", lambda *_: None)
    study(budget_seconds=75.0, out=tmp_path / "s")
    assert len(clock.seen) == 6


def test_one_run_that_was_held_up_does_not_end_the_study(made_up):
    score, seen = normal(0.1), []

    def held_up(name, repeat, fold):
        seen.append(name)
        if len(seen) == 8:
            clock.now += 200.0
        return score(name, repeat, fold)

    clock = made_up(held_up)
    result = study(repeats=6, budget_seconds=400.0, drop_hopeless=False)
    assert len(clock.seen) == 18 and result.ending == ""


def test_a_budget_of_runs_and_going_on(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr("unspool.study.comparison.Comparison.write", lambda *_: None)
    made_up(normal(0.1))
    whole = study()
    clock = made_up(normal(0.1))
    part = study(budget_runs=5, out=tmp_path / "s")
    assert len(clock.seen) == 5 and part.table["runs"].to_list() == [1, 1, 1]
    assert part.ending == "The budget of 5 runs was spent before every run was done."
    rest = study(out=tmp_path / "s")
    assert len(clock.seen) == 12 == len(set(clock.seen))
    assert rest.table.equals(whole.table) and rest.verdict == whole.verdict
    study(out=tmp_path / "s", repeats=5, arrangements=[*THREE, "gru/max/one"])
    assert len(clock.seen) == len(set(clock.seen)) == 5 * 4


def test_the_hopeless_are_not_repeated(made_up):
    clock = made_up(normal(0.01, rnn=0.3, gru=0.8, lstm=0.81))
    result = study(repeats=5)
    assert sum(name.startswith("rnn") for name, _, _ in clock.seen) == 2
    table = result.table
    assert table["status"].to_list()[-1] == "dropped" and table["runs"].to_list() == [5, 5, 2]
    assert "Dropped early, clearly below the best: rnn/last/one." in result.verdict
    clock = made_up(normal(0.01, rnn=0.3, gru=0.8, lstm=0.81))
    result = study(repeats=5, drop_hopeless=False)
    assert len(clock.seen) == 15 and "Significantly below it: rnn/last/one." in result.verdict


def test_less_is_better_for_a_loss(made_up):
    made_up(normal(0.01, rnn=0.3, gru=0.8, lstm=0.81))
    assert study().best == "lstm/last/one"
    result = study(metric="log_loss")
    assert result.table["mean"].to_list() == [1.0] * 3 and result.table["difference"][1] == 0.0


def test_noise_shows_no_difference(made_up):
    made_up(normal(0.05))
    result = study(arrangements="twelve", repeats=5)
    assert set(result.table["status"]) == {"best", "no difference"}
    assert any(line.startswith("No difference found between it and the other 11") for line in result.verdict)


def test_a_run_that_diverges_ends_its_arrangement_only(made_up):
    score = normal(0.01)
    clock = made_up(lambda name, r, f: None if (name, r) == ("gru/last/one", 1) else score(name, r, f))
    result = study()
    assert sum(name.startswith("gru") for name, _, _ in clock.seen) == 2
    assert result.table["status"].to_list()[-1] == "failed" and len(clock.seen) == 10
    assert any("gru/last/one: The loss became nan in epoch 1." in line for line in result.verdict)


def test_one_run_each_proves_nothing(made_up):
    made_up(normal(0.01))
    result = study(repeats=1)
    assert result.table["sd"].to_list() == [None] * 3
    assert "With one run each, nothing can be said about differences. Use more repeats." in result.verdict


def test_ctrl_c_keeps_what_is_done(made_up):
    score = normal(0.1)

    def pressed(name, repeat, fold):
        if (name, repeat) == ("gru/last/one", 1):
            raise KeyboardInterrupt
        return score(name, repeat, fold)

    made_up(pressed)
    result = study()
    assert result.interrupted and "The study was interrupted." in result.verdict
    assert result.table["runs"].to_list() == [1, 1, 1] and len(result.runs) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrangements": ["lstm/last"]}, "names such as 'lstm/last/stacked', or 'twelve'"),
        ({"arrangements": ["lstm/last/stakced"]}, "Did you mean 'stacked'?"),
        ({"arrangements": ["lstn/last/one"]}, "Did you mean 'lstm'?"),
        ({"arrangements": []}, "one or more names"),
        ({"arrangements": None, "poolings": ["lst"]}, "Did you mean 'last'?"),
        ({"arrangements": None, "cells": "lstm"}, "a list of one or more names"),
        ({"metric": "r2"}, "one of ['accuracy', 'macro_f1', 'log_loss']"),
        ({"repeats": 0}, "an int in [1, inf). Got 0."),
        ({"cv": 1}, "an int in [2, inf). Got 1."),
        ({"budget_seconds": 0}, "a number in (0, inf)"),
        ({"jobs": 0}, "an int in [1, inf)"),
        ({"test": 1.5}, "a number in (0, 1)"),
        ({"validation": X}, "a pair (X, y)"),
        ({"estimator": "lstm"}, "one of unspool's estimators: SequenceRegressor,"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InvalidParameterError) as error:
        study(**options)
    assert message in str(error.value)


def test_a_study_whose_head_was_not_written_begins_again(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        store.Store(tmp_path / "study", {})
    monkeypatch.undo()
    assert store.Store(tmp_path / "study", {}).runs == {}


def test_validation_data_and_folds_exclude_each_other():
    with pytest.raises(DataError, match="either validation data or cv"):
        study(cv=2, validation=(X, Y))
    with pytest.raises(DataError, match="500 folds need as many rows"):
        study(cv=500)


def test_a_dropped_arrangement_far_off_does_not_squeeze_the_figures(made_up):
    made_up(normal(0.005, rnn=0.2, gru=0.8, lstm=0.82))
    result = study(repeats=5)
    low, high = charts.view(result)
    scores = result.runs.filter(result.runs["name"] != THREE[0])["validation_accuracy"]
    assert 0.75 < low < scores.min() and scores.max() < high < 0.9
    axes = charts.intervals(result).axes[0]
    told = [text.get_text() for text in axes.texts]
    assert told == [f"← {result.table['mean'][2]:#.4g}"] and axes.get_xlim()[0] > 0.7
    left, right = charts.costs(result).axes
    assert left.get_ylim()[0] > 0.7 and right.get_title("right") == "Far off, not shown: rnn/last/one"


def test_a_dropped_arrangement_near_the_others_is_in_view(made_up):
    made_up(normal(0.002, rnn=0.79, gru=0.8, lstm=0.82))
    result = study(repeats=5)
    assert "dropped" in result.table["status"].to_list()
    assert charts.view(result)[0] < result.runs["validation_accuracy"].min()
    assert len(charts.intervals(result).axes[0].texts) == 0
