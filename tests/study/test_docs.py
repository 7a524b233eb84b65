"""docs/seeing.md: its Python runs, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "seeing.md").read_text(encoding="utf-8")


def test_the_snippets(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "seeing"}
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    for code in blocks:
        exec(compile(code, "docs/seeing.md", "exec"), names)
    printed = capsys.readouterr().out
    equations = re.findall(r"^```text\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)[0]
    assert len(blocks) == 5 and all(line in printed for line in equations.splitlines() if line != "...")
    assert "c' = f ⊙ c + (1 - f) ⊙ g" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"cell.svg", "activations.png", "gradients.png"}
