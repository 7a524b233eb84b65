"""What the README shows is run: its Python as written, its `unspool` commands on a small reviews.csv."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from unspool.cli.app import app

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
NOT_RUN = (
    "pip install",
    "make ",
    "unspool serve",
    "unspool stream",
)  # the last two: tests/serve, tests/streaming


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["what", "a", "lovely", "day", "never", "again"], 5)) for _ in range(60)]
    scores = [text.count("lovely") - text.count("never") + 0.5 for text in texts]
    pl.DataFrame({"text": texts, "score": scores}).write_csv(tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind == "python"])
def test_python(folder, code, capsys):
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_commands(folder):
    lines = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines() if line]
    commands = [line for line in lines if not line.startswith(NOT_RUN)]
    assert len(commands) >= 6 and all(line.startswith("unspool ") for line in commands)
    for line in commands:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert (folder / "model" / "model.json").is_file()
    assert (folder / "model-report" / "predicted_vs_true.png").is_file()
    assert pl.read_csv(folder / "predictions.csv").height == 60
