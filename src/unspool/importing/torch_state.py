"""Recurrent layers from torch's weights: a `state_dict`, or a file of one, read without running code."""

from __future__ import annotations

import argparse
import errno
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unspool import nn as ours
from unspool.arrays import native
from unspool.errors import DataError, ModelFileError, bad_parameter, check_choice, described
from unspool.importing import torch_names
from unspool.importing.inputs import Input
from unspool.importing.model import ImportedModel
from unspool.importing.network import Node

OWN = r"(weight|bias)_(ih|hh|hr)_l\d+(_reverse)?"
NONLINEARITIES = ("tanh", "relu")
#: Gates -> the layer that has so many.
KINDS: dict[int, Any] = {4: ours.LSTM, 3: ours.GRU, 1: ours.RNN}

Source = nn.Module | Mapping[str, Any] | str | os.PathLike[str]


def from_torch(
    source: Source,
    prefix: str | None = None,
    *,
    nonlinearity: str | None = None,
    batch_first: bool | None = None,
) -> Any:
    """The `unspool.nn.LSTM`, `GRU` or `RNN` with the weights of torch's layer: any depth, both directions, projections.

    source: a module, its `state_dict`, or a file of one: `.safetensors`, or what `torch.save` wrote (it is read with
        `weights_only=True`). Dicts within it are looked through, as in a checkpoint.
    prefix: which layer, such as "encoder.lstm."; None: the only one. Weights under weight norm, pruning and weight
        dropout (AWD-LSTM's `_raw`) are those that the layer computes in evaluation.
    nonlinearity: "tanh" or "relu", of a plain RNN, and batch_first: what the weights do not say. None: as the module
        has it (a traced or exported module does not say it and needs them); of weights alone "tanh", and False.

    The layer takes torch.nn's calls, and packed sequences as they are. Raises `DataError` where there is no such layer
    or more than one, `ModelFileError` for a file that is damaged or would have to run code.
    """
    check_choice("from_torch", "nonlinearity", nonlinearity, (*NONLINEARITIES, None))
    check_choice("from_torch", "batch_first", batch_first, (True, False, None))
    tensors = torch_names.plain(_tensors(source))
    found = torch_names.prefixes(tensors)
    if prefix is not None and prefix not in found and f"{prefix}." in found:
        prefix = f"{prefix}."
    if (prefix is None and len(found) != 1) or (prefix is not None and prefix not in found):
        names = ", ".join(repr(name) for name in found[:10]) or torch_names.others(tensors)
        wanted = (
            "one recurrent layer, or a prefix that names one" if prefix is None else f"a layer {prefix!r}"
        )
        raise DataError(f"Expected {wanted}. It has the prefixes: {names}.")
    prefix = found[0] if prefix is None else prefix
    own = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    hooked = torch_names.hooked(own)
    if hooked:
        raise DataError(
            f"The layer {prefix.rstrip('.')!r} computes a weight at each call ({hooked[0]!r}). Make it one first: "
            "torch.nn.utils.parametrize.remove_parametrizations, or remove_spectral_norm."
        )
    own = {name: t for name, t in own.items() if re.fullmatch(OWN, name)}
    own_way = _options(source, prefix, own, nonlinearity, batch_first)
    return _layer(own, prefix, *own_way)


def _options(
    source: Source, prefix: str, own: Mapping[str, Tensor], nonlinearity: str | None, batch_first: bool | None
) -> tuple[str, bool]:
    """(nonlinearity, batch first): what is given, else the module's own; `DataError` where it does not say."""
    if not isinstance(source, nn.Module):
        return nonlinearity or "tanh", bool(batch_first)
    module: Any = dict(source.named_modules()).get(prefix.removesuffix("."))
    mode, own_first = getattr(module, "mode", None), getattr(module, "batch_first", None)
    first, second = own.get("weight_ih_l0"), own.get("weight_hh_l0")
    one_gate = first is not None and second is not None and len(first) == second.shape[-1]
    lacks = ["nonlinearity"] if nonlinearity is None and mode is None and one_gate else []
    lacks += ["batch_first"] if batch_first is None and own_first is None else []
    if lacks:
        raise DataError(
            f"A {type(module).__name__} does not say what it computes with these weights: give {' and '.join(lacks)}."
        )
    relu = mode == "RNN_RELU"
    return nonlinearity or ("relu" if relu else "tanh"), bool(
        own_first if batch_first is None else batch_first
    )


def _layer(own: dict[str, Tensor], prefix: str, nonlinearity: str, batch_first: bool) -> Any:
    where = f"The layer {prefix.rstrip('.')!r}" if prefix else "The layer"
    if any(t.dim() != (1 if name.startswith("bias") else 2) or 0 in t.shape for name, t in own.items()):
        raise DataError(f"{where} must have matrices and biases of one axis, none of them empty.")
    if any(t.device.type == "meta" for t in own.values()):
        raise DataError(f"{where} has no numbers: it is on the meta device. Load its weights first.")
    first, second = own.get("weight_ih_l0"), own.get("weight_hh_l0")
    if first is None or second is None:
        raise DataError(f"{where} must have weight_ih_l0 and weight_hh_l0. Got {sorted(own)}.")
    projection = own.get("weight_hr_l0")
    hidden = second.shape[1] if projection is None else projection.shape[1]
    gates = first.shape[0] / hidden if hidden else 0
    if gates not in KINDS or (projection is not None and gates != 4):
        raise DataError(
            f"{where} must have 4 (LSTM), 3 (GRU) or 1 (RNN) times {hidden} rows. Got {first.shape[0]}."
        )
    settings: dict[str, Any] = {
        "num_layers": 1 + max(int(name.split("_l")[1].split("_")[0]) for name in own),
        "bias": "bias_ih_l0" in own,
        "batch_first": batch_first,
        "bidirectional": "weight_ih_l0_reverse" in own,
    }
    if settings["num_layers"] > len(own):
        raise DataError(f"{where} must have all layers from 0 on. Got {sorted(own)[:8]}.")
    if projection is not None:
        settings["proj_size"] = projection.shape[0]
    if gates == 1:
        settings["nonlinearity"] = nonlinearity
    elif nonlinearity != "tanh":
        bad_parameter("from_torch", "nonlinearity", "'tanh' for an LSTM or a GRU", nonlinearity)
    with torch.device("meta"):
        layer = KINDS[int(gates)](first.shape[1], hidden, **settings)
    wanted = {name: tuple(t.shape) for name, t in layer.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in own.items()}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            raise DataError(
                f"{where} must have {name} of shape {wanted.get(name, 'none')}. Got {got.get(name, 'none')}."
            )
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in own.values()) else torch.float32
    copies = {name: t.detach().to("cpu", dtype, copy=True).contiguous() for name, t in own.items()}
    layer.load_state_dict({name: nn.Parameter(t) for name, t in copies.items()}, assign=True)
    return layer.eval()


# --- where weights come from


def _tensors(source: Source) -> dict[str, Tensor]:
    if isinstance(source, nn.Module):
        source = source.state_dict()
    if isinstance(source, Mapping):
        return _flat(source)
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(f"Expected a module, a state_dict or a file of one. Got {described(source)}.")
    name = os.path.expanduser(os.fspath(source))
    try:
        if os.path.isdir(name):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name the file of weights in it")
        if name.endswith(".safetensors"):
            with safe_open(name, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _flat(_load(name))
    except OSError as error:
        raise ModelFileError(f"Cannot import {name!r}: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise ModelFileError(f"Cannot import {name!r}: it is not a safetensors file ({error}).") from error


def _load(name: str) -> Mapping[str, Any]:
    with open(name, "rb"):
        pass
    try:
        with torch.serialization.safe_globals(
            [argparse.Namespace]
        ):  # settings, as trainers keep them beside weights
            found = torch.load(name, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # A damaged file can end in any error of the reader of pickles; none of its code was run.
    except Exception as error:
        raise ModelFileError(f"Cannot import {name!r}: {_why(error)}") from error
    if not isinstance(found, Mapping):
        raise ModelFileError(f"Cannot import {name!r}: expected a state_dict. Got {described(found)}.")
    return found


def _why(error: Exception) -> str:
    """What a file is that torch does not read without running its code."""
    line = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split()).split("Unpickler error: ")[-1]
    named = re.search(r"GLOBAL (\S+) (?:was not|whose)", line)
    if named is not None and "ScriptObject" in named[1]:
        return "it is quantised. Import the state_dict of before quantize_dynamic."
    if named is not None:
        what = f"it holds an object of {named[1]}"
    elif "TorchScript archives" in line:
        return "it is a TorchScript archive. Save torch.jit.load(path).state_dict() instead."
    elif "locating file data.pkl" in line:
        return "it is an archive, but none of torch.save. Save module.state_dict() instead."
    else:
        what = f"it is damaged, or it holds more than tensors ({type(error).__name__}: {line[:160]})"
    return f"{what}, which would have to run code. Save module.state_dict() instead."


def _flat(source: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a dict and of the dicts in it, names joined by dots."""
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", source, 0)]
    while waiting:
        before, mapping, depth = waiting.pop(0)
        for key, value in mapping.items():
            name = f"{before}{key}"
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                value = torch.from_numpy(native(value).copy())
            if isinstance(value, Tensor):
                if value.layout is torch.strided and value.is_floating_point() and not value.is_quantized:
                    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                        raise DataError(f"The weight {name!r} declares more numbers than there are.")
                    found[name] = value
                elif re.fullmatch(rf"(.*\.)?{OWN}", name):
                    form = "quantised" if value.is_quantized else f"{value.dtype}, {value.layout}"
                    raise DataError(
                        f"The weight {name!r} must be dense floating-point numbers. It is {form}."
                    )
            elif isinstance(value, Mapping) and depth < 4:
                waiting.append((f"{name}.", value, depth + 1))
    return found


def model_of(layer: Any) -> ImportedModel:
    """An `ImportedModel` of series whose output, one a step, is that of an `unspool.nn.LSTM`, `GRU` or `RNN`."""
    kinds: Any = tuple(KINDS.values())
    if not isinstance(layer, kinds):
        bad_parameter("model_of", "layer", "an unspool.nn.LSTM, GRU or RNN, as from_torch gives", layer)
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    for depth in range(layer.num_layers):
        cells = []
        for number, direction in enumerate(layer.directions(depth)):
            cells.append(_cell(layer, direction.cell))
            place = f"layers.{depth}.layer.{'reverse_cell' if number else 'cell'}"
            tensors |= {f"{place}.{name}": t.detach() for name, t in direction.weights.items()}
        settings = {"merge": "concat", "reverse": False, "outputs": "steps"}
        settings |= {"cells": cells, "zeros_at_skipped": False, "stateful": False}
        nodes.append(Node("recurrent", f"layer {depth}", settings, (depth - 1,)))
    series = Input("input", "series", layer.input_size)
    return ImportedModel(nodes, tensors, inputs=[series], source={"format": "torch"})


def _cell(layer: Any, cell: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "cell": {"LSTM": "lstm", "GRU": "gru"}.get(layer.mode, "rnn"),
        "input_size": cell.input_size,
        "hidden_size": cell.hidden_size,
        "bias": layer.bias,
    }
    if layer.mode == "LSTM":
        made["proj_size"] = layer.proj_size
    elif layer.mode != "GRU":
        made["nonlinearity"] = cell.nonlinearity
    return made
