"""An imported network: layers in the order in which they run, each with the layers that it reads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import DataError, ModelFileError
from unspool.importing import layers, shapes, windows
from unspool.importing.attention import Attention, MultiHead
from unspool.importing.merging import Merge
from unspool.importing.recurrent import RecurrentLayer, StateOf
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
    "rectifier": layers.Rectifier,
    "prelu": layers.PReLU,
    "rescale": layers.Rescale,
    "standardize": layers.Standardize,
    "softmax_steps": shapes.StepSoftmax,
    "pool": layers.Pool,
    "flatten": layers.Flatten,
    "reshape": shapes.Reshape,
    "permute": shapes.Permute,
    "dot": shapes.Dot,
    "pad": shapes.Pad,
    "upsample": shapes.Upsample,
    "unmask": shapes.Unmask,
    "affine": layers.Affine,
    "layer_norm": layers.LayerNorm,
    "merge": Merge,
    "attention": Attention,
    "multi_head": MultiHead,
    "convolution": windows.Convolution,
    "window_pool": windows.WindowPool,
    "part": layers.Part,
    "repeat": shapes.Repeat,
    "state": StateOf,
}
MAX_LAYERS = 10_000
#: What a layer that reads several may read: the fewest and the most.
SEVERAL = {
    "merge": (2, MAX_LAYERS),
    "dot": (2, 2),
    "attention": (2, 3),
    "multi_head": (2, 3),
    "recurrent": (1, 5),
}


@dataclass(frozen=True)
class Node:
    """One layer. kind: of `KINDS`; settings: what its class takes.

    inputs: numbers of nodes before it; -1 is the network's first input, -2 its second, and so on.
    same_as: the number of a node before it whose layer and weights this one is; its own settings are then empty.
    """

    kind: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[int, ...] = (-1,)
    same_as: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "inputs": list(self.inputs),
            "settings": self.settings,
            "same_as": self.same_as,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Node:
        """What `to_dict` wrote; `ModelFileError` for anything else."""
        return cls(
            fields.choice("kind", KINDS),
            fields.get("name", str),
            fields.get("settings", dict),
            tuple(fields.items("inputs", int)),
            fields.optional("same_as", int),
        )


class Network(nn.Module):
    """The layers of `nodes` over `inputs` inputs. outputs: numbers of nodes; None: the last one.

    Raises `ModelFileError` for settings that a layer does not take and for inputs that do not come before.
    """

    def __init__(self, nodes: Sequence[Node], inputs: int = 1, outputs: Sequence[int] | None = None) -> None:
        super().__init__()
        if not 1 <= len(nodes) <= MAX_LAYERS:
            raise ModelFileError(f"a network must have 1 to {MAX_LAYERS:,} layers. Got {len(nodes):,}.")
        self.nodes = tuple(nodes)
        self.outputs = (len(nodes) - 1,) if outputs is None else tuple(outputs)
        if not self.outputs or not all(0 <= number < len(nodes) for number in self.outputs):
            raise ModelFileError(f"its outputs must be layers of it. Got {list(self.outputs)[:6]}.")
        self.layers = nn.ModuleDict()
        for number, node in enumerate(nodes):
            fewest, most = SEVERAL.get(node.kind, (1, 1))
            before = all(-inputs <= i < number for i in node.inputs)
            if not fewest <= len(node.inputs) <= most or not before:
                raise ModelFileError(f"the layer {node.name!r} cannot read the layers {list(node.inputs)}.")
            if node.same_as is None:
                fields = Fields(node.settings, f"the layer {node.name!r}")
                self.layers[str(number)] = KINDS[node.kind].from_fields(fields)
            elif str(node.same_as) not in self.layers or nodes[node.same_as].kind != node.kind:
                raise ModelFileError(f"the layer {node.name!r} cannot be the layer {node.same_as}.")

    def layer(self, number: int) -> Any:
        """The layer of a node; nodes that share one have the same."""
        same = self.nodes[number].same_as
        return self.layers[str(number if same is None else same)]

    def forward(self, *xs: Signal) -> tuple[Signal, ...]:
        """The outputs for a batch, of the inputs in their order; `DataError` where they do not fit."""
        found: list[Signal] = []
        for number, node in enumerate(self.nodes):
            given = [xs[-i - 1] if i < 0 else found[i] for i in node.inputs]
            try:
                found.append(self.layer(number)(*given))
            except DataError as error:
                raise DataError(f"Layer {node.name!r}: {error}") from error
        return tuple(found[number] for number in self.outputs)

    def freeze(self, weights: str = "float32") -> Network:
        """A copy for prediction: recurrent layers frozen (`Recurrent.freeze`), embeddings projected once."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        for layer in twin.layers.values():
            if isinstance(layer, RecurrentLayer):
                layer.layer = frozen = layer.layer.freeze(weights)
                table = twin._table_of(layer)
                if table is None or frozen.frozen is None:
                    continue
                states = frozen._states(1, None, True)
                width = frozen.frozen.projected_width(table.shape[1], states)
                if len(table) * width <= PROJECTED:
                    frozen.frozen.project(table, states)
        return twin

    def _table_of(self, layer: nn.Module) -> Tensor | None:
        """(V, F) the embedding whose rows all that `layer` reads are, where nothing else reads them."""
        read = {n.inputs[0] for k, n in enumerate(self.nodes) if self.layer(k) is layer}
        before = {self.layer(k) if k >= 0 else None for k in read}
        others = [n for k, n in enumerate(self.nodes) if self.layer(k) is not layer]
        table = before.pop()
        if before or not isinstance(table, layers.Embedding) or any(read & set(n.inputs) for n in others):
            return None
        return table.weight.detach()

    def reads_ids(self, number: int = 0) -> bool:
        """Whether the input of this number is ids: an embedding reads it."""
        return any(n.kind == "embedding" and -1 - number in n.inputs for n in self.nodes)

    @property
    def masks(self) -> bool:
        """Whether a layer says which steps later ones skip."""
        return any(
            n.kind == "masking" or (n.kind == "embedding" and n.settings.get("mask_zero")) for n in self.nodes
        )

    def shortest(self) -> int:
        """Steps that a sequence must have, at most, for all windows over time; 2 without any."""
        needed = dict.fromkeys(range(-len(self.nodes), len(self.nodes)), 2)
        for number, node in reversed([*enumerate(self.nodes)]):
            layer, steps = self.layer(number), needed[number]
            steps = layer.needed(steps) if isinstance(layer, windows.Window) else steps
            needed |= {read: max(needed.get(read, 2), steps) for read in node.inputs}
        return max(steps for read, steps in needed.items() if read < 0)

    def flattens(self) -> bool:
        """Whether the network needs sequences of the length that it was built for."""
        return any(n.kind in ("flatten", "reshape", "permute", "dot") for n in self.nodes)

    @property
    def one_length(self) -> bool:
        """Whether the sequences of a batch must have one length."""
        return any(getattr(layer, "one_length", False) for layer in self.layers.values())


def trial(network: Network, xs: Sequence[Signal]) -> tuple[Signal, ...]:
    """The outputs for one sequence of each input; `ModelFileError` where the layers do not fit each other."""
    try:
        with torch.no_grad():
            return network(*xs)
    except DataError as error:
        raise ModelFileError(f"the layers do not fit each other. {error}") from error
