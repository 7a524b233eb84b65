"""Reads a Parquet file or an Excel sheet in a process of its own, whose end, however it comes, is an error of the
reader.

The libraries that read them are compiled, and a forged file can make them ask for more memory than there is, which ends
the process. Run as a script with the kind, the file's path and a JSON object of options; it imports polars or
fastexcel, nothing of ours, and writes to stdout lines of JSON, some with as many bytes of Arrow's stream format behind
them as their "bytes" says.

{"names": [...]}                    the columns of a Parquet file
{"bytes": n}                        rows: of a Parquet file piece by piece, of a sheet its rows, then its first row
{"end": true} or {"error": reason}
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

MEMORY, TIMES = 4 * 2**30, 200  # bytes that the process may take, beside so many times the file


def main(kind: str, path: str, options: dict[str, Any], out: Any) -> None:
    """Write what the file at `path` holds to the binary stream `out`."""
    read = {"parquet": _parquet, "xlsx": _excel}[kind]
    try:
        for found in read(path, options):
            if isinstance(found, list):
                _line(out, {"names": found})
                continue
            held = io.BytesIO()
            _write(found, held)
            _line(out, {"bytes": held.tell()})
            out.write(held.getbuffer())
            out.flush()
        _line(out, {"end": True})
    except BrokenPipeError:  # whoever reads has read enough
        raise SystemExit(1) from None
    except BaseException as error:  # a panic of polars is no Exception
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        _line(out, {"error": text.encode("utf-8", "replace").decode()[:500]})
    out.flush()


def _parquet(path: str, options: dict[str, Any]) -> Iterator[Any]:
    """options: columns, names or None for all; rows, of a piece, or None for one piece."""
    import polars as pl

    lazy = pl.scan_parquet(path, glob=False)
    names = list(lazy.collect_schema())
    yield names
    columns = names if options["columns"] is None else options["columns"]
    if any(name not in names for name in columns):
        return
    chosen = lazy.select(columns)
    if options["rows"] is None:
        yield chosen.collect()
    else:
        yield from chosen.collect_batches(chunk_size=options["rows"], maintain_order=True)


def _excel(path: str, options: dict[str, Any]) -> Iterator[Any]:
    """options: header, whether the first row is one."""
    import fastexcel
    import polars as pl

    book = fastexcel.read_excel(path)
    first = book.load_sheet(0, header_row=None, n_rows=1, dtypes="string")
    if not first.total_height:
        raise ValueError(f"its first sheet, {book.sheet_names[0]!r}, is empty, and others are not read")
    yield pl.DataFrame(book.load_sheet(0, header_row=None, skip_rows=int(options["header"])))
    yield pl.DataFrame(first)


def _write(frame: Any, file: Any) -> None:
    from polars import CompatLevel

    frame.write_ipc_stream(file, compat_level=CompatLevel.newest())


def _line(out: Any, record: dict[str, Any]) -> None:
    out.write(json.dumps(record).encode() + b"\n")


def _limit(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit = MEMORY + TIMES * size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit(os.path.getsize(sys.argv[2]))
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.stdout.buffer)
