"""Tables in every form that people have them; one clear message for each that cannot be used."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import polars as pl
import pytest
import torch

from unspool import Forecaster
from unspool.errors import DataError, InvalidParameterError
from unspool.forecasting.calendar import DAY, HOUR, Calendar, Stamps, parse_frequency
from unspool.forecasting.panel import Names, read_panel

from .conftest import SMALL, waves


def days(count: int, start: str = "2024-01-01") -> list[dt.date]:
    first = dt.date.fromisoformat(start)
    return [first + dt.timedelta(days=i) for i in range(count)]


def one(stamps: list, y: list | None = None) -> dict:
    return {"unique_id": ["a"] * len(stamps), "ds": stamps, "y": y or list(range(len(stamps)))}


@pytest.mark.parametrize("kind", ["polars", "pandas", "dict", "arrow"])
def test_tables_of_other_libraries(fitted: Forecaster, table: pl.DataFrame, kind: str) -> None:
    expected = fitted.predict(df=table, level=50)
    if kind == "pandas":
        pandas = pytest.importorskip("pandas")
        columns = {c: table[c].to_list() if c != "ds" else table[c].to_numpy() for c in table.columns}
        found = fitted.predict(df=pandas.DataFrame(columns).sample(frac=1, random_state=0), level=50)
        assert isinstance(found, pandas.DataFrame) and str(found["ds"].dtype).startswith("datetime64")
        found = pl.DataFrame({c: found[c].to_numpy() for c in found.columns})
    elif kind == "dict":
        found = fitted.predict(df={c: table[c].to_list() for c in table.columns}, level=50)
        assert isinstance(found, dict) and isinstance(found["y"], np.ndarray)
        found = pl.DataFrame(found)
    elif kind == "arrow":
        found = fitted.predict(df=Arrow(table), level=50)
    else:
        found = fitted.predict(df=table.sort("ds"), level=50)
    assert found.columns == expected.columns
    np.testing.assert_array_equal(found["y"].to_numpy(), expected["y"].to_numpy())
    assert found["unique_id"].cast(pl.String).to_list() == expected["unique_id"].to_list()
    assert (found["ds"].cast(pl.Datetime("us")) == expected["ds"].cast(pl.Datetime("us"))).all()


class Arrow:
    """What exports Arrow data and nothing else."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_arrays_are_series(table: pl.DataFrame) -> None:
    parts = [table.filter(pl.col("unique_id") == name)["y"].to_numpy() for name in "abc"]
    model = Forecaster(**{**SMALL, "epochs": 1}).fit(parts)
    frame = model.predict()
    assert frame["unique_id"].to_list() == [0] * 6 + [1] * 6 + [2] * 6
    assert frame["ds"].to_list()[:6] == list(range(120, 126))
    other = Forecaster(**{**SMALL, "epochs": 1}).fit(table).predict()
    np.testing.assert_allclose(frame["y"].to_numpy(), other["y"].to_numpy(), atol=1e-4)
    square = Forecaster(**{**SMALL, "epochs": 1}).fit(np.stack([p[:90] for p in parts]))
    assert len(square.predict(h=3)) == 9


def test_names_of_columns(table: pl.DataFrame) -> None:
    renamed = table.rename({"unique_id": "shop", "ds": "at", "y": "sold"})
    model = Forecaster(**{**SMALL, "epochs": 1}, id_col="shop", time_col="at", target_col="sold").fit(renamed)
    assert model.predict(level=50).columns == ["shop", "at", "sold", "lo-50", "hi-50"]
    alone = Forecaster(**{**SMALL, "epochs": 1}, id_col=None).fit(table.filter(pl.col("unique_id") == "a"))
    assert alone.predict().columns == ["ds", "y"]
    with pytest.raises(DataError, match=r"no column 'unique_id'.*'shop'.*id_col=None"):
        Forecaster().fit(renamed)


@pytest.mark.parametrize(
    ("stamps", "unit", "size", "season", "next_"),
    [
        ([dt.datetime(2024, 1, 1, h) for h in range(4)], "us", HOUR, 24, dt.datetime(2024, 1, 1, 4)),
        (days(5), "us", DAY, 7, dt.date(2024, 1, 6)),
        ([*days(3), dt.date(2024, 1, 5)], "us", DAY, 7, dt.date(2024, 1, 6)),
        ([dt.date(2024, m, 1) for m in range(1, 6)], "months", 1, 12, dt.date(2024, 6, 1)),
        (
            [dt.date(2024, 1, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 31)],
            "months",
            1,
            12,
            dt.date(2024, 4, 30),
        ),
        ([dt.date(2024, m, 1) for m in (1, 4, 7)], "months", 3, 4, dt.date(2024, 10, 1)),
        ([dt.date(y, 1, 1) for y in range(2019, 2024)], "months", 12, 1, dt.date(2024, 1, 1)),
        (days(57)[::7], "us", 7 * DAY, 52, dt.date(2024, 3, 4)),
        (days(85)[::28], "us", 28 * DAY, 1, dt.date(2024, 4, 22)),
        ([f"2024-{m:02d}" for m in range(1, 6)], "months", 1, 12, "2024-06"),
        (
            ["2024-01-01 00:30", "2024-01-01 00:45", "2024-01-01 01:00"],
            "us",
            HOUR // 4,
            96,
            "2024-01-01 01:15",
        ),
        ([3, 5, 7, 11], "steps", 2, 1, 13),
        (["7", "8", "9"], "steps", 1, 1, 10),
    ],
)
def test_calendars(stamps: list, unit: str, size: int, season: int, next_: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        panel = read_panel(one(stamps), Names())
    assert (panel.calendar.unit, panel.calendar.size, panel.calendar.season) == (unit, size, season)
    after = panel.frame(np.array([0]), panel.counts)["ds"][0]
    assert after == next_


def test_time_zones_are_kept() -> None:
    stamps = pl.datetime_range(
        dt.datetime(2024, 3, 30), dt.datetime(2024, 4, 2), "1h", time_zone="Europe/Paris", eager=True
    )
    panel = read_panel(
        {"unique_id": ["a"] * len(stamps), "ds": stamps, "y": list(range(len(stamps)))}, Names()
    )
    frame = panel.frame(np.array([0]), panel.counts)
    assert frame["ds"].dtype == stamps.dtype and frame["ds"][0].isoformat() == "2024-04-02T01:00:00+02:00"


def test_frames_of_pandas_with_zones_seconds_and_an_index() -> None:
    """`predict` gives moments of the same zone; polars knows no seconds as a unit, and no index."""
    pd = pytest.importorskip("pandas")
    y = np.arange(60.0)
    for stamps in (
        pd.date_range("2024-03-29", periods=60, freq="h", tz="Europe/Berlin"),
        pd.date_range("1600-01-01", periods=60, freq="D", unit="s"),
    ):
        frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": y})
        for given in (frame, frame.set_index(["unique_id", "ds"])):
            panel = read_panel(given, Names())
            found = panel.given(panel.frame(np.zeros(1, int), np.array([60])))["ds"]
            assert found[0] == stamps[-1] + (stamps[1] - stamps[0]) and found.dt.tz == stamps.tz


def test_stamps_of_pandas_that_have_no_form_and_days_of_a_zone() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match=r"periods of pandas.*to_timestamp"):
        read_panel(pd.DataFrame(one(pd.period_range("2020-01", periods=9, freq="M"))), Names())
    days = pd.date_range("2024-03-25", periods=9, freq="D", tz="Europe/Berlin")
    with pytest.raises(DataError, match="Days of a zone that changes its clocks are unequal"):
        read_panel(pd.DataFrame(one(days)), Names())


def test_frequencies_that_are_named() -> None:
    assert parse_frequency("15m", Stamps("datetime")) == Calendar("us", HOUR // 4)
    assert parse_frequency("1q", Stamps("date")) == Calendar("months", 3)
    assert parse_frequency(2, Stamps("int")) == Calendar("steps", 2)
    assert read_panel(one([dt.date(2024, 1, 31)], [1.0]), Names(), freq="1mo").calendar.ends
    for freq, stamps in (("1x", "date"), ("h", "date"), (3, "date"), ("1h", "int")):
        with pytest.raises(ValueError, match="The 'freq' parameter of Forecaster must be"):
            parse_frequency(freq, Stamps(stamps))


def test_time_features_are_cycles() -> None:
    calendar = Calendar("us", HOUR)
    stamps = np.array(
        [dt.datetime(2024, 1, 1, 6, tzinfo=dt.timezone.utc).timestamp() * 1e6], np.int64
    )  # a Monday
    found = calendar.features(("hour", "weekday", "month", "day", "week"), stamps)[0]
    np.testing.assert_allclose(found, [1, 0, 0, 1, 0, 1, 0, 1, 0, 1], atol=1e-12)


# --- what is told, and what is refused


def told(data: object, **names: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_panel(data, Names(**names))
    return [str(w.message) for w in caught]


def test_rows_out_of_order_are_sorted_and_told_of() -> None:
    stamps = days(5)
    shuffled = one([stamps[i] for i in (2, 0, 1, 4, 3)], [2, 0, 1, 4, 3])
    assert told(shuffled) == ["The rows of some series are not in the order of 'ds'; they are sorted."]
    with pytest.warns(UserWarning, match="sorted"):
        panel = read_panel(shuffled, Names())
    assert panel.values[0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert told(one(stamps)) == []


def test_gaps_and_missing_values_are_masked_and_told_of() -> None:
    stamps = days(8)
    (message,) = told(one(stamps[:3] + stamps[5:]))
    assert message.startswith("2 steps have no row, in 1 of 1 series, most of them in 'a'; they are masked")
    (message,) = told(one(stamps, [1.0, None, 3.0, float("nan"), 5.0, 6.0, 7.0, 8.0]))
    assert message.startswith("2 values of 'y' are missing, in 1 of 1 series")
    with pytest.warns(UserWarning, match="no row"):
        panel = read_panel(one(stamps[:3] + stamps[5:]), Names())
    np.testing.assert_array_equal(panel.values[0][:, 0], [0, 1, 2, np.nan, np.nan, 3, 4, 5])


def test_texts_of_moments_in_utc_are_read_and_written() -> None:
    written = [f"2024-01-31T{hour}:00:00Z" for hour in (21, 22, 23)]
    panel = read_panel(one(written), Names())
    ahead = panel.stamps.column("ds", panel.stamps.numbers(pl.Series("ds", written)) + 3_600_000_000)
    assert ahead.to_list() == [*written[1:], "2024-02-01T00:00:00Z"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (one(days(3) + days(1)), r"Series 'a' has more than one row of ds 2024-01-01. Keep one of them"),
        (one([*days(6), dt.datetime(2024, 1, 9, 5)]), "mixes kinds|not a whole number of steps"),
        (
            one([dt.datetime(2024, 1, 1, h) for h in range(4)] + [dt.datetime(2024, 1, 1, 5, 30)]),
            "not a whole number of steps .1 hour.",
        ),
        (one(["01.02.2024", "02.02.2024"]), "must hold time stamps: dates.*Got '01.02.2024'"),
        (one(["2024-01-01", "2024-01-02", "03.01.2024"]), "must hold time stamps: dates.*Got '03.01.2024'"),
        (one([None, dt.date(2024, 1, 1)]), "no time stamp in row 0"),
        (one([1.5, 2.5]), "must hold time stamps or whole numbers. Got Float64"),
        (one(days(3), ["1", "x", "3"]), "Column 'y' must hold numbers. Got 'x' in row 1"),
        (one(days(3), [1.0, float("inf"), 3.0]), "Column 'y' holds infinity in row 1"),
        ({"unique_id": ["a"], "ds": days(2), "y": [1]}, "must have one length"),
        (pl.Series([1.0, 2.0]), "For one series pass .y."),
        (np.array([[1j, 2.0]]), "A forecaster takes a long table"),
        (np.array([["2024-01-01"]], "M8[D]"), "A forecaster takes a long table"),
        ({"unique_id": [None, "a"], "ds": days(2), "y": [1, 2]}, "no id in row 0"),
        ({"unique_id": [1.5, 2.5], "ds": days(2), "y": [1, 2]}, "must hold ids"),
        (one(days(1)), "No series has two rows, so the step between rows is unknown"),
        (pl.DataFrame({"unique_id": [], "ds": [], "y": []}), "no rows"),
        (pl.DataFrame({"unique_id": ["a"], "ds": days(1), "Y": [1]}), "no column 'y'.*Did you mean 'Y'"),
        (np.zeros((2, 3, 4)), "Arrays must be .S, T."),
        ("series", "takes a long table"),
    ],
)
def test_tables_that_cannot_be_used(data: object, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_panel(data, Names())


def test_arrays_of_other_libraries() -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    y = [[1.0, 2.0, 4.0], [3.0, 5.0, 6.0]]
    lists = pyarrow.array(y)
    given = [
        torch.tensor(y),
        [torch.tensor(row, requires_grad=True) for row in y],
        pl.Series(y),
        pandas.Series(y),
    ]
    for data in [*given, lists, pyarrow.chunked_array([lists])]:
        assert np.stack(read_panel(data, Names()).targets()).tolist() == y, type(data)
    for column in (pandas.Series(y[0]), pyarrow.array(y[0])):
        with pytest.raises(DataError, match="For one series pass"):
            read_panel(column, Names())
    table = pandas.DataFrame(one(days(3)))
    assert read_panel(pyarrow.Table.from_pandas(table).to_reader(), Names()).counts.tolist() == [3]
    with pytest.raises(DataError, match="more than one column 'y'"):
        read_panel(pandas.concat([table, table[["y"]]], axis=1), Names())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"id_col": "ds"}, "'time_col' parameter of Forecaster must be other columns than id_col. Got 'ds'"),
        ({"target_col": "ds"}, "'target_col' .* other columns than time_col"),
        ({"past": ["p"], "future": ["p"]}, "'future' .* other columns than past. Got 'p'"),
    ],
)
def test_a_column_has_one_part(names: dict, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Forecaster(**names).fit(one(days(3)))


def test_static_columns_have_one_value() -> None:
    data = {**one(days(3)), "kind": ["x", "x", "y"]}
    with pytest.raises(DataError, match=r"'kind' is static, one value a series. Series 'a' has 2 of them"):
        read_panel(data, Names(static=("kind",)))


def test_a_constant_series_is_told_of_and_forecast() -> None:
    flat = pl.concat([waves({"a": 90}), waves({"flat": 90}).with_columns(pl.lit(7.0).alias("y"))])
    with pytest.warns(
        UserWarning, match="Series 'flat' are constant in the training part; their scale is taken as 1"
    ):
        model = Forecaster(**{**SMALL, "epochs": 1}).fit(flat)
    found = model.predict().filter(pl.col("unique_id") == "flat")["y"].to_numpy()
    assert np.isfinite(found).all() and abs(found - 7).max() < 3


def test_short_series_are_told_of() -> None:
    data = waves({"long": 90, "short": 10, "middle": 20})
    with pytest.warns(UserWarning) as caught:
        model = Forecaster(**{**SMALL, "epochs": 1}).fit(data)
    messages = "\n".join(str(w.message) for w in caught)
    assert "1 of 3 series are too short to be learnt from, such as 'short'" in messages
    assert "1 of 3 series are shorter than the window of 12 steps" in messages
    assert np.isfinite(model.predict()["y"].to_numpy()).all()
    with pytest.raises(
        DataError, match="No series is long enough: one needs 3 steps to look back on, 6 to learn and 6 held"
    ):
        Forecaster(**SMALL).fit(waves({"a": 14}))
    with pytest.raises(DataError, match="'tiny' has 2 steps, fewer than the 3"):
        model.predict(df=waves({"tiny": 2}))


def test_gaps_do_not_reach_the_network(fitted: Forecaster, table: pl.DataFrame) -> None:
    """A missing value is told apart by its mask; what stands in its place does not matter."""
    rows = pl.int_range(pl.len()).over("unique_id") == pl.len().over("unique_id") - 4
    missing = table.with_columns(pl.when(rows).then(None).otherwise("y").alias("y"))
    with pytest.warns(UserWarning, match="3 values of 'y' are missing"):
        one_way = fitted.predict(df=missing)
    with pytest.warns(UserWarning, match="3 steps have no row"):
        other = fitted.predict(df=table.filter(~rows))
    assert one_way.equals(other) and not one_way.equals(fitted.predict(df=table))
    with pytest.raises(DataError, match="'a' has no value in the last 12 steps"), pytest.warns(UserWarning):
        fitted.predict(df=table.with_columns(pl.lit(None, pl.Float64).alias("y")))


def test_values_whose_squares_overflow() -> None:
    with pytest.raises(DataError, match=r"squares float64 holds.*another unit"):
        read_panel(one(days(9), [1e300 * i for i in range(9)]), Names())
