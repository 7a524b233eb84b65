"""docs/arrangements.md: its Python runs, and its tables name every argument of Keras' and torch's layers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from torch import nn

# Keras 3.12: constructors of LSTM, GRU and Bidirectional, and what a call takes.
KERAS = """
    units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer
    unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint
    recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences return_state go_backwards
    stateful unroll use_cudnn reset_after layer merge_mode weights backward_layer mask training initial_state
    zero_output_for_mask cell cells
""".split()

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "arrangements.md").read_text(encoding="utf-8")


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every print's result begins with the numbers of its comment."""
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL):
        exec(compile(code, "arrangements.md", "exec"), names)
    shapes = [re.findall(r"\d+", line) for line in capsys.readouterr().out.splitlines()]
    said = [re.findall(r"\d+", line.split("#")[1]) for line in DOCS.splitlines() if line.startswith("print(")]
    assert shapes == said and len(said) == 2


def test_every_argument_of_torchs_layers_is_named() -> None:
    table = DOCS.split("## From torch")[1]
    wanted = set(inspect.signature(nn.RNNBase.__init__).parameters) - {"self", "mode"} | {"nonlinearity"}
    assert wanted <= set(re.findall(r"`(\w+)`", table))


def test_every_argument_of_keras_layers_is_named() -> None:
    table = DOCS.split("## From Keras")[1].split("## From torch")[0]
    assert set(KERAS) <= set(re.findall(r"`(?:call: )?(\w+)`", table))
