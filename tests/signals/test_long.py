"""Long tables, a row a step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

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
        ({}, {"features": ["x", "x"]}, "different columns"),
        ({}, {"features": []}, "a column of features"),
    ],
)
def test_what_is_wrong_is_told(change: dict, options: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_long({**TABLE, **change}, **options)
