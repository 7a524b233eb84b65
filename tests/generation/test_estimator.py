"""The estimator: learning, measuring, keeping, wrong inputs."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

import unspool
from unspool import Ragged, SequenceGenerator
from unspool.errors import DataError, EngineError, InvalidParameterError, ModelFileError
from unspool.training import Callback

from .conftest import SMALL, TEXT


@pytest.mark.parametrize(("level", "epochs"), [("char", 15), ("word", 40), ("subword", 40)])
def test_learns_a_text_by_heart(level: str, epochs: int) -> None:
    text = "one two three, four five. " * 40
    settings = {**SMALL, "hidden_size": 48, "embedding_dim": 48, "epochs": epochs, "learning_rate": 0.02}
    model = SequenceGenerator(level, 300, **settings, dropout=0.0, early_stopping=False).fit(text)
    assert model.evaluate(text)["nats_per_character"] < 0.12
    # The cut of the parts may fall into a word: the prompt is the text's own beginning.
    assert ("one two three, four" + model.generate("one two three, four", 20, do_sample=False)).startswith(
        text[:24]
    )
    assert model.history_[-1]["train_loss"] < model.history_[0]["train_loss"] / 3


def test_options_train(model: SequenceGenerator) -> None:
    settings = {**SMALL, "epochs": 2, "num_layers": 2, "connection": "highway"}
    noise = {"embedding_dropout": 0.1, "input_dropout": 0.1, "weight_dropout": 0.2, "zoneout": 0.1}
    rest = {"activation_penalty": 2.0, "temporal_penalty": 1.0, "averaging": 0.9, "random_lengths": True}
    made = SequenceGenerator(**settings, **noise, **rest, tie_weights=True, cell="gru").fit(TEXT)
    assert made.perplexity(TEXT) < len(made.vocabulary_)
    assert made.network_.tied and made.network_.projection is not None


def test_score_is_the_sum_of_log_probabilities(names: SequenceGenerator) -> None:
    texts = ["ab", "", "ccc"]
    expected = []
    for text in texts:
        ids = [0, *names.vocabulary_.encode(text).tolist(), 0]
        logs = (
            names.network_(Ragged(torch.tensor(ids[:-1]), [0, len(ids) - 1])).values.double().log_softmax(1)
        )
        expected.append(float(logs[range(len(ids) - 1), ids[1:]].detach().sum()))
    got = names.score(texts)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.dtype == np.float64
    np.testing.assert_allclose(names.score(texts[::-1]), got[::-1], rtol=1e-5)  # each alone
    tokens = sum(len(text) + 1 for text in texts)
    assert names.perplexity(texts) == pytest.approx(math.exp(-sum(expected) / tokens), rel=1e-5)
    measured = names.evaluate(texts)
    assert measured["tokens"] == tokens and measured["characters"] == 5 and measured["unknown"] == 0
    assert measured["nats_per_character"] == pytest.approx(-sum(expected) / 5, rel=1e-5)
    assert measured["bits_per_character"] == pytest.approx(measured["nats_per_character"] / math.log(2))


def test_one_text_has_no_end(model: SequenceGenerator) -> None:
    assert not model.ends_ and model.evaluate("the cat")["tokens"] == 7
    assert model.evaluate(["the cat", "zz"])["unknown"] == pytest.approx(2 / 9)
    long = "the cat sat. " * 40
    assert model.score(long).shape == (1,) and np.isfinite(model.score(["", "a"])).all()


def test_the_validation_part_is_the_end_of_a_text_and_its_vocabulary_is_not_known() -> None:
    text = "ab" * 100 + "xy" * 3
    model = SequenceGenerator(**SMALL, epochs=1, validation_fraction=0.04).fit(text)  # 8 characters
    assert sorted(model.vocabulary_.tokens) == ["a", "b"]
    whole = SequenceGenerator(**SMALL, epochs=1, early_stopping=False).fit(text)
    assert (
        sorted(whole.vocabulary_.tokens) == ["a", "b", "x", "y"]
        and "validation_loss" not in whole.history_[0]
    )
    given = SequenceGenerator(**SMALL, epochs=1).fit("ab" * 50, validation_data=["ba" * 9, "a"])
    assert "validation_loss" in given.history_[0]


def test_the_same_seed_gives_the_same_numbers(model: SequenceGenerator) -> None:
    again = clone(model).fit(TEXT)
    for a, b in zip(model.network_.parameters(), again.network_.parameters(), strict=True):
        assert torch.equal(a, b)
    other = clone(model).set_params(random_state=1, epochs=1).fit(TEXT)
    assert other.history_[0]["train_loss"] != model.history_[0]["train_loss"]


def test_a_checkpoint_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    class Cut(Callback):
        def on_epoch_begin(self, trainer: Any) -> None:
            if trainer.epoch == 3:
                raise RuntimeError("cut")

    settings = {**SMALL, "epochs": 4, "random_lengths": True, "dropout": 0.3, "weight_dropout": 0.1}
    whole = SequenceGenerator(**settings).fit(TEXT)
    with pytest.raises(RuntimeError, match="cut"):
        SequenceGenerator(**settings).fit(TEXT, callbacks=[Cut()], checkpoint=tmp_path / "c")

    class Pass(Cut):
        def on_epoch_begin(self, trainer: Any) -> None: ...

    Pass.__name__ = "Cut"
    resumed = SequenceGenerator(**settings).fit(TEXT, callbacks=[Pass()], checkpoint=tmp_path / "c")
    for a, b in zip(whole.network_.parameters(), resumed.network_.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_saved(level: str, tmp_path: Path) -> None:
    settings = {**SMALL, "hidden_size": (14, 16), "zoneout": (0.1, 0.2), "epochs": 1}
    model = SequenceGenerator(level, 300, **settings).fit(TEXT)
    model.save(tmp_path / "model.zip")
    again = unspool.load(tmp_path / "model.zip")
    assert again.get_params() == model.get_params() and again.history_ == model.history_
    assert again.summary() == model.summary()
    assert again.generate("the", 40, random_state=0) == model.generate("the", 40, random_state=0)
    np.testing.assert_array_equal(again.score(TEXT), model.score(TEXT))


@pytest.mark.parametrize(
    "change",
    [
        {"ends": 3},
        {"parameters": {}},
        {"vocabulary": {"level": "char", "tokens": ["a"]}},
        {"training": {"history": [{"epoch": "x"}], "best_epoch": 1, "interrupted": False}},
    ],
)
def test_damaged_files(model: SequenceGenerator, tmp_path: Path, change: dict[str, Any]) -> None:
    from unspool import saved
    from unspool.generation import saving

    model.save(tmp_path / "model")
    content = json.loads(json.dumps(saving.content(model)))
    saved.save(tmp_path / "model", {**content, **change}, model.network_.state_dict())
    with pytest.raises(ModelFileError, match="Cannot load the model"):
        unspool.load(tmp_path / "model")


def test_a_cell_without_a_name_is_not_saved(tmp_path: Path) -> None:
    from unspool.cells import GRUCell

    model = SequenceGenerator(**SMALL, epochs=1, cell=GRUCell).fit(TEXT)
    with pytest.raises(InvalidParameterError, match="a name to be saved"):
        model.save(tmp_path / "model")


def test_frozen(model: SequenceGenerator) -> None:
    model = pickle.loads(pickle.dumps(model))
    plain, text = model.perplexity(TEXT), model.generate("the", 30, do_sample=False)
    for weights, tolerance in (("float32", 1e-6), ("bfloat16", 0.02), ("int8", 0.03)):
        assert model.freeze(weights) is model
        assert model.perplexity(TEXT) == pytest.approx(plain, rel=tolerance)
        assert len(model.generate("the", 30, do_sample=False)) == 30
    assert model.freeze().generate("the", 30, do_sample=False) == text
    model.fit(TEXT)
    assert not hasattr(model, "frozen_")
    with pytest.raises(InvalidParameterError):
        model.freeze("float16")


def test_changed_weights_are_seen(model: SequenceGenerator) -> None:
    model = pickle.loads(pickle.dumps(model))
    before = model.generate("the", 30, do_sample=False)
    with torch.no_grad():
        model.network_.head.bias[2] += 100.0
    assert model.generate("the", 30, do_sample=False) == model.vocabulary_.tokens[0] * 30 != before


def test_frozen_cells_that_cannot_be() -> None:
    class Odd(torch.nn.Module):
        def __init__(self, inputs: int, size: int) -> None:
            super().__init__()
            self.size, self.w = size, torch.nn.Parameter(torch.randn(inputs, size))

        def initial_state(self, batch: int) -> torch.Tensor:
            return torch.zeros(batch, self.size)

        def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x @ self.w + state)

    with pytest.warns(unspool.errors.SlowPathWarning):
        model = SequenceGenerator(**{**SMALL, "hidden_size": 4}, epochs=1, cell=Odd).fit(TEXT[:80])
        assert len(model.generate("the", 5)) == 5
    with pytest.raises(EngineError):
        model.freeze()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "must be a str, or a list of str"),
        ([], "hold no token"),
        ("", "too short to hold back"),
        (["", ""], "hold no token"),
        ("abc", "too short to hold back 5% of it"),
    ],
)
def test_wrong_texts(texts: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SequenceGenerator(**SMALL, epochs=1).fit(texts)


def test_other_wrong_inputs(model: SequenceGenerator) -> None:
    with pytest.raises(DataError, match="y must be None"):
        SequenceGenerator().fit(TEXT, [1])
    with pytest.raises(DataError, match="y must be None"):
        model.score(TEXT, [1])
    with pytest.raises(DataError, match="hold no token"):
        model.perplexity("")
    with pytest.raises(InvalidParameterError, match="callbacks"):
        SequenceGenerator().fit(TEXT, callbacks=[Callback])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", "letter"),
        ("cell", "lstmm"),
        ("chunk_length", 0),
        ("tie_weights", "yes"),
        ("embedding_dropout", 1.0),
        ("activation_penalty", -1.0),
        ("random_lengths", None),
        ("max_words", 0),
        ("dropout", 1.5),
    ],
)
def test_ranges(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of SequenceGenerator"):
        SequenceGenerator(**{name: value}).fit(TEXT)


def test_the_table_of_settings_is_the_constructor() -> None:
    from unspool.generation.settings import SETTINGS

    assert {p.name: p.default for p in SETTINGS} == SequenceGenerator().get_params()
    assert [p.name for p in SETTINGS] == list(
        SequenceGenerator.__init__.__code__.co_varnames[1 : len(SETTINGS) + 1]
    )
    assert all(p.name in (SequenceGenerator.__doc__ or "") for p in SETTINGS)


def test_a_generator_of_numpy_is_a_seed_that_moves_on(model: SequenceGenerator) -> None:
    drawn, again = np.random.default_rng(3), np.random.default_rng(3)
    texts = [model.generate("the", 20, random_state=drawn) for _ in range(2)]
    assert texts == [model.generate("the", 20, random_state=again) for _ in range(2)] and texts[0] != texts[1]
    fits = [
        SequenceGenerator(**{**SMALL, "epochs": 1, "random_state": np.random.default_rng(seed)}).fit(TEXT)
        for seed in (1, 1)
    ]
    assert fits[0].history_[0]["train_loss"] == fits[1].history_[0]["train_loss"]
    with pytest.raises(InvalidParameterError, match="'do_sample' parameter of generate must be True, False"):
        model.generate("the", 5, do_sample="yes")
