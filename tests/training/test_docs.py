"""What docs/training.md shows is run, as it stands there, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    space: dict = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, "docs/training.md", "exec"), space)
    (shown,) = re.findall(r"print\(.*\)  # (.*)", PAGE)
    assert capsys.readouterr().out == f"{shown}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["reviews.checkpoint"]
