"""`TextVectorization`: texts to ids by words in the file, as TensorFlow splits them."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import unspool
from unspool.cli.app import app
from unspool.errors import DataError, ModelFileError
from unspool.importing import from_keras
from unspool.importing.vectorizer import Vectorizer

pytestmark = pytest.mark.usefixtures("read_within")
WORDS = ["day", "good", "the", "a good"]
TEXTS = ["The good-day!  a good\tday", "", "NEVER seen"]
TABLE = np.arange(12, dtype=np.float32).reshape(6, 2)


def written(folder: Path, kept: bytes | None = "\n".join(WORDS).encode(), **settings: Any) -> Path:
    """Embedded tokens, summed to one end by the largest: a `.keras` file as Keras 3 writes it."""
    own = {
        "standardize": "lower_and_strip_punctuation",
        "split": "whitespace",
        "output_mode": "int",
        "ngrams": None,
    }
    own |= {
        "max_tokens": None,
        "output_sequence_length": None,
        "sparse": False,
        "ragged": False,
        "vocabulary": None,
    }
    layers = [
        ("InputLayer", {"batch_shape": [None], "dtype": "string", "name": "text"}),
        ("TextVectorization", {**own, **settings, "name": "vectors"}),
        ("Embedding", {"input_dim": 6, "output_dim": 2, "mask_zero": False, "name": "embedding"}),
        ("GlobalMaxPooling1D", {"name": "pool"}),
    ]
    entries = [{"class_name": kind, "module": "keras.layers", "config": config} for kind, config in layers]
    with h5py.File(folder / "w.h5", "w") as file:
        file["layers/embedding/vars/0"] = TABLE
        file.create_group("layers/text_vectorization/vars")
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": entries}})
        )
        archive.write(folder / "w.h5", "model.weights.h5")
        if kept is not None:
            archive.writestr("assets/layers/text_vectorization/vocabulary.txt", kept)
    return folder / "m.keras"


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({}, ["the", "goodday", "a", "good", "day"]),
        ({"standardize": "lower"}, ["the", "good-day!", "a", "good", "day"]),
        ({"standardize": None}, ["The", "good-day!", "a", "good", "day"]),
        (
            {"standardize": "strip_punctuation", "ngrams": [2]},
            ["The goodday", "goodday a", "a good", "good day"],
        ),
        ({"split": None}, ["the goodday  a good\tday"]),
        ({"split": "character"}, list("the goodday  a good\tday")),
    ],
)
def test_tokens(settings: dict[str, Any], tokens: list[str], tmp_path: Path) -> None:
    vectorizer = from_keras(written(tmp_path, **settings)).inputs[0].tokenizer
    assert isinstance(vectorizer, Vectorizer)
    assert vectorizer.tokens(TEXTS[0]) == tokens
    ids = [WORDS.index(token) + 2 if token in WORDS else 1 for token in tokens]
    assert vectorizer.texts_to_sequences(TEXTS[:1]) == [ids]


def test_letters_beyond_ascii_stay() -> None:
    assert Vectorizer([], "lower", "whitespace").tokens("\u00dcber\u00a0DIE") == ["\u00dcber\u00a0die"]


def test_of_words_in_a_row_the_single_ones_come_first() -> None:
    assert Vectorizer([], "none", "whitespace", (1, 2)).tokens("a b c") == ["a", "b", "c", "a b", "b c"]


def test_predictions_saved_and_loaded(tmp_path: Path) -> None:
    model = from_keras(written(tmp_path))
    np.testing.assert_array_equal(model.predict(TEXTS[::2]), TABLE[[4, 1]])
    model.save(tmp_path / "model")
    again = unspool.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(TEXTS[::2]), TABLE[[4, 1]])
    for batch_size in (512, 2):
        with pytest.raises(
            DataError, match=r"needs one step at least\..* Sequence 2 of those given is empty"
        ):
            again.predict(["a", "day", "!?", "the"], batch_size=batch_size)
    with pytest.raises(DataError, match="Text 1 must be a str"):
        again.inputs[0].tokenizer.texts_to_sequences(["a", 1])


def test_on_the_command_line(tmp_path: Path) -> None:
    """A table is answered; what such a model cannot do is refused with what it can."""
    from_keras(written(tmp_path)).save(tmp_path / "model")
    (tmp_path / "t.csv").write_text("text,n\nthe good,1\n,2\nnever,3\n")
    run = partial(CliRunner().invoke, app)
    found = run(["predict", str(tmp_path / "model"), str(tmp_path / "t.csv"), "--input", "text"])
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[1:] == ["the good,1,8.0,9.0", ",2,,", "never,3,2.0,3.0"]
    for command in ("stream", "export", "shrink"):
        found = run(
            [command, str(tmp_path / "model")] + ["--out", str(tmp_path / "o")] * (command != "stream")
        )
        assert found.exit_code != 0 and "It has: inspect, predict, serve" in found.output


def test_one_length_for_all(tmp_path: Path) -> None:
    """Cut and filled behind; words in the settings, with Keras' own two before them."""
    path = written(tmp_path, None, output_sequence_length=3, vocabulary=["", "[UNK]", *WORDS])
    model = from_keras(path)
    np.testing.assert_array_equal(model.predict(TEXTS), TABLE[[4, 0, 1]])
    assert model.inputs[0].padding.maxlen == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_mode": "tf_idf"}, "output_mode 'int' only. Got output_mode=tf_idf"),
        ({"split": "words"}, "split 'whitespace', 'character' or null only"),
        ({"standardize": {"class_name": "function"}}, "standardize one of"),
        ({"ngrams": 1000}, "ngrams an int in"),
        ({"ngrams": True}, "ngrams an int in"),
        ({"output_sequence_length": 0}, "output_sequence_length an int of 1 or more"),
        ({"output_sequence_length": 10**9}, "100,000 at most"),
        ({"vocabulary": [1]}, "vocabulary a list of texts"),
        ({"other": 1}, "a setting that is not known: other=1"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ModelFileError, unspool.errors.InvalidParameterError), match=message):
        from_keras(written(tmp_path, **settings))


def test_words_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"'vectors' .* vocabulary in the file"):
        from_keras(written(tmp_path, None))
    with pytest.raises(ModelFileError, match="is not UTF-8 text"):
        from_keras(written(tmp_path, b"\xff"))
    with pytest.raises(ModelFileError, match="Give no tokenizer"):
        from_keras(written(tmp_path), tokenizer=unspool.text.Tokenizer())
    with pytest.raises(ModelFileError, match="Give no maxlen"):
        from_keras(written(tmp_path), maxlen=5)
