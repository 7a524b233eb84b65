"""Tomorrow's air from two days of hourly air and weather: a grade in order, a count of hours, a number above 0.

    python examples/air_quality.py pollution.csv

Fine dust in Beijing, 2010 to 2014 (UCI); the last fifth of days is the test. Grades: China's for the daily mean.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from unspool import SequenceClassifier, SequenceRegressor
from unspool.evaluation.metrics import shown
from unspool.evaluation.signals import signal_baselines

FEATURES = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
TYPES, ORDER = dict.fromkeys(FEATURES, pl.Float64), np.arange(1, 7)


def days(path: str, rows: int | None) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Two days (48, 7) each, NaN where missing, and what is to be told of the next one, whose dust is known."""
    values = pl.read_csv(path, columns=FEATURES, schema_overrides=TYPES, null_values="NA", n_rows=rows)
    by_day = values[: len(values) // 24 * 24].to_numpy().reshape(-1, 24, len(FEATURES))
    known = np.flatnonzero(~np.isnan(by_day[2:, :, 0]).any(1))
    dust = by_day[2:, :, 0][known]
    grade = np.digitize(dust.mean(1), [35, 75, 115, 150, 250]) + 1
    windows = [by_day[i : i + 2].reshape(48, -1) for i in known]
    return windows, {"grade": grade, "hours above 75": (dust > 75).sum(1), "mean": dust.mean(1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    for name, count in {"--rows": None, "--epochs": None, "--seeds": "+"}.items():
        parser.add_argument(name, type=int, nargs=count)
    options = parser.parse_args()
    X, targets = days(options.table, options.rows)
    cut = round(0.8 * len(X))
    losses = {"hours above 75": "negative_binomial", "mean": "gamma"}
    for name, y in targets.items():
        cls, order = (SequenceClassifier, ORDER) if name == "grade" else (SequenceRegressor, None)
        own = {"loss": losses[name]} if name in losses else {"order": ORDER.tolist()}
        common = {**own, "epochs": options.epochs, "verbose": 0}
        models = [
            (f"seed {s}", cls(**common, random_state=s).fit(X[:cut], y[:cut])) for s in options.seeds or [0]
        ]
        task, power = type(models[0][1].task_), getattr(models[0][1].task_, "power", 0)
        others = signal_baselines("series", X[:cut], y[:cut], name not in losses, 0, order, power)
        print(f"{name} ({task.name}): {cut} training and {len(X) - cut} test days")
        for title, model in [*models, *((other.name, other) for other in others)]:
            found = task.measure(model, X[cut:], y[cut:]).metrics[0]
            print(f"  {title}: " + ", ".join(f"{key} {shown(value)}" for key, value in found.items()))


if __name__ == "__main__":
    main()
