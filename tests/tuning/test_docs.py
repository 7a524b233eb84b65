"""The page of tuning runs as it is written, with short fits."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.cli.conftest import reviews, run

PAGE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    reviews(60).write_csv(tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_of_the_page(folder, capsys):
    (code,) = [code for kind, code in BLOCKS if kind == "python"]
    exec(compile(code, "docs/tuning.md", "exec"), {"__name__": "page"})
    assert "is kept" in capsys.readouterr().out
    assert (folder / "search" / "trials.csv").is_file() and (folder / "tuned").is_dir()


def test_commands_of_the_page(folder):
    lines = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines() if line]
    assert len(lines) == 2
    for number, line in enumerate(lines):
        words = shlex.split(line.replace("--budget 30m", "--trials 1").replace("--trials 20", "--trials 1"))
        short = ["--epochs", "1", "--repeats", "2", "--jobs", "1", "--quiet", "--report", f"report-{number}"]
        assert "is kept." in run(*words[1:], *short).stdout
