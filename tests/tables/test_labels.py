"""A column of joined labels to columns of 0 and 1."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unspool.errors import DataError
from unspool.tables import Table, split_labels


def table(**columns) -> Table:
    frame = pl.DataFrame(columns)
    return Table(frame, np.arange(1, frame.height + 1), "t.csv")


def test_a_column_for_each_label():
    found, labels = split_labels(table(text=list("pqrs"), tags=["b; a", "a", None, ";b;"]), "tags", ";")
    assert labels == ["a", "b"]
    assert found.frame.to_dict(as_series=False) == {
        "text": list("pqrs"),
        "a": [1, 1, 0, 0],
        "b": [1, 0, 0, 1],
    }


def test_known_labels_keep_their_order_and_others_are_told_of():
    with pytest.warns(UserWarning, match="labels that training has not, such as 'c'"):
        found, labels = split_labels(table(tags=["c,a", "b"]), "tags", ",", ["b", "a"])
    assert labels == ["b", "a"] and found.frame.rows() == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tags": [1, 2]}, "holds Int64 values, not labels joined by ';'"),
        ({"tags": ["a,b", "a,b"]}, "has 1 label joined by ';'.*another --label-separator"),
        ({"tags": ["a;b"], "a": [1]}, "has a column 'a', as a label of 'tags' is called"),
    ],
)
def test_what_cannot_be_split_says_so(columns, message):
    with pytest.raises(DataError, match=message):
        split_labels(table(**columns), "tags", ";")
