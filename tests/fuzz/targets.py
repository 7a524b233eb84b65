"""What is fuzzed: for each target a function that reads one changed file, and what it may answer.

A target is made once, in a folder of its own, and then called with a generator of random numbers, a case at a time. It
returns where what it read is right, raises one of its errors where it is refused, and anything else is a fault. A new
target is a line in `TARGETS`; what it opened, it closes in a function `close` of the case.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from unspool.errors import UnspoolError

from . import checkpoints, data_files, graphs, imports, models, native, server, sockets, streams, studies

Case = Callable[[random.Random], None]

#: Name -> (folder -> a case, the errors that refuse).
TARGETS: dict[str, tuple[Callable[[Path], Case], tuple[type[BaseException], ...]]] = {
    "models": (models.target, (UnspoolError,)),
    "checkpoints": (checkpoints.target, (UnspoolError,)),
    "states": (streams.target, (UnspoolError,)),
    "models of other libraries": (imports.target, (UnspoolError,)),
    "networks of several inputs": (imports.of_several, (UnspoolError,)),
    "words, cells and operations of Keras": (imports.of_forms, (UnspoolError,)),
    "graphs with a Scan": (graphs.target, (UnspoolError,)),
    "server": (server.target, (UnspoolError,)),
    "server, other kinds": (server.others, (UnspoolError,)),
    "WebSockets": (sockets.target, (UnspoolError,)),
    "studies": (studies.compared, (UnspoolError,)),
    "searches": (studies.searched, (UnspoolError,)),
    "vectors": (data_files.vectors, (UnspoolError,)),
    "tables": (data_files.tables, (UnspoolError,)),
    "parquet": (data_files.parquet, (UnspoolError,)),
    "workbooks": (data_files.workbooks, (UnspoolError,)),
    "series and recordings": (data_files.signals, (UnspoolError,)),
    "tagged sentences": (data_files.tagged, (UnspoolError,)),
    "native": (native.target, native.REFUSED),
}
