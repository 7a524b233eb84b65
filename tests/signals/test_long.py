"""Long tables, a row a step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from unspool import Forecaster
from unspool.errors import DataError
from unspool.signals import from_long

TABLE = {
    "unique_id": ["b", "a", "b", "a", "b"],
    "step": [2, 1, 1, 2, 3],
    "x": [20.0, 1.0, 10.0, None, 30.0],
    "z": [5, 7, 4, 8, 6],
    "label": ["up", "down", "up", "down", "up"],
}


@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pl.DataFrame])
def test_series_in_order_of_first_appearance_their_steps_sorted(kind: type) -> None:
    found = from_long(kind(TABLE), target="label")
    assert found.names == ["b", "a"]
    np.testing.assert_array_equal(found.X[0], [[10, 4], [20, 5], [30, 6]])
    np.testing.assert_array_equal(found.X[1], [[1, 7], [np.nan, 8]])
    assert found.y is not None and found.y.tolist() == ["up", "down"]


def test_features_are_named_and_texts_are_read_as_numbers_and_dates() -> None:
    table = {
        **TABLE,
        "step": ["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-02", "2024-01-03"],
        "z": list("54768"),
    }
    found = from_long(table, features=["z"])
    assert found.y is None and found.X[0].tolist() == [[7.0], [5.0], [8.0]]
    tens = from_long({**TABLE, "step": ["10", "1", "9", "2", "11"]}, features=["z"])
    assert tens.X[0][:, 0].tolist() == [4.0, 5.0, 6.0], "9 before 10, not after"


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"id": "unique"}, "no column 'unique'.*Did you mean 'unique_id'"),
        ({}, {}, "Column 'label' must hold numbers; row 1 .* holds 'up'"),
        ({"step": [2, 1, 1, 1, 3]}, {"target": "label"}, "Series 'a' has the step 1 twice"),
        (
            {"label": ["up", "down", "up", "down", "no"]},
            {"target": "label"},
            "Series 'b' must have one 'label'",
        ),
        (
            {"label": [None, "down", "up", "down", "up"]},
            {"target": "label"},
            "Series 'b' must have one 'label'",
        ),
        ({"step": [2, None, 1, 2, 3]}, {"target": "label"}, "Column 'step' is empty in row 2"),
        ({"step": list("abcde")}, {"target": "label"}, "must hold numbers or dates"),
        (
            {"step": ["01/02/2024"] * 5},
            {"target": "label"},
            r"such as '2024-01-31' .* Got '01/02/2024' in row 1",
        ),
        ({"step": ["1", "2", "nan", "4", "5"]}, {"target": "label"}, "Column 'step' is empty in row 3"),
        (
            {"unique_id": [1.0, 2.0, float("nan"), 2.0, 1.0]},
            {"target": "label"},
            "'unique_id' is empty in row 3",
        ),
        (
            {"x": ["1,5", "2", "3", "4", "5"]},
            {"features": ["x"]},
            r"decimal comma: read them with --decimal , \(",
        ),
        ({"x": [1, "2", 3, 4, 5]}, {"features": ["x"]}, "Column 'x' mixes kinds of values"),
        ({"x": [1]}, {}, "The columns must have one length"),
        ({"x": 1}, {}, "The columns must have one length"),
        (
            {"step": pd.Series(list(pd.period_range("2024-01", periods=5, freq="M")))},
            {"features": ["x"]},
            "'step' holds periods of pandas",
        ),
        ({}, {"features": ["x", "x"]}, "different columns"),
        ({}, {"features": []}, "a column of features"),
    ],
)
def test_what_is_wrong_is_told(change: dict, options: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_long({**TABLE, **change}, **options)


def test_missing_numbers_and_large_steps() -> None:
    """Whole numbers beyond 2^53, such as nanoseconds since 1970, stay apart."""
    steps = [str(2**60 + i) for i in (2, 1, 1, 2, 3)]
    found = from_long({**TABLE, "step": steps, "x": ["1,5", "NA", "-", "", "2"]}, features=["x"], decimal=",")
    np.testing.assert_array_equal(found.X[0][:, 0], [np.nan, 1.5, 2.0])
    assert np.isnan(found.X[1]).all()
    mixed = from_long({**TABLE, "x": [1, 2.5, 3, None, 5]}, features=["x"])
    np.testing.assert_array_equal(mixed.X[0][:, 0], [3.0, 1.0, 5.0])


def test_tables_of_pandas_with_zones_and_an_index() -> None:
    hours = pd.date_range("2024-03-31", periods=5, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({**TABLE, "step": hours[[1, 0, 0, 1, 2]]})
    for given in (frame, frame.set_index(["unique_id", "step"])):
        found = from_long(given, target="label")
        assert found.names == ["b", "a"] and found.features == ["x", "z"]
        assert found.X[0][:, 0].tolist() == [10.0, 20.0, 30.0]


def test_a_forecaster_reads_whole_numbers_and_fractions_of_one_column() -> None:
    found = Forecaster(horizon=1, epochs=1, input_size=2).fit(
        {"unique_id": ["a"] * 9, "ds": [*range(9)], "y": [1, 2.5, 3] * 3}
    )
    assert len(found.predict()["y"]) == 1
