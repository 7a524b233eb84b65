"""Taggers with and without a CRF, and generators step by step, against their own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from unspool import SequenceGenerator, SequenceTagger
from unspool.encode.tokens import TokenEncoder
from unspool.errors import DataError
from unspool.exporting import to_onnx
from unspool.exporting.graph import FLOAT, INT64, Graph
from unspool.exporting.time import Lengths
from unspool.exporting.viterbi import best_path
from unspool.heads import CRF
from unspool.ragged import Ragged
from unspool.text import pad_sequences

from .runtime import close, run

WORDS = ["The", "sea", "Ulm", "to", "Bern", "rain", "fog", "in"]
TAGS = {"Ulm": "B-place", "Bern": "I-place"}
QUICK: dict[str, Any] = {"hidden_size": 5, "embedding_dim": 6, "epochs": 2, "verbose": 0, "random_state": 0}


def sentences(count: int, seed: int = 0) -> list[list[str]]:
    random = np.random.RandomState(seed)
    return [random.choice(WORDS, random.randint(1, 8)).tolist() for _ in range(count)]


def feeds(folder: Path, model: SequenceTagger, given: list[list[str]]) -> dict[str, np.ndarray]:
    rust = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [row.ids for row in rust.encode_batch(given, is_pretokenized=True)]
    found = {
        "ids": pad_sequences(ids, padding="post").astype(np.int64),
        "lengths": np.array([len(r) for r in ids]),
    }
    if model.input_.characters is not None:
        spelt = np.zeros((*found["ids"].shape, model.input_.characters.width), np.int64)
        for row, words in zip(spelt, given):
            row[: len(words)] = model.input_.characters.encode(words).numpy()
        found["characters"] = spelt
    return found


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("characters", ["cnn", None])
def test_tags_and_labels(crf: bool, characters: str | None, tmp_path: Path) -> None:
    X = sentences(60)
    y = [[TAGS.get(word, "O") for word in sentence] for sentence in X]
    labels = np.array(["wet" if "rain" in sentence else "dry" for sentence in X])
    options = {**QUICK, "learning_rate": 0.05, "early_stopping": False, "epochs": 5}
    with pytest.warns(UserWarning):  # of spans that begin with I
        model = SequenceTagger(crf=crf, characters=characters, **options).fit(X, y, labels)
    to_onnx(model, tmp_path / "m.onnx")
    new = [*sentences(6, 1), ["Nowhere", "Bern", "RAIN"]]
    found = run(tmp_path / "m.onnx", **feeds(tmp_path, model, new))
    assert [row[: len(s)].tolist() for row, s in zip(found["tags"], new)] == model.predict(new)
    assert all(tag == "" for row, s in zip(found["tags"], new) for tag in row[len(s) :])
    assert len({tag for row in found["tags"] for tag in row}) > 2
    assert found["label"].tolist() == model.predict_labels(new).tolist()
    close(found["label_probabilities"], model.predict_labels_proba(new))
    if not crf:
        close(torch.tensor(found["scores"][0]).softmax(1).numpy()[: len(new[0])], model.predict_proba(new)[0])
    with pytest.raises(DataError, match="one_step goes with layers"):
        to_onnx(model, tmp_path / "m.onnx", one_step=True)


def test_the_best_path_of_a_crf_with_illegal_transitions(tmp_path: Path) -> None:
    """Scores near each other, so that transitions decide."""
    torch.manual_seed(0)
    legal = torch.rand(6, 6) < 0.7
    legal[:, 2] = True
    first = torch.tensor([True, False, True, True, False, True])
    crf = CRF(6, legal, first, first.flip(0) | first)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.uniform_(-1, 1)
    g = Graph()
    scores = g.input("scores", FLOAT, ["time", "batch", 6])
    lengths = Lengths(g, scores, g.input("lengths", INT64, ["batch"]))
    g.output("path", best_path(g, crf, scores, lengths), INT64, ["time", "batch"])
    model = g.ir.Model(g.finished("viterbi"), ir_version=9)
    (tmp_path / "m.onnx").write_bytes(g.ir.to_proto(model).SerializeToString())
    each, given = torch.randn(30, 8, 6), torch.randint(1, 9, (30,))
    path = run(tmp_path / "m.onnx", scores=each.transpose(0, 1), lengths=given)["path"].T
    expected = crf.decode(Ragged.from_padded(each, given))
    for row, best in zip(path, expected):
        assert row[: len(best)].tolist() == best.tolist()


@pytest.mark.parametrize("lower", [True, False])
def test_numbers_of_tokens(lower: bool) -> None:
    encoder = TokenEncoder(lower=lower).fit([["The", "the", "d'un", "\u00e9t\u00e9", " ", "a b"]])
    new = [["THE", "the", "\u00c9t\u00e9", "new", " ", "a b"], ["d'un"]]
    rust = encoder.tokenizer()
    ids = [row.ids for row in rust.encode_batch(new, is_pretokenized=True)]
    assert ids == [row.tolist() for row in encoder.encode(new)]


TEXT = "the rain in Bern falls on the plain of Bern, and the fog \u00e9t\u00e9 stays.\nIt rains!  " * 12


@pytest.mark.parametrize(("level", "cell"), [("char", "mgu"), ("word", "slstm"), ("subword", "gru")])
def test_a_generator_step_by_step(level: str, cell: str, tmp_path: Path) -> None:
    options = {**QUICK, "num_layers": 2, "epochs": 1, "cell": cell}
    model = SequenceGenerator(level=level, **options).fit(TEXT)
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.inputs["token"] == ("batch",) and "One step" in exported.notes[0]
    rust = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = TEXT[3:90]
    ids = rust.encode(text).ids
    assert ids == model.vocabulary_.encode(text).tolist() and rust.decode(ids) == text
    about = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    start = json.loads(about["unspool.initial_state"])
    assert [*start] == [name for name in exported.inputs if name != "token"]
    state = {name: np.array([values], np.float32) for name, values in start.items()}
    total = 0.0
    for before, after in zip([0, *ids], ids):
        found = run(tmp_path / "m.onnx", token=np.array([before]), **state)
        state = {name: found[name.replace("initial", "final")] for name in state}
        scores = torch.tensor(found["scores"][0])
        assert scores[1] == -torch.inf  # the unknown token never comes
        scores[~torch.isfinite(scores)] = -1e9
        total += float(scores.log_softmax(0)[after])
    assert total == pytest.approx(_own(model, ids), rel=1e-5)
    assert json.loads(about["unspool.vocabulary"])["level"] == level


def _own(model: SequenceGenerator, ids: list[int]) -> float:
    """log p of the tokens after the mark, by the network over all of them, unknown ones and ends never coming."""
    with torch.no_grad():
        scores = model.network_(Ragged.from_list([torch.tensor([0, *ids[:-1]])])).values
    scores[:, 1] = -torch.inf
    if not model.ends_:
        scores[:, 0] = -torch.inf
    return float(scores.log_softmax(1)[torch.arange(len(ids)), torch.tensor(ids)].sum())
