"""Python scripts in processes of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from unspool.errors import UnspoolError

#: Runs a script without its folder among the places of imports.
RUN = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def script(path: Path, *arguments: str) -> dict[str, Any]:
    """What `subprocess` takes to run a script that imports from where this process does: args and env.

    Raises `UnspoolError` where this program names no Python.
    """
    if not sys.executable:
        raise UnspoolError(
            f"Running {path.name} needs a Python (sys.executable), and this program names none."
        )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return {"args": [sys.executable, "-c", RUN, str(path), *arguments], "env": environment}
