"""A task with one target a step, defined here, through the same estimator, network and loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unspool
from unspool import Ragged
from unspool.errors import DataError
from unspool.estimators import SequenceEstimator
from unspool.saved import Fields, register, registry
from unspool.tasks import Task
from unspool.tasks.reading import read_steps

SETTINGS = {"hidden_size": 9, "embedding_dim": 5, "batch_size": 16, "learning_rate": 0.02, "random_state": 0}
SETTINGS |= {"verbose": 0, "epochs": 25, "bidirectional": False, "dropout": 0.0, "input_dropout": 0.0}
SETTINGS |= {"averaging": 0.0, "weight_decay": 0.0}


class StepRegression(Task):
    """A number at every step, by least squares."""

    name = "step-regression"
    per_step = True

    def read(self, y: Any, count: int, learn: bool) -> Ragged:
        return read_steps(y, count)

    def fit(self, target: Any) -> None:
        self.mean, self.scale = float(target.values.mean()), float(target.values.std())

    def encode(self, target: Any) -> Ragged:
        return target.with_values(((target.values - self.mean) / self.scale).float()[:, None])

    @property
    def output_size(self) -> int:
        return 1

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean(1)

    def decode(self, outputs: Any) -> Ragged:
        return outputs.with_values(outputs.values[:, 0] * self.scale + self.mean)

    def columns(self, outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        rows = np.array([" ".join(f"{v:.3f}" for v in row) for row in self.decode(outputs)])
        return {names[0]: rows}

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_fields(cls, fields: Fields) -> StepRegression:
        task = cls()
        task.mean, task.scale = fields.get("mean", float), fields.get("scale", float)
        return task


class StepRegressor(SequenceEstimator):
    task = StepRegression


def sums(count: int = 120) -> tuple[list[list[int]], list[np.ndarray]]:
    """Ids of 1 to 9 steps; the target of a step is 10 plus the mean of the last two ids."""
    random = np.random.RandomState(0)
    X = [random.randint(1, 9, random.randint(1, 10)).tolist() for _ in range(count)]
    return X, [10 + (np.array(x) + np.array([0, *x[:-1]])) / 2.0 for x in X]


def test_it_learns_and_keeps_the_order_and_the_lengths() -> None:
    X, y = sums()
    model = StepRegressor(**SETTINGS).fit(X, y)
    found = model.predict(X)
    assert isinstance(found, Ragged) and found.values.dtype == torch.float64
    assert found.lengths.tolist() == [len(x) for x in X]
    assert np.corrcoef(found.values.numpy(), np.concatenate(y))[0, 1] > 0.98
    alone = model.predict([X[7]]).values
    np.testing.assert_allclose(found[7], alone, rtol=1e-5)
    assert len(model.columns(X)["prediction"][3].split()) == len(X[3])
    assert "pooling" not in model.summary()


def test_the_first_loss_is_the_mean_over_all_steps() -> None:
    """With a learning rate of nearly nothing, against the network's own outputs, step by step."""
    X, y = sums(40)
    model = StepRegressor(**{**SETTINGS, "epochs": 1, "learning_rate": 1e-12}, early_stopping=False).fit(X, y)
    target = (np.concatenate(y) - model.task_.mean) / model.task_.scale
    output = (model.predict(X).values.numpy() - model.task_.mean) / model.task_.scale
    assert model.history_[0]["train_loss"] == pytest.approx(((output - target) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("per_step", [True, False])
def test_weights_of_steps_and_of_sequences(per_step: bool) -> None:
    """What has weight 0 is not learnt: half of the targets are spoilt."""
    X, y = sums(200)
    random = np.random.RandomState(1)
    if per_step:
        weights: Any = [random.randint(0, 2, len(x)).astype(float) for x in X]
        spoilt = [np.where(w == 0, 60 - 3 * v, v) for v, w in zip(y, weights)]
    else:
        weights = random.randint(0, 2, len(X)).astype(float)
        spoilt = [60 - 3 * v if w == 0 else v for v, w in zip(y, weights)]
    settings = {**SETTINGS, "early_stopping": False}
    true = np.concatenate(y)
    weighted = StepRegressor(**settings).fit(X, spoilt, sample_weight=weights).predict(X).values.numpy()
    plain = StepRegressor(**settings).fit(X, spoilt).predict(X).values.numpy()
    assert np.corrcoef(weighted, true)[0, 1] > 0.9 > 0.5 > np.corrcoef(plain, true)[0, 1]


def test_the_weighted_loss_by_hand() -> None:
    task = StepRegression()
    prediction, target = (
        Ragged(torch.tensor([[1.0], [2.0], [4.0]]), [0, 2, 3]),
        torch.tensor([[0.0], [0.0], [1.0]]),
    )
    weight = Ragged(torch.tensor([0.5, 1.0, 2.0]), [0, 2, 3])
    assert float(task.loss(prediction, prediction.with_values(target))) == pytest.approx(14 / 3)
    assert float(task.loss(prediction, prediction.with_values(target), weight)) == pytest.approx(22.5 / 3)


def test_a_target_too_few_is_named() -> None:
    X, y = sums(20)
    y[4] = np.append(y[4], 1.0)
    with pytest.raises(DataError, match=rf"Row 4 has {len(X[4])} steps and {len(X[4]) + 1} targets"):
        StepRegressor(**SETTINGS, early_stopping=False).fit(X, y)
    with pytest.raises(
        DataError, match=r"one sequence of targets .* for each of the 20 sequences of X. Got 19"
    ):
        StepRegressor(**SETTINGS).fit(X, y[:19])


def test_it_is_saved_and_loaded_once_it_has_entered_itself(tmp_path: Any) -> None:
    X, y = sums(40)
    model = StepRegressor(**{**SETTINGS, "epochs": 2, "bidirectional": True}).fit(X, y)
    model.save(tmp_path / "m")
    with pytest.raises(unspool.errors.ModelFileError, match="'class' must be one of"):
        unspool.load(tmp_path / "m")
    register(StepRegressor)
    try:
        again = unspool.load(tmp_path / "m")
    finally:
        del registry["StepRegressor"]
    assert torch.equal(again.predict(X).values, model.predict(X).values)


def test_the_network_is_that_of_torch() -> None:
    """Outputs of the trained network by torch's own LSTM with its weights."""
    X, y = sums(30)
    model = StepRegressor(**{**SETTINGS, "epochs": 2}).fit(X, y)
    network = model.network_
    lstm = torch.nn.LSTM(5, 9, batch_first=True)
    cell = network.stack.layers[0].cell
    names = {n: getattr(lstm, f"{n}_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    with torch.no_grad():
        for name, parameter in names.items():
            parameter.copy_(getattr(cell, name))
        linear = network.head.module.layers[-1]
        for i in (0, 5, 11):
            output = linear(lstm(network.embedding(torch.tensor([X[i]])))[0])[0, :, 0]
            expected = output.double() * model.task_.scale + model.task_.mean
            torch.testing.assert_close(model.predict([X[i]]).values, expected, rtol=1e-4, atol=1e-4)
