"""docs/import.md names what is supported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unspool.importing import keras_layers, keras_recurrent, keras_shapes, keras_windows, onnx_rules
from unspool.importing.onnx_graph import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
#: Names of older versions for the same layers.
ALIASES = {
    "TimeDistributedDense",
    "GlobalMaxPool1D",
    "GlobalAvgPool1D",
    "MaxPool1D",
    "AvgPool1D",
    "Convolution1D",
    "SeparableConvolution1D",
}
TABLES = (
    keras_layers._LAYERS,
    keras_layers.MERGES,
    keras_recurrent.KINDS,
    keras_windows.KINDS,
    keras_shapes.KINDS,
)
LAYERS = {name for table in TABLES for name in table} - ALIASES


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_of_keras(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_operators_of_onnx() -> None:
    section = PAGE[PAGE.index("\n## ONNX") :]
    functions = {
        *onnx_rules.FUNCTIONS,
        "Softmax",
        "LogSoftmax",
        "LeakyRelu",
        "Elu",
        "HardSigmoid",
        "Gelu",
        "Selu",
    }
    named = set(re.findall(r"`(\w+)`", section))
    assert set(RULES) - functions <= named
