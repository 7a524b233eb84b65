from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tests.seq2seq.conftest import LETTERS, SMALL

import unspool
from unspool import Seq2Seq
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.training import Callback

TARGETS = [text[::-1].upper() for text in LETTERS]


def numbers(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Additions of two numbers below 20."""
    a, b = np.random.default_rng(seed).integers(0, 20, (2, count))
    return [f"{x}+{y}" for x, y in zip(a, b)], [str(x + y) for x, y in zip(a, b)]


def test_what_was_learnt_is_written(model):
    assert model.score(LETTERS, TARGETS) == 1.0
    assert model.predict(["abc", "b"]).tolist() == ["CBA", "B"]
    assert model.history_[-1]["train_loss"] < 0.2 and model.n_parameters_ == sum(
        p.numel() for p in model.network_.parameters()
    )
    assert model.longest_ == 4


def test_log_probability_is_what_decoding_finds(model):
    found = model.generate(["abc", "c"], num_beams=4, num_return_sequences=3, length_penalty=0.0)
    for source, best in zip(["abc", "c"], found):
        assert len(best) == 3 and [s for _, s in best] == sorted((s for _, s in best), reverse=True)
        texts = [text for text, _ in best]
        np.testing.assert_allclose(
            model.log_probability([source] * 3, texts), [s for _, s in best], atol=1e-5
        )
    columns = model.columns(["abc", "c"])
    assert list(columns) == ["prediction", "log_probability_prediction"]
    np.testing.assert_allclose(
        columns["log_probability_prediction"],
        model.log_probability(["abc", "c"], columns["prediction"]),
        atol=1e-5,
    )
    assert np.exp(model.log_probability(["abc"] * 3, ["CBA", "AB", ""])).sum() < 1


def test_alignment(model):
    source, target, weights = model.align("ab")
    assert (source, target, weights.shape) == (["a", "b"], ["B", "A"], (3, 2))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert model.align("ab", "A")[1] == ["A"]


def test_rows_do_not_depend_on_the_others(model):
    together = model.predict(LETTERS, num_beams=3).tolist()
    assert [model.predict([text], num_beams=3)[0] for text in LETTERS] == together
    np.testing.assert_allclose(
        [model.log_probability([x], [y])[0] for x, y in zip(LETTERS, TARGETS)],
        model.log_probability(LETTERS, TARGETS),
        atol=1e-5,
    )


def test_the_same_seed_gives_the_same_model_and_torch_keeps_its_own():
    X, y = numbers(40, 0)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    settings = {**SMALL, "epochs": 2, "teacher_forcing": 0.5, "input_dropout": 0.2, "num_layers": 2}
    one, two = (Seq2Seq(**settings).fit(X, y) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert [row["train_loss"] for row in one.history_] == [row["train_loss"] for row in two.history_]
    assert (one.predict(X) == two.predict(X)).all()
    other = Seq2Seq(**{**settings, "random_state": 1}).fit(X, y)
    assert other.history_[0]["train_loss"] != one.history_[0]["train_loss"]


def test_teacher_forcing_reaches_the_training():
    X, y = numbers(40, 0)
    shares = []

    class Watch(Callback):
        def on_epoch_end(self, trainer):
            shares.append(trainer.network.share)

    settings = {**SMALL, "epochs": 3, "early_stopping": False}
    drawn = Seq2Seq(**settings, teacher_forcing=0.2).fit(X, y, callbacks=[Watch()])
    assert shares == pytest.approx([1.0, 0.6, 0.2])
    forced = Seq2Seq(**settings).fit(X, y)
    assert drawn.history_[0]["train_loss"] == forced.history_[0]["train_loss"]
    assert drawn.history_[1]["train_loss"] != forced.history_[1]["train_loss"]


@pytest.mark.parametrize(
    "settings", [{"source_level": "word", "attention": "additive"}, {"cell": "gru", "num_layers": 2}]
)
def test_saved_frozen_and_cloned(settings, tmp_path):
    X, y = ["One two", "two  three.", "four"] * 4, ["a\tB", "c", "d e"] * 4
    model = Seq2Seq(
        **{**SMALL, **settings},
        target_level="word",
        epochs=2,
        zoneout=(0.1, 0.2) if not settings.get("cell") else 0.1,
    )
    model.fit(X, y)
    model.save(tmp_path / "model.zip")
    loaded = unspool.load(tmp_path / "model.zip")
    expected = model.log_probability(X, y)
    np.testing.assert_array_equal(loaded.log_probability(X, y), expected)
    assert loaded.get_params() == model.get_params() and loaded.history_ == model.history_
    assert loaded.summary() == model.summary() and loaded.longest_ == model.longest_
    np.testing.assert_allclose(loaded.freeze().log_probability(X, y), expected, atol=1e-5)
    assert (loaded.predict(X) == model.predict(X)).all()
    rough = loaded.freeze("int8").log_probability(X, y)
    assert 0 < np.abs(rough - expected).max() < 1
    assert clone(model).get_params() == model.get_params()
    total = sum(int(line.split()[-1].replace(",", "")) for line in model.summary().splitlines()[2:-1])
    assert total == model.n_parameters_


def test_a_damaged_file(model, tmp_path):
    from unspool import saved
    from unspool.seq2seq import saving

    for change, message in (
        ({"longest": 0}, "must have a token or more"),
        ({"source": {"level": "word", "tokens": ["a"]}}, "not of the levels"),
        ({"target": {"level": "char", "tokens": ["a"]}}, "shape"),
    ):
        saved.save(tmp_path / "m.zip", {**saving.content(model), **change}, model.network_.state_dict())
        with pytest.raises(ModelFileError, match=message):
            unspool.load(tmp_path / "m.zip")


def test_texts_come_back_exactly():
    y = ["Über  das-Haus!\n", " a ", "日本 go", ""] * 3
    for level in ("char", "word", "subword"):
        model = Seq2Seq(target_level=level, source_level=level, epochs=1, early_stopping=False, **SMALL)
        model.fit(y, y)
        for text in y:
            assert model.target_.decode(model.target_.encode(text)) == text


def test_words_do_not_depend_on_their_place():
    model = Seq2Seq(target_level="word", epochs=1, early_stopping=False, **SMALL).fit(["a"], ["x y x"])
    ids = model.target_.encode("x y x").tolist()
    assert ids[0] == ids[2] and len(model.target_) == 4
    assert model.target_.tokens("x z") == ["x", "<unk>"]


def test_a_source_in_several_rows_is_in_one_part():
    from unspool.seq2seq.reading import held_back

    sources = [f"word {i}" for i in range(20)] * 3
    held = held_back(sources, 0.2, np.random.RandomState(0))
    assert held.sum() == 12
    assert {s for s, h in zip(sources, held) if h}.isdisjoint(s for s, h in zip(sources, held) if not h)


def test_the_vocabulary_is_that_of_the_training_part():
    X, y = ["ab", "ba", "aa"], ["x", "y", "x"]
    model = Seq2Seq(epochs=1, **SMALL).fit(X, y, validation_data=(["zq"], ["w"]))
    assert set(model.source_.vocabulary.tokens) == {"a", "b"}
    assert set(model.target_.vocabulary.tokens) == {"x", "y"}
    assert "validation_loss" in model.history_[0]


def test_an_unknown_token_is_told_and_never_written(model):
    with pytest.warns(UserWarning, match="1 of 2 sources hold a token that the training part had not"):
        assert len(model.predict(["aé", "a"])) == 2
    assert "<unk>" not in "".join(model.predict(LETTERS, num_beams=3))


def test_an_empty_source_has_an_answer(model):
    assert isinstance(model.predict([""])[0], str)
    assert model.predict([]).tolist() == []


def test_a_target_without_an_end_is_cut(model):
    with pytest.warns(UserWarning, match="1 of 2 predictions did not come to an end within 2 tokens"):
        assert model.predict(["abc", "a"], max_new_tokens=2).tolist() == ["CB", "A"]


def test_several_right_answers(model):
    found = model.evaluate(["abc", "b"], [["nothing", "CBA"], "C"])
    assert found["exact_match"] == 0.5 and found["wer"] == 0.5 and found["cer"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    "given, message",
    [
        ((["a", "b"], ["c"]), "a target for each source. Got 2 and 1"),
        ((["a", None], ["c", "d"]), "Text 1 of the X must be a str. Got NoneType"),
        ((["a", "b"], ["c", 3]), "Text 1 of the y must be a str. Got int"),
        (("ab", ["c", "d"]), "X must be a list of texts. Got one text"),
        (([], []), "At least one pair"),
        ((["", ""], ["c", "d"]), "source texts to train on hold no token"),
        ((["a", "b"], ["", ""]), "target texts to train on hold no token"),
    ],
)
def test_pairs_that_cannot_be_used(given, message):
    with pytest.raises(DataError, match=message):
        Seq2Seq(early_stopping=False, **SMALL).fit(*given)


def test_too_few_to_hold_back():
    with pytest.raises(DataError, match="Of 1 distinct sources none can be held back"):
        Seq2Seq(**SMALL).fit(["a", "a"], ["b", "c"])


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": (8, 8)},
        {"attention": "dot"},
        {"teacher_forcing": 1.5},
        {"teacher_forcing_schedule": "exponential"},
        {"source_level": "byte"},
        {"label_smoothing": 1.0},
        {"num_layers": 0},
        {"cell": "lstmm"},
    ],
)
def test_parameters_out_of_range(settings):
    with pytest.raises(InvalidParameterError, match=next(iter(settings))):
        Seq2Seq(**settings).fit(["a", "b"], ["a", "b"])


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_beams": 0}, "num_beams"),
        ({"length_penalty": 0.5}, "left at 1.0 with num_beams=1"),
        ({"early_stopping": "never"}, "left at False with num_beams=1"),
        ({"num_beams": 2, "early_stopping": "sometimes"}, "one of .True, False, 'never'"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_decoding_that_cannot_be(model, given, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.predict(["a"], **given)
    with pytest.raises(InvalidParameterError, match=r"num_return_sequences.*at most num_beams, 2"):
        model.generate(["a"], num_beams=2, num_return_sequences=3)
