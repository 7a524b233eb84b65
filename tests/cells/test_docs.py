"""docs/cells.md: its table is the registry's, its Python runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from unspool import cells

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cells.md").read_text(encoding="utf-8")


def test_the_table_is_the_registry() -> None:
    """Name, gates, state and parameters of every cell, in order."""
    table = DOCS.split("## Options")[0]
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| ([a-z ]+) \| ([a-z, ]+) \| [^|]+ \| `([^`]+)` \|$", table, re.MULTILINE
    )
    expected = []
    for name in cells.names():
        cell: Any = cells.get(name)
        expected.append((name, " ".join(cell.gates), ", ".join(cell.state_names), cell.parameter_formula))
    assert rows == expected


def test_activations_are_listed() -> None:
    listed = re.search(r"Keras 3's: (.*) \(`cells.ACTIVATIONS`\)", DOCS)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed.group(1)) == list(cells.ACTIVATIONS)


def test_the_code_runs() -> None:
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/cells.md", "exec"), names)
    assert names["top"].shape == (3, 4) and names["h"].shape == names["c"].shape == (3, 16)
