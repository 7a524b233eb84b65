"""A saved model predicts bit for bit what the fitted one did; nothing is ever half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.estimators.saving import ADDED
from unspool.saved.document import encode
from unspool.text import pad_sequences

TEXTS = ["good day", "bad day !", "so so", "good good film", "bad film", "a good one", "bad one", "so bad"]
Y = np.array([4.0, 1.0, 2.5, 5.0, 1.5, 4.5, 1.0, 0.5])
FRESH = ["good bad", "", "so unknown", "Film one day", "good " * 40]
SMALL: dict[str, Any] = {
    "hidden_size": 5,
    "embedding_dim": 3,
    "batch_size": 4,
    "epochs": 2,
    "random_state": 0,
    "verbose": 0,
    "learning_rate": 0.05,
}


@pytest.fixture(scope="module")
def model() -> SequenceRegressor:
    return SequenceRegressor(**SMALL, bidirectional=True, dense=(4,), pooling="mean+attention").fit(TEXTS, Y)


@pytest.mark.filterwarnings("ignore:.*hold no word")
@pytest.mark.parametrize("name", ["model", "deep/er/model", "model.zip", "with.dots"])
def test_the_same_predictions_bit_for_bit(model: SequenceRegressor, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / name)
    again = unspool.load(str(tmp_path / name))
    assert np.array_equal(again.predict(FRESH), model.predict(FRESH))
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_ and again.summary() == model.summary()
    assert (again.best_epoch_, again.interrupted_, again.n_features_in_) == (model.best_epoch_, False, 1)
    assert again.fit(TEXTS, Y).score(TEXTS, Y) == model.score(TEXTS, Y)


def test_weights_that_are_loaded_are_not_drawn_first(
    model: SequenceRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What draws an orthogonal matrix takes 8 MB at its first call."""
    model.save(tmp_path / "m")
    monkeypatch.setattr("torch.nn.init.orthogonal_", lambda _: pytest.fail("drawn"))
    again = unspool.load(tmp_path / "m")
    assert np.array_equal(again.predict(FRESH[:1]), model.predict(FRESH[:1]))


def test_in_another_process(model: SequenceRegressor, tmp_path: Path) -> None:
    """There it predicts the same, and torch's compiler, which takes seconds to import, is not needed."""
    model.save(tmp_path / "m")
    code = (
        "import sys, numpy, unspool; "
        "numpy.save(sys.argv[2], unspool.load(sys.argv[1]).predict(['good bad', 'film one day'])); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "p.npy")], check=True)
    assert np.array_equal(np.load(tmp_path / "p.npy"), model.predict(["good bad", "film one day"]))


@pytest.mark.parametrize("labels", [["a", "b"], [1, 2], [False, True], [0.0, 1.0]])
@pytest.mark.parametrize("as_object", [False, True])
def test_classifiers_keep_their_labels(labels: list[Any], as_object: bool, tmp_path: Path) -> None:
    y = np.array(labels, dtype=object if as_object and labels[0] == "a" else None)[(Y > 2).astype(int)]
    model = SequenceClassifier(**SMALL, cell="gru", level="char").fit(TEXTS, y)
    model.save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    assert again.classes_.dtype == model.classes_.dtype
    assert np.array_equal(again.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert again.predict(TEXTS).tolist() == model.predict(TEXTS).tolist()


def test_series_ids_and_several_targets(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    series = [random.randn(n, 3) * 1e3 for n in (3, 1, 5, 2, 4, 6)]
    ids = pad_sequences([[1, 2], [3], [2, 2, 4], [1], [4, 3], [2]])
    for X in (series, ids):
        model = SequenceRegressor(**SMALL, num_layers=2).fit(X, random.randn(6, 2))
        model.save(tmp_path / "m.zip")
        again = unspool.load(tmp_path / "m.zip")
        assert np.array_equal(again.predict(X), model.predict(X)) and again.predict(X).shape == (6, 2)
        assert again.n_features_in_ == model.n_features_in_
        assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": (4, 3), "bidirectional": True, "merge": "mean", "zoneout": (0.05, 0.5)},
        {"num_layers": 2, "connection": "highway", "recurrent_dropout": 0.2, "input_dropout": 0.1},
        {"num_layers": 2, "connection": "residual", "weight_dropout": 0.3, "zoneout": 0.1, "cell": "gru"},
    ],
    ids=["widths", "highway", "residual"],
)
def test_arrangements(settings: dict[str, Any], tmp_path: Path) -> None:
    model = SequenceRegressor(**{**SMALL, **settings}).fit(TEXTS, Y)
    model.save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    assert again.get_params() == model.get_params() and again.summary() == model.summary()
    assert np.array_equal(again.predict(TEXTS), model.predict(TEXTS))


def test_a_file_from_before_an_option_has_its_default(model: SequenceRegressor, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    content = json.loads((tmp_path / "m/model.json").read_text())
    weights = (tmp_path / "m/weights.safetensors").read_bytes()
    del content["checksums"]
    for name in ADDED:
        del content["parameters"][name]
    (tmp_path / "m/model.json").write_bytes(encode(content, weights))
    again = unspool.load(tmp_path / "m")
    assert again.get_params() == {**model.get_params(), **ADDED}
    assert np.array_equal(again.predict(TEXTS), model.predict(TEXTS))
    del content["parameters"]["dropout"]
    (tmp_path / "m/model.json").write_bytes(encode(content, weights))
    with pytest.raises(ModelFileError, match="'dropout' is missing"):
        unspool.load(tmp_path / "m")


def test_two_files_of_plain_data(model: SequenceRegressor, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    assert sorted(os.listdir(tmp_path)) == ["m"]
    assert sorted(os.listdir(tmp_path / "m")) == ["model.json", "weights.safetensors"]
    content = json.loads((tmp_path / "m/model.json").read_text())
    assert content["class"] == "SequenceRegressor"
    assert content["libraries"]["torch"] == version("torch")
    model.save(tmp_path / "one.zip")
    model.save(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        for name in ("model.json", "weights.safetensors"):
            assert archive.read(name) == (tmp_path / "m" / name).read_bytes()


@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_a_model_is_replaced(model: SequenceRegressor, tmp_path: Path, name: str) -> None:
    other = SequenceRegressor(**SMALL).fit(TEXTS, -Y)
    other.save(tmp_path / name)
    model.save(tmp_path / name)
    assert np.array_equal(unspool.load(tmp_path / name).predict(TEXTS), model.predict(TEXTS))
    assert os.listdir(tmp_path) == [name]


def test_a_model_is_replaced_where_the_system_cannot_swap(
    model: SequenceRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SequenceRegressor(**SMALL).fit(TEXTS, -Y)
    other.save(tmp_path / "m")
    monkeypatch.setattr("unspool.files._exchange", lambda one, other: False)
    model.save(tmp_path / "m")
    assert np.array_equal(unspool.load(tmp_path / "m").predict(TEXTS), model.predict(TEXTS))
    assert os.listdir(tmp_path) == ["m"]


def test_what_is_not_a_model_is_never_replaced(model: SequenceRegressor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    for name in ("thesis", "half"):
        (tmp_path / name).mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    (tmp_path / "half/model.json").write_text('{"format": "another tool"}')
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "data.zip").write_bytes(b"PK not ours")
    model.save(tmp_path / "mixed")
    (tmp_path / "mixed/notes.md").write_text("x")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for name in ("thesis", "half", "notes.txt", "data.zip"):
        with pytest.raises(ModelFileError, match="not a saved model is there"):
            model.save(tmp_path / name)
    with pytest.raises(ModelFileError, match=r"other files beside a model .'notes.md'"):
        model.save(tmp_path / "mixed")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["m", "m.zip"])
@pytest.mark.parametrize("function", ["os.fsync", "os.replace"])
def test_no_space_leaves_the_old_model(
    model: SequenceRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, function: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if function == "os.fsync" or name == "m.zip":
        SequenceRegressor(**SMALL).fit(TEXTS, -Y).save(tmp_path / name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(function, full)
    with pytest.raises(
        ModelFileError, match=r"Cannot save .* MB\).*No space left on device.*unchanged.*Free"
    ):
        model.save(tmp_path / name)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert os.listdir(tmp_path) == ([name] if before else [])


def test_ctrl_c_while_saving_leaves_the_old_model(
    model: SequenceRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SequenceRegressor(**SMALL).fit(TEXTS, -Y)
    old.save(tmp_path / "m")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert np.array_equal(unspool.load(tmp_path / "m").predict(TEXTS), old.predict(TEXTS))


def test_a_factory_cannot_be_saved_but_a_registered_cell_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unspool import cells

    model = SequenceRegressor(**SMALL, cell=lambda f, h: cells.GRUCell(f, h)).fit(TEXTS, Y)
    with pytest.raises(InvalidParameterError, match=r"cells.registry\['my-cell'\]"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []
    monkeypatch.setitem(cells.registry, "my-cell", model.cell)
    named = SequenceRegressor(**SMALL, cell="my-cell").fit(TEXTS, Y)
    named.save(tmp_path / "m")
    assert np.array_equal(unspool.load(tmp_path / "m").predict(TEXTS), model.predict(TEXTS))
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=r"'cell' parameter .* Got 'my-cell'"):
        unspool.load(tmp_path / "m")


def test_random_state_objects_are_left_out(tmp_path: Path) -> None:
    model = SequenceRegressor(
        **{**SMALL, "random_state": np.random.RandomState(3), "dropout": np.float64(0.1)}
    )
    model.fit(TEXTS, Y).save(tmp_path / "m")
    again = unspool.load(tmp_path / "m")
    assert again.random_state is None and again.dropout == 0.1
