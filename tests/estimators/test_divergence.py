"""Clipping, norms in the history, and what is said when numbers stop being finite."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import InvalidParameterError
from unspool.estimators import DivergenceError
from unspool.training import Callback, Trainer
from unspool.training.optimizers import clip_gradients

from .conftest import SMALL, make_texts

SERIES = {**SMALL, "early_stopping": False, "embedding_dim": 1, "bidirectional": False}


def with_gradient(*values: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(v))) for v in values]
    for parameter, value in zip(parameters, values):
        parameter.grad = torch.tensor(value)
    return parameters


@pytest.mark.parametrize(
    ("limit", "value", "expected"),
    [
        (None, None, [[3.0, -4.0], [12.0]]),  # joint norm sqrt(9 + 16 + 144) = 13
        (None, 3.5, [[3.0, -3.5], [3.5]]),
        (6.5, None, [[1.5, -2.0], [6.0]]),  # 6.5 / 13 = 1/2 of each
        (
            1.75,
            3.0,
            [[1.75 / 27**0.5 * 3, -1.75 / 27**0.5 * 3], [1.75 / 27**0.5 * 3]],
        ),  # 3, -3, 3: norm sqrt(27)
        (100.0, 100.0, [[3.0, -4.0], [12.0]]),
    ],
)
def test_clipping_by_value_then_by_norm(limit: Any, value: Any, expected: list[list[float]]) -> None:
    parameters = with_gradient([3.0, -4.0], [12.0])
    assert clip_gradients(parameters, limit, value) == pytest.approx(13.0)
    for parameter, wanted in zip(parameters, expected):
        assert parameter.grad.tolist() == pytest.approx(wanted)


def test_clipping_by_value_is_torchs_for_dense_and_sparse_gradients() -> None:
    def parameters(sparse: bool) -> list[torch.Tensor]:
        torch.manual_seed(2)
        table, layer = nn.Embedding(5, 4, sparse=sparse), nn.Linear(4, 2)
        layer(table(torch.tensor([1, 1, 4]))).square().sum().backward()
        return [table.weight, *layer.parameters()]

    ours, torchs = parameters(True), parameters(False)
    clip_gradients(ours, None, 0.3)
    nn.utils.clip_grad_value_(torchs, 0.3)
    for one, other in zip(ours, torchs, strict=True):
        assert torch.equal(one.grad.to_dense(), other.grad)
    assert max(float(p.grad.abs().max()) for p in torchs) == pytest.approx(0.3)


def test_gradients_that_are_not_finite_are_left_alone() -> None:
    parameters = with_gradient([3.0, float("nan")], [12.0])
    assert np.isnan(clip_gradients(parameters, 1.0, 1.0))
    assert parameters[0].grad[0] == 3 and parameters[1].grad.tolist() == [12.0]


def test_the_history_has_the_norms_before_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and maximum of what torch gives for each batch, which clipping then brings below the limit."""
    X, y = make_texts(64)
    seen: dict[int, list[float]] = {}

    class Watch(Callback):
        def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
            norm = float(nn.utils.get_total_norm([p.grad for p in trainer.trained]))
            seen.setdefault(trainer.epoch, []).append(norm)

    watch = [Watch()]
    free = SequenceRegressor(**{**SMALL, "epochs": 2, "gradient_clip": None}).fit(X, y, callbacks=watch)
    assert len(seen) == 2 and len(seen[1]) == 4
    for epoch, norms in zip(free.history_, seen.values()):
        assert epoch["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
        assert epoch["gradient_norm_max"] == pytest.approx(max(norms), rel=1e-5)
    seen.clear()
    clipped = SequenceRegressor(**{**SMALL, "epochs": 2, "gradient_clip": 1e-3}).fit(X, y, callbacks=watch)
    assert clipped.history_[0]["gradient_norm_max"] > 0.1
    assert max(seen[1]) <= 1.001e-3
    seen.clear()
    SequenceRegressor(**{**SMALL, "epochs": 1, "gradient_clip": None, "gradient_clip_value": 1e-4}).fit(
        X, y, callbacks=watch
    )
    numbers = clipped.n_parameters_
    assert 1e-4 < max(seen[1]) <= 1.001e-4 * numbers**0.5


def test_a_clip_value_out_of_range() -> None:
    with pytest.raises(InvalidParameterError, match="'gradient_clip_value' parameter"):
        SequenceRegressor(**SMALL, gradient_clip_value=0.0).fit(["a", "b"], [1, 2])


def message(model: Any, X: Any, y: Any, **fit: Any) -> str:
    with pytest.raises(DivergenceError) as caught:
        model.fit(X, y, **fit)
    return str(caught.value)


def series(count: int = 20) -> tuple[list[np.ndarray], np.ndarray]:
    random = np.random.RandomState(0)
    rows = [random.randn(random.randint(3, 9), 1) for _ in range(count)]
    return rows, np.array([row.mean() for row in rows])


def poison(monkeypatch: pytest.MonkeyPatch, at: int, spoil: Any) -> None:
    """Before batch `at`: spoil(trainer, batch)."""
    train_step, count = Trainer.train_step, 0

    def step(self: Trainer, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            spoil(self, batch)
        return train_step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", step)


def test_a_bad_weight_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(trainer: Trainer, batch: Any) -> None:
        weight = dict(trainer.network.named_parameters())["stack.layers.0.cell.weight_hh"]
        weight.data[3, 2] = float("nan")
        weight.data[5, 1] = float("inf")

    poison(monkeypatch, 2, spoil)
    said = message(SequenceRegressor(**{**SERIES, "batch_size": 10}), *series())
    assert "loss became nan in epoch 1, batch 2." in said
    assert (
        "in the weight 'stack.layers.0.cell.weight_hh': nan, and 2 of its 576 numbers are not finite." in said
    )


@pytest.mark.parametrize("dtype", [float("nan"), float("inf")])
def test_a_bad_input_is_named_by_its_row_and_step(dtype: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the X given, although some are held back and the others shuffled."""
    X, y = series()
    X[7] = X[7][:2]

    def spoil(trainer: Trainer, batch: Any) -> None:
        batch.inputs.values[int(batch.inputs.offsets[batch.rows.tolist().index(where)]) + 1] = dtype

    model = SequenceRegressor(
        **{**SERIES, "early_stopping": True, "batch_size": 100, "validation_fraction": 0.3}
    )
    monkeypatch.setattr("unspool.estimators.base.split_rows", lambda *_: (np.array([9, 7, 3]), np.array([1])))
    where = 1  # the second of the training part is row 7
    poison(monkeypatch, 1, spoil)
    said = message(model, X, y)
    assert f"the input of row 7: {dtype} at step 2 of 2." in said


def test_a_target_too_large_for_its_square_is_named() -> None:
    """Scaled to variance 1, a row of the validation data is 1e30: its square is above float32's 3.4e38."""
    X, y = series()
    far = y.copy()
    far[4] = 1e30
    said = message(SequenceRegressor(**{**SERIES, "epochs": 1}), X, y, validation_data=(X, far))
    assert re.search(r"loss became inf in epoch 1, batch \d of the validation part\.", said)
    assert re.search(r"the error of row 4: its prediction is -?[\d.e-]+, its target [\d.]+e\+30\.", said)


def test_an_exploding_state_is_named_by_row_and_step() -> None:
    """h' = 100 h² + x from x = 1 on: 1, 101, 1e6, 1e14, 1e30, inf at step 6."""

    class Explosive(nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(100.0))
            self.hidden_size = hidden_size

        def initial_state(self, batch_size: int) -> torch.Tensor:
            return torch.zeros(batch_size, self.hidden_size)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.scale * h * h + x[:, :1]

    X = [np.full((n, 1), (-1.0) ** k) for k, n in enumerate((3, 4, 9, 2))]
    y = np.arange(4.0)
    said = message(SequenceRegressor(**{**SERIES, "cell": Explosive, "pooling": "last"}), X, y)
    assert re.search(r"the output of the recurrent layers for row 2: (inf|nan) at step 6 of 9\.", said), said


def test_a_bad_gradient_is_named_before_it_reaches_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """sqrt(z²) at z = 0 is 0, and its slope 1 / (2 · 0) · 2 · 0 is NaN."""

    made = []

    class Kinked(nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            made.append(self)
            self.x = nn.Linear(input_size, hidden_size)
            self.hidden_size = hidden_size

        def initial_state(self, batch_size: int) -> torch.Tensor:
            return torch.zeros(batch_size, self.hidden_size)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.sqrt((0.0 * self.x(x)).square()) + 0.0 * h

    X, y = series()
    model = SequenceRegressor(**{**SERIES, "cell": Kinked})
    said = message(model, X, y)
    assert "norm of the gradients became nan in epoch 1, batch 1." in said
    assert re.search(
        r"in the gradient of 'stack\.layers\.0\.cell\.x\.bias': nan, and \d+ of its 12 numbers", said
    )
    assert made and all(torch.isfinite(p).all() for cell in made for p in cell.parameters())


def test_classes_and_the_advice() -> None:
    X, y = make_texts(64)
    labels = (y > 50).astype(int)
    model = SequenceClassifier(**{**SMALL, "learning_rate": 1e38, "gradient_clip": None})
    said = message(model, X, labels)
    assert re.search(r"became (nan|inf) in epoch 1, batch [1-4]\. The first bad value is ", said), said
    assert said.endswith("Try a smaller learning_rate (now 1e+38) or gradient_clip (now None).")
