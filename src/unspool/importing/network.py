"""An imported network: layers in the order in which they run, each with the layers that it reads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from unspool.errors import DataError, ModelFileError
from unspool.importing import layers, windows
from unspool.importing.attention import Attention
from unspool.importing.recurrent import RecurrentLayer
from unspool.importing.signal import Signal
from unspool.nn.stack import PROJECTED
from unspool.saved import Fields

#: Kind of a layer -> the class that its settings build.
KINDS: dict[str, Any] = {
    "embedding": layers.Embedding,
    "masking": layers.Masking,
    "recurrent": RecurrentLayer,
    "dense": layers.Dense,
    "activation": layers.Activation,
    "pool": layers.Pool,
    "flatten": layers.Flatten,
    "affine": layers.Affine,
    "layer_norm": layers.LayerNorm,
    "merge": layers.Merge,
    "attention": Attention,
    "convolution": windows.Convolution,
    "window_pool": windows.WindowPool,
    "part": layers.Part,
    "repeat": layers.Repeat,
}
MAX_LAYERS = 10_000
#: Inputs of a layer that reads several: the fewest and the most.
SEVERAL = {"merge": (2, MAX_LAYERS), "attention": (2, 3)}


@dataclass(frozen=True)
class Node:
    """One layer. kind: of `KINDS`; settings: what its class takes; inputs: numbers of nodes before it, -1 the input."""

    kind: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[int, ...] = (-1,)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "inputs": list(self.inputs),
            "settings": self.settings,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Node:
        """What `to_dict` wrote; `ModelFileError` for anything else."""
        return cls(
            fields.choice("kind", KINDS),
            fields.get("name", str),
            fields.get("settings", dict),
            tuple(fields.items("inputs", int)),
        )


class Network(nn.Module):
    """The layers of `nodes`; the last one is the output.

    Raises `ModelFileError` for settings that a layer does not take and for inputs that do not come before.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        if not 1 <= len(nodes) <= MAX_LAYERS:
            raise ModelFileError(f"a network must have 1 to {MAX_LAYERS:,} layers. Got {len(nodes):,}.")
        self.nodes = tuple(nodes)
        self.layers = nn.ModuleList()
        for number, node in enumerate(nodes):
            fewest, most = SEVERAL.get(node.kind, (1, 1))
            if not fewest <= len(node.inputs) <= most or not all(-1 <= i < number for i in node.inputs):
                raise ModelFileError(f"the layer {node.name!r} cannot read the layers {list(node.inputs)}.")
            fields = Fields(node.settings, f"the layer {node.name!r}")
            self.layers.append(KINDS[node.kind].from_fields(fields))

    def forward(self, x: Signal) -> Signal:
        """The output for a batch; `DataError` where it does not fit."""
        found: list[Signal] = []
        for node, layer in zip(self.nodes, self.layers):
            given = [x if i < 0 else found[i] for i in node.inputs]
            try:
                found.append(layer(*given))
            except DataError as error:
                raise DataError(f"Layer {node.name!r}: {error}") from error
        return found[-1]

    def freeze(self, weights: str = "float32") -> Network:
        """A copy for prediction: recurrent layers frozen (`Recurrent.freeze`), embeddings projected once."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        readers = [i for node in twin.nodes for i in node.inputs]
        for node, layer in zip(twin.nodes, twin.layers):
            if not isinstance(layer, RecurrentLayer):
                continue
            layer.layer = frozen = layer.layer.freeze(weights)
            before = twin.layers[node.inputs[0]] if node.inputs[0] >= 0 else None
            if isinstance(before, layers.Embedding) and frozen.frozen is not None:
                states = frozen._states(1, None, True)
                width = frozen.frozen.projected_width(before.weight.shape[1], states)
                if len(before.weight) * width <= PROJECTED and readers.count(node.inputs[0]) == 1:
                    frozen.frozen.project(before.weight.detach(), states)
        return twin

    @property
    def reads_ids(self) -> bool:
        """Whether the input is ids: an embedding reads it."""
        return any(n.kind == "embedding" and -1 in n.inputs for n in self.nodes)

    @property
    def masks(self) -> bool:
        """Whether a layer says which steps later ones skip."""
        return any(
            n.kind == "masking" or (n.kind == "embedding" and n.settings.get("mask_zero")) for n in self.nodes
        )

    def shortest(self) -> int:
        """Steps that a sequence must have, at most, for all windows over time; 2 without any."""
        steps = 2
        for layer in reversed(self.layers):
            if isinstance(layer, windows.Window):
                steps = layer.needed(steps)
        return steps

    def flattens(self) -> bool:
        """Whether the network needs sequences of one length."""
        return any(n.kind == "flatten" for n in self.nodes)


def trial(network: Network, features: int | None, length: int) -> Signal:
    """The output for one sequence of `length` zeros; `ModelFileError` where the layers do not fit each other."""
    offsets = torch.tensor([0, length])
    values = torch.zeros(length, dtype=torch.int64) if features is None else torch.zeros(length, features)
    try:
        with torch.no_grad():
            return network(Signal(values, offsets))
    except DataError as error:
        raise ModelFileError(f"the layers do not fit each other. {error}") from error
