"""Studies of `Forecaster`: the last horizons of series."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from unspool.errors import DataError, check_choice, check_int, warn_caller
from unspool.evaluation.metrics import FORECASTS, Metrics
from unspool.forecasting.answers import actual
from unspool.forecasting.backtest import Backtest, places, run, without_end
from unspool.forecasting.baselines import MODEL, NAMES, at_cutoffs
from unspool.forecasting.building import build_network
from unspool.forecasting.fitting import fit_panel, remember, settle
from unspool.forecasting.levels import Wanted
from unspool.forecasting.panel import Panel, read_panel
from unspool.forecasting.parameters import MODELS, TABLE
from unspool.forecasting.prepare import Preparation, calendar_features
from unspool.study.arrangements import Grid
from unspool.study.kinds import checked, refuse
from unspool.study.problem import Asked, Fitted, Problem


def _model(name: str) -> None:
    check_choice("compare", "models", name, MODELS)


@dataclass(frozen=True)
class Ends:
    """Series to their end; a part is the last `windows` horizons of each, 0: all that is there, to train on."""

    panel: Panel
    windows: int = 0

    def __len__(self) -> int:
        """Forecasts; of a training part steps."""
        return len(self.panel) * self.windows or int(self.panel.counts.sum())

    def digest(self) -> str:
        """SHA-256 of the series."""
        total = hashlib.sha256(f"{self.windows} {self.panel.ids} {self.panel.static}".encode())
        total.update(self.panel.firsts.tobytes())
        for values in self.panel.values:
            total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class ForecastProblem(Problem):
    """Arrangements learn what lies before the horizons of validation and test."""

    grid = Grid("model", MODELS, _model, ("one", "stacked"), directions=False)
    of = "forecasts"
    predicting = "the steps ahead"
    stops_on_validation = False
    metrics = FORECASTS
    default_metric = "mae"

    @classmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> ForecastProblem:
        """Check and cut; see `unspool.study.compare`."""
        refuse("y", y, estimator)
        refuse("labels", labels, estimator)
        checked(estimator, TABLE)
        if asked.cv is not None:
            raise DataError(
                "cv makes folds of rows, and a forecast is measured at the ends of series: say by validation how many "
                "of their last horizons rank the arrangements."
            )
        for name, value in (("validation", asked.validation), ("test", asked.test)):
            if value is not None:
                check_int("compare", name, value)
        validation, test = asked.validation or 1, asked.test or 0
        panel, h = read_panel(X, estimator._names(), estimator.freq), estimator.horizon
        unit = settled(clone(estimator).set_params(model="segments"), panel).unit_
        # Long enough for every model, so that all are measured on the same series.
        good = np.flatnonzero(panel.counts >= (validation + test) * h + unit)
        if not len(good):
            raise DataError(
                f"No series is long enough for {validation + test} horizons of {h} steps to measure by: the longest "
                f"has {int(panel.counts.max())} steps."
            )
        if len(good) < len(panel):
            warn_caller(f"{len(panel) - len(good)} series are too short to be measured, and left out.")
            panel = panel.take(good.tolist())
        seen = without_end(panel, test * h)
        parts = Ends(without_end(seen, validation * h)), Ends(seen, validation)
        tested = Ends(panel, test) if test else None
        return cls(clone(estimator), *parts, tested, None, asked.random_state)

    def fit(self, model: Any, training: Ends, validation: Ends | None) -> None:
        """A forecaster holds back the last steps of the training part itself."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of series and baselines: the report has them
            fit_panel(model, training.panel)

    def blank(self) -> Any:
        """Knows calendar, covariates and static columns."""
        panel = self.train.panel
        model = settled(clone(self.estimator), panel)
        features = calendar_features(model.time_features, panel.calendar)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of constant series
            model.preparation_ = Preparation.fit(panel, panel.counts, "none", features)
        return model

    def network(self, model: Any) -> Any:
        """Of what `blank` knows, and of the segments of its model."""
        return build_network(settled(model, self.train.panel))

    def few(self, training: Ends) -> Ends:
        """Two series."""
        return Ends(training.panel.take([0, len(training.panel) - 1][: len(training.panel)]))

    def measure(self, model: Any, part: Ends) -> Metrics:
        """At the cut-offs of the part, a horizon apart."""
        found = run(model, part.panel, part.windows, None, None, Wanted.of(None, None), 0.0)
        return _plain(found.measure(warn=False)[MODEL])

    def baselines(self, training: Ends, validation: Ends | None) -> list[Fitted]:
        """Naive, seasonal naive and drift."""
        model = settled(clone(self.estimator), training.panel)

        def measure(part: Ends, name: str) -> Metrics:
            h = model.horizon
            series, cutoffs = places(model, part.panel, part.windows, h, h)
            season, targets = model.season_, part.panel.targets()
            forecast = at_cutoffs(name, targets, series, cutoffs, h, season)
            y, wanted = actual(part.panel, series, cutoffs, h), Wanted.of(None, None)
            found = Backtest(part.panel, series, cutoffs, y, forecast, {}, wanted, season)
            return _plain(found.measure(warn=False)[MODEL])

        return [Fitted(name, partial(measure, name=name)) for name in NAMES]

    def finished(self, model: Any) -> Any:
        """Goes on from the end of the series; nothing after the training part is learnt."""
        end = self.test or self.validation
        assert end is not None
        model.preparation_ = model.preparation_.with_series(end.panel)
        remember(model, end.panel)
        return model

    def facts(self) -> dict[str, str]:
        """Series and their step."""
        assert self.validation is not None
        panel = self.train.panel
        lengths = f"{int(panel.counts.min()):,} to {int(panel.counts.max()):,} steps"
        windows = [
            f"{self.validation.windows} validation",
            *([f"{self.test.windows} test"] if self.test else []),
        ]
        ahead = f"{self.estimator.horizon} steps ahead, at {', '.join(windows)} cut-offs of each series"
        return {"input": f"{len(panel)} series, {lengths} of {panel.calendar.describe()}", "target": ahead}


def settled(model: Any, panel: Panel) -> Any:
    """A forecaster that knows what its parameters of None stand for."""
    settle(model, panel)
    return model


def _plain(found: dict[str, float]) -> Metrics:
    return {name: found[name] if np.isfinite(found[name]) else None for name in FORECASTS}
