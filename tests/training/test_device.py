"""The device of training and of prediction, on machines that may have none but the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unspool import SequenceRegressor
from unspool.errors import InvalidParameterError
from unspool.training import Batch
from unspool.training.device import choose, on

SMALL = {"hidden_size": 4, "embedding_dim": 3, "epochs": 2, "random_state": 0, "verbose": 0}
X, Y = ["a b", "b c c", "c", "a a b"] * 10, np.arange(40.0)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_a_gpu_where_there_is_one_and_says_so(monkeypatch, capsys, cuda, mps, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose("X", "auto", verbose=1).type == found
    assert f"Device: {found}" in capsys.readouterr().out
    choose("X", "auto")
    assert capsys.readouterr().out == ""


def test_a_device_that_is_not_there_is_refused_before_the_training(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InvalidParameterError, match=r"'device' .* 'auto' or one of \['cpu'\].*Got 'cuda'.*build of torch"
    ):
        SequenceRegressor(**SMALL, device="cuda").fit(X, Y)
    with pytest.raises(InvalidParameterError, match="one of"):
        SequenceRegressor(**SMALL, device="gpu").fit(X, Y)


def test_auto_without_a_gpu_has_the_numbers_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    plain = SequenceRegressor(**SMALL).fit(X, Y)
    auto = SequenceRegressor(**SMALL, device="auto").fit(X, Y)
    np.testing.assert_array_equal(auto.predict(X), plain.predict(X))


class Elsewhere:
    """A device that is none: what would move there is noted, and stays."""

    type = "cuda"


@pytest.fixture
def moved(monkeypatch) -> list[tuple[str, str]]:
    """Every move of a network or a batch, in order; "cuda" is the CPU."""
    seen: list[tuple[str, str]] = []

    def network_to(self: nn.Module, device):
        seen.append(("network", device.type))
        return self

    def device_of(network: nn.Module):
        moves = [where for what, where in seen if what == "network"]
        return Elsewhere() if moves[-1:] == ["cuda"] else torch.device("cpu")

    def batch_to(self: Batch, device):
        seen.append(("batch", device.type))
        return self

    for user in ("unspool.estimators.base", "unspool.training.device"):
        monkeypatch.setattr(f"{user}.choose", lambda *_: Elsewhere())
    for user in ("unspool.training.loop", "unspool.estimators.monitoring"):
        monkeypatch.setattr(f"{user}.device_of", device_of)
    monkeypatch.setattr(
        "unspool.estimators.base.seeded", lambda seed, device: torch.random.fork_rng(devices=[])
    )
    monkeypatch.setattr(nn.Module, "to", network_to)
    monkeypatch.setattr(Batch, "to", batch_to)
    return seen


def test_network_and_batches_go_there_and_the_network_comes_back(moved):
    model = SequenceRegressor(**SMALL, blend=False, early_stopping=False, device="cuda").fit(X, Y)
    assert moved == [
        ("network", "cuda"),
        *[("batch", "cuda")] * 4,
        ("network", "cpu"),
    ]  # 2 epochs of 2 batches
    moved.clear()
    model.predict(X)
    assert moved == [("network", "cuda"), ("batch", "cuda"), ("network", "cpu")]
    moved.clear()
    model.freeze().predict(X)  # frozen weights are the native engine's
    assert moved == []


def test_an_optimiser_of_rows_is_of_the_cpu(moved):
    with pytest.raises(InvalidParameterError, match="'dense' on another device"):
        SequenceRegressor(**SMALL, device="cuda", embedding_update="sparse").fit(X, Y)


def test_the_network_comes_back_after_an_error():
    network, places = nn.Linear(2, 2), []
    network.to = lambda device: places.append(device.type)  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError), on(network, torch.device("meta")):
        raise ZeroDivisionError
    assert places == ["meta", "cpu"]


def test_a_batch_moves_with_all_that_the_network_takes():
    from unspool import Ragged

    batch = Batch(torch.arange(2), Ragged(torch.ones(3), [0, 1, 3]), torch.ones(2), None, torch.ones(2, 1))
    there = batch.to(torch.device("meta"))
    assert (
        there.inputs.values.is_meta
        and there.targets.is_meta
        and there.columns.is_meta
        and there.weights is None
    )
    assert not there.rows.is_meta and not there.inputs.offsets.is_meta
