"""The command line: `unspool fit | predict | evaluate | inspect | doctor`.

One command, one file; torch, polars and matplotlib are imported inside the commands: `--help` is quick.
"""

import os


def main() -> None:
    """Run the command line on `sys.argv`; exit codes: 0 done, 1 self-check failed, 2 error, 130 Ctrl-C."""
    if "OMP_WAIT_POLICY" not in os.environ:  # before torch: its threads read it once (docs/performance.md)
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from unspool.cli.app import app

    app()
