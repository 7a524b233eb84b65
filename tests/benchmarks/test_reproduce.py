"""benchmarks/reproduce: its scripts run, their data are the tasks they name, their gates start open long enough."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unspool import cells

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduce"
SCRIPTS = {
    "adding": 13_121,
    "copy_memory": 55_050,
    "temporal_order": 4_164,
    "jsb": 299_816,
}  # the GRU's parameters


@pytest.fixture(autouse=True)
def paths_and_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(FOLDER)
    before, known = torch.get_num_threads(), set(sys.modules)
    yield
    torch.set_num_threads(before)
    for name in set(sys.modules) - known:
        if name in ("common", "gradients", *SCRIPTS):
            del sys.modules[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_quick_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script: Any = importlib.import_module(name)
    if name == "jsb" and not script.DATA.exists():
        pytest.skip(f"needs {script.DATA.name}, which is not part of the project")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", "--cells", "gru"])
    script.main()
    output = capsys.readouterr().out
    assert f"gru {SCRIPTS[name]:>13,d}" in output and "nan" not in output and "Written" not in output


def test_the_gradient_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of docs/seeing.md, and close to its rates; the doubled weights explode, open gates keep."""
    script: Any = importlib.import_module("gradients")
    monkeypatch.setattr(sys, "argv", ["gradients.py", "--quick"])
    script.main()
    page = (FOLDER.parents[1] / "docs" / "seeing.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| (.+?) \| (\d\.\d\d) \|", re.MULTILINE)
    told, found = dict(row.findall(page)), dict(row.findall(capsys.readouterr().out))
    assert told.keys() == found.keys() == script.CELLS.keys()
    for name, rate in found.items():
        assert float(rate) == pytest.approx(float(told[name]), abs=0.03)
    assert float(found["rnn, recurrent weights doubled"]) > 1.05


def test_the_sum_of_the_two_marked_numbers() -> None:
    script: Any = importlib.import_module("adding")
    x, y = script.sequences(5, torch.Generator().manual_seed(0))
    for sequence, target in zip(x, y):
        marked = sequence[sequence[:, 1] == 1, 0]
        assert len(sequence) == 600 and len(marked) == 2 and marked.sum() == target


def test_ten_symbols_asked_for_after_the_pause() -> None:
    script: Any = importlib.import_module("copy_memory")
    x, y = script.sequences(5, torch.Generator().manual_seed(0))
    for sequence, target in zip(x, y.view(5, 40)):
        symbols = sequence.argmax(1).tolist()
        assert set(symbols[:10]) <= set(range(1, 9)) and symbols[10:] == [0] * 19 + [9] * 11
        assert target.tolist() == [0] * 30 + symbols[:10]


def test_the_order_of_two_symbols_is_the_class() -> None:
    script: Any = importlib.import_module("temporal_order")
    x, y = script.sequences(50, torch.Generator().manual_seed(0))
    for sequence, target in zip(x, y):
        text = "".join("abcdEBXY"[k] for k in sequence.argmax(1))
        assert text[0] == "E" and text[-1] == "B" and 100 <= len(text) <= 110
        places = [k for k, symbol in enumerate(text) if symbol in "XY"]
        assert 10 <= places[0] <= 20 and 50 <= places[1] <= 60 and len(places) == 2
        assert ["XX", "XY", "YX", "YY"][target] == text[places[0]] + text[places[1]]


def test_gates_start_open_for_up_to_that_many_steps() -> None:
    """A gate g keeps the content for 1 / (1 - g) steps: 2 to 100, and its input gate is one minus it."""
    common: Any = importlib.import_module("common")
    torch.manual_seed(0)
    for cell, gate in ((cells.LSTMCell(3, 500), "f"), (cells.GRUCell(3, 500), "z")):
        before = (cell.bias_ih + cell.bias_hh).detach().view(-1, 500)
        common.remember_for(cell, 100)
        after = (cell.bias_ih + cell.bias_hh).detach().view(-1, 500)
        kept = torch.sigmoid(after[cell.gates.index(gate)])
        steps = 1 / (1 - kept)
        assert 2 <= steps.min() < 5 and 95 < steps.max() <= 100.001 and 45 < steps.mean() < 57
        changed = {name for name, a, b in zip(cell.gates, before, after) if not torch.equal(a, b)}
        assert changed == ({"f", "i"} if gate == "f" else {"z"})
        if gate == "f":
            torch.testing.assert_close(torch.sigmoid(after[0]), 1 - kept)
