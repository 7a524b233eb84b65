"""Columns, tasks and splits; the expected values are written by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from unspool.errors import DataError
from unspool.tables import (
    Table,
    by_column,
    by_fraction,
    columns_beside,
    decide_task,
    label_column,
    number_columns,
    require_columns,
    shared_texts,
    text_column,
    without_missing,
)


def make(**columns) -> Table:
    frame = pl.DataFrame(columns)
    return Table(frame, np.arange(1, frame.height + 1), "t.csv")


def test_unknown_column_names_the_nearest():
    with pytest.raises(DataError, match=r"no column 'scor'. It has 'text', 'score'. Did you mean 'score'\?"):
        require_columns(make(text=["a"], score=["1"]), ["text", "scor"])
    with pytest.raises(DataError, match="--delimiter"):
        require_columns(make(**{"text;score": ["a;1"]}), ["text"])


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([str(n) for n in range(11)], "regression"),
        ([str(n % 10) for n in range(99)], "classification"),
        (["1.5", "2"], "regression"),
        (["1.0", "2.0"], "classification"),
        (["yes", "no"], "classification"),
        (["1.5", "2.5", "bad", "NA"], "regression"),
        (["1", "NA", "NA"], "classification"),
        ([1.0, 2.0, None], "classification"),
        ([0.5, 2.0, None], "regression"),
        ([True, False], "classification"),
    ],
)
def test_auto_task(values, task):
    assert decide_task(make(y=values), ["y"]).name == task


def test_several_targets_are_regression():
    table = make(a=["1", "2"], b=["1", "2"])
    assert decide_task(table, ["a", "b"]).name == "regression"
    with pytest.raises(DataError, match="one --target"):
        decide_task(table, ["a", "b"], "classification")


def test_missing_values_are_counted_and_dropped():
    table = make(text=["a", None, "None", "d", "e"], y=["1", "2", "3", "NA", None])
    with pytest.raises(DataError, match=r"'text' .* has 1 missing value: row 2 .*--drop-missing"):
        without_missing(table, "text", ["y"], "regression")
    with pytest.raises(DataError, match=r"'y' .* has 2 missing values: rows 4, 5 "):
        without_missing(table.take(np.array([0, 2, 3, 4])), "text", ["y"], "regression")
    kept, dropped = without_missing(table, "text", ["y"], "regression", drop=True)
    assert dropped == 3 and kept.rows.tolist() == [1, 3] and text_column(kept, "text") == ["a", "None"]
    labels, dropped = without_missing(table, "text", ["y"], "classification", drop=True)
    assert dropped == 2 and label_column(labels, "y").tolist() == ["1", "3", "NA"]
    with pytest.raises(DataError, match="no row with every value"):
        without_missing(
            make(text=[None], y=["1"]).take(np.array([0])), "text", ["y"], "regression", drop=True
        )


def test_numbers():
    table = make(a=[" 1 ", "-2.5", "1e3"], b=[1, 2, 3])
    assert number_columns(table, ["a"]).tolist() == [1.0, -2.5, 1000.0]
    assert number_columns(table, ["a", "b"]).tolist() == [[1.0, 1.0], [-2.5, 2.0], [1000.0, 3.0]]
    with pytest.raises(DataError, match=r"2 of 3 rows do not: row 2: 'x'; row 3: 'inf'\. .*--task"):
        number_columns(make(a=["1", "x", "inf"]), ["a"])


def test_labels():
    assert label_column(make(y=["1", "2.0", "-3"]), "y").tolist() == [1, 2, -3]
    assert label_column(make(y=[1.0, 2.0]), "y").tolist() == [1, 2]
    assert label_column(make(y=["1", "007"]), "y").tolist() == ["1", "007"]
    assert label_column(make(y=[True, False]), "y").tolist() == ["true", "false"]
    with pytest.raises(DataError, match="no labels"):
        label_column(make(y=[[1], [2]]), "y")


def test_text_column_must_hold_text():
    with pytest.raises(DataError, match="holds Int64 values, not text"):
        text_column(make(a=[1, 2]), "a")


def test_split_by_column():
    names = ["train", "DEV", "test", "valid", " Train ", "validation"]
    split = by_column(make(split=names), "split")
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 4], [1, 3, 5], [2])
    with pytest.raises(DataError, match="Row 2 holds 'tset'"):
        by_column(make(split=["train", "tset"]), "split")
    with pytest.raises(DataError, match="marks no row as 'test'"):
        by_column(make(split=["train", "dev"]), "split")


def test_split_by_fraction_is_seeded_disjoint_and_stratified():
    labels = np.array(["a"] * 50 + ["b"] * 20 + ["c"])
    split = by_fraction(71, 0.2, 3, labels)
    again = by_fraction(71, 0.2, 3, labels)
    assert np.array_equal(split.test, again.test)
    assert not np.array_equal(split.test, by_fraction(71, 0.2, 4, labels).test)
    assert sorted([*split.train, *split.test]) == list(range(71))
    assert {c: int((labels[split.test] == c).sum()) for c in "abc"} == {"a": 10, "b": 4, "c": 0}
    assert len(by_fraction(10, 0.2, 0).test) == 2
    for n in (0, 1):
        with pytest.raises(DataError, match="too few"):
            by_fraction(n, 0.2, 0)


def test_shared_texts_counts_test_rows():
    assert shared_texts(["a", "b", "a"], ["a", "a", "c", "B"]) == 2


@pytest.mark.parametrize(("n", "classes"), [(200, 100), (200, 150), (200, 3), (10, 9), (7, 7)])
def test_the_test_part_has_the_size_that_was_asked_for(n, classes):
    labels = np.arange(n) % classes
    for fraction in (0.2, 0.5):
        split = by_fraction(n, fraction, 1, labels)
        assert len(split.test) == round(n * fraction) and len(split.train) == n - len(split.test)
        counts = np.bincount(labels[split.test], minlength=classes)
        if len(split.test) <= n - classes:
            assert (counts < np.bincount(labels, minlength=classes)).all()


def test_shares_of_classes_are_within_a_row_of_exact():
    random = np.random.default_rng(0)
    labels = random.choice(12, 500, p=np.arange(1, 13) / 78)
    for seed, fraction in enumerate((0.1, 0.2, 0.37)):
        test = labels[by_fraction(500, fraction, seed, labels).test]
        exact = np.bincount(labels) * round(500 * fraction) / 500
        assert (np.abs(np.bincount(test, minlength=12) - exact) < 1).all()


def test_what_is_no_category_says_so():
    for kind, cells in {
        "Duration": pl.Series([dt.timedelta(1)]),
        "Binary": pl.Series([b"\xff"]),
        "List": pl.Series([[1]]),
    }.items():
        with pytest.raises(
            DataError, match=f"Column 'c' of t.csv holds {kind}.* values, which are no categories"
        ):
            columns_beside(make(c=cells), [], ["c"])
