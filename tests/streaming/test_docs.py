"""docs/streams.md: its Python runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "streams.md").read_text(encoding="utf-8")


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/streams.md", "exec"), names)
    said = re.findall(r"^ *print\(.*\)\s+# (.*)$", DOCS, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said and len(said) == 7
