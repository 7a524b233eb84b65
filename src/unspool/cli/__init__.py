"""The command line: `unspool fit | predict | evaluate | inspect | doctor`.

One command, one file; torch, polars and matplotlib are imported inside the commands: `--help` is quick.
"""

import contextlib
import gc
import os
import sys
from typing import Any

FULL_COLLECTIONS = 100  # Python's own number is 10
TELLING = ("triton", "onnx")  # nanobind in these prints at the end of the process what was not freed


def main() -> None:
    """Run the command line on `sys.argv`; exit codes: 0 done, 1 self-check failed, 2 error, 130 Ctrl-C."""
    if "OMP_WAIT_POLICY" not in os.environ:  # before torch: its threads read it once (docs/performance.md)
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # A look at everything that torch and scikit-learn bring: a tenth of a command's start. Young garbage goes as ever.
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTIONS)
    from unspool.cli.app import app

    try:
        app()
    except SystemExit as end:
        if getattr(sys.modules.get("unspool.training.parallel"), "lost", False):
            _end_at_once(end.code)
        raise
    finally:
        if not any(name in sys.modules for name in TELLING):
            gc.freeze()  # nor are they looked at once more when the process ends: most of a second


def _end_at_once(code: Any) -> None:
    """Without torch's end of a group of which a rank was lost: it was seen to abort, in place of this exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
