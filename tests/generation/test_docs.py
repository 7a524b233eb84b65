"""The page on language models and the example are run."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from unspool.generation.settings import SETTINGS

from .conftest import TEXT

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/generation.md", "exec"), {"__name__": "docs"})
    assert len(capsys.readouterr().out) > 100


def test_the_page_names_what_there_is() -> None:
    from inspect import signature

    from unspool import SequenceGenerator

    (named,) = re.findall(r"`generate\((.*?)\)`", PAGE)
    assert named.split(", ") == list(signature(SequenceGenerator.generate).parameters)[1:]
    settings = {p.name for p in SETTINGS}
    for name in re.findall(r"`(\w+_(?:dropout|penalty|lengths|length|size|weights))`", PAGE):
        assert name in settings | {"repetition_penalty"}, name


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    options = [str(text), "--epochs", "1", "--hidden-size", "8", "--prompt", "the"]
    monkeypatch.setattr(sys, "argv", ["generation.py", *options])
    runpy.run_path(str(ROOT / "examples" / "generation.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"test: \d\.\d+ nats a character, \d-grams \d\.\d+", printed)
    assert len((ROOT / "examples" / "generation.py").read_text().splitlines()) < 60
