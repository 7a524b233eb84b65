"""The page on series and recordings, and the example, are run."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import run
from tests.cli.test_signals import SMALL, long_table, rising, write_ts

import unspool

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "series.md").read_text(encoding="utf-8")
DIGITS = ROOT.parent / "shared" / "data" / "fsdd" / "recordings"


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with pytest.warns(UserWarning, match="1 of 480 numbers of the training part are missing"):
        exec(compile(code, "docs/series.md", "exec"), {"__name__": "docs"})
    assert "missing values of 1 told apart" in capsys.readouterr().out


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    X, y = rising(40)
    for part in ("TRAIN", "TEST"):
        write_ts(tmp_path / f"JapaneseVowels_{part}.ts", X, y)
    names = {"unique_id": "machine", "step": "time", "label": "state"}
    long_table(X, y).rename(names).write_csv("sensors.csv")
    np.savez("panel.npz", X=np.stack([x[:4].T for x in X]), y=np.array(y))
    for folder in ("recordings", "new_recordings"):
        (tmp_path / folder).mkdir()
        for i in range(20):
            tone = np.sin(np.arange(400) * (0.3 + i % 2))
            soundfile.write(tmp_path / folder / f"{i % 2}_theo_{i // 2}.wav", tone, 8000)
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    commands = [re.findall(r"'[^']*'|\S+", line) for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        words = [word.strip("'") for word in command[1:]]
        if words[0] == "evaluate":  # of the model of series, which the later ones have replaced
            run(*commands[0][1:], *SMALL)
        run(*words, *(SMALL if words[0] == "fit" else []))
    assert (tmp_path / "predictions.csv").is_file()


@pytest.mark.skipif(not DIGITS.is_dir(), reason=f"the spoken digits are not in {DIGITS}")
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    for digit in "07":
        for number in (*range(2), *range(5, 13)):
            shutil.copy(DIGITS / f"{digit}_theo_{number}.wav", cut)
    script = ROOT / "examples" / "digits.py"
    assert len(script.read_text().splitlines()) < 60
    arguments = [str(script), str(cut), "--epochs", "20", "--out", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert "16 training and 4 test recordings" in said and "log-spectrum + logistic regression" in said
    assert float(said.split("accuracy ")[1].split()[0]) >= 0.75
    assert unspool.load(tmp_path / "model").classes_.tolist() == [0, 7]


def test_the_example_of_other_targets_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = DIGITS.parents[1] / "series" / "pollution.csv"
    if not table.is_file():
        pytest.skip(f"needs {table}")
    monkeypatch.setattr(sys, "argv", ["air_quality.py", str(table), "--rows", "4000", "--epochs", "1"])
    with pytest.warns(UserWarning, match="of the training part are missing"):
        runpy.run_path(str(ROOT / "examples" / "air_quality.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert all(name in told for name in ("grade (ordinal)", "hours above 75 (count)", "mean (positive)"))
    assert all(f"summary + {name} regression" in told for name in ("logistic", "Poisson", "gamma"))
