"""`from_onnx`: an ONNX file to an `ImportedModel`, or to its recurrent layers alone."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.importing import onnx_file, onnx_recurrent, onnx_rules
from unspool.importing.model import ImportedModel
from unspool.importing.recurrent import RecurrentLayer
from unspool.nn import Recurrent
from unspool.saved import Fields


def from_onnx(path: str | os.PathLike[str], output: str | None = None) -> ImportedModel:
    """The model of an ONNX file: LSTM, GRU and RNN operators and what exporters put around them.

    output: which of the graph's outputs; default: the first one.

    States start from zeros: inputs for initial states, and for lengths, are taken by the sequences' own. Raises
    `ModelFileError` for a file that is damaged, or an output that needs an operator or an attribute that is not
    supported; it names the node. `layers_from_onnx` reads the recurrent operators of any graph.
    """
    name = os.path.expanduser(os.fspath(path))
    try:
        builder = onnx_rules.Builder(onnx_file.load(name))
        builder.follow(output)
        ids = any(node.kind == "embedding" and -1 in node.inputs for node in builder.nodes)
        first = next((n for n in builder.nodes if n.kind == "recurrent" and -1 in n.inputs), None)
        features = next((f.width for f in builder.flows.values() if f.node == -1), None)
        if first is not None:
            features = int(first.settings["cells"][0]["input_size"])
        if not ids and features is None:
            raise ModelFileError("the number of features of its input is not in the file.")
        return ImportedModel(
            builder.nodes,
            _tensors(builder.tensors),
            features=None if ids else features,
            source={"format": "onnx"},
        )
    except ModelFileError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error}") from error


def layers_from_onnx(path: str | os.PathLike[str]) -> dict[str, Recurrent]:
    """Each LSTM, GRU and RNN operator of a graph, by the node's name (or the number of its place), as a `Recurrent`.

    The layers take (B, T, F), packed sequences and `Ragged`, whatever the operator's layout. Errors as of `from_onnx`.
    """
    name = os.path.expanduser(os.fspath(path))
    found: dict[str, Recurrent] = {}
    try:
        for number, node in enumerate(onnx_file.load(name)):
            if node.op_type not in onnx_recurrent.KINDS:
                continue
            made = onnx_recurrent.read(node)
            layer = RecurrentLayer.from_fields(Fields(made.settings, onnx_recurrent.where(node)))
            layer.load_state_dict(_tensors(made.tensors))
            key = node.name or str(number)
            found[str(number) if key in found else key] = layer.layer.eval()
    except ModelFileError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error}") from error
    return found


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
