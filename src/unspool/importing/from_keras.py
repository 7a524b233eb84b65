"""`from_keras`: a Keras file to an `ImportedModel`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unspool.errors import ModelFileError, bad_parameter
from unspool.importing import keras_file, keras_layers, keras_operations
from unspool.importing.inputs import MAX_LENGTH, Input, Padding
from unspool.importing.keras_calls import check_masks, maskers, running_order
from unspool.importing.keras_config import Architecture, Call, Read, Shape, parse, read_architecture
from unspool.importing.keras_nested import flattened
from unspool.importing.model import ImportedModel
from unspool.importing.network import Node
from unspool.importing.tokenizers import read_tokenizer
from unspool.importing.vectorizer import Vectorizer, vectorizer_of
from unspool.text import Tokenizer

ATokenizer: TypeAlias = "Tokenizer | str | os.PathLike[str]"


def from_keras(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    tokenizer: ATokenizer | Mapping[str, ATokenizer] | None = None,
    maxlen: int | Mapping[str, int] | None = None,
    padding: str = "pre",
    truncating: str = "pre",
    keras_version: str | None = None,
) -> ImportedModel:
    """The model of a Keras file, `.keras` or HDF5, of Keras 1 to 3; Keras itself is not needed.

    config: the architecture, where the file holds weights alone: the file that `model.to_json()` was written to.
    tokenizer: the `Tokenizer`, or the file of its `to_json()`, that the network was trained with; texts are then input.
        Of a network with several inputs of ids: for all that are not single ids, or a dict by the inputs' names.
    maxlen, padding, truncating: how sequences were brought to one length (`pad_sequences`, whose defaults these are).
        maxlen None: the length that the network was built for, if it was for one; otherwise sequences stay as they are.
        A dict by the inputs' names where they differ.
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
        arrays, words = file.arrays(architecture.layers), file.words(architecture.layers)
        architecture = flattened(architecture)
        vectors = _vectorizers(architecture, words, version)
        nodes, tensors, outputs = _convert(architecture, arrays, version)
        pads = Padding(None, padding, truncating)
        return ImportedModel(
            nodes,
            tensors,
            inputs=_inputs(architecture, nodes, tokenizer, maxlen, pads, vectors),
            outputs=outputs,
            source={"format": "keras", "version": version or "unknown"},
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
) -> tuple[list[Node], dict[str, Tensor], dict[str, int]]:
    """Our layers in running order, their weights, and the outputs' names and numbers."""
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    numbers = {name: -1 - number for number, name in enumerate(architecture.inputs)}
    at = {call: numbers[name] for call, name in architecture.input_calls.items()}
    first: dict[str, int] = {}  # layer -> the node that has its weights
    states: dict[Read, int] = {}
    bare: dict[int, int] = {}  # node -> the same without a mask

    def unmasked(call: Call, number: int) -> int:
        if not maskers(architecture, call):
            return number
        if number not in bare:
            bare[number] = len(nodes)
            nodes.append(Node("unmask", f"{call[0]}, without mask", {}, (number,)))
        return bare[number]

    def place(read: Read) -> int:
        call, number = read[:2], at[read[:2]]
        if read[2] == 0:
            return number
        if number < 0 or nodes[number].kind != "recurrent":
            raise ModelFileError(
                f"it reads output {read[2]} of {call[0]!r}; only recurrent layers have more than one that is supported."
            )
        if read not in states:
            states[read] = len(nodes)
            nodes.append(Node("state", f"{call[0]}, state {read[2]}", {"number": read[2] - 1}, (number,)))
        return states[read]

    order = running_order(architecture)
    if version is None or not version.startswith(("1.", "2.")):
        check_masks(architecture, order)
    for call, reading in order.items():
        layer = architecture.layers[call[0]]
        if layer.kind == keras_file.VECTORS:
            at[call] = place(reading.tensors[0])
            continue
        if call in architecture.input_calls:
            keras_layers.convert(layer, [], version)
            continue
        if not reading.tensors:
            raise ModelFileError(f"{layer.where} reads nothing, and is no input.")
        reads = tuple(map(place, reading.tensors))
        if layer.operation:
            reads = tuple(unmasked(read[:2], number) for read, number in zip(reading.tensors, reads))
        if layer.name in first:
            one = nodes[first[layer.name]]
            if one.settings.get("skips", True) != reading.masked:
                raise ModelFileError(
                    f"{layer.where} is called with first states and without, which is not supported."
                )
            if one.settings.get("causal", False) != reading.causal:
                raise ModelFileError(
                    f"{layer.where} is called with a causal mask and without, which is not supported."
                )
            at[call] = len(nodes)
            nodes.append(Node(one.kind, f"{layer.name}, call {call[1]}", {}, reads, first[layer.name]))
            continue
        if layer.operation:
            made = keras_operations.convert(layer)
        else:
            made = keras_layers.convert(layer, arrays.get(layer.name, []), version)
        if made is None:
            if len(reads) > 1:
                raise ModelFileError(f"{layer.where} reads {len(reads)} layers. Expected one.")
            at[call] = reads[0]
            continue
        kind, settings, weights = made
        settings |= {} if reading.masked else {"skips": False}
        settings |= {"causal": True} if reading.causal else {}
        for name, weight in weights.items():
            tensors[f"layers.{len(nodes)}.{name}"] = torch.from_numpy(np.ascontiguousarray(weight))
        at[call] = first[layer.name] = len(nodes)
        nodes.append(Node(kind, layer.name, settings, reads))
    outputs = {name: place(read) for name, read in architecture.outputs.items()}
    for name, number in outputs.items():
        if number < 0:
            raise ModelFileError(f"its output {name!r} is one of its inputs, unchanged.")
    return nodes, tensors, outputs


def _vectorizers(
    architecture: Architecture, words: Mapping[str, list[str]], version: str | None
) -> dict[str, tuple[Vectorizer, int | None]]:
    """Of each input that a `TextVectorization` reads: that, and the number of ids of a text."""
    found: dict[str, tuple[Vectorizer, int | None]] = {}
    for call, reading in running_order(architecture).items():
        layer = architecture.layers[call[0]]
        inputs = [architecture.input_calls.get(read[:2]) for read in reading.tensors]
        if layer.kind == keras_file.VECTORS:
            if len(inputs) != 1 or inputs[0] is None:
                raise ModelFileError(f"{layer.where} must read an input, and nothing else.")
            if inputs[0] in found:
                raise ModelFileError(f"{layer.where} reads an input that another one reads, too.")
            found[inputs[0]] = vectorizer_of(layer, version, words.get(layer.name))
    for call, reading in running_order(architecture).items():
        layer = architecture.layers[call[0]]
        for read in reading.tensors:
            if architecture.input_calls.get(read[:2]) in found and layer.kind != keras_file.VECTORS:
                raise ModelFileError(f"{layer.where} reads texts, which only TextVectorization may.")
    return found


def _inputs(
    architecture: Architecture,
    nodes: list[Node],
    tokenizer: Any,
    maxlen: Any,
    pads: Padding,
    vectors: Mapping[str, tuple[Vectorizer, int | None]],
) -> list[Input]:
    """What the network reads, and how values of it are prepared."""
    if len(architecture.inputs) == 1 and vectors and (tokenizer is not None or maxlen is not None):
        what = "maxlen" if tokenizer is None else "tokenizer"
        raise ModelFileError(f"its TextVectorization makes ids of texts by itself. Give no {what}.")
    for what, given in (("tokenizer", tokenizer), ("maxlen", maxlen)):
        for name in given if isinstance(given, Mapping) else ():
            if name not in architecture.inputs:
                known = ", ".join(map(repr, architecture.inputs))
                raise ModelFileError(
                    f"{what} is for an input {name!r}, which it does not have. It has {known}."
                )
    found = []
    for number, (name, shape) in enumerate(architecture.inputs.items()):
        readers = [node for node in nodes if -1 - number in node.inputs]
        if name in vectors:
            if any(isinstance(one, Mapping) and name in one for one in (tokenizer, maxlen)):
                raise ModelFileError(
                    f"the TextVectorization of {name!r} makes ids of texts. Give nothing for it."
                )
            vectorizer, length = vectors[name]
            found.append(Input(name, "ids", None, vectorizer, Padding(length, "post", "post")))
            continue
        kind, features, length = _kind(name, shape, readers)
        single = kind == "row" or (kind == "ids" and length == 1 and len(architecture.inputs) > 1)
        long = maxlen.get(name) if isinstance(maxlen, Mapping) else None if single else maxlen
        own = tokenizer.get(name) if isinstance(tokenizer, Mapping) else tokenizer
        if not isinstance(tokenizer, Mapping) and len(architecture.inputs) > 1 and (single or kind != "ids"):
            own = None
        padding = replace(pads, maxlen=length if long is None else long)
        found.append(
            Input(name, kind, features, read_tokenizer(own), Padding() if kind == "row" else padding)
        )
    if tokenizer is not None and all(given.tokenizer is None for given in found):
        raise ModelFileError(
            "a tokenizer is for a network that begins with an embedding; none of its inputs does."
        )
    return found


def _kind(name: str, shape: Shape | None, readers: list[Node]) -> tuple[str, int | None, int | None]:
    """(kind of an input, features of a step or row, the length that all sequences have, None for any)."""
    if any(node.kind == "embedding" for node in readers) and (shape is None or len(shape) == 2):
        length = shape[1] if shape is not None else None
        if length is not None and length > MAX_LENGTH:
            raise _too_long(length)
        return "ids", None, length
    if shape is not None and len(shape) == 2 and shape[1] is not None:
        return "row", shape[1], None
    if shape is not None and len(shape) == 3 and shape[2] is not None:
        if shape[1] is not None and shape[1] > MAX_LENGTH:
            raise _too_long(shape[1])
        return "series", shape[2], shape[1]
    if shape is not None and len(shape) != 3:
        raise ModelFileError(
            f"its input {name!r} must be a sequence, (batch, time, features), ids, or rows (batch, features). Got the "
            f"shape {shape}."
        )
    for node in readers:
        if node.kind == "recurrent" and node.same_as is None:
            return "series", int(node.settings["cells"][0]["input_size"]), shape[1] if shape else None
    raise ModelFileError(f"the number of features of its input {name!r} is not in the file.")


def _too_long(length: int) -> ModelFileError:
    return ModelFileError(f"it is for sequences of {length:,} steps; {MAX_LENGTH:,} at most are supported.")
