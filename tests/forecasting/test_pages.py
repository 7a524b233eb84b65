"""What docs/forecasting.md shows is run, and the example on a small cut."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from unspool import Forecaster
from unspool.cli.app import app
from unspool.forecasting.parameters import TABLE, page

from .conftest import SHARED

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "forecasting.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, code in BLOCKS:
        if kind == "python":
            exec(compile(code, "docs/forecasting.md", "exec"), {"__name__": "page"})
    assert "lo-80" in capsys.readouterr().out


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 18), eager=True)
    sold = 20 + np.sin(2 * np.pi * np.arange(200) / 7) + np.random.default_rng(0).standard_normal(200)
    pl.DataFrame({"shop": ["a"] * 200, "day": days, "sold": sold}).write_csv(tmp_path / "sales.csv")
    monkeypatch.chdir(tmp_path)
    lines = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines() if line]
    assert len(lines) == 3
    for line in lines:
        small = ["--epochs", "2", "--hidden-size", "8", "--quiet"] if " fit " in line else []
        result = CliRunner().invoke(app, [*shlex.split(line)[1:], *small])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    assert pl.read_csv("forecasts.csv").columns == ["shop", "day", "sold", "lo-80", "hi-80"]


def test_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = SHARED / "series" / "airline-passengers.csv"
    if not table.exists():
        pytest.skip(f"needs {table}")
    monkeypatch.setattr(sys, "argv", ["forecasting.py", str(table), "--epochs", "3"])
    runpy.run_path(str(ROOT / "examples" / "forecasting.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "seasonal naive  mae 35.5  rmse 41.2" in told and "1961-01" in told


def test_parameters() -> None:
    """The page, the constructor and the table agree."""
    assert (ROOT / "docs" / "parameters_forecasting.md").read_text() == page(), (
        "python -c \"from unspool.forecasting.parameters import page; print(page(), end='')\""
    )
    assert Forecaster().get_params(deep=False) == {p.name: p.default for p in TABLE}
    assert list(Forecaster().get_params(deep=False)) == sorted(p.name for p in TABLE)
