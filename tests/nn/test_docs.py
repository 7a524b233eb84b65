"""docs/arrangements.md and prediction.md: their Python runs, and their tables name every argument and form."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from torch import nn

from unspool.engine.frozen import FORMS

# Keras 3.12: constructors of LSTM, GRU and Bidirectional, and what a call takes.
KERAS = """
    units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer
    unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint
    recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences return_state go_backwards
    stateful unroll use_cudnn reset_after layer merge_mode weights backward_layer mask training initial_state
    zero_output_for_mask cell cells
""".split()

FOLDER = Path(__file__).resolve().parents[2] / "docs"
DOCS = (FOLDER / "arrangements.md").read_text(encoding="utf-8")


def printed(docs: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the Python in `docs` prints, a line each."""
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs", "exec"), names)
    return capsys.readouterr().out.splitlines()


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every print's result begins with the numbers of its comment."""
    shapes = [re.findall(r"\d+", line) for line in printed(DOCS, capsys)]
    said = [re.findall(r"\d+", line.split("#")[1]) for line in DOCS.splitlines() if line.startswith("print(")]
    assert shapes == said and len(said) == 2


def test_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    docs = (FOLDER / "prediction.md").read_text(encoding="utf-8")
    equal, shape, *scores = printed(docs, capsys)
    said = [line.split("  # ")[1] for line in docs.splitlines() if "print(" in line and "  # " in line]
    assert [equal, shape] == said
    assert [line.split()[0] for line in scores] == list(FORMS)
    exact, *others = (float(line.split()[1]) for line in scores)
    assert exact > 0.9 and others == pytest.approx([exact, exact], abs=0.01)
    assert re.findall(r'^\| `"(\w+)"`', docs, re.MULTILINE) == list(FORMS)


def test_every_argument_of_torchs_layers_is_named() -> None:
    table = DOCS.split("## From torch")[1]
    wanted = set(inspect.signature(nn.RNNBase.__init__).parameters) - {"self", "mode"} | {"nonlinearity"}
    assert wanted <= set(re.findall(r"`(\w+)`", table))


def test_every_argument_of_keras_layers_is_named() -> None:
    table = DOCS.split("## From Keras")[1].split("## From torch")[0]
    assert set(KERAS) <= set(re.findall(r"`(?:call: )?(\w+)`", table))
