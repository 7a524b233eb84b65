"""Parquet files and Excel sheets to frames; they are read by `apart_child.py` in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import polars as pl

from unspool.errors import DataError
from unspool.processes import script

CHILD = Path(__file__).with_name("apart_child.py")
SECONDS = 60.0  # that a piece may take, beside one for every 10 MB of the file


def parquet_frames(
    path: Path, columns: Sequence[str] | None = None, rows: int | None = None, name: str | None = None
) -> Generator[list[str] | pl.DataFrame, None, None]:
    """The names of all columns; then `columns` (None: all) of `rows` rows each (None: of all), unless one is missing.

    name: of the file, for messages. `DataError` where it is no Parquet file, or its reading fails in any way, a crash
    of the library included.
    """
    options = {"columns": None if columns is None else list(columns), "rows": rows}
    return _read("parquet", path, options, f"{(name or str(path))!r} as Parquet", " It may be half-written.")


def excel_frames(path: Path, header: bool, name: str | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first sheet: (its rows, below its header if it has one; its first row, as texts). Raises as above."""
    what = f"{(name or str(path))!r} as an Excel sheet"
    rows, first = _read("xlsx", path, {"header": header}, what, "")
    assert isinstance(rows, pl.DataFrame) and isinstance(first, pl.DataFrame)
    return rows, first


def _read(kind: str, path: Path, options: dict[str, Any], what: str, hint: str) -> Generator[Any, None, None]:
    size = path.stat().st_size
    call = script(CHILD, kind, str(path.absolute()), json.dumps(options))
    try:
        child = subprocess.Popen(
            **call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise DataError(f"Cannot read {what}: the process for it cannot start ({error}).") from error
    late = []

    def stop() -> None:
        late.append(True)
        child.kill()

    def fault(reason: str) -> DataError:
        return DataError(f"Cannot read {what}: {reason}.{hint}")

    assert child.stdout is not None
    try:
        while True:
            timer = Timer(SECONDS + size / 1e7, stop)
            timer.daemon = True
            try:
                timer.start()
                record, data = _record(child.stdout)
            finally:
                timer.cancel()
            if late:
                raise fault(f"it is damaged, reading it took longer than {SECONDS + size / 1e7:.0f} s")
            if record is None:
                code = child.wait()
                raise fault(f"it is damaged or forged, the library that reads it crashed (exit code {code})")
            if "error" in record:
                raise fault(record["error"].removesuffix("."))
            if "end" in record:
                return
            yield record["names"] if "names" in record else pl.read_ipc_stream(data)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def _record(stream: Any) -> tuple[dict[str, Any] | None, bytes]:
    """(a line, the bytes behind it); None where the process ended before its end."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None, b""
    record = json.loads(line)
    count = record.get("bytes", 0)
    data = stream.read(count)
    return (record, data) if len(data) == count else (None, b"")
