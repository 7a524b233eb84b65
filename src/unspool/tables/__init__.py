"""Tables in and out: CSV, TSV, JSON, Parquet and Excel to columns of texts, numbers and labels, and back."""

from unspool.tables.columns import (
    Decision,
    columns_beside,
    decide_task,
    label_column,
    number_columns,
    require_columns,
    text_column,
    weight_column,
    without_missing,
)
from unspool.tables.decode import decode
from unspool.tables.labels import split_labels
from unspool.tables.pieces import read_pieces
from unspool.tables.read import FORMATS, Table, file_format, read_table
from unspool.tables.split import Split, by_column, by_fraction, shared_texts
from unspool.tables.stream import TableStream
from unspool.tables.write import check_writable, write_pieces, write_table

__all__ = [
    "FORMATS",
    "Decision",
    "Split",
    "Table",
    "TableStream",
    "by_column",
    "by_fraction",
    "check_writable",
    "columns_beside",
    "decide_task",
    "decode",
    "file_format",
    "label_column",
    "number_columns",
    "read_pieces",
    "read_table",
    "require_columns",
    "shared_texts",
    "split_labels",
    "text_column",
    "weight_column",
    "without_missing",
    "write_pieces",
    "write_table",
]
