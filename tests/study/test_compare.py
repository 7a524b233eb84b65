"""Studies with real runs: their numbers against scipy, resuming, side by side, the model."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats
from threadpoolctl import threadpool_info, threadpool_limits
from torch.nn.functional import linear

import unspool
from unspool import cells, study
from unspool.errors import ModelFileError
from unspool.estimators.network import count_parameters
from unspool.evaluation.baselines import classification_baselines
from unspool.study.jobs import one_thread
from unspool.study.kinds import make_problem
from unspool.study.report import page as page_of
from unspool.study.store import Store

from .conftest import SMALL, TWO, reviews

TIMES = ("train_seconds", "predict_seconds_per_1000")


class Tiny(cells.Cell):
    """A cell of these tests only."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = torch.nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.reset_parameters()

    def forward(self, x, state):
        return torch.tanh(linear(x, self.weight_ih) + linear(state, self.weight_hh))


def timeless(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop([name for name in frame.columns if "seconds" in name])


def test_the_table_is_that_of_the_runs(result):
    runs, table = result.runs, result.table
    best, other = (
        runs.filter(pl.col("name") == name)["validation_accuracy"].to_numpy()
        for name in table["arrangement"][:2]
    )
    assert table["mean"][:2].to_list() == pytest.approx([best.mean(), other.mean()])
    assert best.mean() >= other.mean() and table["sd"][0] == pytest.approx(np.std(best, ddof=1))
    if np.ptp(other) > 0:
        low, high = stats.ttest_1samp(other, 0).confidence_interval(0.95)
        assert table["low"][1] == pytest.approx(low) and table["high"][1] == pytest.approx(min(high, 1))
    assert table["difference"][1] == pytest.approx((other - best).mean())
    tested = runs.filter(pl.col("name") == table["arrangement"][0])["test_accuracy"].to_numpy()
    assert table["test_mean"][0] == pytest.approx(tested.mean())


def test_every_arrangement_has_the_same_seeds(result):
    seeds = result.runs.filter(pl.col("name").is_in(TWO)).group_by("name").agg(pl.col("seed").sort())
    assert seeds["seed"].to_list() == [[0, 1, 2]] * 2


def test_a_run_is_that_of_the_estimator(result):
    problem, run = result.problem, next(e for e in result.entries if e.name == TWO[1]).runs[2, 0]
    model = unspool.SequenceClassifier(
        **SMALL,
        cell="lstm",
        pooling="mean+max",
        num_layers=2,
        bidirectional=False,
        random_state=2,
        verbose=0,
        blend=False,
    )
    (X, y), (Xv, yv) = problem.train, problem.validation
    model.fit(X.data, y, validation_data=(Xv.data, yv))
    assert model.history_[-1]["train_loss"] == pytest.approx(run.history[-1]["train_loss"], rel=1e-4)
    assert run.validation["accuracy"] == pytest.approx((model.predict(Xv.data) == yv).mean(), abs=1e-9)
    assert run.parameters == model.n_parameters_
    assert run.recurrent_parameters == count_parameters(model.network_.stack)


def test_the_baselines_are_fitted_on_the_training_part(result):
    (X, y), (Xv, yv), (Xt, yt) = result.problem.train, result.problem.validation, result.problem.test
    fitted = classification_baselines(X.data, y, validation=(Xv.data, yv))
    rows = result.table.filter(pl.col("status") == "baseline")
    assert rows["mean"].to_list() == pytest.approx([(b.predict(Xv.data) == yv).mean() for b in fitted])
    assert rows["test_mean"].to_list() == pytest.approx([(b.predict(Xt.data) == yt).mean() for b in fitted])


def test_a_run_has_one_thread_of_torch_and_of_blas():
    before = [pool["num_threads"] for pool in threadpool_info()]
    with threadpool_limits(2), one_thread():
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_the_test_part_chooses_nothing(result, small):
    problem = result.problem
    (X, y), (Xv, yv), (Xt, yt) = problem.train, problem.validation, problem.test
    swapped = np.where(yt == "down", "<b>up & away</b>", "down")  # turns every test accuracy a into 1 - a
    flipped = study.compare(
        X.data,
        y,
        estimator=small,
        arrangements=TWO,
        repeats=3,
        validation=(Xv.data, yv),
        test=(Xt.data, swapped),
        jobs=1,
        verbose=0,
    )
    columns = [name for name in timeless(result.table).columns if "test" not in name]
    assert flipped.table.select(columns).equals(result.table.select(columns))
    assert flipped.winner.seed == result.winner.seed
    assert not flipped.table["test_mean"].equals(result.table["test_mean"])


def test_the_model_is_the_best_run_of_the_best(result, tmp_path):
    winner = result.winner
    assert winner.name == result.best
    scores = [run.validation["accuracy"] for run in result.racing[0].runs.values()]
    assert winner.validation["accuracy"] == max(scores)
    Xt, yt = result.problem.test
    assert (result.model.predict(Xt.data) == yt).mean() == pytest.approx(winner.test["accuracy"])
    assert result.model.history_[-1]["train_loss"] == winner.history[-1]["train_loss"]
    result.model.save(tmp_path / "model")
    assert np.array_equal(unspool.load(tmp_path / "model").predict(Xt.data), result.model.predict(Xt.data))


def test_side_by_side_and_resumed_give_the_same(small, tmp_path):
    texts, worth = reviews(80)
    cells.registry["tiny"] = Tiny
    try:
        given = {
            "estimator": small,
            "arrangements": ["tiny/max/one", "gru/last/one"],
            "repeats": 2,
            "verbose": 0,
        }
        one = study.compare(texts, worth > 0, **given, jobs=1)
        study.compare(texts, worth > 0, **given, jobs=1, budget_runs=1, out=tmp_path / "s")
        two = study.compare(texts, worth > 0, **given, jobs=2, out=tmp_path / "s")
        again = study.compare(texts, worth > 0, **given, jobs=1, out=tmp_path / "s")
    finally:
        del cells.registry["tiny"]
    assert timeless(one.table).equals(timeless(two.table)) and timeless(one.runs).equals(timeless(two.runs))
    losses = [[run.history for e in r.entries for run in e.runs.values()] for r in (one, two)]
    for a, b in zip(*losses):
        assert [epoch["validation_loss"] for epoch in a] == [epoch["validation_loss"] for epoch in b]
    assert again.table.equals(two.table)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        *("model", "report.html", "runs", "runs.csv", "study.json", "table.csv")
    ]
    assert len(list((tmp_path / "s" / "runs").iterdir())) == 4 + 1  # the baselines are one


def test_a_folder_of_something_else_is_left_alone(small, tmp_path, made_up):
    made_up(lambda *_: 0.5)
    texts, worth = reviews(40)

    def run(**changed):
        given = {
            "estimator": small,
            "arrangements": TWO,
            "repeats": 1,
            "verbose": 0,
            "jobs": 1,
            "budget_runs": 1,
        }
        return study.compare(texts, worth > 0, out=tmp_path / "s", **{**given, **changed})

    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("precious")
    with pytest.raises(ModelFileError, match="exists and is not a study"):
        run()
    (tmp_path / "s" / "thesis.txt").unlink()
    (tmp_path / "s" / "study.json").write_text('{"format": "something"}')
    with pytest.raises(ModelFileError, match="is not the head of a study"):
        run()
    (tmp_path / "s" / "study.json").unlink()
    make_problem_facts = make_problem(texts, worth > 0, small, None, None, None, 0).describe()
    head = {"format": "unspool study", "unspool": unspool.__version__, **make_problem_facts}
    (tmp_path / "s" / "study.json").write_text(json.dumps(head))
    longer = unspool.SequenceClassifier(**{**SMALL, "epochs": 3})
    with pytest.raises(ModelFileError, match="another study: its 'epochs' is 2, and this one's is 3"):
        run(estimator=longer)
    texts[0] = "changed"
    with pytest.raises(ModelFileError, match="'training data'"):
        run()


def test_one_process_at_a_time_goes_on_with_a_study(small, tmp_path, made_up):
    made_up(lambda *_: 0.5)
    texts, worth = reviews(40)
    given = {"estimator": small, "arrangements": TWO, "repeats": 1, "verbose": 0, "jobs": 1}
    first = study.compare(texts, worth > 0, out=tmp_path / "s", budget_runs=1, **given)
    assert not (tmp_path / "s" / "study.lock").exists()
    (tmp_path / "s" / "study.lock").touch()  # as a killed process leaves it
    store = Store(tmp_path / "s", make_problem(texts, worth > 0, small, None, None, None, 0).describe())
    with store.alone(), pytest.raises(ModelFileError, match="Another process goes on with the study in"):
        study.compare(texts, worth > 0, out=tmp_path / "s", **given)
    again = study.compare(texts, worth > 0, out=tmp_path / "s", **given)
    assert len(again.runs) > len(first.runs)


def test_folds_cover_the_rows_and_are_the_same_for_all(small):
    texts, worth = reviews(30)
    problem = make_problem([f"{t} {i}" for i, t in enumerate(texts)], worth > 0, small, 3, None, None, 5)
    held = [[problem.parts(repeat, fold)[1].X.data for fold in range(3)] for repeat in (0, 1, 0)]
    for folds in held:
        assert sorted(text for fold in folds for text in fold) == sorted(problem.train.X.data)
    assert held[0] == held[2] != held[1]
    training, fold = problem.parts(0, 0)
    assert not set(training.X.data) & set(fold.X.data) and problem.ratio == pytest.approx(1 / 2)


def test_cross_validation(small):
    texts, worth = reviews(90)
    result = study.compare(
        texts,
        worth > 0,
        estimator=small,
        arrangements=["gru/max/one"],
        repeats=2,
        cv=2,
        test=0.2,
        jobs=1,
        verbose=0,
    )
    scores = result.runs.filter(pl.col("name") == "gru/max/one")["validation_accuracy"].to_numpy()
    assert len(scores) == 4
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1) * np.var(scores, ddof=1))  # 1 / (k - 1) = 1
    assert result.table["low"][0] == pytest.approx(scores.mean() - half)
    # the model learns from all rows but the test part, and holds its own validation part back
    assert result.model.random_state == 0 and len(result.problem.train.y) == 72
    assert "trained on all rows with seed 0" in result.verdict[-1]
    assert "corrected resampled t test" in page_of(result)


def test_equal_parameters():
    texts, worth = reviews(60)
    given = {"hidden_size": 80, "embedding_dim": 24, "epochs": 1, "bidirectional": False}
    result = study.compare(
        texts,
        worth,
        estimator=unspool.SequenceRegressor(**given),
        cells=["rnn", "gru", "lstm"],
        poolings=["last"],
        layouts=["one", "stacked", "bidirectional"],
        equal_parameters=True,
        repeats=1,
        jobs=1,
        verbose=0,
        baselines=False,
    )
    reference = 4 * 80 * (24 + 80 + 2)  # torch's LSTM: four gates, two biases
    counts = result.table["recurrent_parameters"].to_numpy()
    assert np.abs(counts / reference - 1).max() < 0.02
    sizes = dict(result.table.select("arrangement", "hidden_size").rows())
    assert sizes["lstm/last/one"] == 80 and sizes["rnn/last/one"] > sizes["gru/last/one"] > 80
    # one layer of an RNN has H (F + H + 2) numbers: the nearest H by trying all
    nearest = min(range(1, 400), key=lambda h: abs(h * (24 + h + 2) - reference))
    assert sizes["rnn/last/one"] == nearest


def test_a_planted_difference_is_found():
    # The first word decides, and forty others follow: the first output has it, the last has forgotten it.
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 240)
    texts = [" ".join([("no", "yes")[f], *rng.choice(["a", "b", "c"], 40)]) for f in first]
    result = study.compare(
        texts,
        first,
        estimator=unspool.SequenceClassifier(
            **{**SMALL, "epochs": 3}, validation_fraction=0.3, dropout=0.0, input_dropout=0.0, averaging=0.0
        ),
        arrangements=["rnn/first/one", "rnn/last/one"],
        repeats=4,
        drop_hopeless=False,
        jobs=1,
        verbose=0,
        baselines=False,
    )
    assert result.best == "rnn/first/one" and result.table["mean"][0] > 0.95
    assert "Significantly below it: rnn/last/one." in result.verdict


def test_noise_shows_no_difference(small):
    texts, _ = reviews(150)
    result = study.compare(
        texts,
        np.random.default_rng(0).integers(0, 2, 150),
        estimator=small,
        cells=["rnn", "gru"],
        poolings=["last", "mean"],
        layouts=["one"],
        repeats=3,
        jobs=1,
        verbose=0,
    )
    assert any(line.startswith("No difference found between it and the other 3") for line in result.verdict)
    assert not any("Significantly" in line or "Dropped" in line for line in result.verdict)


def test_series_and_several_targets(small):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 2)) for n in rng.integers(2, 6, 60)]
    y = np.array([[s[:, 0].mean(), 10 * s[:, 1].mean()] for s in series])
    result = study.compare(series, y, arrangements=["gru/mean/one"], repeats=2, jobs=1, verbose=0, test=0.3)
    assert type(result.problem.estimator).__name__ == "SequenceRegressor" and result.metric == "r2"
    run, (Xt, yt) = result.winner, result.problem.test
    predicted = result.model.predict(Xt.data)
    each = 1 - ((predicted - yt) ** 2).sum(0) / ((yt - yt.mean(0)) ** 2).sum(0)
    assert run.test["r2"] == pytest.approx(each.mean(), rel=1e-6)
    assert [b.name for b in result.baselines] == ["mean"]
