"""The command line of tagging: a file to a model, tags into files, measures; what cannot be gives one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tagging.toy import sentences

from .conftest import run

QUICK = "--hidden-size 16 --embedding-dim 16 --epochs 4 --batch-size 8 --learning-rate 0.02 --quiet".split()
QUICK += ["--averaging", "0.9"]


def conll(path: Path, count: int, seed: int) -> Path:
    X, y, _ = sentences(count, seed)
    path.write_text("\n".join("".join(f"{a} {b}\n" for a, b in zip(*row)) for row in zip(X, y)))
    return path


def json_lines(path: Path, count: int, seed: int) -> Path:
    rows = [
        {"id": i, "tokens": a, "slots": b, "intent": c}
        for i, (a, b, c) in enumerate(zip(*sentences(count, seed)))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with files, a tagger in "tagger" and one with labels in "joint.zip"."""
    folder = tmp_path_factory.mktemp("tagging")
    conll(folder / "train.conll", 80, 0)
    conll(folder / "test.conll", 20, 1)
    json_lines(folder / "all.jsonl", 100, 2)
    test = ["--test", folder / "test.conll", "--validation", folder / "test.conll"]
    done = run("fit", folder / "train.conll", "--task", "tagging", *test, "--out", folder / "tagger", *QUICK)
    (folder / "first.txt").write_text(done.output)
    own = [
        "--tags",
        "slots",
        "--label",
        "intent",
        "--out",
        folder / "joint.zip",
        "--no-crf",
        "--characters",
        "none",
    ]
    done = run("fit", folder / "all.jsonl", "--task=tagging", *own, *QUICK)
    (folder / "second.txt").write_text(done.output)
    return folder


def test_fit(place):
    output = (place / "first.txt").read_text()
    assert "Sentences: 80 training, 20 validation, 20 test (from test.conll)." in output
    assert "most frequent tag" in output and "linear model" in output and "Span F1" in output
    assert "better" in output or "level" in output
    facts = json.loads((place / "tagger-report" / "metrics.json").read_text())
    assert facts["metrics"]["this model"]["Span F1"] > 0.95 and facts["labels"]["PER"]["true"] > 20
    lines = (place / "tagger-report" / "test_predictions.conll").read_text().split("\n")
    assert lines[0].split("\t")[1] == "O" and len(lines[0].split("\t")) == 3


def test_fit_with_labels(place):
    output = (place / "second.txt").read_text()
    assert "Sentences: 80 training, 20 test (drawn with seed 0)." in output and "Label accuracy" in output
    facts = json.loads((place / "joint.zip-report" / "metrics.json").read_text())
    assert facts["metrics"]["this model"]["Label accuracy"] > 0.9 and facts["settings"]["crf"] is False
    assert (
        facts["metrics"]["linear model"]["Label accuracy"] > 0.9 and facts["settings"]["characters"] is None
    )
    row = json.loads((place / "joint.zip-report" / "test_predictions.jsonl").read_text().split("\n")[0])
    assert {"id", "tokens", "slots", "intent", "prediction", "predicted_label"} == set(row)


def test_predict_sentences(place):
    done = run("predict", place / "tagger", "mr Lee lives in New York", "ms Khan")
    tags = [line.split("\t") for line in done.output.splitlines()]
    assert tags[:6] == [
        ["mr", "O"],
        ["Lee", "B-PER"],
        ["lives", "O"],
        ["in", "O"],
        ["New", "B-LOC"],
        ["York", "I-LOC"],
    ]
    assert tags[6] == [""] and tags[7:9] == [["ms", "O"], ["Khan", "B-PER"]]


def test_predict_files(place, tmp_path):
    out = tmp_path / "tagged.conll"
    run("predict", place / "tagger", place / "test.conll", "--out", out, "--probabilities")
    cells = [line.split("\t") for line in out.read_text().splitlines() if line]
    assert all(len(row) == 4 and 0 < float(row[3]) <= 1 for row in cells)
    assert sum(row[1] == row[2] for row in cells) > 0.95 * len(cells)
    done = run("predict", place / "joint.zip", place / "all.jsonl", "--file", "--probabilities")
    row = json.loads(done.output.splitlines()[0])
    assert row["id"] == 0 and len(row["probability"]) == len(row["tokens"]) == len(row["prediction"])
    assert row["predicted_label"] in ("ask", "tell") and 0.5 <= row["label_probability"] <= 1


def test_evaluate(place, tmp_path):
    done = run(
        "evaluate", place / "tagger", place / "test.conll", "--report", tmp_path / "r", "--weights", "int8"
    )
    assert "Span F1" in done.output and "PER" in done.output
    facts = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert facts["sentences"] == 20 and (tmp_path / "r" / "predictions.conll").is_file()
    done = run("evaluate", place / "joint.zip", place / "all.jsonl", "--tags", "slots", "--label", "intent")
    assert "Label accuracy" in done.output


def test_inspect(place):
    done = run("inspect", place / "tagger")
    assert (
        "crf" in done.output
        and "Classes: B-LOC, B-PER, I-LOC, O" in done.output
        and "characters" in done.output
    )


def test_help():
    assert "--crf" in run("fit", "--task", "tagging", "--help").output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["fit", "train.conll", "--task", "tagging", "--out", "m", "--tags", "7"],
            "has no column 7 for the tag",
        ),
        (
            ["fit", "train.conll", "--task", "tagging", "--out", "m", "--scheme", "IO"],
            "error: --scheme must be",
        ),
        (["fit", "no.conll", "--task", "tagging", "--out", "m"], "No such file or directory: no.conll"),
        (["fit", "all.jsonl", "--task", "tagging", "--out", "m"], "list of strings 'tags'"),
        (
            ["evaluate", "tagger", "all.jsonl", "--tags", "slots", "--label", "intent"],
            "no labels of sentences",
        ),
        (["compare", "train.conll", "--task", "tagging"], "Missing option '--out'"),
        (["predict", "tagger", "--out", "x"], "read one file. Got 0 arguments"),
    ],
)
def test_refused(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    done = run(*arguments, code=2)
    assert message in " ".join(done.output.split()) and not (place / "m").exists()


def test_a_baseline_that_wins_is_told():
    from unspool.cli.tagging import compared
    from unspool.tagging.measures import Measures

    found = {"this model": Measures(0.5), "linear model": Measures(0.75), "most frequent tag": Measures(0.5)}
    assert (
        compared(found) == "Better than this model in token accuracy: the linear model (0.75), against 0.5."
    )
    found["linear model"] = Measures(0.4)
    assert compared(found) == "No baseline is better in token accuracy; level: the most frequent tag."
