"""What a model of series or recordings must beat: the mean or the majority, and a linear model on a summary.

Of series the summary is, for each feature, mean, deviation, least, largest, first and last value, the mean size of a
change and the share of missing values, and the number of steps; of recordings, the decibels of 40 mel bands in 10 parts
of the time, each recording at full scale. The penalty is chosen on folds of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from unspool.evaluation.baselines import Baseline, majority_baseline, mean_baseline, ordinal_baselines
from unspool.signals.sound import Sound, read_sound
from unspool.signals.spectrum import at_full_scale, log_mel

PARTS = 10  # of a recording
PENALTIES = np.logspace(-3, 2, 6)  # C of the classifier, 1 / alpha of the ridge
HIGHEST = 8000  # samples a second at which recordings are summarised


def summary(series: Sequence[np.ndarray]) -> np.ndarray:
    """n arrays (T, F) -> (n, 8 F + 1), finite; of an empty one all 0."""
    rows = []
    for x in series:
        x = np.asarray(x, dtype=np.float64)
        x = x[:, None] if x.ndim == 1 else x
        missing = np.isnan(x)
        filled = np.where(missing, 0.0, x)
        there = np.maximum((~missing).sum(0), 1)
        if not len(x):
            rows.append(np.zeros(8 * x.shape[1] + 1))
            continue
        mean = filled.sum(0) / there
        x = np.where(missing, mean, x)
        change = np.abs(np.diff(x, axis=0)).mean(0) if len(x) > 1 else np.zeros(x.shape[1])
        parts = [mean, x.std(0), x.min(0), x.max(0), x[0], x[-1], change, missing.mean(0), [len(x)]]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def log_spectra(recordings: Sequence[Any]) -> np.ndarray:
    """n paths or `Sound` -> (n, 400): decibels of 40 mel bands in 10 parts of the time."""
    rows = []
    for item in recordings:
        sound = item if isinstance(item, Sound) else read_sound(item)
        found = log_mel(at_full_scale(sound.at(HIGHEST)), HIGHEST)
        places = np.linspace(0, len(found), PARTS + 1)
        parts = [found[int(a) : max(int(a) + 1, int(b))] for a, b in pairwise(places)]
        rows.append(np.concatenate([part.mean(0) for part in parts]))
    return np.stack(rows)


@dataclass(frozen=True)
class SummaryBaseline:
    """A linear model on `summarise(X)`; as `Baseline`. classes_ (K,): None for numbers. columns: the classes' places
    among those of the model, where it does not have all or numbers them."""

    name: str
    settings: dict[str, Any]
    model: Any
    summarise: Callable[[Sequence[Any]], np.ndarray]
    classes_: np.ndarray | None = None
    columns: np.ndarray | None = None

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """Numbers or labels (n,)."""
        found = self.model.predict(self.summarise(X))
        return found if self.columns is None or self.classes_ is None else self.classes_[found]

    def predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        """(n, classes)."""
        found = self.model.predict_proba(self.summarise(X))
        if self.columns is None or self.classes_ is None:
            return found
        every = np.zeros((len(found), len(self.classes_)))
        every[:, self.columns] = found
        return every


def signal_baselines(
    kind: str,
    X: Sequence[Any],
    y: np.ndarray,
    has_classes: bool,
    seed: int = 0,
    order: np.ndarray | None = None,
    power: int = 0,
) -> list[Baseline | SummaryBaseline]:
    """Both baselines, fitted on X and y. kind: "series", X n arrays (T, F), or "audio", X n paths or `Sound`. y (n,):
    labels if `has_classes`, otherwise numbers. seed: of the folds. order (K,): the classes from the lowest to the
    highest, where they have one. power: 1 for counts, 2 for positive numbers, whose linear model is of the Poisson or
    the gamma distribution with a logarithmic link; 0 for any others."""
    summarise, what = (log_spectra, "log-spectrum") if kind == "audio" else (summary, "summary")
    Z = summarise(X)
    if order is not None:
        places = {label: rank for rank, label in enumerate(order.tolist())}
        ranks = np.array([places[label] for label in y.tolist()])
        model, chosen = _classifier(Z, ranks, seed)
        name = f"{what} + logistic regression"
        linear = SummaryBaseline(name, chosen, model, summarise, order, model.classes_)
        return [*ordinal_baselines(None, ranks, order), linear]
    if has_classes:
        model, chosen = _classifier(Z, y, seed)
        name = f"{what} + logistic regression"
        return [majority_baseline(y), SummaryBaseline(name, chosen, model, summarise, model.classes_)]
    model, chosen = _regressor(Z, y, seed, power)
    name = f"{what} + {('ridge', 'Poisson regression', 'gamma regression')[power]}"
    return [mean_baseline(y), SummaryBaseline(name, chosen, model, summarise)]


def _classifier(Z: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    folds = int(min(3, np.unique(y, return_counts=True)[1].min()))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed) if folds > 1 else None
    return _chosen(Z, y, splitter, "C", lambda c: LogisticRegression(C=c, max_iter=500), "neg_log_loss")


def _regressor(Z: np.ndarray, y: np.ndarray, seed: int, power: int) -> tuple[Any, dict[str, Any]]:
    from sklearn.linear_model import GammaRegressor, PoissonRegressor, Ridge
    from sklearn.model_selection import KFold

    new, score = (
        (Ridge, "neg_mean_squared_error"),
        (partial(PoissonRegressor, max_iter=500), "neg_mean_poisson_deviance"),
        (partial(GammaRegressor, max_iter=500), "neg_mean_gamma_deviance"),
    )[power]
    splitter = KFold(min(3, len(y)), shuffle=True, random_state=seed)
    return _chosen(Z, y, splitter, "alpha", lambda c: new(alpha=1 / c), score)


def _chosen(
    Z: np.ndarray, y: np.ndarray, splitter: Any, name: str, new: Callable[[float], Any], score: str
) -> tuple[Any, dict[str, Any]]:
    """(the model of the penalty that is best on the folds, fitted on all rows; that penalty)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best, most = 1.0, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in PENALTIES if splitter is not None else ():
            found = cross_val_score(
                make_pipeline(StandardScaler(), new(c)), Z, y, cv=splitter, scoring=score
            ).mean()
            if found > most:
                best, most = float(c), found
        model = make_pipeline(StandardScaler(), new(best)).fit(Z, y)
    return model, {name: best if name == "C" else 1 / best}
