"""Models and weights that were trained with other libraries, run by this engine. Nothing in a file is ever run."""

from __future__ import annotations

from unspool.importing.from_keras import from_keras
from unspool.importing.from_onnx import from_onnx, layers_from_onnx
from unspool.importing.inputs import Input, Padding
from unspool.importing.model import ImportedModel
from unspool.importing.torch_state import from_torch, model_of

__all__ = [
    "ImportedModel",
    "Input",
    "Padding",
    "from_keras",
    "from_onnx",
    "from_torch",
    "layers_from_onnx",
    "model_of",
]
