"""`Seq2Seq` as one graph: ids of sources in, the tokens that `predict` writes out, for batches that were not tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer

from unspool import Seq2Seq
from unspool.errors import EngineError
from unspool.exporting import pairs, to_onnx

WORDS = "a fine warm day at the sea , rain and fog all the long grey night".split()
QUICK: dict[str, Any] = {"hidden_size": 7, "embedding_dim": 6, "epochs": 1, "verbose": 0, "random_state": 0}
KINDS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "additive, two layers": {"attention": "additive", "num_layers": 2, "cell": "gru"},
    "other state parts, words": {
        "cell": "slstm",
        "source_level": "word",
        "target_level": "subword",
        "zoneout": 0.1,
    },
}


def texts(count: int, seed: int = 0) -> list[str]:
    random = np.random.RandomState(seed)
    return [" ".join(random.choice(WORDS, random.randint(1, 6))) for _ in range(count)]


def fitted(**options: Any) -> Seq2Seq:
    X = texts(40)
    return Seq2Seq(**QUICK, **options).fit(X, [" ".join(text.split()[::-1]) for text in X])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*did not come to an end")
def test_its_tokens_are_those_of_predict(kind: str, tmp_path: Path) -> None:
    model = fitted(**KINDS[kind])
    exported = to_onnx(model, tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    assert exported.difference < 1e-5 and exported.operators["Loop"] == 1
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    told = session.get_modelmeta().custom_metadata_map
    source = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    target = Tokenizer.from_str(told["unspool.target_tokenizer"])
    before = "" if model.source_level == "char" else " "
    for X, limit in ((texts(9, seed=1), None), (texts(1, seed=2), None), (texts(4, seed=3), 2)):
        rows = [row.ids for row in source.encode_batch([before + text for text in X])]
        ids = np.full((len(X), max(map(len, rows)) + 2), 10**6)
        for place, row in zip(ids, rows):
            place[: len(row)] = row
        most = json.loads(told["unspool.max_new_tokens"]) if limit is None else limit
        feeds = {"ids": ids, "lengths": np.array([*map(len, rows)]), "max_new_tokens": np.array(most)}
        tokens, counts, ended, log_p = session.run(None, feeds)
        expected = model.columns(X, max_new_tokens=limit)
        found = [target.decode(row[:n].tolist(), skip_special_tokens=False) for row, n in zip(tokens, counts)]
        shown = [text.removeprefix("" if model.target_level == "char" else " ") for text in found]
        assert shown == expected["prediction"].tolist()
        np.testing.assert_allclose(log_p, expected["log_probability_prediction"], rtol=1e-5)
        assert tokens.shape[1] <= most and (tokens[:, -1] != 0).any() | ended.all()


@pytest.mark.filterwarnings("ignore:.*did not come to an end")
def test_a_graph_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted()
    monkeypatch.setattr(pairs, "UNKNOWN_ID", 5)
    with pytest.raises(EngineError, match="differs from ours"):
        to_onnx(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
