"""Studies of taggers, forecasters, generators and of pairs of texts: a run is that of the estimator, alone."""

from __future__ import annotations

import pickle
import warnings

import cloudpickle
import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

import unspool
from unspool import study
from unspool.errors import DataError, InvalidParameterError
from unspool.evaluation.texts import text_metrics
from unspool.forecasting.baselines import baseline
from unspool.generation.ngram import measured_baseline
from unspool.study.jobs import Job, one_thread, perform
from unspool.study.kinds import make_problem
from unspool.tagging.baselines import MostFrequentTag

CITIES = ("rome", "oslo", "bonn", "lima")
WORDS = np.random.default_rng(0).choice([*CITIES, "fly", "to", "now"], (40, 4)).tolist()
TAGS = [["B-city" if word in CITIES else "O" for word in row] for row in WORDS]
KINDS = ["trip" if "fly" in row else "other" for row in WORDS]
TEXTS = [" ".join(row) for row in WORDS]
UPPER = [text.upper()[:6] for text in TEXTS]
SERIES = pl.DataFrame(
    {
        "unique_id": ["a"] * 90 + ["b"] * 80,
        "ds": [*range(90), *range(80)],
        "y": np.sin(np.arange(170) / 2) + np.random.default_rng(1).normal(0, 0.1, 170),
    }
)
TAGGER = unspool.SequenceTagger(hidden_size=4, embedding_dim=4, epochs=2, characters=None)
WRITER = unspool.SequenceGenerator(hidden_size=6, embedding_dim=4, epochs=2, batch_size=4, chunk_length=8)
PAIRS = unspool.Seq2Seq(hidden_size=6, embedding_dim=4, epochs=2, batch_size=8)
FORECASTER = unspool.Forecaster(horizon=6, season=6, hidden_size=4, epochs=2, batch_size=32)
JOBS = {
    "tagging": (TAGGER, (WORDS, TAGS), ["gru/one", "lstm/bidirectional"], {"test": 0.2}),
    "generation": (WRITER, ("".join(TEXTS),), ["gru/one", "lstm/stacked"], {"test": 0.2}),
    "seq2seq": (PAIRS, (TEXTS, UPPER), ["gru/additive/one", "lstm/multiplicative/stacked"], {"test": 0.2}),
    "forecasting": (FORECASTER, (SERIES,), ["gru/segments/one", "lstm/seq2seq/stacked"], {"test": 1}),
}


def compare(kind: str, **changed):
    estimator, data, names, parts = JOBS[kind]
    given = {"estimator": estimator, "arrangements": names, "repeats": 2, "jobs": 1, "verbose": 0, **parts}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return study.compare(*data, **{**given, **changed})


@pytest.fixture(scope="module")
def results():
    return {kind: compare(kind) for kind in JOBS}


@pytest.mark.parametrize("kind", [*JOBS])
def test_table_report_and_model(results, kind, tmp_path):
    result = results[kind]
    names = result.table["arrangement"].to_list()
    assert sorted(names[:2]) == sorted(JOBS[kind][2])
    assert result.table["runs"][:2].to_list() == [2, 2] and result.table["test_mean"].null_count() == 0
    scores = result.runs.filter(pl.col("name") == names[0])[f"validation_{result.metric}"].to_numpy()
    assert result.table["mean"][0] == pytest.approx(scores.mean())
    result.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert names[0] in page and f"training {result.problem.of}" in page
    assert result.model_metrics()[result.metric] == pytest.approx(result.winner.test[result.metric])
    result.model.save(tmp_path / "model")
    again = unspool.load(tmp_path / "model")
    assert again.cell == names[0].split("/")[0]
    assert all(parameters > 0 for parameters in result.table["recurrent_parameters"][:2].to_list())


def test_a_tagging_run_is_that_of_the_tagger(results):
    problem = results["tagging"].problem
    run = next(e for e in results["tagging"].entries if e.name == "lstm/bidirectional").runs[1, 0]
    model = unspool.SequenceTagger(
        **{**TAGGER.get_params(), "cell": "lstm", "bidirectional": True, "random_state": 1, "verbose": 0}
    )
    model.fit(*problem.train.columns, validation_data=problem.validation.columns)
    assert model.measure(*problem.validation.columns).spans.f1 == run.validation["span_f1"]
    assert model.measure(*problem.test.columns).token_accuracy == run.test["token_accuracy"]
    X, y = problem.test.columns
    guessed = MostFrequentTag().fit(*problem.train.columns).predict(X)
    right = np.mean([a == b for t, g in zip(y, guessed) for a, b in zip(t, g)])
    assert results["tagging"].baselines[0].runs[0].test["token_accuracy"] == pytest.approx(right)


def test_labels_of_sentences_are_learnt_and_measured():
    result = compare("tagging", labels=KINDS, arrangements=["gru/one"], repeats=1)
    assert result.model.labels_.tolist() == ["other", "trip"]
    assert {"test_label_accuracy", "validation_span_f1"} <= set(result.runs.columns)
    with pytest.raises(DataError, match=r"must be \(X, y, labels\)"):
        compare("tagging", labels=KINDS, test=(WORDS, TAGS))


def test_a_generation_run_is_that_of_the_generator(results):
    problem = results["generation"].problem
    (train,), (held,), (test,) = (p.columns[0] for p in (problem.train, problem.validation, problem.test))
    assert train + held + test == "".join(TEXTS)
    run = next(e for e in results["generation"].entries if e.name == "gru/one").runs[1, 0]
    model = unspool.SequenceGenerator(
        **{**WRITER.get_params(), "cell": "gru", "random_state": 1, "verbose": 0}
    )
    model.fit(train, validation_data=held)
    assert np.log(model.perplexity(test)) == pytest.approx(run.test["nats_per_token"], rel=1e-6)
    grams = measured_baseline(model.vocabulary_, [train], ends=False)[1]([test])
    assert results["generation"].baselines[0].runs[0].test == pytest.approx(grams)


def test_a_run_of_pairs_is_that_of_the_estimator(results):
    problem = results["seq2seq"].problem
    sources = [set(part.columns[0]) for part in (problem.train, problem.validation, problem.test)]
    assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]
    run = next(e for e in results["seq2seq"].entries if e.name == "gru/additive/one").runs[0, 0]
    own = {"cell": "gru", "attention": "additive", "random_state": 0, "verbose": 0}
    model = unspool.Seq2Seq(**{**PAIRS.get_params(), **own})
    model.fit(*problem.train.columns, validation_data=problem.validation.columns)
    X, y = problem.test.columns
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert run.test == pytest.approx(text_metrics(list(model.predict(X)), y))


def test_forecasts_are_of_what_no_training_saw(results):
    result, h = results["forecasting"], FORECASTER.horizon
    parts = [SERIES.filter(pl.col("unique_id") == name)["y"].to_numpy() for name in "ab"]
    assert [len(v) for v in result.problem.train.panel.values] == [90 - 2 * h, 80 - 2 * h]
    naive = np.mean([np.abs(y[-h:] - baseline("naive", y[:-h], h, 6)).mean() for y in parts])
    assert result.baselines[0].runs[0].test["mae"] == pytest.approx(naive)
    # The model goes on from the end of the table, and what it learnt does not depend on the last horizons.
    assert result.model.predict()["ds"].to_list() == [*range(90, 96), *range(80, 86)]
    place = pl.int_range(pl.len()).over("unique_id") >= pl.len().over("unique_id") - 2 * h
    other = SERIES.with_columns(pl.when(place).then(pl.col("y") * 3 + 7).otherwise(pl.col("y")).alias("y"))
    changed = study.compare(
        other, estimator=FORECASTER, arrangements=JOBS["forecasting"][2], repeats=1, test=1, jobs=1, verbose=0
    )
    for entry, twin in zip(result.entries, changed.entries):
        losses = [[epoch["train_loss"] for epoch in e.runs[0, 0].history] for e in (entry, twin)]
        assert losses[0] == losses[1]
        assert entry.runs[0, 0].validation["mae"] != twin.runs[0, 0].validation["mae"]


@pytest.mark.parametrize("kind", [*JOBS])
def test_another_process_gives_the_same(results, kind):
    problem, entry = results[kind].problem, results[kind].entries[0]
    there = pickle.loads(cloudpickle.dumps(problem))
    with one_thread():
        (run,) = perform(there, Job(entry.arrangement, entry.hidden_size, 1, 0))
    assert run.validation == entry.runs[1, 0].validation and there.describe() == problem.describe()


@pytest.mark.parametrize("kind", [*JOBS])
def test_equal_parameters(kind):
    """The sizes are those whose networks, fitted, have about as many numbers as the estimator's own."""
    estimator, data, names, _ = JOBS[kind]
    estimator = clone(estimator).set_params(hidden_size=40)
    problem = make_problem(*data, *[None] * (2 - len(data)), estimator, None, None, None, 0)
    sizes = problem.sizes([problem.grid.parse(name) for name in names], True)
    counts = []
    for arrangement, size in [(None, 40), *sizes.items()]:
        own = {} if arrangement is None else arrangement.settings()
        model = clone(estimator).set_params(hidden_size=size, epochs=1, **own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem.fit(model, problem.few(problem.train), None)
        counts.append(problem.recurrent_parameters(model))
    assert len(set(sizes.values())) == 2 and counts[1:] == pytest.approx([counts[0]] * 2, rel=0.05)


def test_folds_of_sentences():
    problem = make_problem(WORDS, TAGS, TAGGER, 3, None, None, 0)
    held = [problem.parts(0, fold)[1].columns[0] for fold in range(3)]
    assert sorted(tuple(row) for fold in held for row in fold) == sorted(map(tuple, WORDS))


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("tagging", {"poolings": ["last"]}, "'poolings' parameter of compare must be None"),
        ("tagging", {"arrangements": "twelve"}, "names such as 'lstm/stacked'. Got 'twelve'"),
        ("tagging", {"arrangements": ["gru/last/one"]}, "names such as 'lstm/stacked'"),
        ("generation", {"arrangements": ["gru/bidirectional"]}, "'layouts'"),
        ("generation", {"cv": 3}, "X is one text"),
        ("generation", {"labels": KINDS}, "'labels' parameter of compare must be None for SequenceGenerator"),
        ("seq2seq", {"arrangements": None, "attentions": ["aditive"]}, "Did you mean 'additive'?"),
        ("seq2seq", {"arrangements": None, "models": ["segments"]}, "this kind of model varies attentions"),
        ("seq2seq", {"metric": "werr"}, "Did you mean 'wer'?"),
        ("forecasting", {"cv": 3}, "say by validation how many"),
        ("forecasting", {"test": 0.2}, "'test' parameter of compare must be an int"),
        ("forecasting", {"validation": 40}, "No series is long enough for 41 horizons of 6 steps"),
    ],
)
def test_what_is_refused(kind, changed, message):
    with pytest.raises((InvalidParameterError, DataError)) as error:
        compare(kind, **changed)
    assert message in str(error.value)
