"""Fitted estimators bit by bit: what `predict` says of what came so far."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor, SequenceTagger
from unspool.errors import DataError, ModelFileError, UnspoolError
from unspool.streaming import Stream, StreamPool

WORDS = "the cat don't like a good, bad! dog\u2019s élan naïve — 中文字 Σίσυφος ΟΔΟΣ! x1 _y 한국어".split()
SETTINGS: dict[str, Any] = {
    "bidirectional": False,
    "hidden_size": 9,
    "embedding_dim": 7,
    "epochs": 1,
    "verbose": 0,
    "random_state": 0,
    "blend": False,
}


@functools.cache
def texts() -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(1, 20))) for _ in range(60)]


@functools.cache
def series() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    found = [random.standard_normal((length, 3)) for length in random.integers(1, 15, 40)]
    for x in found[::3]:
        x[random.random(x.shape) < 0.2] = np.nan
    return found


@functools.cache
def ids() -> list[list[int]]:
    random = np.random.default_rng(2)
    return [random.integers(0, 12, length).tolist() for length in random.integers(1, 15, 40)]


@functools.cache
def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(count)


@functools.cache
def regressor(kind: str, **settings: Any) -> SequenceRegressor:
    X = {"text": texts, "series": series, "ids": ids}[kind]()
    return SequenceRegressor(**{**SETTINGS, **settings}).fit(X, numbers(len(X)))


def in_pieces(stream: Stream, x: Any, random: np.random.Generator) -> Any:
    stream.reset()
    place = 0
    while place < len(x):
        end = place + int(random.integers(0, 5))
        stream.push(x[place:end])
        place = end
    return stream.finish()


@pytest.mark.parametrize("pooling", ["last", "first", "mean", "max", "attention", "mean+max+last"])
def test_any_chunks_have_the_bits_of_one(pooling: str) -> None:
    model = regressor("text", pooling=pooling, num_layers=2, connection="residual", dense=(5,))
    stream, random = model.stream(), np.random.default_rng(0)
    for text, expected in zip(texts(), model.predict(texts())):
        stream.reset().push(text)
        whole = stream.finish()
        assert in_pieces(stream, text, random) == whole
        assert whole == (pytest.approx(expected, abs=1e-6) if pooling == "attention" else expected)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("text", {"level": "char"}),
        ("text", {"connection": "highway", "num_layers": 2}),
        ("text", {"ensemble": 2}),
        ("series", {}),
        ("series", {"ensemble": 2, "pooling": "last"}),
        ("series", {"cell": "gru_d"}),
        ("ids", {"cell": "slstm"}),
    ],
)
def test_every_kind_of_sequence(kind: str, settings: dict[str, Any]) -> None:
    model = regressor(kind, **settings)
    X = {"text": texts, "series": series, "ids": ids}[kind]()
    stream, pool, random = model.stream(), StreamPool(model, capacity=len(X)), np.random.default_rng(0)
    pool.push(dict(enumerate(X)))
    together = pool.finish(range(len(X)))
    for key, (x, expected) in enumerate(zip(X, model.predict(X))):
        stream.reset().push(x)
        whole = stream.finish()
        assert in_pieces(stream, x, random) == whole == together[key] == expected


def test_a_step_is_a_chunk_of_one() -> None:
    for kind, x in (("series", series()[5]), ("ids", ids()[5])):
        stream = regressor(kind).stream()
        for step in x:
            last = stream.push(step)
        assert last == stream.reset().push(x) and stream.steps == len(x)
    one = SequenceRegressor(**SETTINGS).fit([x[:, 0] for x in series()], numbers(40))
    stream = one.stream()
    for number in (1.0, 2.0):
        last = stream.push(number)
    assert last == stream.reset().push([1.0, 2.0]) == pytest.approx(one.predict([[1.0, 2.0]])[0], abs=1e-6)


def test_missing_and_infinite_numbers_in_a_step() -> None:
    whole = [x for x in series() if not np.isnan(x).any()]
    stream = SequenceRegressor(**SETTINGS).fit(whole, numbers(len(whole))).stream()
    step = np.array([0.5, np.nan, 1.0])
    assert stream.push(step) == stream.reset().push(step[None])
    for strange in (np.inf, -np.inf):
        with pytest.raises(DataError, match="infinity"):
            stream.push(np.array([0.5, strange, 1.0]))
    with pytest.raises(DataError, match="too large for float32"), np.errstate(over="ignore"):
        stream.push(np.array([0.5, 1e300, 1.0]))
    assert stream.steps == 1 and stream.push(step) == stream.reset().push(np.stack([step, step]))


def test_nothing_yet_is_an_empty_sequence() -> None:
    for pooling in ("last", "mean+max", "attention+first"):
        model = regressor("text", pooling=pooling)
        stream = model.stream()
        said = stream.push("")
        assert said == pytest.approx(model.predict(["", "a"])[0], abs=1e-6) and stream.steps == 0
        one = stream.push("good ")
        assert stream.push("") == one != said and stream.push(" ") == one


def test_classes_and_their_probabilities() -> None:
    y = np.where(numbers(60) > 0, "up", "down")
    model = SequenceClassifier(**SETTINGS).fit(texts(), y)
    stream, pool = model.stream(), StreamPool(model)
    answers = pool.push(list(range(60)), texts())
    answers = pool.finish(range(60))
    columns = pool.columns(range(60))
    assert list(answers.values()) == columns["prediction"].tolist() == model.predict(texts()).tolist()
    stream.push(texts()[3])
    stream.finish()
    share = model.predict_proba(texts())[:, 1]
    assert np.allclose(columns["probability_up"], share, atol=1e-6)
    assert stream.columns()["probability_up"] == columns["probability_up"][3]
    several = SequenceClassifier(**SETTINGS).fit(texts(), np.stack([numbers(60) > 0, numbers(60) < 1], 1) * 1)
    assert several.stream().push("a cat ").shape == (2,)


def test_states_hold_the_unfinished_word() -> None:
    for level in ("word", "char"):
        model = regressor("text", level=level)
        stream = model.stream()
        text = "a good ΟΔΟΣ, élan don't"
        stream.push(text)
        whole = stream.finish()
        for cut in range(len(text) + 1):
            first, second = model.stream(), model.stream()
            first.push(text[:cut])
            pool = StreamPool(model)
            pool.load("k", first.save())
            second.load(first.save()).push(text[cut:])
            pool.push({"k": text[cut:]})
            assert second.finish() == whole == pool.finish(["k"])["k"]
    with pytest.raises(ModelFileError, match="another model"):
        regressor("text").stream().load(first.save())


def test_a_loaded_model_has_the_same_states(tmp_path: Any) -> None:
    model = regressor("text")
    model.save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    stream = model.stream()
    stream.push("the good cat, ")
    expected = stream.push("bad ")
    other = model.stream()
    other.push("the good cat, ")
    assert again.stream().load(other.save()).push("bad ") == expected


@pytest.mark.parametrize("characters", ["cnn", "lstm"])
def test_words_with_their_characters(characters: str) -> None:
    model = regressor("text", characters=characters, ensemble=2)
    stream, random = model.stream(), np.random.default_rng(0)
    for text, expected in zip(texts()[:20], model.predict(texts()[:20])):
        stream.reset().push(text)
        whole = stream.finish()
        assert in_pieces(stream, text, random) == whole == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("characters", [None, "cnn"])
def test_tags_of_tokens(characters: str | None) -> None:
    random = np.random.default_rng(0)
    X = [text.split() for text in texts()]
    y = [[str(random.choice(["A", "B", "O"])) for _ in sentence] for sentence in X]
    settings = {name: value for name, value in SETTINGS.items() if name != "blend"}
    model = SequenceTagger(**settings, crf=False, characters=characters).fit(X, y)
    stream, pool, expected = model.stream(), StreamPool(model), model.predict(X)
    assert len({tag for tags in expected for tag in tags}) > 1
    for sentence, tags in zip(X, expected):
        assert [stream.push(token) for token in sentence] == tags
        assert stream.reset().push(sentence[:3]) + stream.push(sentence[3:]) == tags
        stream.reset()
    assert pool.push([*range(60)], X) == expected
    assert pool.push({0: "cat", 1: []})[1] == [] and isinstance(pool.push({0: "cat"})[0], str)
    with pytest.raises(DataError, match="token"):
        stream.push([1])
    crf = SequenceTagger(**settings).fit(X, y)
    with pytest.raises(DataError, match="CRF"):
        crf.stream()


def test_narrow_weights() -> None:
    model = regressor("text")
    narrow = copy.copy(model).freeze("int8")
    stream = model.stream("int8")
    stream.push(texts()[0])
    assert stream.finish() == pytest.approx(narrow.predict(texts()[:1])[0], abs=1e-2)


def test_what_cannot_be_streamed_says_why() -> None:
    fit = {**SETTINGS, "early_stopping": True, "validation_fraction": 0.4}
    cases: list[tuple[str, SequenceRegressor]] = [
        ("bidirectional", SequenceRegressor(**{**SETTINGS, "bidirectional": True}).fit(texts(), numbers(60))),
        ("linear part", SequenceRegressor(**{**fit, "blend": True}).fit(texts(), numbers(60))),
    ]
    for reason, model in cases:
        with pytest.raises(DataError, match=reason):
            model.stream()
    cases[1][1].network_alone().stream().push("a cat")
    with pytest.raises(Exception, match="not fitted"):
        SequenceRegressor().stream()


def test_chunks_of_another_kind_change_nothing() -> None:
    wrong: dict[str, list[Any]] = {
        "text": [None, 3, ["a"], b"a", "\ud800", "a" * 70_000],
        "series": ["a", [1.0], np.full((2, 3), np.inf), np.zeros((1, 2, 3)), None],
        "ids": [12, -1, 1.5, [[1]], "a"],
    }
    good = {"text": ("a ca", "t "), "series": (series()[5][:2], series()[5][2:]), "ids": ([1, 2], [3])}
    for kind, bad in wrong.items():
        stream = regressor(kind).stream()
        whole = stream.push(good[kind][0]), stream.push(good[kind][1])
        stream.reset().push(good[kind][0])
        for chunk in bad:
            with pytest.raises(UnspoolError):
                stream.push(chunk)
        assert stream.push(good[kind][1]) == whole[1]
