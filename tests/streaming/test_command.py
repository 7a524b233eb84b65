"""`unspool stream`: a line in, a line out, at once."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.cli.app import app

SETTINGS: dict[str, Any] = {
    "bidirectional": False,
    "hidden_size": 8,
    "embedding_dim": 8,
    "epochs": 1,
    "verbose": 0,
    "random_state": 0,
    "blend": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """Saved models of texts ("text"), series ("series") and ids with classes ("ids")."""
    place, random = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    y = random.standard_normal(30)
    words = ["good", "bad", "cat", "the"]
    texts = [" ".join(random.choice(words, 5)) for _ in y]
    SequenceRegressor(**SETTINGS).fit(texts, y).save(place / "text")
    SequenceRegressor(**SETTINGS).fit([random.standard_normal((5, 2)) for _ in y], y).save(place / "series")
    labels = np.where(y > 0, "up", "down")
    SequenceClassifier(**SETTINGS).fit([random.integers(0, 5, 6) for _ in y], labels).save(place / "ids")
    return place


def run(model: Path, lines: list[Any], *options: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    given = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    result = CliRunner().invoke(app, ["stream", str(model), *options], input=given)
    assert result.exit_code == code, f"{result.exit_code} {result.stdout} {result.stderr}"
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_texts_of_several_sequences(folder: Path) -> None:
    model = unspool.load(folder / "text")
    lines = [
        {"id": "a", "text": "good ca"},
        {"id": 7, "text": "bad "},
        "",
        {"id": "a", "text": "t the"},
        {"id": 7, "end": True},
        {"id": 7, "text": "cat "},
    ]
    answers, _ = run(folder / "text", lines)
    texts = ["good", "bad", "good cat", "bad", "cat", "good cat the"]
    assert [answer["prediction"] for answer in answers] == model.predict(texts).tolist()
    assert [answer["id"] for answer in answers] == ["a", 7, "a", 7, 7, "a"]
    assert [answer["steps"] for answer in answers] == [1, 1, 2, 1, 1, 3]
    assert [answer.get("end") for answer in answers] == [None, None, None, True, None, True]


def test_steps_and_chunks_without_an_id(folder: Path) -> None:
    model = unspool.load(folder / "series")
    answers, _ = run(
        folder / "series", [{"x": [1, 2]}, {"x": [[3, 4], [5, None]]}, {"start": True, "x": [1, 2]}]
    )
    expected = model.predict([[[1, 2]], [[1, 2], [3, 4], [5, np.nan]], [[1, 2]]])
    assert [answer["prediction"] for answer in answers] == expected.tolist() and "id" not in answers[0]
    answers, _ = run(folder / "ids", [{"x": 3}, {"x": [1, 2], "end": True}, {"start": True}])
    model = unspool.load(folder / "ids")
    assert [answer["prediction"] for answer in answers[:2]] == model.predict([[3], [3, 1, 2]]).tolist()
    shares = model.predict_proba([[3], [3, 1, 2]])
    assert [
        [answer["probability_down"], answer["probability_up"]] for answer in answers[:2]
    ] == shares.tolist()
    assert answers[2]["steps"] == 0


WRONG: list[tuple[Any, str]] = [
    ("{", "not JSON"),
    ("[1, 2]", "must be an object"),
    ("[" * 100_000, "not JSON"),
    ({"y": 1}, "field 'y'"),
    ({}, 'must have "x" or "text"'),
    ({"x": [1, 2], "text": "a"}, "both"),
    ({"x": [1]}, "must be"),
    ({"x": [1e400, 1]}, "infinity"),
    ({"x": [10**400, 1]}, "numbers"),
    ({"x": "text"}, "numbers"),
    ({"text": 5}, "string"),
    ({"id": [1], "x": [1, 2]}, '"id"'),
    ('{"id": "\\ud800", "x": [1, 2]}', "not valid Unicode"),
    ({"x": None}, '"x" is null'),
    ({"x": [1e308, 1]}, "too large for float32"),
    ({"start": 1, "x": [1, 2]}, '"start"'),
    ({"id": "z", "end": True}, "no sequence 'z'"),
    ({"start": True, "x": [1]}, "must be"),
]


def test_bad_lines_are_told_with_their_number(folder: Path) -> None:
    good = {"x": [1, 2]}
    plain = [answer["prediction"] for answer in run(folder / "series", [good, good])[0]]
    lines = [good, *(line for line, _ in WRONG), good]
    answers, errors = run(folder / "series", lines, "--on-error", "skip")
    assert [answer["prediction"] for answer in answers] == plain
    told = errors.splitlines()
    assert len(told) == len(WRONG)
    for number, (message, (_, reason)) in enumerate(zip(told, WRONG), 2):
        assert f"Line {number} of stdin" in message and reason in message
    for line, reason in WRONG[:3]:
        answers, errors = run(folder / "series", [good, line, good], code=2)
        assert (
            len(answers) == 1 and errors.count("\n") == 1 and "Line 2 of stdin" in errors and reason in errors
        )
    _, errors = run(folder / "series", [good], "--on-error", "wait", code=2)
    assert "--on-error must be one of" in errors


def test_a_line_that_is_too_long_is_one_bad_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unspool.cli.stream.LONGEST", 64)
    good, long = {"x": [1, 2]}, {"x": [[1, 2]] * 50}
    answers, errors = run(folder / "series", [good, long, good], "--on-error", "skip")
    assert [answer["steps"] for answer in answers] == [1, 2]
    assert errors.count("\n") == 1 and "Line 2 of stdin: it is longer than 64 bytes" in errors
    assert "Line 2 of stdin" in run(folder / "series", [good, long], code=2)[1]


def test_the_oldest_sequence_goes(folder: Path) -> None:
    lines = [{"id": i, "x": [1, 2]} for i in (1, 2, 3, 1)]
    answers, _ = run(folder / "series", lines, "--capacity", "2")
    assert [answer["steps"] for answer in answers] == [1, 1, 1, 1]
    answers, _ = run(folder / "series", lines, "--capacity", "3")
    assert [answer["steps"] for answer in answers] == [1, 1, 1, 2]


def test_an_answer_comes_at_once_and_a_broken_pipe_is_no_error(folder: Path) -> None:
    command, pipe = [sys.executable, "-m", "unspool", "stream", str(folder / "series")], subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    for steps in (1, 2):
        process.stdin.write(b'{"x": [1, 2]}\n')
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 120)[0], "no answer while stdin is open"
        assert json.loads(process.stdout.readline())["steps"] == steps
    process.stdout.close()
    process.stdin.write(b'{"x": [1, 2]}\n')
    process.stdin.close()
    assert process.wait(120) == 0 and process.stderr.read() == b""


def test_an_interruption_is_quiet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> Any:
        yield 1, b'{"x": [1, 2]}'
        raise KeyboardInterrupt

    monkeypatch.setattr("unspool.cli.stream._lines", interrupted)
    answers, errors = run(folder / "series", [], code=130)
    assert len(answers) == 1 and errors == ""
