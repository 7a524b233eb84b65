"""`from_keras`: a Keras file to an `ImportedModel`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import ModelFileError, bad_parameter
from unspool.importing import keras_file, keras_layers
from unspool.importing.keras_calls import running_order
from unspool.importing.keras_config import Architecture, parse, read_architecture
from unspool.importing.model import MAX_LENGTH, ImportedModel, Padding
from unspool.importing.network import Node
from unspool.importing.tokenizers import read_tokenizer
from unspool.text import Tokenizer


def from_keras(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    maxlen: int | None = None,
    padding: str = "pre",
    truncating: str = "pre",
    keras_version: str | None = None,
) -> ImportedModel:
    """The model of a Keras file, `.keras` or HDF5, of Keras 1 to 3; Keras itself is not needed.

    config: the architecture, where the file holds weights alone: the file that `model.to_json()` was written to.
    tokenizer: the `Tokenizer`, or the file of its `to_json()`, that the network was trained with; texts are then input.
    maxlen, padding, truncating: how sequences were brought to one length (`pad_sequences`, whose defaults these are).
        maxlen None: the length that the network was built for, if it was for one; otherwise sequences stay as they are.
    keras_version: where the file does not say it, such as "2.4.0".

    Raises `ModelFileError` for a file that is damaged, holds code, or has a layer or a setting that is not supported;
    it names the layer.
    """
    name = os.fspath(path)
    if keras_version is not None and not re.match(r"\d+\.\d+", keras_version):
        bad_parameter("from_keras", "keras_version", "like '2.4.0'", keras_version)
    try:
        file = keras_file.read(name)
        data = file.config if config is None else _read_config(config)
        if data is None:
            raise ModelFileError(
                "it holds weights alone. Give config, the file that model.to_json() was written to."
            )
        said = data.get("keras_version")
        version = keras_version or file.version or (said if isinstance(said, str) else None)
        architecture = read_architecture(data)
        arrays = file.arrays(architecture.layers)
        nodes, tensors = _convert(architecture, arrays, version)
        features, length = _input(architecture, nodes)
        pads = Padding(length if maxlen is None else maxlen, padding, truncating)
        source = {"format": "keras", "version": version or "unknown"}
        return ImportedModel(
            nodes,
            tensors,
            features=features,
            tokenizer=read_tokenizer(tokenizer),
            padding=pads,
            source=source,
        )
    except ModelFileError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error}") from error


def _read_config(config: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, Mapping):
        return dict(config)
    try:
        with open(os.path.expanduser(os.fspath(config)), "rb") as file:
            return parse(file.read(keras_file.MAX_JSON))
    except OSError as error:
        raise ModelFileError(
            f"the config {os.fspath(config)!r} cannot be read ({error.strerror or error})."
        ) from error


def _convert(
    architecture: Architecture, arrays: Mapping[str, list[np.ndarray]], version: str | None
) -> tuple[list[Node], dict[str, Tensor]]:
    """Our layers in running order, and their weights."""
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    at: dict[tuple[str, int], int] = {}
    for call, before in running_order(architecture).items():
        layer = architecture.layers[call[0]]
        reads = tuple(at[read] for read in before)
        made = keras_layers.convert(layer, arrays.get(layer.name, []), version)
        if made is None:
            if len(reads) > 1:
                raise ModelFileError(f"{layer.where} reads {len(reads)} layers. Expected one.")
            at[call] = reads[0] if reads else -1
            continue
        kind, settings, weights = made
        for name, weight in weights.items():
            tensors[f"layers.{len(nodes)}.{name}"] = torch.from_numpy(np.ascontiguousarray(weight))
        at[call] = len(nodes)
        nodes.append(Node(kind, layer.name, settings, reads or (-1,)))
    return nodes, tensors


def _input(architecture: Architecture, nodes: list[Node]) -> tuple[int | None, int | None]:
    """(features of a step, None for ids; the length that all sequences have, None for any)."""
    first = [node for node in nodes if -1 in node.inputs]
    shape = architecture.input_shape
    length = shape[1] if shape is not None and len(shape) > 1 else None
    if length is not None and length > MAX_LENGTH:
        raise ModelFileError(
            f"it is for sequences of {length:,} steps; {MAX_LENGTH:,} at most are supported."
        )
    if any(node.kind == "embedding" for node in first):
        return None, length
    if shape is not None and len(shape) == 3 and shape[2] is not None:
        return shape[2], length
    if shape is not None and len(shape) != 3:
        raise ModelFileError(f"its input must be a sequence, (batch, time, features). Got the shape {shape}.")
    for node in first:
        if node.kind == "recurrent":
            return int(node.settings["cells"][0]["input_size"]), length
    raise ModelFileError("the number of features of its input is not in the file.")
