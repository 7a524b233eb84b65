"""`Forecaster`: series in, the steps ahead out, with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from unspool import saved
from unspool.errors import check_fitted, check_int
from unspool.estimators.network import count_parameters
from unspool.forecasting import backtest, saving
from unspool.forecasting.answers import ahead
from unspool.forecasting.backtest import Backtest
from unspool.forecasting.calendar import Calendar
from unspool.forecasting.conformal import Scores
from unspool.forecasting.fitting import fit_panel, remember
from unspool.forecasting.levels import Wanted
from unspool.forecasting.panel import Names, Panel, read_panel
from unspool.forecasting.parameters import TABLE, check_parameters
from unspool.forecasting.prepare import Preparation
from unspool.forecasting.weights import read_weighed
from unspool.parameters import described
from unspool.parameters.kept import Kept
from unspool.program import surroundings
from unspool.summaries import cell_name, layers_text
from unspool.training import Callback
from unspool.training.callbacks import check_callbacks
from unspool.training.whole import all_or_nothing


class Forecaster(Kept):
    """Forecasts of one or many series of uneven length, by one network for all of them.

    Tables are long: a row a time stamp of a series, with the columns `unique_id`, `ds` and `y` (or as they are named
    here), as a polars or pandas DataFrame, an Arrow table or a dict of columns; or arrays: (S, T), or a list of (T,).
    Steps without a row and missing values are masked, and told of. The last steps of each series are held back to stop
    by and to calibrate intervals with (`validation_size`); scales are those of the training part.

    {parameters}

    Attributes
    ----------
    history_, best_epoch_, interrupted_ : as of `SequenceRegressor`; the loss is in units of the scaled series.
    validation_ : mean absolute error at the held-back cut-offs, in units of each series' scale, of the model and of
        naive, seasonal naive and drift; None where nothing is held back.
    calendar_, season_, input_size_, segment_length_ : what was found where the parameter is None.
    network_ : the trained torch module. n_parameters_ : its trainable numbers.
    """

    def __init__(
        self,
        horizon: int = 24,
        model: str = "segments",
        cell: str | Callable[[int, int], nn.Module] = "gru",
        hidden_size: int | Sequence[int] = 128,
        num_layers: int = 1,
        input_size: int | None = None,
        segment_length: int | None = None,
        season: int | None = None,
        freq: str | int | None = None,
        id_col: str | None = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        past: Sequence[str] = (),
        future: Sequence[str] = (),
        static: Sequence[str] = (),
        time_features: str | Sequence[str] = (),
        scaler: str | None = None,
        normalization: str | None = None,
        loss: str = "absolute",
        quantiles: Sequence[float] = (0.05, 0.1, 0.5, 0.9, 0.95),
        intervals: str = "conformal",
        calibration: str = "pooled",
        validation_size: int | None = None,
        refit: bool = False,
        stride: int = 1,
        dropout: float = 0.2,
        epochs: int = 30,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup: int = 0,
        averaging: float = 0.99,
        weight_decay: float = 1e-4,
        gradient_clip: float | None = 1.0,
        gradient_clip_value: float | None = None,
        patience: int | None = 5,
        precision: str = "float32",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 1,
    ) -> None:
        self.horizon = horizon
        self.model = model
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.input_size = input_size
        self.segment_length = segment_length
        self.season = season
        self.freq = freq
        self.id_col = id_col
        self.time_col = time_col
        self.target_col = target_col
        self.past = past
        self.future = future
        self.static = static
        self.time_features = time_features
        self.scaler = scaler
        self.normalization = normalization
        self.loss = loss
        self.quantiles = quantiles
        self.intervals = intervals
        self.calibration = calibration
        self.validation_size = validation_size
        self.refit = refit
        self.stride = stride
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup = warmup
        self.averaging = averaging
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.gradient_clip_value = gradient_clip_value
        self.patience = patience
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # --- what `fit` finds

    network_: Any
    preparation_: Preparation
    calendar_: Calendar
    scores_: Scores | None
    validation_: dict[str, float] | None
    history_: list[dict[str, float]]
    tail_: Panel
    season_: int
    segment_length_: int
    input_size_: int
    unit_: int
    best_epoch_: int
    interrupted_: bool
    n_parameters_: int

    # --- fitting

    @all_or_nothing
    def fit(
        self,
        df: Any,
        y: Any = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
        sample_weight: Any = None,
    ) -> Forecaster:
        """Train on the series of `df`; returns self. y: ignored, scikit-learn's contract.

        Warns of what is missing, of series that are constant or too short, and where a simple baseline is better on the
        held-back part. callbacks, checkpoint, checkpoint_every: as of `SequenceRegressor.fit`. sample_weight: 0 or
        more, in the loss of what is forecast: (n,) of the rows of a table, a dict from a series' id to the weight of
        all its rows, or of arrays (S,). What weighs 0 is still read as past. Measures and intervals count all alike.
        Raises `DataError`, `InvalidParameterError`, `DivergenceError`.
        """
        self._check()
        check_callbacks("Forecaster", callbacks)
        panel = read_weighed(df, sample_weight, self._names(), self.freq)
        return fit_panel(self, panel, callbacks, checkpoint, checkpoint_every)

    def _check(self) -> None:
        check_parameters("Forecaster", self.get_params(deep=False))

    def _names(self) -> Names:
        lists = (tuple(self.past), tuple(self.future), tuple(self.static))
        return Names(self.id_col, self.time_col, self.target_col, *lists)

    @property
    def columns_needed(self) -> list[str]:
        """The columns of the tables that it reads."""
        return self._names().all

    @property
    def columns_ahead(self) -> list[str]:
        """The columns of a table of what is known ahead."""
        return self._names().ahead

    # --- using

    @surroundings.defaults()
    def freeze(self, weights: str = "float32") -> Forecaster:
        """Forecast from now on with weights laid out once, until the next `fit`; returns self. weights: see
        `SequenceRegressor.freeze`."""
        check_fitted(self)
        self.frozen_ = self.network_.freeze(weights)
        return self

    def summary(self) -> str:
        """`describe`, and the layers with their widths and trainable numbers, as a table."""
        check_fitted(self)
        rows = []
        for name, module in self.network_.named_children():
            layers = getattr(module, "layers", None)
            width = getattr(module, "out_features", None) or getattr(module, "output_size", None)
            what = f"{name}, {cell_name(self.cell)}" if layers is not None else name
            rows.append((what, int(width) if isinstance(width, int) else 0, count_parameters(module)))
        for name, own in self.network_.named_parameters(recurse=False):
            rows.append((name, own.shape[-1], own.numel()))
        return layers_text(f"Forecaster on {self.describe()}", rows, self.n_parameters_)

    def predict(
        self,
        h: int | None = None,
        df: Any = None,
        future: Any = None,
        level: float | Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> Any:
        """The `h` steps after the end of each series, as a long table of the kind that `fit` had (arrays: polars).

        h: None: the horizon. Beyond it, forecasts are read as if they had been observed; such steps have no intervals.
        df: series to go on from, those of `fit` with newer rows, or others; None: those of `fit`, from their end on.
        future: a table of the covariates that are known ahead, for all `h` steps.
        level: per cent, such as [80, 90]: columns lo-80, hi-80, ... quantiles: such as [0.05, 0.95]: columns q-0.05,
        q-0.95. The forecast's column has the target's name. Raises `DataError`.
        """
        check_fitted(self)
        h = self.horizon if h is None else check_int("Forecaster.predict", "h", h)
        wanted = Wanted.of(level, quantiles)
        panel = self.tail_ if df is None else self._read(df)
        values = ahead(self, panel, h, future, wanted)
        n = len(panel)
        series = np.repeat(np.arange(n), h)
        positions = (panel.counts[:, None] + np.arange(h)).reshape(-1)
        frame = panel.frame(series, positions)
        frame = frame.with_columns(
            pl.Series(name, column.reshape(-1))
            for name, column in {self.target_col: values[0], **values[1]}.items()
        )
        return panel.given(frame)

    def _read(self, df: Any) -> Panel:
        """Series as those that were fitted."""
        return read_panel(df, self._names(), calendar=self.calendar_, id_type=self.tail_.id_type)

    def measured(
        self,
        df: Any,
        n_windows: int = 1,
        level: float | Sequence[float] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
        sample_weight: Any = None,
    ) -> tuple[Backtest, Forecaster]:
        """Fit on `df` without its last `n_windows` horizons, and forecast these: (the forecasts, self). checkpoint,
        checkpoint_every, sample_weight: as of `fit`.

        `predict` then goes on from the end of `df`, of which nothing after the first cut-off was learnt.
        """
        self._check()
        panel = read_weighed(df, sample_weight, self._names(), self.freq)
        keeping = {"checkpoint": checkpoint, "checkpoint_every": checkpoint_every}
        found = backtest.measured(self, panel, n_windows, Wanted.of(level, None), keeping)
        return found, self

    @all_or_nothing
    def go_on(self, df: Any) -> Forecaster:
        """Take the ends of the series in `df` for those that `predict` goes on from, nothing learnt; returns self."""
        check_fitted(self)
        panel = self._read(df)
        self.preparation_ = self.preparation_.with_series(panel)
        remember(self, panel)
        return self

    # --- measuring

    def backtest(
        self,
        df: Any,
        n_windows: int = 1,
        step_size: int | None = None,
        h: int | None = None,
        level: float | Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        adaptive: float = 0.0,
    ) -> Backtest:
        """Forecasts of the last steps of `df` by this model as it is: nothing is learnt. See `cross_validation`."""
        check_fitted(self)
        panel = self._read(df)
        wanted = Wanted.of(level, quantiles)
        return backtest.run(self, panel, n_windows, step_size, h, wanted, adaptive)

    def cross_validation(
        self,
        df: Any,
        n_windows: int = 1,
        step_size: int | None = None,
        refit: bool | int = False,
        h: int | None = None,
        level: float | Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        adaptive: float = 0.0,
    ) -> Any:
        """Forecasts of the last steps of each series at `n_windows` cut-offs, `step_size` steps apart (None: h).

        Each is made by a copy of this forecaster that is fitted on what lies before: once, before the first cut-off
        (refit=False), at every one (True), or every so many (an int). This one stays as it is.
        adaptive: the rate by which the levels of intervals follow their misses, 0: not (`conformal.adaptive_levels`).
        A long table of the kind that came: id, time, cutoff (the last stamp before the forecast), the target's column,
        "forecast", and the intervals as of `predict`. `backtest` gives the same of a fitted model, and metrics.
        """
        self._check()
        panel = read_panel(df, self._names(), self.freq)
        wanted = Wanted.of(level, quantiles)
        found = backtest.cross_validate(self, panel, n_windows, step_size, refit, h, wanted, adaptive)
        return panel.given(found.frame())

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, and the end of each series, to `path`: a folder, or one file if it ends in ".zip"."""
        check_fitted(self)
        saved.save(path, *saving.content(self))

    @classmethod
    @surroundings.defaults()
    def from_saved(cls, content: saved.Fields, weights: saved.Weights) -> Any:
        """The forecaster of a saved model; used by `unspool.load`."""
        return saving.restore(cls, content, weights)

    def describe(self) -> str:
        """Series, model and step, in a line."""
        check_fitted(self)
        reads = f"windows of {self.input_size_} steps of {self.calendar_.describe()}"
        what = f"{self.model}, {cell_name(self.cell)} {self.hidden_size}, {self.n_parameters_:,} parameters"
        return f"{len(self.preparation_.ids)} series, {reads}, season {self.season_}, horizon {self.horizon}; {what}"


# Under `python -OO` there are no docstrings.
Forecaster.__doc__ = (Forecaster.__doc__ or "").replace("{parameters}", described(of=TABLE))
