"""Cells that look like numbers: read as the numbers that they are, or asked about; never silently labels."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.tables import Table, decide_task, label_column, number_columns, without_missing
from unspool.tables.numbers import Style


def make(cells: list, **style) -> Table:
    frame = pl.DataFrame({"y": cells})
    return Table(frame, np.arange(1, frame.height + 1), "t.csv", Style(**style))


@pytest.mark.parametrize(
    ("cells", "style", "numbers"),
    [
        (["1,5", "-2,25", "3", "NA"], {"decimal": ","}, [1.5, -2.25, 3.0]),
        (["1.234,5", "12", "1.000.000,25"], {"decimal": ",", "thousands": "."}, [1234.5, 12, 1000000.25]),
        (["1,234.5", "12", "-1,000,000"], {"thousands": ","}, [1234.5, 12, -1000000]),
        (
            ["1 234,5", "1\u00a0234", "1\u202f234,25"],
            {"decimal": ",", "thousands": " "},
            [1234.5, 1234, 1234.25],
        ),
        (["1'234.5", "7"], {"thousands": "'"}, [1234.5, 7]),
        (["50%", "12.5 %", "-3%"], {}, [50, 12.5, -3]),
        (["$5", "-$2.50", "$ 1,234.25"], {"thousands": ","}, [5, -2.5, 1234.25]),
        (["3,50 €", "12 €"], {"decimal": ","}, [3.5, 12]),
        (["EUR 3.5", "EUR 4"], {}, [3.5, 4]),
        (["\u22122.5", "1"], {}, [-2.5, 1]),
        (["US$1.5", "US$2"], {}, [1.5, 2]),
        (["R$ 1.5", "R$ 2"], {}, [1.5, 2]),
        (["1.5\uff05", "2\uff05"], {}, [1.5, 2]),
        (["1\u2019234.5", "2'000"], {"thousands": "'"}, [1234.5, 2000]),
        (["\u200b1.5", "\u200f2\ufeff"], {}, [1.5, 2]),
        (["\u0661\u0662.\u0665", "\uff13"], {}, [12.5, 3]),
    ],
)
def test_numbers_as_they_are_written(cells, style, numbers):
    table = make(cells, **style)
    assert decide_task(table, ["y"]).name == "regression"
    kept = table.take(np.array([cell != "NA" for cell in cells]))
    assert number_columns(kept, ["y"]).tolist() == numbers


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,5", "2,25", "3"], "decimal comma.*--decimal ,"),
        ([f"{i},{i % 10}" for i in range(150)], "decimal comma.*--decimal ,"),
        (["1.234,56", "2.345,67", "3"], "decimal comma.*--decimal ,"),
        (["3,50 €", "4,20 €"], "decimal comma.*--decimal ,"),
        (["6,000", "12,500", "900"], "numbers with a comma.*--thousands ,.*or with --decimal ,"),
        (["0,125", "1,250"], "decimal comma.*--decimal ,"),
        ([f"{i},{i:03d}.5" for i in range(1, 30)], "between thousands.*--thousands"),
        (["1'234", "5'678"], "between thousands.*--thousands"),
        (["1 234 567", "1 234 568"], "between thousands.*--thousands"),
        (["1,23,456", "12,34,567"], "between thousands.*--thousands"),
        ([f"{i} kg" for i in range(20)], "with units.*write bare numbers"),
        ([f"{i}%" if i % 2 else f"${i}" for i in range(20)], "with units"),
        (["2024-01-05", "2024-01-06"], "dates or times"),
        (["05.01.2024 12:30", "06.01.2024"], "dates or times"),
        (["12/31/99", "1/2/00"], "dates or times"),
        (["12:30", "13:45:10"], "dates or times"),
        ([f"{i}/7" for i in range(20)], "fractions"),
        (["1\u00bd", "2\u00bc"] + [f"{i} 1/2" for i in range(20)], "fractions"),
        (["1\u2019234.5", "2\u2019345"], "between thousands"),
        (["(5.00)", "($2)", "3.50-"], "in parentheses.*write negative numbers"),
        ([f"{i}.5 million" for i in range(20)], "with units"),
        ([f"{i} \u00b0C" for i in range(20)], "with units"),
        ([f"<{i}" for i in range(20)], "with marks"),
        ([f"{i} of 20" for i in range(20)], "with marks"),
        ([hex(i) for i in range(20)], "with marks"),
        (["5 Jan 2024", "Feb 6, 2024", "March 2024"], "dates or times"),
        (["2024-01", "2024Q1", "2024-W05"], "dates or times"),
        (["1:30 PM", "1 day, 2:03:04", "1:05.3"], "dates or times"),
        (["PT5M", "1h30m", "2 h 5 min"], "dates or times"),
    ],
)
def test_what_only_looks_like_a_number_is_asked_about(cells, message):
    with pytest.raises(DataError, match=message + ".*--task classification"):
        decide_task(make(cells), ["y"])
    assert decide_task(make(cells), ["y"], "classification").name == "classification"
    with pytest.raises(DataError, match=message):
        number_columns(make(cells), ["y"])


@pytest.mark.parametrize(
    "cells",
    [
        *(["3 stars", "4 stars"], ["50%", "100%"], ["v1", "v2"], ["yes", "no"], ["a,b", "c"], ["1-2", "3-4"]),
        *(["<5", ">5"], ["#1", "#2"], ["II", "IV"], ["May", "June"], ["\u2713", "\u2717"], ["0x1", "0x2"]),
    ],
)
def test_labels_stay_labels(cells):
    assert decide_task(make(cells), ["y"]).name == "classification"


@pytest.mark.parametrize("mark", ["<NA>", "#N/A", "\\N", "?", ".", "-", "--", "\u2014"])
def test_what_others_write_where_a_number_is_missing(mark):
    table = make(["1.5", mark, "2.5", "3.5"])
    assert decide_task(table, ["y"]).name == "regression"
    with pytest.raises(DataError, match=r"has 1 missing value: row 2.*--drop-missing"):
        without_missing(table, "y", ["y"], "regression")


def test_nan_is_no_label():
    with pytest.raises(DataError, match="has 1 missing value: row 2"):
        without_missing(make([1.0, float("nan"), 2.0]), "y", ["y"], "classification")
    with pytest.raises(DataError, match="is empty: no row has a value"):
        decide_task(make([None, None]), ["y"])


def test_dates_by_their_type_and_marks_that_are_none():
    with pytest.raises(DataError, match=r"holds Date values\. Make numbers"):
        decide_task(make([datetime.date(2024, 1, 5)]), ["y"])
    with pytest.raises(InvalidParameterError, match="another mark than decimal"):
        make(["1"], decimal=",", thousands=",")
    with pytest.raises(InvalidParameterError, match="'decimal'"):
        make(["1"], decimal=";")


def test_labels_never_pass_through_floats():
    big = 2**60
    for cells in ([str(big + 1), f"{big + 3}.0"], [big + 1, big + 3]):
        assert label_column(make(cells), "y").tolist() == [big + 1, big + 3]
    beyond = [str(2**64 + 1), str(2**64 + 3)]
    assert label_column(make(beyond), "y").tolist() == beyond
    assert label_column(make([2**63 + 1, 2**63 + 3]), "y").tolist() == [str(2**63 + 1), str(2**63 + 3)]
