"""A tagger on another device. torch's `meta` device stands in for a GPU: it refuses tensors of two devices as well."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from unspool import Ragged, SequenceTagger
from unspool.errors import InvalidParameterError
from unspool.tagging.network import Outputs, TagLoss, Targets

X = [["a", "b", "c"], ["b"], ["c", "a"], ["a", "a", "b", "c"]] * 3
Y = [["O", "B-x", "I-x"], ["O"], ["B-x", "O"], ["O", "O", "B-x", "I-x"]] * 3
SMALL: dict[str, Any] = {
    "hidden_size": 4,
    "embedding_dim": 3,
    "epochs": 1,
    "random_state": 0,
    "verbose": 0,
    "early_stopping": False,
}


def test_the_loss_keeps_to_a_device() -> None:
    there = torch.device("meta")
    tags = Ragged.from_list([torch.tensor([0, 1, 2]), torch.tensor([1])])
    targets = Targets(tags, torch.tensor([1, 0])).to(there)
    emissions = tags.with_values(torch.zeros(4, 3, device=there))
    outputs = Outputs(emissions, torch.zeros(2, 2, device=there), None)
    assert targets.values.is_meta and targets.labels.is_meta
    for weights in (None, torch.ones(2, device=there)):
        assert TagLoss(1.0, torch.ones(3))(outputs, targets, weights).is_meta


def test_fit_and_predict_move_the_network_and_bring_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is named "cuda" here, and is the CPU."""
    moved: list[str] = []

    @contextlib.contextmanager
    def on(network: Any, device: torch.device) -> Any:
        moved.append(device.type)
        yield

    for user in ("unspool.tagging.tagger", "unspool.training.device"):
        monkeypatch.setattr(f"{user}.choose", lambda *_: torch.device("cuda"))
        monkeypatch.setattr(f"{user}.on", on)
    monkeypatch.setattr("unspool.tagging.tagger.seeded", lambda *_: torch.random.fork_rng(devices=[]))
    model = SequenceTagger(**SMALL, device="cuda").fit(X, Y)
    assert moved == ["cuda"]
    model.predict(X)
    model.freeze().predict(X)
    assert moved == ["cuda", "cuda"]  # frozen weights are the native engine's


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidParameterError, match=r"'device'.*Got 'cuda'.*build of torch"):
        SequenceTagger(**SMALL, device="cuda").fit(X, Y)
