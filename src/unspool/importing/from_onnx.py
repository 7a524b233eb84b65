"""`from_onnx`: an ONNX file to an `ImportedModel`, or to its recurrent layers alone."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.importing import onnx_file, onnx_recurrent, onnx_rules, onnx_scan  # noqa: F401  (registers Scan)
from unspool.importing.inputs import Input
from unspool.importing.model import ImportedModel
from unspool.importing.recurrent import RecurrentLayer
from unspool.nn import Recurrent
from unspool.saved import Fields


def from_onnx(path: str | os.PathLike[str], output: str | None = None) -> ImportedModel:
    """The model of an ONNX file: LSTM, GRU and RNN operators, Scans, and what exporters put around them.

    A Scan becomes a cell made of the operations of its body (`unspool.importing.step_cell.StepCell`), which runs
    natively as any cell does.

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
            inputs=[Input("input", "ids") if ids else Input("input", "series", features)],
            source={"format": "onnx"},
        )
    except ModelFileError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error}") from error


def layers_from_onnx(path: str | os.PathLike[str]) -> dict[str, Recurrent]:
    """Each LSTM, GRU, RNN and Scan of a graph, by the node's name (or the number of its place), as a `Recurrent`.

    The layers take (B, T, F), packed sequences and `Ragged`, whatever the operator's layout. Errors as of `from_onnx`.
    """
    name = os.path.expanduser(os.fspath(path))
    found: dict[str, Recurrent] = {}
    try:
        graph = onnx_file.load(name)
        scans = _scans(graph) if any(node.op_type == "Scan" for node in graph) else {}
        for number, node in enumerate(graph):
            if node.op_type == "Scan":
                settings, tensors = scans[id(node)]
            elif node.op_type in onnx_recurrent.KINDS:
                made = onnx_recurrent.read(node)
                settings, tensors = made.settings, made.tensors
            else:
                continue
            layer = RecurrentLayer.from_fields(Fields(settings, onnx_recurrent.where(node)))
            layer.load_state_dict(_tensors(tensors))
            key = node.name or str(number)
            found[str(number) if key in found else key] = layer.layer.eval()
    except ModelFileError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error}") from error
    return found


def _scans(graph: Any) -> dict[int, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Settings and weights of each Scan's layer, by the node's identity; `ModelFileError` for one of another kind."""
    builder, found = onnx_rules.Builder(graph), {}
    builder.walk()
    for node in graph:
        if node.op_type != "Scan":
            continue
        output = node.outputs[-1].name
        if output not in builder.flows or output in builder.skipped:
            raise ModelFileError(f"{builder.skipped.get(output, onnx_recurrent.where(node))}, not supported.")
        number = builder.flows[output].node
        prefix = f"layers.{number}."
        tensors = {n.removeprefix(prefix): t for n, t in builder.tensors.items() if n.startswith(prefix)}
        found[id(node)] = builder.nodes[number].settings, tensors
    return found


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
