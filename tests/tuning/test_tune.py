"""`unspool.tune`: its runs against plain fits, giving up, the budget, and the study's file."""

from __future__ import annotations

import time

import numpy as np
import pytest
from optuna.trial import create_trial
from sklearn.metrics import r2_score
from tests.cli.conftest import reviews

import unspool
from unspool.errors import DataError, InvalidParameterError, ModelFileError, UnspoolError
from unspool.tuning import searching, trials
from unspool.tuning.problem import make_problem
from unspool.tuning.search import Budget
from unspool.tuning.trials import Trial, perform

TABLE = reviews(120)
X, Y = TABLE["text"].to_list(), TABLE["score"].to_numpy()
SMALL = {"hidden_size": 8, "embedding_dim": 8, "epochs": 3, "batch_size": 16, "verbose": 0}
SPACE = {"dropout": (0.0, 0.6), "cell": ["lstm", "gru"], "learning_rate": (0.005, 0.02)}


def small(**more):
    return unspool.SequenceRegressor(**{**SMALL, "learning_rate": 0.01, **more})


def search(out=None, count=4, **more):
    options = {"space": SPACE, "trials": count, "repeats": 2, "jobs": 1, "out": out, "verbose": 0, **more}
    return unspool.tune(X, Y, estimator=options.pop("estimator", small()), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def found(folder):
    return search(folder, test=(X[:30], Y[:30]))


def test_the_runs_are_those_of_plain_fits(found):
    problem = found.problem
    rows, held = problem.training, problem.validation
    assert len(held) == 12 and not set(rows) & set(held) and len(rows) + len(held) == len(X)
    for settings, outcome in (({}, found.default), (found.chosen.settings, found.chosen.outcome)):
        model = small(random_state=0, **{"learning_rate": 0.01, **settings} if settings else {})
        model.fit([X[i] for i in rows], Y[rows], validation_data=([X[i] for i in held], Y[held]))
        expected = r2_score(Y[held], model.predict([X[i] for i in held]))
        assert outcome.metrics["r2"] == pytest.approx(expected, abs=1e-5)
        assert outcome.curve == pytest.approx([row["validation_loss"] for row in model.history_], rel=1e-4)


def test_the_search_has_what_was_asked_and_the_best_is_the_best(found):
    assert len(found.trials) == 5 and sum(t.default for t in found.trials) == 1
    drawn = [t.settings for t in found.trials if not t.default]
    assert all(0 <= s["dropout"] <= 0.6 and s["cell"] in ("lstm", "gru") for s in drawn)
    assert len({s["dropout"] for s in drawn}) == 4
    complete = [t for t in found.trials if t.outcome.state == "complete" and not t.default]
    assert found.chosen.number == max(complete, key=lambda t: t.outcome.metrics["r2"]).number
    assert len(found.repeats) == 2 and found.repeats[0] != found.repeats[1]
    assert set(found.test) == {"default", "chosen"} and found.model is found.models[found.kept]
    assert "Test part: R2 of default" in found.summary()


def test_the_repeats_draw_parts_of_their_own(found):
    parts = [set(found.problem.parts(draw)[1].X.data) for draw in (None, 1, 2)]
    assert parts[0] != parts[1] != parts[2]
    assert parts[1] == set(found.problem.parts(1)[1].X.data)


def test_the_same_call_goes_on_and_more_trials_are_added(found, folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a run was repeated")

    with monkeypatch.context() as patch:
        patch.setattr("unspool.tuning.workers.perform", refuse)
        again = search(folder, test=(X[:30], Y[:30]))
    assert again.table.equals(found.table) and again.repeats == found.repeats and again.looked
    assert again.looked_before() is None
    more = search(folder, count=5)
    assert more.table[:5].drop("seconds").equals(found.table.drop("seconds")) and len(more.trials) == 6


def test_an_ended_search_goes_on_with_what_was_drawn(tmp_path, monkeypatch):
    real, ends = perform, iter([None, None, KeyboardInterrupt()])

    def ended(problem, trial):
        if (error := next(ends)) is not None:
            raise error
        return real(problem, trial)

    with monkeypatch.context() as patch:
        patch.setattr("unspool.tuning.workers.perform", ended)
        cut = search(tmp_path, count=2)
    assert cut.interrupted and len(cut.trials) == 2
    with open(tmp_path / "study.journal", "ab") as file:
        file.write(b'{"op_code":7,"worker')  # a write that a kill cut
    asked = [t.params for t in study_of(tmp_path).trials][2]
    whole = search(tmp_path, count=2)
    assert not whole.interrupted and len(whole.trials) == 3
    assert whole.trials[2].settings == pytest.approx({**asked}) and whole.trials[:2] == cut.trials


def study_of(folder):
    import optuna

    path = folder / "copy.journal"
    path.write_bytes((folder / "study.journal").read_bytes().rpartition(b"\n")[0] + b"\n")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    return optuna.load_study(study_name="unspool tune", storage=storage)


def test_a_study_of_something_else_is_refused(found, folder, tmp_path):
    with pytest.raises(ModelFileError, match=r"holds another search: its 'epochs' is 3, and this one's is 4"):
        search(folder, estimator=small(epochs=4))
    with pytest.raises(ModelFileError, match="its 'search' is"):
        search(folder, space=["dropout"])
    (tmp_path / "study.journal").write_text("not a study\n")
    with pytest.raises(ModelFileError, match="is not the study of a search, or is damaged"):
        search(tmp_path)
    (tmp_path / "study.journal").write_text("no line")
    with pytest.raises(ModelFileError, match="is not the study of a search"):
        search(tmp_path)
    assert (tmp_path / "study.journal").read_text() == "no line"
    whole = (folder / "study.journal").read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        whole.replace(b'"op_code":6', b'"op_cod":6', 1),
        whole.replace(b'"complete"', b"7"),
        whole[90:],
    ):
        (tmp_path / "study.journal").write_bytes(damaged)
        with pytest.raises(ModelFileError, match="is not the study of a search, or is damaged"):
            search(tmp_path)
    (tmp_path / "study.journal").write_bytes(lines[0].replace(b"unspool tune", b"mine"))
    with pytest.raises(ModelFileError, match="a study of something else"):
        search(tmp_path)


def test_one_process_writes_at_a_time(found, folder):
    import fcntl

    with open(folder / "study.journal", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ModelFileError, match="Another search is writing"):
            search(folder)


def curve(*losses):
    return create_trial(value=0.0, intermediate_values={i: -v for i, v in enumerate(losses, 1)})


def test_a_curve_worse_than_the_median_is_given_up_and_a_clock_cuts():
    problem = make_problem(X, Y, small(epochs=5), None, None, 0)
    low = [curve(*[1e-6] * 5)] * 5
    given_up = perform(problem, Trial(1, {}, finished=low))
    assert given_up.state == "pruned" and len(given_up.curve) == 3 and not given_up.metrics
    high = [curve(*[1e6] * 5)] * 5
    assert perform(problem, Trial(1, {}, finished=high)).state == "complete"
    assert perform(problem, Trial(1, {}, finished=low[:4])).state == "complete"  # too few to tell
    cut = perform(problem, Trial(1, {}, deadline=time.time()))
    assert cut.state == "cut" and not cut.curve


def test_a_trial_that_diverges_fails_and_the_search_goes_on():
    result = search(space={"learning_rate": [1e30, 0.01]}, count=3, estimator=small(gradient_clip=None))
    states = {t.settings["learning_rate"]: t.outcome.state for t in result.trials}
    assert states.get(1e30) == "failed" and "became" in next(
        t.outcome.error for t in result.trials if t.outcome.error
    )
    with pytest.raises(UnspoolError, match="The settings as given cannot be trained"):
        search(space={"dropout": None}, estimator=small(learning_rate=1e30, gradient_clip=None))


def test_small_sets_of_series_are_fitted_as_fit_does_it():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(5, 2)) + (i % 2) for i in range(40)]
    labels = np.arange(40) % 2
    estimator = unspool.SequenceClassifier(hidden_size=4, epochs=2, verbose=0)
    problem = make_problem(series, labels, estimator, None, None, 0)
    assert not problem.stops
    outcome = perform(problem, Trial(1, {"crop": 0.2}))
    assert (
        outcome.state == "complete" and not outcome.curve
    )  # nothing is held back, so that there is no curve
    training, held = problem.parts(None)
    model = unspool.SequenceClassifier(
        hidden_size=4, epochs=2, verbose=0, crop=0.2, early_stopping=False, random_state=0
    )
    model.fit(training.X.data, training.y)
    assert outcome.metrics["accuracy"] == pytest.approx(model.score(held.X.data, held.y))


def test_the_budget_leaves_time_for_what_comes_after_the_search(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = Budget(100.0, None, spent=10.0, started=0.0)
    now[0] = 20.0
    assert budget.elapsed == 30.0
    assert budget.search_left(reserve=25.0) == pytest.approx(100 - 25 - 30)
    assert budget.search_left(reserve=80.0) == pytest.approx(100 - 50 - 30)  # half of it is the search's
    assert budget.room(seconds=50.0, last=20.0) and not budget.room(seconds=50.0, last=21.0)
    assert Budget(None, 3).search_left(5.0) is None and Budget(None, 3).room(1e9, 0.0)


def test_a_clock_ends_the_search_and_the_end_is_reached():
    result = search(count=None, trials=None, budget_seconds=0.5)
    assert all(t.outcome.state in ("complete", "pruned", "cut") for t in result.trials)
    assert result.kept in ("default", "chosen") and result.verdict()
    assert len(result.repeats) == (2 if result.chosen else 0)  # two at least, whatever the budget


def test_no_more_processes_than_trials_or_repeats(monkeypatch):
    class Asked(Exception):
        pass

    def side_by_side(problem, jobs, *_):
        raise Asked(jobs)

    monkeypatch.setattr(searching, "side_by_side", side_by_side)
    for jobs, given in ((99, 7), (3, 3), (None, None)):
        with pytest.raises(Asked) as found:
            search(count=7, jobs=jobs)
        assert found.value.args == (given,)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trials": None}, InvalidParameterError, "a number of seconds, or trials a number of trials"),
        ({"trials": 0}, InvalidParameterError, "an int in [1, inf). Got 0."),
        ({"budget_seconds": -1.0}, InvalidParameterError, "a number in (0, inf)"),
        ({"repeats": 1}, InvalidParameterError, "an int in [2, inf)"),
        ({"jobs": 0}, InvalidParameterError, "an int in [1, inf)"),
        ({"metric": "acuracy"}, InvalidParameterError, "must be one of"),
        ({"keep": ["cel"]}, InvalidParameterError, "Did you mean 'cell'?"),
        ({"estimator": 3}, InvalidParameterError, "a SequenceRegressor or SequenceClassifier"),
        ({"validation": 3}, InvalidParameterError, "a pair (X, y)"),
        ({"test": (["a"], [1.0, 2.0])}, DataError, "one row for each of the 1"),
    ],
)
def test_bad_calls(changes, error, message):
    options = {"trials": 2, **changes}
    with pytest.raises(error) as caught:
        search(None, options.pop("trials"), **options)
    assert message in str(caught.value)


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UnspoolError, match=r"needs optuna: pip install 'unspool\[tune\]'"):
        search()


def test_states_are_those_that_are_told():
    assert {trials.COMPLETE, trials.PRUNED, trials.CUT, trials.FAILED} == {
        "complete",
        "pruned",
        "cut",
        "failed",
    }
