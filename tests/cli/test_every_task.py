"""docs/tasks.md: what each command does with a model of each task, cell by cell."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import unspool
from unspool import signals

from .conftest import run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]
KINDS = ("texts", "series", "tagging", "forecasting", "generation", "seq2seq")
CELLS = [
    (row[0].strip(" `"), kind, cell.strip())
    for row in ROWS
    for kind, cell in zip(KINDS, row[1:], strict=True)
]
SMALL = {"hidden_size": 4, "epochs": 1, "random_state": 0, "verbose": 0}
ONE_WAY = {**SMALL, "bidirectional": False}
# What each command is given beside the model: to learn from or measure by, and to predict.
MEASURED = {
    "texts": ["t.csv", "--input", "text", "--target", "label"],
    "series": ["long.csv"],
    "tagging": ["t.conll"],
    "forecasting": ["f.csv"],
    "generation": ["t.txt"],
    "seq2seq": ["t.csv", "--input", "text", "--target", "upper"],
}
PREDICTED = {
    **MEASURED,
    "texts": MEASURED["texts"][:3],
    "seq2seq": MEASURED["seq2seq"][:3],
    "forecasting": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files, and a model of each kind, `m-KIND`."""
    place = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    words = [rng.choice(["good", "bad", "dull", "day"], 4).tolist() for _ in range(60)]
    texts, tags = (
        [" ".join(row) for row in words],
        [["B-x" if w == "good" else "O" for w in row] for row in words],
    )
    labels, upper = ["up" if "good" in row else "down" for row in words], [t.upper() for t in texts]
    pl.DataFrame({"text": texts, "label": labels, "upper": upper}).write_csv(place / "t.csv")
    lines = ["\n".join(f"{w}\t{t}" for w, t in zip(*pair)) for pair in zip(words, tags)]
    (place / "t.conll").write_text("\n\n".join(lines) + "\n")
    (place / "t.txt").write_text("\n".join(texts))
    steps = {
        "unique_id": np.repeat(np.arange(40), 6),
        "step": np.tile(np.arange(6), 40),
        "a": rng.normal(size=240),
    }
    long = pl.DataFrame({**steps, "label": np.repeat(np.arange(40) % 2, 6)})
    long.write_csv(place / "long.csv")
    series = pl.DataFrame({"unique_id": ["a"] * 90, "ds": [*range(90)], "y": rng.normal(size=90)})
    series.write_csv(place / "f.csv")
    X, y = signals.from_long(long, target="label")
    held = {"validation_fraction": 0.4, "early_stopping": True}
    several = unspool.SequenceClassifier(**ONE_WAY, **held).fit(X, y)
    several.feature_names_in_ = np.array(["a"], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = {
            "texts": unspool.SequenceClassifier(**ONE_WAY, **held, embedding_dim=4, blend=False).fit(
                texts, labels
            ),
            "series": several,
            "tagging": unspool.SequenceTagger(**ONE_WAY, embedding_dim=4, crf=False).fit(words, tags),
            "forecasting": unspool.Forecaster(**SMALL, horizon=4, season=4, validation_size=16).fit(series),
            "generation": unspool.SequenceGenerator(**SMALL, batch_size=2).fit("\n".join(texts)),
            "seq2seq": unspool.Seq2Seq(**SMALL, embedding_dim=4).fit(texts, upper),
        }
    for kind, model in made.items():
        model.save(place / f"m-{kind}")
    return place


def arguments(command: str, kind: str) -> list[str]:
    model, name = f"m-{kind}", command.split()[0]
    if name == "predict":
        return [name, model, *PREDICTED[kind], *command.split()[1:], "--out", "made.csv"]
    given = {
        "evaluate": [*MEASURED[kind], *command.split()[1:]],
        "inspect": [],
        "shrink": ["--out", "made.zip"],
        "export": ["--out", "made.onnx"],
        "stream": [],
        "generate": ["--prompt", "good", "--max-new-tokens", "4", "--seed", "0"],
    }
    return [name, model, *given[name]]


PIECE = {"series": "[[0.5]]", "tagging": '["good", "day"]'}


@pytest.mark.parametrize(("command", "kind", "cell"), CELLS, ids=[f"{c}-{k}" for c, k, _ in CELLS])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_cell(folder, tmp_path, monkeypatch, command, kind, cell):
    for name in [p.name for p in folder.iterdir()]:
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    assert cell in ("yes", "no")
    pushed = f'{{"id": "a", "x": {PIECE.get(kind, chr(34) + "good day" + chr(34))}}}\n'
    done = run(*arguments(command, kind), code=0 if cell == "yes" else 2, stdin=pushed)
    if cell == "no":
        errors = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
        assert len(errors) == 1 and errors[0].startswith("error: ") and "Traceback" not in done.stderr
        return
    assert done.stdout.strip()
    written = [p.name for p in tmp_path.iterdir() if p.name.startswith("made")]
    assert bool(written) == (command.split()[0] in ("predict", "shrink", "export"))
    if "--level" in command:
        columns = {*pl.read_csv("made.csv").columns}
        assert {"lo-90", "hi-90"} <= columns or "prediction_set" in columns


def test_the_table_is_whole():
    assert len(CELLS) == len(ROWS) * len(KINDS) > 40


@pytest.mark.parametrize(
    ("kind", "file", "message"),
    [("tagging", "t.conll", "say --file"), ("seq2seq", "t.csv", "--input"), ("texts", "t.txt", "--input")],
)
def test_a_file_is_not_read_as_a_text(folder, kind, file, message):
    error = run("predict", folder / f"m-{kind}", folder / file, code=2).stderr
    assert "is a file: " in error and message in error


def test_columns_that_are_needed_are_kept(folder):
    options = ["--columns", "y"]
    run("predict", folder / "m-forecasting", folder / "f.csv", *options)
    run("evaluate", folder / "m-forecasting", folder / "f.csv", *options)
