"""Networks, losses and windows: by hand, against scipy, and against a plain loop."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from unspool import Forecaster, cells
from unspool.errors import DataError, InvalidParameterError
from unspool.forecasting.losses import ForecastLoss
from unspool.forecasting.networks import Points, Segments, Seq2Seq
from unspool.forecasting.windows import Block, Windows
from unspool.ragged import Ragged
from unspool.state import flatten

from .conftest import SMALL, waves

SIZES = {"features": 4, "known": 1, "static": 2, "horizon": 5, "outputs": 3}
COMMON = {"hidden_size": 7, "num_layers": 1, "dropout": 0.0, "precision": "float32"}


def batch(lengths: list[int]) -> tuple[Ragged, torch.Tensor]:
    torch.manual_seed(1)
    x = Ragged.from_list([torch.randn(n, 4) for n in lengths])
    return x, torch.randn(len(lengths), 2 + 5)


def loop(cell: torch.nn.Module, steps: torch.Tensor, state: object) -> object:
    for step in steps:
        state = cell(step[None], state)
    return state


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_segments_are_the_plain_loop(cell: str) -> None:
    """Each window alone, step by step; a segment of 2 of a horizon of 5 is cut."""
    torch.manual_seed(0)
    net = Segments(cell, segment=2, **COMMON, **SIZES)
    x, columns = batch([6, 2, 4])
    found, raw = net(x, columns), net.encoder.layers[0].cell
    for i, window in enumerate(x):
        beside = net.of_series(columns[i, :2])
        segments = torch.relu(net.embed(window.reshape(-1, 8))) + beside
        state = loop(raw, segments, raw.initial_state(1))
        known = torch.nn.functional.pad(columns[i, 2:], (0, 1)).reshape(3, 2)
        rows = []
        for j in range(3):
            ask = net.position[j] + beside + net.of_future(known[j])
            top = flatten(raw(ask[None], state))[0]
            rows.append(net.head(top).reshape(2, 3))
        torch.testing.assert_close(found[i], torch.cat(rows)[:5], atol=1e-5, rtol=1e-4)


def test_points_are_the_plain_loop() -> None:
    torch.manual_seed(0)
    net = Points("lstm", point=lambda p: p[..., 0], **COMMON, **SIZES)
    x, columns = batch([6, 1, 4])
    found, raw = net(x, columns), net.encoder.layers[0].cell
    for i, window in enumerate(x):
        static, known = columns[i, :2], columns[i, 2:]
        state = loop(raw, torch.cat([window, static.expand(len(window), 2)], 1), raw.initial_state(1))
        rows = []
        for k in range(5):
            rows.append(net.head(flatten(state)[0])[0])
            step = torch.cat([rows[-1][:1], torch.ones(1), torch.zeros(1), known[k : k + 1], static])
            state = raw(step[None], state)
        torch.testing.assert_close(found[i], torch.stack(rows), atol=1e-5, rtol=1e-4)


def test_seq2seq_is_the_plain_loop() -> None:
    torch.manual_seed(0)
    net = Seq2Seq("gru", **COMMON, **SIZES)
    x, columns = batch([6, 1, 4])
    found = net(x, columns)
    encode, decode = net.encoder.layers[0].cell, net.decoder.layers[0].cell
    for i, window in enumerate(x):
        static = columns[i, :2]
        state = loop(encode, torch.cat([window, static.expand(len(window), 2)], 1), encode.initial_state(1))
        for k in range(5):
            step = torch.cat([net.position[k], columns[i, 2 + k : 3 + k], static])
            state = decode(step[None], state)
            torch.testing.assert_close(found[i, k], net.head(flatten(state)[0])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [Segments, Points, Seq2Seq])
def test_every_weight_learns(kind: type) -> None:
    own = {Segments: {"segment": 2}, Points: {"point": lambda p: p[..., 0]}, Seq2Seq: {}}[kind]
    torch.manual_seed(0)
    net = kind("gru", **COMMON, **SIZES, **own)
    net(*batch([6, 2, 4])).square().sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


# --- windows


def block(y: list[float]) -> Block:
    n = len(y)
    known = np.arange(n, dtype=float)[:, None]
    return Block(np.array(y), np.zeros((n, 0)), known, np.zeros((2, 0)), np.array([0, 8, n]))


@pytest.mark.parametrize(
    ("normalization", "inputs", "targets"),
    [
        ("none", [1, 4, 0, 2], [9, 0]),
        ("last", [-1, 2, 0, 0], [7, 0]),
        ("season", [-1, 2, 0, 0], [5, 0]),
        (
            "window",
            np.array([1 - 7 / 3, 4 - 7 / 3, 0, 2 - 7 / 3]) / np.std([1, 4, 2]),
            [(9 - 7 / 3) / np.std([1, 4, 2]), 0],
        ),
    ],
)
def test_windows_by_hand(normalization: str, inputs: list, targets: list) -> None:
    """Series 0: 0 1 4 - 2 | 9 - 5, a window of 4 at cut-off 5, season 3; series 1 is not looked at."""
    nan = float("nan")
    made = Windows(
        block([0, 1, 4, nan, 2, 9, nan, 5, 100, 100]),
        np.array([0]),
        np.array([5]),
        np.array([4]),
        2,
        normalization,
        np.array([10.0, 1]),
        season=3,
    ).take(torch.tensor([0]))
    np.testing.assert_allclose(made.inputs.values[:, 0], inputs, atol=1e-6)
    np.testing.assert_array_equal(made.inputs.values[:, 1:], [[1, 1], [1, 2], [0, 3], [1, 4]])
    np.testing.assert_allclose(made.targets[0, :2], targets, atol=1e-6)
    np.testing.assert_array_equal(made.targets[0, 2:4], [1, 0])
    unit = 10 * (np.std([1, 4, 2]) if normalization == "window" else 1)
    assert made.targets[0, 4] == pytest.approx(unit)
    np.testing.assert_array_equal(made.columns, [[5, 6]])


def test_windows_end_with_their_series() -> None:
    """Three steps after a cut-off two before the end: the third is none, not the next series' first."""
    made = Windows(
        block([*range(8), 100, 100]), np.array([0]), np.array([6]), np.array([2]), 3, "none", np.ones(2)
    )
    part = made.take(torch.tensor([0]))
    np.testing.assert_array_equal(part.targets[0, :6], [6, 7, 0, 1, 1, 0])
    np.testing.assert_array_equal(part.columns, [[6, 7, 0]])


# --- losses


def test_log_likelihoods_against_scipy() -> None:
    torch.manual_seed(0)
    raw, y, unit = torch.randn(4, 3, 3), torch.randn(4, 3), torch.full((4, 1), 5.0)
    scale = torch.nn.functional.softplus(raw[..., 1]) + 1e-4
    found = ForecastLoss("normal").errors(raw, y, unit)
    np.testing.assert_allclose(found, -stats.norm.logpdf(y, raw[..., 0], scale), atol=1e-4)
    freedom = 2 + torch.nn.functional.softplus(raw[..., 2])
    found = ForecastLoss("student_t").errors(raw, y, unit)
    np.testing.assert_allclose(found, -stats.t.logpdf(y, freedom, raw[..., 0], scale), atol=1e-4)
    counts = torch.tensor([[0.0, 1, 7]] * 4)
    mean, a = (torch.nn.functional.softplus(raw[..., 0]) + 1e-4) * 5, scale
    found = ForecastLoss("negative_binomial").errors(raw, counts / 5, unit)
    np.testing.assert_allclose(found, -stats.nbinom.logpmf(counts, 1 / a, 1 / (1 + a * mean)), rtol=1e-3)


def test_masked_steps_have_no_loss() -> None:
    """(1 - 0)² and (3 - 1)² are observed, the 9 is not."""
    prediction = torch.tensor([[[1.0], [9.0]], [[3.0], [9.0]]])
    target = torch.tensor([[0.0, 0, 1, 0, 1], [1.0, 0, 1, 0, 1]])
    assert float(ForecastLoss("squared")(prediction, target)) == 2.5


def test_quantile_loss_by_hand() -> None:
    loss = ForecastLoss("quantile", (0.1, 0.5, 0.9))
    found = loss.errors(torch.tensor([[[1.0, 2.0, 5.0]]]), torch.tensor([[3.0]]), torch.ones(1, 1))
    assert float(found) == pytest.approx((0.1 * 2 + 0.5 * 1 + 0.1 * 2) / 3)
    crossed = torch.tensor([[[5.0, 2.0, 1.0]]])
    np.testing.assert_allclose(loss.quantiles(crossed, [0.1, 0.9, 0.5], torch.ones(1, 1)), [[[1, 5, 2]]])


@pytest.mark.parametrize("name", ["quantile", "normal", "student_t"])
def test_intervals_of_the_model(name: str) -> None:
    """Quantiles that the model itself gives hold about as much as they say."""
    settings = {**SMALL, "epochs": 8, "loss": name, "intervals": "model", "scaler": "global"}
    table = waves({"a": 200, "b": 200}, noise=1.0)
    model = Forecaster(**settings).fit(table.filter(pl.col("ds") < table["ds"][150]))
    found = model.backtest(table, n_windows=40, step_size=1, level=[90])
    cover = found.measure(warn=False)["this model"]["coverage-90"]
    assert 0.8 < cover < 0.99
    assert ((found.bands["lo-90"] < found.forecast) & (found.forecast < found.bands["hi-90"])).mean() > 0.99
    if name == "quantile":
        with pytest.raises(DataError, match=r"learnt the quantiles .*, not 0.25"):
            model.predict(level=50)


def test_counts() -> None:
    rng = np.random.default_rng(0)
    counts = [rng.poisson(5 + 4 * np.sin(2 * np.pi * np.arange(200) / 6)).astype(float) for _ in range(2)]
    model = Forecaster(**{**SMALL, "epochs": 6}, loss="negative_binomial", intervals="model").fit(counts)
    frame = model.predict(level=80)
    assert (frame["lo-80"] == frame["lo-80"].round()).all() and (frame["lo-80"] >= 0).all()
    assert (frame["y"] > 0).all() and frame["y"].mean() < 10
    with pytest.raises(DataError, match=r"takes counts, whole numbers of 0 or more. Series 0 has 0.5"):
        Forecaster(**SMALL, loss="negative_binomial").fit([np.r_[0.5, counts[0]]])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model": "transformer"}, "'model' parameter of Forecaster must be one of"),
        ({"horizon": 0}, "'horizon' parameter"),
        ({"loss": "mse"}, "'loss' parameter"),
        ({"intervals": "model"}, "'conformal' for loss='absolute'"),
        ({"intervals": "model", "loss": "normal", "model": "recurrent"}, "'conformal' for model='recurrent'"),
        ({"loss": "quantile", "quantiles": (0.1, 0.9)}, "levels with 0.5 among them"),
        ({"loss": "negative_binomial", "scaler": "standard"}, "for counts"),
        ({"normalization": "season", "model": "recurrent"}, "for model='recurrent'"),
        ({"time_features": ("hours",)}, "Did you mean 'hour'"),
        ({"past": ("y",)}, "other columns than target_col"),
        ({"patience": 0}, "'patience' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
    ],
)
def test_parameters_that_are_refused(settings: dict, match: str) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        Forecaster(**settings).fit([np.arange(100.0)])


def test_cells_and_layers(table: pl.DataFrame) -> None:
    """Any cell, a user's own class too, and several layers."""
    for model in ("segments", "recurrent", "seq2seq"):
        deep = Forecaster(
            **{**SMALL, "epochs": 1, "hidden_size": (8, 5) if model == "recurrent" else 8}, model=model
        )
        deep.set_params(cell=cells.LSTMCell, num_layers=2 if model != "recurrent" else 1).fit(table)
        assert np.isfinite(deep.predict()["y"].to_numpy()).all()


def test_frozen_weights_forecast_the_same(covered: Forecaster, table: pl.DataFrame) -> None:
    plain = covered.backtest(table).forecast
    try:
        frozen = covered.freeze().backtest(table).forecast
        narrow = covered.freeze("int8").backtest(table).forecast
    finally:
        del covered.frozen_
    np.testing.assert_allclose(frozen, plain, atol=1e-5)
    assert 0 < np.abs(narrow - plain).max() < 1


def test_a_place_of_the_season_before_the_first_series_is_none() -> None:
    """Season 4, cut-off 2 of the first series of all: its first step ahead has no place, the third has 7."""
    made = Windows(
        block([7, 5, *range(8)]), np.array([0]), np.array([2]), np.array([2]), 4, "season", np.ones(2), 4
    )
    np.testing.assert_array_equal(made.base(np.array([0])), [[5, 5, 7, 5]])
