"""The estimators' parameters, in one table: checks, command line, saving and documentation follow from it.

Nothing heavy is imported, so that `unspool --help` is quick. `python -m unspool.parameters` prints docs/parameters.md.
"""

from unspool.parameters.checks import check_effort
from unspool.parameters.parameter import MODEL, SIGNALS, SPLIT, TRAINING, VECTORS, Check, Parameter
from unspool.parameters.rows import COMMON, TABLE
from unspool.parameters.search import KINDS, Search
from unspool.parameters.using import HEAD, check_parameters, described, page, search_table, shared, table

__all__ = [
    "COMMON",
    "HEAD",
    "KINDS",
    "MODEL",
    "SIGNALS",
    "SPLIT",
    "TABLE",
    "TRAINING",
    "VECTORS",
    "Check",
    "Parameter",
    "Search",
    "check_effort",
    "check_parameters",
    "described",
    "page",
    "search_table",
    "shared",
    "table",
]
