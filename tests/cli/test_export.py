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


@pytest.mark.parametrize("name", ["Seq2Seq", "Forecaster"])
def test_kinds_without_a_graph_say_so(name: str, tmp_path: Path) -> None:
    saved.save(tmp_path / "model", {"class": name}, {"w": torch.zeros(1)})
    done = run("export", tmp_path / "model", "--out", tmp_path / "m.onnx", code=2)
    assert "unspool export does not work with the task" in done.stderr
