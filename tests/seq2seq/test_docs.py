"""What docs/seq2seq.md shows is run, and the example on a small cut."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import polars as pl
from typer.testing import CliRunner

from unspool.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "seq2seq.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALL = "--hidden-size 16 --embedding-dim 8 --epochs 2 --learning-rate 0.02 --quiet"


def test_python(capsys):
    (code,) = (code for kind, code in BLOCKS if kind == "python")
    exec(compile(code, "docs/seq2seq.md", "exec"), {"__name__": "docs"})
    printed = capsys.readouterr().out
    assert "exact_match" in printed


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [f"{day} May 19{day}" for day in range(10, 40)]
    pl.DataFrame({"source": sources, "target": [s[::-1] for s in sources]}).write_csv("pairs.csv")
    (lines,) = (code.splitlines() for kind, code in BLOCKS if kind == "sh")
    assert len(lines) == 5
    for line in lines:
        command = line + (f" {SMALL}" if " fit " in line else "")
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert pl.read_csv("written.csv").columns == [
        "source",
        "target",
        "prediction",
        "log_probability_prediction",
    ]


def test_example(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seq2seq.py", "--pairs", "100", "--epochs", "1"])
    runpy.run_path(str(ROOT / "examples" / "seq2seq.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "this model" in printed and "token by token" in printed
    assert len((ROOT / "examples" / "seq2seq.py").read_text().splitlines()) < 60
