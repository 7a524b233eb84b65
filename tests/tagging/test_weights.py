"""Weights of sentences and of tags: a whole weight is as many copies, and none is as if it were not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight

import unspool
from unspool import Ragged, SequenceTagger
from unspool.errors import DataError, InvalidParameterError
from unspool.heads import CRF
from unspool.tagging.network import Outputs, TagLoss, Targets
from unspool.tagging.weights import weights_of

from .toy import sentences

SMALL = {"hidden_size": 8, "embedding_dim": 8, "epochs": 4, "batch_size": 8, "learning_rate": 2e-2}
SMALL |= {"random_state": 0, "verbose": 0, "characters": None}
LENGTHS = [3, 1, 4]


def made(crf: bool, rows: list[int]) -> tuple[Outputs, Targets]:
    """Outputs and targets of some of three sentences with labels."""
    torch.manual_seed(0)
    model = CRF(3).double() if crf else None
    whole = Ragged(torch.randn(8, 3, dtype=torch.float64), [0, 3, 4, 8])
    tags = Ragged(torch.tensor([0, 2, -1, 1, 1, 0, 2, 2]), [0, 3, 4, 8])
    labels, kinds = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0, 1, 1])
    index = torch.tensor(rows)
    return Outputs(whole[index], labels[index], model), Targets(tags[index], kinds[index])


@pytest.mark.parametrize("crf", [True, False])
def test_a_weight_of_two_is_two_copies(crf):
    loss = TagLoss(0.7)
    weights = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    outputs, targets = made(crf, [0, 1, 2])
    found = loss(outputs, targets, weights)
    copies = loss(*made(crf, [0, 1, 1]))  # the mean is over other numbers of tokens and sentences
    tags_only = TagLoss(0.0)
    of_tags = tags_only(*made(crf, [0, 1, 1])) * 5 / 8
    of_labels = (copies - tags_only(*made(crf, [0, 1, 1]))) * 3 / 3
    torch.testing.assert_close(found, of_tags + of_labels)
    torch.testing.assert_close(loss(outputs, targets, torch.ones(3).double()), loss(*made(crf, [0, 1, 2])))


def test_balanced_tags_are_scikit_learns():
    tags = [["O", "O", "B"], ["O", None, "O", "I"]]
    known = ["O", "O", "B", "O", "O", "I"]
    each = compute_sample_weight("balanced", known)
    found = weights_of("balanced", np.array(["B", "I", "O"]), tags)
    np.testing.assert_allclose(found, [each[2] / each.mean(), each[5] / each.mean(), each[0] / each.mean()])
    assert weights_of(None, np.array(["O"]), tags) is None


def test_sentences_that_weigh_nothing_teach_nothing():
    X, y, _ = sentences(40)
    wrong = [["O"] * len(row) for row in y]
    both, tags = X + X, y + wrong
    weights = np.repeat([1.0, 0.0], 40)
    model = SequenceTagger(**SMALL, early_stopping=False).fit(both, tags, sample_weight=weights)
    assert np.mean([model.predict([x])[0] == row for x, row in zip(X, y, strict=True)]) > 0.9


def test_rare_tags_weigh_more(tmp_path):
    X, y, _ = sentences(60)
    rng = np.random.default_rng(0)
    noisy = [[t if t == "O" or rng.random() < 0.3 else "O" for t in row] for row in y]
    counts = []
    for weight in (None, {"B-PER": 9.0, "B-LOC": 9.0, "I-LOC": 9.0, "O": 1.0}):
        model = SequenceTagger(
            **SMALL, crf=False, scheme=None, class_weight=weight, early_stopping=False
        ).fit(X, noisy)
        counts.append(sum(t != "O" for row in model.predict(X) for t in row))
    assert counts[1] > 2 * counts[0] + 20
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    assert again.class_weight == weight and again.predict(X) == model.predict(X)


def test_what_does_not_go_together_says_so():
    X, y, _ = sentences(10)
    with pytest.raises(InvalidParameterError, match=r"'class_weight'.*crf=True.*Use crf=False"):
        SequenceTagger(**SMALL, class_weight="balanced").fit(X, y)
    with pytest.raises(DataError, match="tag that training has not: 'B-X'"):
        SequenceTagger(**SMALL, crf=False, class_weight={"B-X": 2.0}).fit(X, y)
    with pytest.raises(DataError, match=r"sample_weight must have shape \(10,\)"):
        SequenceTagger(**SMALL).fit(X, y, sample_weight=[1.0])
