"""What docs/export.md shows is run, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    space: dict = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, "docs/export.md", "exec"), space)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("True {'label': ('batch',)")
    assert shown[1] == "2 ['x', 'lengths', 'initial_h_l0', 'initial_c_l0']"
    assert {p.name for p in tmp_path.iterdir()} == {
        *("model.onnx", "tokenizer.json", "layer.onnx", "step.onnx", "layer.pt2")
    }
