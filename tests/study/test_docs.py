"""What docs/study.md and docs/seeing.md show is run, as it stands there; docs/study_results.md names real options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import unspool
from unspool.cli.app import app

from .conftest import reviews

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, RESULTS = ((DOCS / name).read_text(encoding="utf-8") for name in ("study.md", "study_results.md"))
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    texts, scores = reviews(60)
    pl.DataFrame({"text": texts, "score": scores}).write_csv(tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    assert [kind for kind, _ in BLOCKS] == ["sh", "python", "python"]
    command = shlex.split(BLOCKS[0][1])
    result = CliRunner().invoke(app, [*command[1:], "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert {p.name for p in Path("study").iterdir()} >= set(re.findall(r"`([\w.]+)` \(", PAGE))
    for _, code in BLOCKS[1:]:
        exec(compile(code, "docs/study.md", "exec"), {"__name__": "docs"})
        assert "Best on the validation part" in capsys.readouterr().out
    assert unspool.load("winner").predict(["a good day"]).shape == (1,)


def test_seeing_runs(tmp_path, monkeypatch, capsys):
    """Its Python in order, in one namespace; the equations it prints are those that it shows."""
    page = (DOCS / "seeing.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/seeing.md", "exec"), names)
    shown = re.search(r"^prints\n\n```text\n(.*?)^\.\.\.$", page, re.MULTILINE | re.DOTALL)
    assert shown and shown[1] in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"cell.svg", "activations.png", "gradients.png"}


OPTIONS = {*re.findall(r"`(--[a-z-]+)", PAGE), *re.findall(r" (--[a-z-]+)", RESULTS)}


@pytest.fixture(scope="module")
def told():
    return CliRunner().invoke(app, ["compare", "--help"], env={"COLUMNS": "200"}).output


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_options_exist(told, option):
    assert option in re.sub(r"\s+", " ", told)
