"""`unspool serve`: what it refuses before it listens."""

from __future__ import annotations

import socket

import pytest
import torch
from tests.cli.conftest import run

import unspool
from unspool.cli.kinds import command_for
from unspool.errors import DataError
from unspool.serve import named_paths


def test_names(tmp_path) -> None:
    found = named_paths([str(tmp_path / "mood"), "other=" + str(tmp_path / "m.zip"), str(tmp_path / "x.zip")])
    assert {name: path.name for name, path in found.items()} == {
        "mood": "mood",
        "other": "m.zip",
        "x": "x.zip",
    }
    for models, part in (
        (["a/m", "b/m"], "'m'"),
        (["a b=x"], "letters"),
        (["=x"], "letters"),
    ):
        with pytest.raises(DataError, match=part):
            named_paths(models)


def test_what_is_refused(models, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("UNSPOOL_TOKEN", raising=False)
    model = models["score"]
    assert "UNSPOOL_TOKEN" in run("serve", model, "--host", "0.0.0.0", code=2).stderr
    told = run("serve", model, "--token", "secret", code=2).stderr
    assert "16 to 256" in told and "secret" not in told
    assert "Cannot load" in run("serve", tmp_path / "none", code=2).stderr
    assert "--batch" in run("serve", model, "--batch", "0", code=2).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"in use: 127.0.0.1:{port}" in run("serve", model, "--port", port, code=2).stderr


def test_models_of_another_kind(tmp_path) -> None:
    tagger = unspool.SequenceTagger(hidden_size=2, embedding_dim=2, epochs=1, verbose=0)
    tagger.fit([["a", "b"], ["b", "a"]] * 4, [["X", "Y"], ["Y", "X"]] * 4).save(tmp_path / "tags")
    assert command_for("serve", [str(tmp_path / "tags")]).name == "serve"


def test_weights_in_another_form(models, loaded) -> None:
    from unspool.serve import Service
    from unspool.serve.rows import Rows

    served = Service({"score": models["score"]}, weights="int8").repository.get("score").served
    assert hasattr(served.model, "frozen_") and torch.is_inference_mode_enabled() is False
    (found,) = served.answer([Rows(texts=["the good day"])])
    assert abs(found["prediction"][0] - loaded["score"].predict(["the good day"])[0]) < 0.05
