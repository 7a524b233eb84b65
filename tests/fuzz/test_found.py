"""Files that were not refused in words before, each by itself."""

from __future__ import annotations

import gzip
import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from forecasting.conftest import SMALL as FORECASTER
from forecasting.conftest import waves

import unspool
from unspool import Forecaster, SequenceRegressor
from unspool.encode import vector_files
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.generation.choosing import Choice
from unspool.parameters import checks
from unspool.signals import read_sound
from unspool.study.jobs import Job, Run
from unspool.study.store import Store
from unspool.tables import apart_child, read_table

from .models import JSON, SERIES, TINY, WEIGHTS, Y, sealed
from .mutations import HUGE


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    folder = tmp_path_factory.mktemp("model") / "m"
    SequenceRegressor(**TINY).fit(SERIES, Y[:6]).save(folder)
    body = json.loads((folder / JSON).read_bytes())
    del body["checksums"]
    return body, (folder / WEIGHTS).read_bytes()


def refused(folder: Path, document: bytes, weights: bytes, message: str) -> None:
    folder.mkdir()
    (folder / JSON).write_bytes(document)
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(ModelFileError, match=message):
        unspool.load(folder)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (HUGE, "the number 1e999 is too large"),
        (10**400, "the number 1000.* is too large"),
        (2**64, "is too large"),
        ("a\ud800", "surrogates not allowed"),
    ],
    ids=["1e999", "400 digits", "65 bits", "surrogate"],
)
def test_values_that_could_not_be_saved_again(parts: Any, tmp_path: Path, value: Any, message: str) -> None:
    body, weights = parts
    refused(
        tmp_path / "m", sealed({**body, "extra": value}, weights), weights, f"not readable JSON.*{message}"
    )


@pytest.mark.parametrize("dtype", [["F32"], {}, None, 3])
def test_types_of_a_header(parts: Any, tmp_path: Path, dtype: Any) -> None:
    body, _ = parts
    header = json.dumps({"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + b"abcd"
    refused(tmp_path / "m", sealed(body, weights), weights, "no valid dtype")


@pytest.mark.parametrize(
    ("field", "value"), [("zone", " "), ("zone", "Nowhere/Atlantis"), ("form", "%Q"), ("form", "%")]
)
def test_time_stamps_that_cannot_be_written(field: str, value: str, tmp_path: Path) -> None:
    small = {**FORECASTER, "epochs": 1, "hidden_size": 4}
    Forecaster(**small).fit(waves({"a": 60})).save(tmp_path / "good")
    body = json.loads((tmp_path / "good" / JSON).read_bytes())
    del body["checksums"]
    kind = "datetime" if field == "zone" else "text"
    weights = (tmp_path / "good" / WEIGHTS).read_bytes()
    body["stamps"] = {**body["stamps"], "kind": kind, field: value}
    refused(tmp_path / "m", sealed(body, weights), weights, "its time stamps cannot be written")


def test_word_vectors_that_are_damaged(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"the 1 2 3\n" * 50))
    packed[12] ^= 255
    (tmp_path / "v.txt").write_bytes(packed)
    with pytest.raises(DataError, match=r"v\.txt is damaged"):
        vector_files.read(tmp_path / "v.txt", {"the"}, 0)
    np.save(tmp_path / "a.npy", np.ones((1, 3), np.float32))
    (tmp_path / "a.words").write_text("the")
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"), }", b"    "))
    with pytest.raises(DataError, match=r"a.npy is not a .npy table"):
        vector_files.read(tmp_path / "a.npy", {"the"}, 0)


def test_numbers_and_depths_of_json(tmp_path: Path) -> None:
    for name, text in (("digits", '[{"a": ' + "9" * 5000 + "}]"), ("depth", "[" * 100_000)):
        (tmp_path / f"{name}.json").write_text(text)
        with pytest.raises(
            DataError, match=r"is not JSON that can be read: (Exceeds the limit|maximum recursion)"
        ):
            read_table(tmp_path / f"{name}.json")


def test_a_rate_that_no_recording_has(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 2_000_003, 0, "NONE", ""))
        file.writeframes(b"\x01\x00" * 100)
    with pytest.raises(DataError, match=r"2,000,003 samples a second. Expected 100 to 1,000,000"):
        read_sound(tmp_path / "a.wav")


def test_what_unpacks_to_far_more_than_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["unspool.tables.decode"], "UNPACKED", 10**6)
    for size, refuses in ((9 * 10**5, False), (10**7, True)):
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n" + b"x\n" * (size // 2)))
        if refuses:
            with pytest.raises(DataError, match="unpacks to more than"):
                read_table(tmp_path / "t.csv.gz")
        else:
            assert len(read_table(tmp_path / "t.csv.gz")) == size // 2


def test_a_panic_of_the_reader_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is no `Exception`, and came of a page whose length was changed: the process that reads tells of it."""

    def panics(*_: Any, **__: Any) -> None:
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    monkeypatch.setattr(pl, "scan_parquet", panics)
    said = io.BytesIO()
    apart_child.main("parquet", "t.parquet", {"columns": None, "rows": None}, said)
    assert json.loads(said.getvalue())["error"].startswith("assertion failed")
    (tmp_path / "v.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"Cannot read '[^']*v\.parquet' as Parquet"):
        vector_files.read_words(tmp_path / "v.parquet")


def test_settings_of_a_request_that_no_number_holds() -> None:
    for seed in (2**32, -1, [0] * 9, 0.5):
        with pytest.raises(
            InvalidParameterError, match="'random_state' parameter of generate must be an int in"
        ):
            checks.random_state("generate", "random_state", seed)
    with pytest.raises(
        InvalidParameterError, match="'temperature' parameter of generate must be a number in"
    ):
        Choice(temperature=10**400)


def test_what_no_run_of_a_study_gave(tmp_path: Path) -> None:
    Store(tmp_path / "s", {"rows": 4}).add(Job(None, 4, 0, 0), [Run("mean", 0, 0, 7)])
    (path,) = (tmp_path / "s" / "runs").iterdir()
    good = json.loads(path.read_text())
    for name, value in (
        ("repeat", {}),
        ("validation", []),
        ("seconds", "1"),
        ("history", [{"a": "b"}]),
        ("x", 1),
    ):
        path.write_text(json.dumps([{**good[0], name: value}]))
        with pytest.raises(ModelFileError, match="is not a run of a study"):
            Store(tmp_path / "s", {"rows": 4})
    path.write_text(json.dumps(good))
    assert len(Store(tmp_path / "s", {"rows": 4}).runs) == 1
