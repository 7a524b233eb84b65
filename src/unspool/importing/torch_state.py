"""Recurrent layers from torch's weights: a `state_dict`, or a file of one, read without running code."""

from __future__ import annotations

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
from unspool.importing.inputs import Input
from unspool.importing.model import ImportedModel
from unspool.importing.network import Node

LAYER = re.compile(r"(.*?)weight_ih_l(\d+)(_reverse)?")
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
    prefix: which layer, such as "encoder.lstm."; None: the only one.
    nonlinearity: "tanh" or "relu", of a plain RNN, and batch_first: what the weights do not say. None: as the module
        has it; of weights alone "tanh", and False.

    The layer takes torch.nn's calls, and packed sequences as they are. Raises `DataError` where there is no such layer
    or more than one, `ModelFileError` for a file that is damaged or would have to run code.
    """
    check_choice("from_torch", "nonlinearity", nonlinearity, (*NONLINEARITIES, None))
    check_choice("from_torch", "batch_first", batch_first, (True, False, None))
    tensors = _tensors(source)
    found = prefixes(tensors)
    if prefix is not None and prefix not in found and f"{prefix}." in found:
        prefix = f"{prefix}."
    if (prefix is None and len(found) != 1) or (prefix is not None and prefix not in found):
        names = (
            ", ".join(repr(name) for name in found[:10])
            or "none; it must hold names that end in weight_ih_l0"
        )
        wanted = (
            "one recurrent layer, or a prefix that names one" if prefix is None else f"a layer {prefix!r}"
        )
        raise DataError(f"Expected {wanted}. It has the prefixes: {names}.")
    prefix = found[0] if prefix is None else prefix
    own = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    hooked = [name for name in own if re.match(r"parametrizations\.|(weight|bias)_\w+_(orig|g)$", name)]
    if hooked:
        raise DataError(
            f"The layer {prefix.rstrip('.')!r} computes a weight at each call ({hooked[0]!r}). Make it one first: "
            "torch.nn.utils.parametrize.remove_parametrizations, prune.remove, remove_weight_norm or "
            "remove_spectral_norm."
        )
    own = {
        name: t for name, t in own.items() if re.fullmatch(r"(weight|bias)_(ih|hh|hr)_l\d+(_reverse)?", name)
    }
    module = _module(source, prefix)
    if batch_first is None:
        batch_first = module is not None and module.batch_first
    if nonlinearity is None:
        nonlinearity = module.nonlinearity if module is not None and module.mode.startswith("RNN") else "tanh"
    return _layer(own, prefix, nonlinearity, bool(batch_first))


def _module(source: Source, prefix: str) -> Any:
    """The recurrent module of this prefix; None where the source is no module."""
    named = dict(source.named_modules()) if isinstance(source, nn.Module) else {}
    found = named.get(prefix.removesuffix("."))
    return found if isinstance(found, nn.RNNBase) else None


def prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """The prefix of each recurrent layer among these names, in their order."""
    matches = [LAYER.fullmatch(name) for name in tensors]
    return list(dict.fromkeys(match.group(1) for match in matches if match))


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
    layer.load_state_dict({name: _copy(t) for name, t in own.items()}, assign=True)
    return layer.eval()


def _copy(tensor: Tensor) -> nn.Parameter:
    dtype = tensor.dtype if tensor.dtype == torch.float64 else torch.float32
    return nn.Parameter(tensor.detach().to("cpu", dtype, copy=True).contiguous())


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
        found = torch.load(name, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # A damaged file can end in any error of the reader of pickles; none of its code was run.
    except Exception as error:
        line = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())[:160]
        raise ModelFileError(
            f"Cannot import {name!r}: it is damaged, or it holds more than tensors, such as a whole module, which "
            f"would have to run code. Save module.state_dict() instead. ({type(error).__name__}: {line})"
        ) from error
    if not isinstance(found, Mapping):
        raise ModelFileError(f"Cannot import {name!r}: expected a state_dict. Got {described(found)}.")
    return found


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
