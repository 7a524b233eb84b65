"""A table as a source of Ray Data: one task that reads it piece by piece."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from unspool.cli.answers import kept_pieces
from unspool.cli.options import Reading
from unspool.errors import UnspoolError

SCHEMA = pa.schema([("piece", pa.int64()), ("content", pa.binary())])


class TableSource(Datasource):
    """A block a piece of `rows`: its number from 0, and a pickled `Table`; then an `End`, or what reading raised."""

    def __init__(self, reading: Reading, table: Path, columns: list[str], rows: int) -> None:
        super().__init__()
        self.given = reading, table, columns, rows

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """One, since the rows of most formats can only be told apart by reading what is before them."""
        given = self.given
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda: _blocks(*given), metadata, schema=SCHEMA)]


def _blocks(reading: Reading, table: Path, columns: list[str], rows: int) -> Iterator[pa.Table]:
    from unspool.cli.on_cluster import End

    number, seen, dropped = 0, 0, 0
    last: Any
    try:
        for piece, seen, dropped in kept_pieces(reading, table, columns, rows=rows):  # noqa: B007
            if piece is not None:
                yield _block(number, piece)
                number += 1
        last = End(seen, dropped)
    except UnspoolError as error:
        last = error
    yield _block(number, last)


def _block(number: int, content: Any) -> pa.Table:
    return pa.table({"piece": [number], "content": [pickle.dumps(content)]}, SCHEMA)
