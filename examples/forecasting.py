"""Monthly passengers: a year ahead beside the seasonal naive forecast, with 80 % intervals.

    python examples/forecasting.py airline-passengers.csv

The table has the columns Month (1949-01, ...) and Passengers. Mark: the seasonal naive forecast, RMSE 41.9 over the
last third.
"""

from __future__ import annotations

import argparse

import polars as pl

from unspool import Forecaster


def main() -> None:
    """Learn from the first two thirds, forecast a year at each month of the last, then the year after the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    table = pl.read_csv(options.table)
    model = Forecaster(
        id_col=None,
        time_col="Month",
        target_col="Passengers",
        horizon=12,
        normalization="season",
        hidden_size=32,
        batch_size=16,
        validation_size=24,
        refit=True,
        epochs=options.epochs,
        patience=30,
        random_state=0,
        verbose=0,
    )
    model.fit(table[: len(table) * 2 // 3])
    past = model.backtest(table, n_windows=37, step_size=1, level=80)
    for name, row in past.measure().items():
        print(f"{name:15}", "  ".join(f"{measure} {value:.3g}" for measure, value in row.items()))
    print(model.go_on(table).predict(level=80))


if __name__ == "__main__":
    main()
