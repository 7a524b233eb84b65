"""`unspool export`: a saved model as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

import unspool
from unspool import saved

from .conftest import run


def test_the_network_of_a_blend(trained: Path, tmp_path: Path) -> None:
    model = unspool.load(trained / "model")
    assert model.blend_ is not None
    out = tmp_path / "new" / "model.onnx"
    refused = run("export", trained / "model", "--out", out, code=2)
    assert "--part network" in refused.stderr and not out.exists()
    done = run("export", trained / "model", "--out", out, "--part", "network").stdout
    assert "in   ids (batch, time)" in done and "out  prediction (batch)" in done
    assert "note: The network alone" in done and f"Written: {out}, {out.with_name('tokenizer.json')}." in done
    assert float(done.split("relative to 1 or more: ")[1].split(".\n")[0]) < 1e-5
    texts = ["the day was awful", "good and good"]
    ids = [r.ids for r in Tokenizer.from_file(str(out.with_name("tokenizer.json"))).encode_batch(texts)]
    session = onnxruntime.InferenceSession(str(out))
    for text, row in zip(texts, ids):
        (found,) = session.run(None, {"ids": np.array([row]), "lengths": np.array([len(row)])})
        assert found[0] == pytest.approx(model.network_alone().predict([text])[0], abs=1e-5)


def test_taggers_and_generators(tmp_path: Path) -> None:
    small = {"hidden_size": 3, "embedding_dim": 3, "epochs": 1, "verbose": 0}
    unspool.SequenceGenerator(**small).fit("a day and a night. " * 30).save(tmp_path / "writer")
    done = run("export", tmp_path / "writer", "--out", tmp_path / "m.onnx").stdout
    assert "in   token (batch)" in done and "note: One step" in done
    tagger = unspool.SequenceTagger(early_stopping=False, **small)
    tagger.fit([["a", "day"], ["a", "night"]] * 3, [["x", "y"]] * 6).save(tmp_path / "tagger")
    done = run("export", tmp_path / "tagger", "--out", tmp_path / "t" / "t.onnx").stdout
    assert "out  tags (batch, time)" in done and "in   characters (batch, time, 22)" in done


def test_forecasters(tmp_path: Path) -> None:
    y = np.random.RandomState(0).randn(2, 60)
    unspool.Forecaster(horizon=2, hidden_size=3, epochs=1, verbose=0).fit(y).save(tmp_path / "model")
    done = run("export", tmp_path / "model", "--out", tmp_path / "m.onnx", "--level", "80", "--level", "50")
    assert "in   y (batch, time)" in done.stdout and "out  hi-50 (batch, 2)" in done.stdout
    with_level = run("export", tmp_path / "model", "--out", tmp_path / "m.onnx", "--level", "100", code=2)
    assert "level" in with_level.stderr and "(0, 100)" in with_level.stderr


def test_kinds_without_a_graph_say_so(tmp_path: Path) -> None:
    saved.save(tmp_path / "model", {"class": "ImportedModel"}, {"w": torch.zeros(1)})
    done = run("export", tmp_path / "model", "--out", tmp_path / "m.onnx", code=2)
    assert "unspool export does not work with the task" in done.stderr


def test_a_model_is_not_overwritten_by_its_graph(tmp_path: Path) -> None:
    model = unspool.SequenceRegressor(hidden_size=3, epochs=1, verbose=0, early_stopping=False)
    model.fit(np.ones((3, 2, 1)), [1.0, 2.0, 3.0])
    for name, out, told in (
        ("m.zip", "m.zip", "is the model itself, which would be lost"),
        ("m", "m/model.json", "inside the model's own folder"),
    ):
        model.save(tmp_path / name)
        done = run("export", tmp_path / name, "--out", tmp_path / out, code=2)
        assert told in done.stderr
        assert unspool.load(tmp_path / name).predict(np.ones((1, 2, 1))).shape == (1,)
