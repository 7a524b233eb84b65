"""Weights of series and of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unspool import Forecaster
from unspool.errors import DataError
from unspool.forecasting.fitting import all_windows, settle
from unspool.forecasting.losses import ForecastLoss
from unspool.forecasting.panel import Names
from unspool.forecasting.prepare import Preparation
from unspool.forecasting.weights import read_weighed, weigh

from .conftest import SMALL, waves

SERIES = waves({"a": 90, "b": 70})


@pytest.mark.parametrize("name", ["squared", "normal"])
def test_a_weight_of_two_is_two_copies(name):
    torch.manual_seed(0)
    loss = ForecastLoss(name)
    prediction, target = torch.randn(3, 4, loss.outputs), torch.randn(3, 9)
    target[:, 4:8], target[:, 8] = 1.0, 1.0
    found = loss(prediction, target, torch.tensor([2.0, 1.0, 0.0])[:, None].expand(3, 4))
    rows = torch.tensor([0, 0, 1])
    torch.testing.assert_close(found, loss(prediction[rows], target[rows]))


def test_a_series_that_weighs_nothing_teaches_nothing():
    """Series b stands on its head in one of two tables, whose models then forecast a alike."""
    other = SERIES.with_columns(y=SERIES["y"] * (1 - 2 * (SERIES["unique_id"] == "b").cast(int)))
    settings = {**SMALL, "epochs": 2, "validation_size": 0}
    found = [
        Forecaster(**settings).fit(table, sample_weight=weights).predict()["y"].to_numpy()[:6]
        for weights in ({"a": 1.0, "b": 0.0}, None)
        for table in (SERIES, other)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert np.abs(found[2] - found[3]).max() > 1e-3


def test_arrays_have_weights_in_their_order():
    y = [SERIES.filter(SERIES["unique_id"] == name)["y"].to_numpy() for name in "ab"]
    settings = {**SMALL, "epochs": 2, "validation_size": 0}
    weighed = Forecaster(**settings).fit(y, sample_weight=[1.0, 0.0]).predict()["y"].to_numpy()
    other = Forecaster(**settings).fit([y[0], -y[1]], sample_weight=[1.0, 0.0]).predict()["y"].to_numpy()
    np.testing.assert_allclose(weighed[:6], other[:6], rtol=1e-5)


def test_each_step_that_is_forecast_has_the_weight_of_its_row():
    rows = np.arange(1.0, 161.0)  # of the table; a has the first 90
    order = np.random.default_rng(0).permutation(160)
    model = Forecaster(**SMALL)
    with pytest.warns(UserWarning, match="order"):
        panel = read_weighed(SERIES[order.tolist()], rows[order], Names())
    settle(model, panel)
    counts = panel.counts
    model.preparation_ = Preparation.fit(panel, counts, "none", ())
    windows = all_windows(model, model.preparation_.block(panel), counts, 0 * counts, counts, 4, np.ones(2))
    weigh(windows, panel)
    batch = windows.take(torch.tensor([0, len(windows) - 1]))
    first = int(windows.cutoffs[0])
    expected = np.stack([np.arange(first + 1, first + 7), np.arange(155, 161)])
    scale = float(batch.weights[1, -1]) / 160
    np.testing.assert_allclose(batch.weights.numpy(), expected * scale, rtol=1e-5)
    assert float(windows.take(torch.arange(len(windows))).weights.mean()) == pytest.approx(1)


def test_rows_of_equal_weight_are_a_series_of_that_weight():
    settings = {**SMALL, "epochs": 1}
    one = SERIES.filter(SERIES["unique_id"] == "a")
    found = [
        Forecaster(**settings).fit(table, sample_weight=weights).predict()["y"].to_numpy()
        for table, weights in [
            (SERIES, {"a": 3.0, "b": 0.5}),
            (SERIES, np.repeat([3.0, 0.5], [90, 70])),
            (one, None),
            (one, np.full(90, 2.0)),
        ]
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[3], rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], "or a number for each of the 160 rows of the table. Got 2"),
        (["x"] * 160, "must be numbers"),
        ({"a": 1.0}, "series 'b' has no weight"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "'c' is no series"),
        ({"a": -1.0, "b": 1.0}, "zero or more"),
    ],
)
def test_what_is_refused(weights, message):
    with pytest.raises(DataError, match=message):
        Forecaster(**SMALL).fit(SERIES, sample_weight=weights)
    with pytest.raises(DataError, match="there is one series"):
        Forecaster(**SMALL).fit(SERIES.filter(SERIES["unique_id"] == "a"), sample_weight={"a": 1.0})
