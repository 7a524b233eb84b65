"""Language models: text cut anywhere, and the probabilities of the token that follows."""

from __future__ import annotations

import functools
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from unspool import Ragged, SequenceGenerator
from unspool.cli.app import app
from unspool.errors import DataError, ModelFileError
from unspool.streaming import LookAheadStream, Stream, StreamPool
from unspool.streaming.text import LONGEST

WORDS = ["don't", "  ", "the", " cat", "\n\n", "they're"]
ALPHABET = [*"aAb1_'.,!- \n\t\u00a0中字ไทΣéÅ\u0301\u0327\u200d😀क\u093c", *WORDS]


def random_texts(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(ALPHABET, random.integers(1, 30))) for _ in range(count)]


@functools.cache
def generator(level: str, **settings: Any) -> SequenceGenerator:
    made = SequenceGenerator(
        level=level, hidden_size=9, embedding_dim=7, epochs=1, random_state=0, verbose=0, **settings
    )
    return made.fit(random_texts(60, 9))


def expected(model: SequenceGenerator, text: str) -> np.ndarray:
    ids = torch.from_numpy(np.concatenate([[0], model.vocabulary_.encode(text)]).astype(np.int64))
    with torch.no_grad():
        scores = model.network_.eval()(Ragged.from_list([ids])).values[-1]
    return scores.double().softmax(0).numpy()


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_texts_cut_anywhere(level: str) -> None:
    model, random = generator(level), np.random.default_rng(0)
    stream, pool = Stream(model), StreamPool(model, capacity=200)
    texts = random_texts(120, 1)
    pool.push([*range(len(texts))], texts)
    together = pool.finish(range(len(texts)))
    for key, text in enumerate(texts):
        cuts = [0, *sorted(random.integers(0, len(text) + 1, random.integers(0, 6)).tolist()), len(text)]
        stream.reset()
        for a, b in pairwise(cuts):
            stream.push(text[a:b])
            stream.model.feed.check_held(stream._held)
        whole = stream.finish()
        assert stream.steps == 1 + len(model.vocabulary_.encode(text))
        assert (whole == together[key]).all()
        np.testing.assert_allclose(whole, expected(model, text), rtol=1e-4, atol=1e-7)


def test_before_any_text_and_layers_between() -> None:
    model = generator("char", num_layers=2, connection="residual", tie_weights=True)
    stream = Stream(model)
    assert stream.push("") == pytest.approx(expected(model, ""), abs=1e-6) and stream.steps == 1
    np.testing.assert_allclose(stream.push("the"), expected(model, "the"), rtol=1e-4)
    columns = stream.columns()
    assert columns["probability"] == pytest.approx(expected(model, "the").max(), rel=1e-5)
    assert columns["next"] == model.vocabulary_.decode([int(expected(model, "the").argmax())])


def test_what_is_held_back() -> None:
    for level, text, held in (
        ("char", "the c", ""),
        ("word", "the c", " c"),
        ("word", "the ", " "),
        ("word", "the, ", " "),
        ("word", "the,", ","),
        ("word", "don'", "don'"),
        ("subword", "the cat", " cat"),
        ("subword", "the  ", "  "),
    ):
        assert Stream(generator(level)).model.feed.read(text, "")[1] == held
    with pytest.raises(DataError, match="does not end"):
        Stream(generator("word")).push("a" * (LONGEST + 1))
    with pytest.raises(ModelFileError, match="another model"):
        Stream(generator("word")).load(Stream(generator("char")).save())
    with pytest.raises(DataError, match="none: leave look_ahead out"):
        LookAheadStream(generator("char"), 2)


def test_on_the_command_line(tmp_path: Any) -> None:
    model = generator("char")
    model.save(tmp_path / "m")
    ran = CliRunner().invoke(app, ["stream", str(tmp_path / "m")], input='{"text": "th"}\n{"text": "e"}\n')
    assert ran.exit_code == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    stream = Stream(model)
    for text, answer in zip(("th", "e"), answers, strict=True):
        stream.push(text)
        assert answer == {"steps": stream.steps, **stream.columns()}
