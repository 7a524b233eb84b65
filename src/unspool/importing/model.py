"""`ImportedModel`: a network that was trained elsewhere, with what turns texts into its input."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool import saved
from unspool.errors import DataError, ModelFileError, check_int
from unspool.importing.inputs import Input, signal_of
from unspool.importing.network import Network, Node, trial
from unspool.importing.recurrent import is_stateful, reset
from unspool.ragged import Ragged
from unspool.saved import Fields, Weights, models

MAX_LENGTH = 100_000


class ImportedModel:
    """A network from a file of another library, run by this engine.

    Made by `from_keras`, `from_onnx` and `from_torch_file`; saved by `save`, loaded by `unspool.load`.

    network_ : the layers, a torch module in evaluation; its weights can be trained further by a loop of your own.
    inputs : what it reads, each an `Input` with its name, kind, tokenizer and padding.
    outputs : the names of its outputs.
    source : what the file said of itself, such as {"format": "keras", "version": "2.2.4"}.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        tensors: Mapping[str, Tensor],
        *,
        inputs: Sequence[Input],
        outputs: Mapping[str, int] | None = None,
        source: Mapping[str, str] | None = None,
    ) -> None:
        """nodes, tensors: the layers and their weights; outputs: name -> number of a node, None: the last one."""
        outputs = {"prediction": len(nodes) - 1} if outputs is None else outputs
        with torch.random.fork_rng(devices=[]):
            network = Network(nodes, len(inputs), list(outputs.values()))
        network.load_state_dict(dict(tensors))
        self._set(network.eval(), tuple(inputs), tuple(outputs), dict(source or {}))

    def _set(
        self, network: Network, inputs: tuple[Input, ...], outputs: tuple[str, ...], source: dict[str, str]
    ) -> None:
        for what, names in (("inputs", [given.name for given in inputs]), ("outputs", outputs)):
            if not names or len(set(names)) < len(names):
                raise ModelFileError(
                    f"its {what} must have names, each another. Got {str(list(names))[:80]}."
                )
        read = {i for node in network.nodes for i in node.inputs}
        for number, given in enumerate(inputs):
            if -1 - number not in read:
                raise ModelFileError(f"no layer reads its input {given.name!r}.")
            if (given.kind == "ids") != network.reads_ids(number):
                raise ModelFileError(
                    f"an input of ids must begin with an embedding, and one of series must not: {given.name!r}."
                )
        self.network_, self.inputs, self.outputs, self.source = network, inputs, outputs, source
        shortest = network.shortest()
        if shortest > MAX_LENGTH:
            raise ModelFileError(f"its windows over time need {shortest:,} steps.")
        built = network.flattens() or shortest > 2
        tried = trial(
            network, [x.zeros((x.padding.maxlen or shortest) if built else shortest) for x in inputs]
        )
        #: Of each output, whether it is one a step of its sequence.
        self.per_step = tuple(signal.offsets is not None for signal in tried)
        self.widths = tuple(int(signal.looked_up().shape[-1]) for signal in tried)
        reset(network)

    # --- prediction

    @property
    def stateful(self) -> bool:
        """Whether a layer's states go from one batch to the next: all sequences of a call are then one batch."""
        return is_stateful(self.network_)

    def predict(self, X: Any, batch_size: int = 512) -> Any:
        """The network's output for each sequence: an array (B, units), or a list of (T_i, units) arrays, one a step;
        of a network with several outputs a dict of these by name.

        X : of a network with one input its values; of one with several a dict of them by the inputs' names, or a list
            in their order. Values are texts (with a tokenizer); ids: lists of ints, an int array (B, T), a `Ragged`;
            series: a list of (T, F) arrays, a float array (B, T, F), a `Ragged`; or rows: an array (B, F).
        batch_size : sequences that are computed at once; all of them in a network with stateful layers.

        Without a `maxlen` each sequence is what it would be to the other library alone and unpadded. Raises
        `DataError` for input of another kind or under another name, for inputs of different numbers of sequences, ids
        out of range and empty sequences that a layer cannot take.
        """
        parts = list(self.encode(X).values())
        check_int("ImportedModel.predict", "batch_size", batch_size)
        count = len(parts[0])
        if not count:
            ends: list[Any] = [
                [] if s else np.zeros((0, w), "f4") for s, w in zip(self.per_step, self.widths)
            ]
            return ends[0] if len(ends) == 1 else dict(zip(self.outputs, ends))
        found: list[list[Any]] = [[] for _ in self.outputs]
        batches = self._batches(parts, count if self.stateful else batch_size)
        with torch.no_grad():
            for rows in batches:
                these = parts if len(batches) == 1 else [part[rows] for part in parts]
                for kept, signal in zip(found, self._computed(these, rows)):
                    values = signal.looked_up()
                    if signal.offsets is None:
                        kept.append(values.numpy())
                    else:
                        kept += [t.numpy() for t in Ragged(values, signal.offsets).to_list()]
        ends = [kept if steps else np.concatenate(kept) for kept, steps in zip(found, self.per_step)]
        if not isinstance(batches[0], slice):
            back = torch.cat(batches).argsort().numpy()
            ends = [[end[i] for i in back] if isinstance(end, list) else end[back] for end in ends]
        return ends[0] if len(ends) == 1 else dict(zip(self.outputs, ends))

    def _computed(self, parts: list[Ragged | Tensor], rows: Any) -> Any:
        try:
            return self.network_(*map(signal_of, parts))
        except DataError as error:
            empty = [(part.lengths == 0).nonzero() for part in parts if isinstance(part, Ragged)]
            first = min((int(places[0]) for places in empty if len(places)), default=None)
            if first is None:
                raise
            number = rows.start + first if isinstance(rows, slice) else int(rows[first])
            raise DataError(f"{error} Sequence {number} of those given is empty.") from error

    def _batches(self, parts: list[Ragged | Tensor], size: int) -> list[Any]:
        """The rows that are computed at once: in their order, or, where layers need it, those of one length."""
        count = len(parts[0])
        lengths = [part.lengths for part in parts if isinstance(part, Ragged)]
        if not self.network_.one_length or not lengths:
            return [slice(start, start + size) for start in range(0, count, size)]
        kinds, kind = torch.stack(lengths, 1).unique(dim=0, return_inverse=True)
        if self.stateful and len(kinds) > 1:
            raise DataError(
                "The sequences of a stateful network with layers across time must have one length. "
                f"Got {int(kinds.min())} to {int(kinds.max())} steps."
            )
        return [rows for k in range(len(kinds)) for rows in (kind == k).nonzero().flatten().split(size)]

    def reset_states(self) -> None:
        """Stateful layers start from zeros again."""
        reset(self.network_)

    def encode(self, X: Any) -> dict[str, Ragged | Tensor]:
        """Values as of `predict` -> what the network reads, by the inputs' names: sequences padded as each input's
        `padding` says, rows (B, features)."""
        names = [given.name for given in self.inputs]
        if isinstance(X, Mapping):
            if set(X) != set(names):
                raise DataError(f"This network reads {_list(names)}. Got {_list(X) or 'an empty dict'}.")
            values = [X[name] for name in names]
        elif len(names) == 1:
            values = [X]
        elif not isinstance(X, (list, tuple)) or len(X) != len(names):
            got = f"a list of {len(X)}" if isinstance(X, (list, tuple)) else type(X).__name__
            raise DataError(
                f"This network has {len(names)} inputs: give a dict of {_list(names)}, or a list in this order. "
                f"Got {got}."
            )
        else:
            values = list(X)
        found: dict[str, Ragged | Tensor] = {}
        for given, value in zip(self.inputs, values):
            try:
                found[given.name] = given.encode(value)
            except DataError as error:
                raise error if len(names) == 1 else DataError(f"Input {given.name!r}: {error}") from error
        counts = {name: len(part) for name, part in found.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"All inputs must have as many sequences. Got {counts}.")
        return found

    def freeze(self, weights: str = "float32") -> ImportedModel:
        """A copy for prediction, its recurrent layers' weights laid out once in the form `weights`."""
        twin = copy.copy(self)
        twin.network_ = self.network_.freeze(weights)
        return twin

    # --- telling

    def describe(self) -> str:
        """What it reads and answers, in a line."""
        reads = [f"{x.name}: {x}" for x in self.inputs] if len(self.inputs) > 1 else [str(self.inputs[0])]
        return f"Imported from {' '.join(self.source.values()) or 'elsewhere'}; reads {', '.join(reads)}."

    def summary(self) -> str:
        """The layers, a line each, and what the network reads."""
        lines = [self.describe()]
        for x in self.inputs:
            of = f" of {x.name!r}" if len(self.inputs) > 1 else ""
            if x.tokenizer is not None:
                lines.append(
                    f"Texts{of} become ids by its tokenizer of {len(x.tokenizer.word_index):,} words."
                )
            if x.summary():
                lines.append(f"Sequences{of} are {x.summary()}")
        if not self.network_.masks and not any(x.padding.maxlen for x in self.inputs):
            lines.append("No padding: each sequence is read as it is, at its own length.")
        if len(self.outputs) > 1:
            lines.append(f"Outputs: {', '.join(self.outputs)}.")
        for number, node in enumerate(self.network_.nodes):
            if node.same_as is not None:
                lines.append(f"  {node.name}: the same layer once more")
                continue
            count = sum(parameter.numel() for parameter in self.network_.layer(number).parameters())
            lines.append(f"  {node.name}: {node.kind} {_shown(node.settings)}, {count:,} parameters")
        return "\n".join(lines)

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a folder, or to one file where `path` ends in ".zip"; `unspool.load` reads it."""
        content = {
            "class": type(self).__name__,
            "inputs": [given.to_dict() for given in self.inputs],
            "nodes": [node.to_dict() for node in self.network_.nodes],
            "outputs": [{"name": n, "node": node} for n, node in zip(self.outputs, self.network_.outputs)],
            "source": self.source,
        }
        saved.save(path, content, self.network_.state_dict())

    @classmethod
    def from_saved(cls, content: Fields, weights: Weights) -> ImportedModel:
        """The model that `save` wrote; `ModelFileError` where the file does not hold."""
        nodes = [Node.from_fields(Fields(node, "a layer")) for node in content.items("nodes", dict)]
        inputs = [Input.from_fields(Fields(x, "an input")) for x in content.items("inputs", dict)]
        ends = [Fields(end, "an output") for end in content.items("outputs", dict)]
        names, numbers = [end.get("name", str) for end in ends], [end.get("node", int) for end in ends]
        source = content.child("source").data
        if not all(isinstance(value, str) for value in source.values()):
            raise ModelFileError("'source' must hold texts.")
        deep = sum(node.kind in ("recurrent", "dense") and node.same_as is None for node in nodes)
        models.check_depth(deep, weights)
        network, _ = models.read_network(lambda: Network(nodes, len(inputs), numbers), weights)
        model = cls.__new__(cls)
        model._set(network, tuple(inputs), tuple(names), source)
        return model


saved.register(ImportedModel)


def _list(names: Any) -> str:
    return ", ".join(f"{name!r:.60}" for name in list(names)[:10])


def _shown(settings: dict[str, Any]) -> str:
    if "cells" in settings:
        cells = [f"{c['cell']} {c['input_size']} -> {c['hidden_size']}" for c in settings["cells"]]
        return f"{' and '.join(cells)}, {settings['outputs'].replace('_', ' ')}"
    return ", ".join(f"{name}={value}" for name, value in settings.items())
