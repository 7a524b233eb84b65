"""`SequenceTagger` on a small grammar: it learns it, and the traps of tagging, one test each."""

from __future__ import annotations

import random
import warnings
from itertools import chain

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from tests.tagging.toy import sentences

import unspool
from unspool import SequenceTagger, saved
from unspool.encode.reading import Raw
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.evaluation.spans import span_scores
from unspool.tagging import saving
from unspool.tagging.reading import decide_scheme

SMALL = {"hidden_size": 16, "embedding_dim": 16, "epochs": 5, "batch_size": 8, "learning_rate": 2e-2}
SMALL |= {"averaging": 0.9, "random_state": 0, "verbose": 0}
X, Y, LABELS = sentences(80)
NEW_X, NEW_Y, NEW_LABELS = sentences(40, seed=1)


@pytest.fixture(scope="module")
def joint() -> SequenceTagger:
    return SequenceTagger(**SMALL).fit(X, Y, LABELS)


@pytest.fixture(scope="module")
def plain() -> SequenceTagger:
    return SequenceTagger(**{**SMALL, "crf": False, "characters": None}).fit(X, Y)


def test_learns_tags_and_labels(joint):
    assert joint.scheme_ == "BIO" and joint.classes_.tolist() == ["B-LOC", "B-PER", "I-LOC", "O"]
    assert joint.labels_.tolist() == ["ask", "tell"]
    found = joint.measure(NEW_X, NEW_Y, NEW_LABELS)
    assert found.spans.f1 > 0.98 and found.label_accuracy > 0.95 and found.whole > 0.9
    assert joint.score(NEW_X, NEW_Y) == found.spans.f1
    assert [row["validation_score"] for row in joint.history_][joint.best_epoch_ - 1] == max(
        row["validation_score"] for row in joint.history_
    )
    assert joint.spans([["mr", "Lee", "lives", "in", "New", "York"]]) == [[("PER", 1, 2), ("LOC", 4, 6)]]


def test_without_a_field(plain):
    assert plain.network_.crf is None and plain.score(NEW_X, NEW_Y) > 0.98
    p = plain.predict_proba(NEW_X[:3])
    chosen = [plain.classes_[row.argmax(1)].tolist() for row in p]
    assert chosen == plain.predict(NEW_X[:3])
    with pytest.raises(DataError, match="no labels of sentences"):
        plain.predict_labels(X)


def test_no_answer_depends_on_company(joint):
    some = [*NEW_X[:6], ["mr"], [], ["does", "unheard", "of"]]
    tags, p, q = joint.predict(some), joint.predict_proba(some), joint.predict_labels_proba(some)
    for i, sentence in enumerate(some):
        assert joint.predict([sentence])[0] == tags[i]
        np.testing.assert_allclose(joint.predict_proba([sentence])[0], p[i], atol=1e-6)
        np.testing.assert_allclose(joint.predict_labels_proba([sentence])[0], q[i], atol=1e-6)


def test_probabilities_add_up(joint):
    for tokens, p in zip(NEW_X, joint.predict_proba(NEW_X)):
        assert p.shape == (len(tokens), 4)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(joint.predict_labels_proba(NEW_X).sum(1), 1, atol=1e-6)
    assert (joint.predict_labels(NEW_X) == joint.labels_[joint.predict_labels_proba(NEW_X).argmax(1)]).all()


def test_probabilities_are_those_of_all_paths(joint):
    """p(tag at t) is the likelihood of the sentence with that tag alone known."""
    sentence = NEW_X[0][:4]
    inputs = joint.input_.encode(Raw("tokens", [sentence]))
    with torch.no_grad():
        outputs = joint.network_(inputs)
        for t, row in enumerate(joint.predict_proba([sentence])[0]):
            for k, p in enumerate(row):
                tags = torch.full((4,), -1)
                tags[t] = k
                known = outputs.emissions.with_values(tags)
                if len(outputs.crf.illegal(known)):
                    assert p == 0
                    continue
                expected = outputs.crf(outputs.emissions, known).exp().item()
                assert p == pytest.approx(expected, abs=1e-6)


def test_empty_sentences(joint):
    assert (
        joint.predict([[]]) == [[]]
        and joint.predict([]) == []
        and joint.predict_proba([[]])[0].shape == (0, 4)
    )
    assert joint.predict_labels([[]]).shape == (1,) and joint.predict_labels([]).shape == (0,)
    again = SequenceTagger(**{**SMALL, "epochs": 1}).fit(
        [*X[:20], [], []], [*Y[:20], [], []], [*LABELS[:20], "ask", "ask"]
    )
    assert again.predict([[], X[0]])[0] == []


def test_256_tokens_and_more(joint):
    """Nothing is cut: the last of 350 tokens have the tags that they have alone."""
    long_x, long_y = ([*chain.from_iterable(rows)] for rows in (NEW_X, NEW_Y))
    assert len(long_x) > 350
    predicted = joint.predict([long_x])[0]
    assert len(predicted) == len(long_x)
    assert span_scores([long_y[256:]], [predicted[256:]]).f1 > 0.95


def test_no_path_is_illegal():
    """A network that knows nothing still never lets I-LOC follow O, and a sentence never starts with it."""
    model = SequenceTagger(**{**SMALL, "epochs": 1, "learning_rate": 1e-6}).fit(X, Y)
    drawn = torch.Generator().manual_seed(0)
    model.network_.head.module.layers[-1].weight.data.normal_(0, 50, generator=drawn)
    tags = model.predict(NEW_X)
    assert any("I-LOC" in row for row in tags)
    for row in tags:
        for before, after in zip(["O", *row], row):
            assert after != "I-LOC" or before in ("B-LOC", "I-LOC")


def test_a_tag_seen_only_in_validation():
    dev_y = [["B-NEW" if tag == "B-PER" else tag for tag in row] for row in NEW_Y[:10]]
    with pytest.warns(UserWarning, match=r"\d+ tokens of the validation part have a tag .* such as 'B-NEW'"):
        model = SequenceTagger(**SMALL).fit(X, Y, validation_data=(NEW_X[:10], dev_y))
    assert "B-NEW" not in model.classes_
    assert all(np.isfinite(row["validation_loss"]) for row in model.history_)
    found = model.measure(NEW_X[:10], dev_y)
    assert found.spans.labels["NEW"].right == 0 and 0.3 < found.spans.f1 < 0.8
    assert model.history_[model.best_epoch_ - 1]["validation_score"] == pytest.approx(found.spans.f1)


def test_tags_of_another_length_name_the_row():
    wrong = [*Y[:3], Y[3][:-1], *Y[4:]]
    with pytest.raises(DataError, match=f"Row 3 has {len(X[3])} tokens and {len(X[3]) - 1} tags"):
        SequenceTagger(**SMALL).fit(X, wrong)


def test_tags_that_are_not_quite_bio_are_learnt_as_the_same_spans():
    loose = [[tag.replace("B-", "I-") for tag in row] for row in Y]
    with pytest.warns(UserWarning, match=r"The tags of 72 of 72 rows are not quite BIO"):
        model = SequenceTagger(**SMALL).fit(X, loose)
    assert model.classes_.tolist() == ["B-LOC", "B-PER", "I-LOC", "O"]
    assert model.score(NEW_X, [[tag.replace("B-", "I-") for tag in row] for row in NEW_Y]) > 0.98


def test_iobes():
    from unspool.tagging.schemes import mended

    model = SequenceTagger(**SMALL).fit(X, [mended(row, "IOBES") for row in Y])
    assert model.scheme_ == "IOBES" and model.classes_.tolist() == ["B-LOC", "E-LOC", "O", "S-PER"]
    assert model.score(NEW_X, NEW_Y) > 0.98


def test_tags_without_spans():
    kinds = [["NAME" if token[0].isupper() else "word" for token in row] for row in X]
    model = SequenceTagger(**{**SMALL, "epochs": 3}).fit(X, kinds)
    assert model.scheme_ is None and model.measure(X, kinds).spans is None and model.score(X, kinds) > 0.99
    with pytest.raises(DataError, match="mark no spans"):
        model.spans(X)
    with pytest.raises(DataError, match=r"Got '(NAME|word)'"):
        SequenceTagger(**SMALL, scheme="BIO").fit(X, kinds)


def test_tags_that_are_not_known():
    """Half of the tags are hidden; the others are enough."""
    rng = np.random.default_rng(0)
    partly = [[None if rng.random() < 0.5 else tag for tag in row] for row in Y]
    for crf in (True, False):
        model = SequenceTagger(**{**SMALL, "crf": crf}).fit(X, partly)
        assert model.score(NEW_X, NEW_Y) > 0.9


def test_characters_tell_of_words_never_seen():
    """Only the capital letter says what a word is, and hardly any word comes twice."""
    rng = random.Random(0)
    words = [["".join(rng.choices("abcdefgh", k=5)) for _ in range(6)] for _ in range(100)]
    words = [[word.title() if rng.random() < 0.5 else word for word in row] for row in words]
    kinds = [["NAME" if word[0].isupper() else "word" for word in row] for row in words]
    right = {}
    for characters in ("cnn", "lstm", None):
        model = SequenceTagger(**{**SMALL, "characters": characters, "word_dropout": 0.5})
        right[characters] = model.fit(words[:70], kinds[:70]).score(words[70:], kinds[70:])
    assert right["cnn"] > 0.95 and right["lstm"] > 0.95 and right[None] < 0.7


def test_same_seed_same_numbers():
    twins = [SequenceTagger(**{**SMALL, "epochs": 2}).fit(X, Y, LABELS) for _ in range(2)]
    for a, b in zip(twins[0].predict_proba(NEW_X), twins[1].predict_proba(NEW_X)):
        assert (a == b).all()
    assert clone(twins[0]).get_params() == twins[0].get_params()


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_saved_and_loaded(joint, plain, tmp_path, name):
    for model in (joint, plain):
        model.save(tmp_path / name)
        again = unspool.load(tmp_path / name)
        assert type(again) is SequenceTagger and again.get_params() == model.get_params()
        assert again.predict(NEW_X) == model.predict(NEW_X) and again.history_ == model.history_
        assert again.summary() == model.summary()
        for a, b in zip(again.predict_proba(NEW_X), model.predict_proba(NEW_X)):
            assert (a == b).all()


def test_labels_that_are_numbers_come_back(tmp_path):
    model = SequenceTagger(**{**SMALL, "epochs": 1}).fit(X, Y, [len(row) for row in X])
    model.save(tmp_path / "m")
    assert unspool.load(tmp_path / "m").predict_labels(X).dtype.kind == "i"


def test_a_file_that_does_not_hold_is_refused(joint, tmp_path):
    whole, tensors = saving.content(joint), dict(joint.network_.state_dict())
    saved.save(tmp_path / "m", whole, tensors)
    assert unspool.load(tmp_path / "m").predict(X) == joint.predict(X)
    tags, own = whole["tags"], whole["parameters"]
    wrong = {
        "its scheme must be": ("scheme", "BILOU"),
        "its tags are not of its scheme": ("tags", ["NOUN", "VERB"]),
        "sorted, all different": ("tags", [*reversed(tags)]),
        "labels must be two or more": ("labels", ["ask"]),
        "labels must be sorted": ("labels", ["tell", "ask"]),
        "'crf' parameter": ("parameters", {**own, "crf": 7}),
        "'crf'": ("parameters", {name: value for name, value in own.items() if name != "crf"}),
        "characters, or its parameters": ("parameters", {**own, "characters": None}),
        "no field": ("input", {}),
        "must be float32 of shape": ("tags", tags[:3]),
        "history must hold numbers": ("training", {**whole["training"], "history": [{"epoch": "1"}]}),
    }
    for message, (name, value) in wrong.items():
        saved.save(tmp_path / "m", {**whole, name: value}, tensors)
        with pytest.raises(ModelFileError, match=message):
            unspool.load(tmp_path / "m")


def test_frozen(joint):
    before, p = joint.predict(NEW_X), joint.predict_proba(NEW_X)
    try:
        assert joint.freeze().predict(NEW_X) == before
        for a, b in zip(joint.predict_proba(NEW_X), p):
            np.testing.assert_allclose(a, b, atol=1e-5)
        assert joint.freeze("int8").score(NEW_X, NEW_Y) > 0.95
    finally:
        del joint.frozen_


def test_columns_of_lists_are_read(joint):
    expected = joint.predict(NEW_X[:5])
    assert joint.predict(pl.Series(NEW_X[:5])) == expected
    assert joint.predict([np.array(row) for row in NEW_X[:5]]) == expected
    assert joint.predict([tuple(row) for row in NEW_X[:5]]) == expected


def test_vectors():
    words = sorted({token.lower() for row in X for token in row})
    table = np.random.default_rng(0).normal(size=(len(words), 12)).astype(np.float32)
    model = SequenceTagger(**{**SMALL, "vectors": (words, table)}).fit(X, Y)
    assert model.input_.coverage == 1.0 and model.score(NEW_X, NEW_Y) > 0.98
    assert "vectors for 100.0% of the training tokens" in model.summary()


def test_checkpoint_and_callbacks(tmp_path):
    """A training that goes on from its file has the numbers of one that was never interrupted."""
    few = X[:40], Y[:40], LABELS[:40]

    class Stop(unspool.training.Callback):
        at = 2

        def on_epoch_begin(self, trainer):
            if trainer.epoch == self.at:
                raise RuntimeError("power cut")

    stop = Stop()
    with pytest.raises(RuntimeError):
        SequenceTagger(**{**SMALL, "epochs": 3}).fit(*few, callbacks=[stop], checkpoint=tmp_path / "c")
    stop.at = 0
    whole = SequenceTagger(**{**SMALL, "epochs": 3}).fit(*few)
    again = SequenceTagger(**{**SMALL, "epochs": 3}).fit(*few, callbacks=[stop], checkpoint=tmp_path / "c")
    assert [row["validation_score"] for row in again.history_] == [
        row["validation_score"] for row in whole.history_
    ]
    for a, b in zip(again.predict_proba(NEW_X), whole.predict_proba(NEW_X)):
        assert (a == b).all()


@pytest.mark.parametrize(
    "fit, message",
    [
        (
            lambda m: m.fit(["mr Smith"], [["O", "O"]]),
            "Row 0 of X is one str: 'mr Smith'. Split it into tokens",
        ),
        (lambda m: m.fit([["a", 1]], [["O", "O"]]), "Row 0 of X holds int: 1"),
        (lambda m: m.fit("text", []), "Got str"),
        (lambda m: m.fit(X, Y[:-1]), "a row for each of the 80 sentences of X. Got 79"),
        (lambda m: m.fit(X, None), "y is required"),
        (lambda m: m.fit(X, [" ".join(row) for row in Y]), "Row 0 is str: 'O O B-PER"),
        (
            lambda m: m.fit(X, [[0] * len(row) for row in X]),
            "A tag must be a str, or None. Row 0 of y has int: 0",
        ),
        (lambda m: m.fit(X, Y, LABELS[:-1]), "labels must have one for each of the 80"),
        (lambda m: m.fit(X, Y, ["ask"] * 80), "two or more kinds. All are 'ask'"),
        (lambda m: m.fit(X[:1], Y[:1]), "At least two sentences"),
        (lambda m: m.fit([[], []], [[], []]), "No token of the training part has a tag"),
        (lambda m: m.fit(X, Y, LABELS, (X, Y)), r"must be \(X, y, labels\)"),
        (
            lambda m: m.fit(X, Y, validation_data=([[]], [[]])),
            "No sentence of the validation part holds a token",
        ),
    ],
)
def test_refused(fit, message):
    with pytest.raises(DataError, match=message):
        fit(SequenceTagger(**SMALL))


def test_parameters_are_checked():
    for wrong in (
        {"scheme": "BILOU"},
        {"characters": "gru"},
        {"crf": 1},
        {"label_weight": -1.0},
        {"epochs": 0},
    ):
        with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
            SequenceTagger(**{**SMALL, **wrong}).fit(X, Y)
    from unspool.tagging.parameters import TABLE

    assert {p.name: p.default for p in TABLE} == SequenceTagger().get_params()


def test_silent_and_leaves_the_random_state_alone(capsys):
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SequenceTagger(**{**SMALL, "epochs": 1}).fit(X, Y)
    assert torch.equal(torch.random.get_rng_state(), state) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([["a", "b"]], [{"O", "B"}], "Row 0 is set"),
        ([{"tokens": ["a"]}], [["O"]], "Row 0 of X is dict"),
        ([["\ud800"]], [["O"]], "X, row 0, has .* not valid Unicode"),
        ([["a"]], [["B-\ud800"]], "y, row 0 has .* not valid Unicode"),
    ],
)
def test_rows_without_an_order_and_half_characters(X, y, message):
    with pytest.raises(DataError, match=message):
        SequenceTagger().fit(X * 4, y * 4)


@pytest.mark.parametrize("tags", [["U-X", "B-X", "L-X", "O"], ["b-x", "i-x", "o"], ["X-B", "X-I", "O"]])
def test_tags_like_those_of_spans_are_told_of(tags):
    with pytest.warns(UserWarning, match="look like those of spans.*neither BIO nor IOBES"):
        assert decide_scheme("auto", [tags]) is None


def test_one_tag_alone_is_told_of():
    with pytest.warns(UserWarning, match="All tokens of the training part have the tag 'O'"):
        SequenceTagger(**{**SMALL, "epochs": 1}).fit(X, [["O"] * len(row) for row in X])


def test_tags_of_words_are_not_told_of(recwarn):
    assert decide_scheme("auto", [["NN", "S-FORM", "O", "E"]]) is None and not recwarn.list
