"""`ImportedModel`: a network that was trained elsewhere, with what turns texts into its input."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool import saved
from unspool.errors import DataError, ModelFileError, bad_parameter, check_choice, check_int
from unspool.importing.network import Network, Node, trial
from unspool.importing.recurrent import is_stateful, reset
from unspool.importing.signal import Signal
from unspool.ragged import Ragged
from unspool.saved import Fields, Weights, models
from unspool.text import Tokenizer, pad_sequences

SIDES = ("pre", "post")
MAX_LENGTH = 100_000
MAX_FEATURES = 2**20


@dataclass(frozen=True)
class Padding:
    """Sequences brought to `maxlen` steps before the network sees them, as by `pad_sequences`; None: left as they are.

    padding, truncating: "pre" or "post": the side that is filled with `value`, or cut off.
    """

    maxlen: int | None = None
    padding: str = "pre"
    truncating: str = "pre"
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.maxlen is not None:
            check_int("Padding", "maxlen", self.maxlen)
            if self.maxlen > MAX_LENGTH:
                bad_parameter("Padding", "maxlen", f"{MAX_LENGTH:,} at most", self.maxlen)
        check_choice("Padding", "padding", self.padding, SIDES)
        check_choice("Padding", "truncating", self.truncating, SIDES)


class ImportedModel:
    """A network from a file of another library, run by this engine.

    Made by `from_keras`, `from_onnx` and `from_torch_file`; saved by `save`, loaded by `unspool.load`.

    network_ : the layers, a torch module in evaluation; its weights can be trained further by a loop of your own.
    tokenizer : turns texts into ids; None where there is none.
    padding : see `Padding`.
    source : what the file said of itself, such as {"format": "keras", "version": "2.2.4"}.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        tensors: Mapping[str, Tensor],
        *,
        features: int | None,
        tokenizer: Tokenizer | None = None,
        padding: Padding | None = None,
        source: Mapping[str, str] | None = None,
    ) -> None:
        """nodes, tensors: the layers and their weights; features: of a step of the input, None for ids."""
        with torch.random.fork_rng(devices=[]):
            network = Network(nodes)
        network.load_state_dict(dict(tensors))
        self._set(network.eval(), features, tokenizer, padding or Padding(), dict(source or {}))

    def _set(
        self,
        network: Network,
        features: int | None,
        tokenizer: Tokenizer | None,
        padding: Padding,
        source: dict[str, str],
    ) -> None:
        if (features is None) != network.reads_ids:
            raise ModelFileError("a network of ids must begin with an embedding, and one of series must not.")
        if tokenizer is not None and features is not None:
            raise ModelFileError("a tokenizer is for a network that begins with an embedding.")
        if features is not None and not 1 <= features <= MAX_FEATURES:
            raise ModelFileError(f"a step must have 1 to {MAX_FEATURES:,} features. Got {features:,}.")
        self.network_, self.features = network, features
        self.tokenizer, self.padding, self.source = tokenizer, padding, source
        shortest = network.shortest()
        if shortest > MAX_LENGTH:
            raise ModelFileError(f"its windows over time need {shortest:,} steps.")
        length = padding.maxlen if padding.maxlen and (network.flattens() or shortest > 2) else shortest
        self.per_step = trial(network, features, length).offsets is not None
        reset(network)

    # --- prediction

    @property
    def stateful(self) -> bool:
        """Whether a layer's states go from one batch to the next: all sequences of a call are then one batch."""
        return is_stateful(self.network_)

    def predict(self, X: Any, batch_size: int = 512) -> Any:
        """The network's output for each sequence: an array (B, units), or a list of (T_i, units) arrays, one a step.

        X : texts (with a tokenizer); ids: lists of ints, an int array (B, T), a `Ragged`; or series: a list of (T, F)
            arrays, a float array (B, T, F), a `Ragged`.
        batch_size : sequences that are computed at once; all of them in a network with stateful layers.

        Without `padding.maxlen` each sequence is what it would be to the other library alone and unpadded. Raises
        `DataError` for input of another kind, ids out of range and empty sequences that a layer cannot take.
        """
        batch = self.encode(X)
        check_int("ImportedModel.predict", "batch_size", batch_size)
        size = max(len(batch), 1) if self.stateful else batch_size
        outputs: list[np.ndarray] = []
        steps: list[np.ndarray] = []
        with torch.no_grad():
            for start in range(0, max(len(batch), 1), size):
                part = batch if len(batch) <= size else batch[start : start + size]
                found = self.network_(Signal.of(part))
                values = found.looked_up()
                if found.offsets is None:
                    outputs.append(values.numpy())
                else:
                    steps += [t.numpy() for t in Ragged(values, found.offsets).to_list()]
        return steps if self.per_step else np.concatenate(outputs)

    def reset_states(self) -> None:
        """Stateful layers start from zeros again."""
        reset(self.network_)

    def encode(self, X: Any) -> Ragged:
        """Texts, ids or series -> what the network reads, padded as `padding` says."""
        texts = isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0 and all(isinstance(x, str) for x in X)
        if isinstance(X, str) or texts:
            X = self._ids_of(X)
        if self.padding.maxlen is not None:
            rows = X.to_list() if isinstance(X, Ragged) else list(X)
            if any(not hasattr(row, "__len__") for row in rows):
                raise DataError("Give a batch of sequences: a list of lists. Got one sequence.")
            arrays = [np.asarray(row) for row in rows]
            p, kind = self.padding, "int64" if self.features is None else "float32"
            if self.features is None and any(a.dtype.kind not in "iu" for a in arrays if len(a)):
                raise DataError("Ids must be whole numbers.")
            if not rows:
                X = np.zeros((0, p.maxlen or 0, *([] if self.features is None else [self.features])), kind)
            else:
                X = pad_sequences(arrays, p.maxlen, kind, p.padding, p.truncating, p.value)
        if isinstance(X, (np.ndarray, Tensor)):
            X = Ragged.from_padded(X)
        batch = X if isinstance(X, Ragged) else Ragged.from_list(X)
        return self._checked(batch)

    def _ids_of(self, texts: Any) -> list[list[int]]:
        if isinstance(texts, str):
            raise DataError("Expected a list of texts. Got one text; put it in a list.")
        if self.tokenizer is None:
            what = "ids" if self.features is None else f"series of {self.features} features"
            hint = " Import it with its tokenizer's JSON." if self.features is None else ""
            raise DataError(f"This network reads {what}. Got texts.{hint}")
        return self.tokenizer.texts_to_sequences(texts)

    def _checked(self, batch: Ragged) -> Ragged:
        values = batch.values
        if self.features is None:
            if not len(values):
                values = values.to(torch.int64).reshape(0)
            if values.dim() != 1 or values.is_floating_point() or values.dtype == torch.bool:
                raise DataError(
                    f"This network reads ids: whole numbers, one a step. Got {values.dtype} {tuple(values.shape)}."
                )
            return batch.with_values(values.to(torch.int64))
        if values.dim() == 1 and self.features == 1:
            values = values[:, None]
        if not len(values):
            values = values.reshape(0, self.features)
        if values.dim() != 2 or values.shape[1] != self.features:
            raise DataError(
                f"This network reads series of {self.features} features, (T, {self.features}) each. "
                f"Got steps of shape {tuple(values.shape[1:])}."
            )
        return batch.with_values(values.to(torch.float32))

    def freeze(self, weights: str = "float32") -> ImportedModel:
        """A copy for prediction, its recurrent layers' weights laid out once in the form `weights`."""
        twin = copy.copy(self)
        twin.network_ = self.network_.freeze(weights)
        return twin

    # --- telling

    def summary(self) -> str:
        """The layers, a line each, and what the network reads."""
        reads = "ids" if self.features is None else f"series of {self.features} features"
        lines = [f"Imported from {' '.join(self.source.values()) or 'elsewhere'}; reads {reads}."]
        if self.tokenizer is not None:
            lines.append(f"Texts become ids by its tokenizer of {len(self.tokenizer.word_index):,} words.")
        p = self.padding
        if p.maxlen is not None:
            lines.append(
                f"Sequences are brought to {p.maxlen} steps: filled with {p.value:g} ({p.padding}), "
                f"cut ({p.truncating})."
            )
        elif not self.network_.masks:
            lines.append("No padding: each sequence is read as it is, at its own length.")
        for node, layer in zip(self.network_.nodes, self.network_.layers):
            count = sum(parameter.numel() for parameter in layer.parameters())
            lines.append(f"  {node.name}: {node.kind} {_shown(node.settings)}, {count:,} parameters")
        return "\n".join(lines)

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a folder, or to one file where `path` ends in ".zip"; `unspool.load` reads it."""
        p = self.padding
        content = {
            "class": type(self).__name__,
            "input": {"kind": "ids" if self.features is None else "series", "features": self.features},
            "nodes": [node.to_dict() for node in self.network_.nodes],
            "padding": {
                "maxlen": p.maxlen,
                "padding": p.padding,
                "truncating": p.truncating,
                "value": p.value,
            },
            "tokenizer": None if self.tokenizer is None else self.tokenizer.to_dict(),
            "source": self.source,
        }
        saved.save(path, content, self.network_.state_dict())

    @classmethod
    def from_saved(cls, content: Fields, weights: Weights) -> ImportedModel:
        """The model that `save` wrote; `ModelFileError` where the file does not hold."""
        nodes = [Node.from_fields(Fields(node, "a layer")) for node in content.items("nodes", dict)]
        features = content.child("input").optional("features", int)
        fields = content.child("padding")
        padding = Padding(
            fields.optional("maxlen", int),
            fields.choice("padding", SIDES),
            fields.choice("truncating", SIDES),
            fields.get("value", float),
        )
        state = content.optional("tokenizer", dict)
        source = content.child("source").data
        if not all(isinstance(value, str) for value in source.values()):
            raise ModelFileError("'source' must hold texts.")
        models.check_depth(sum(node.kind in ("recurrent", "dense") for node in nodes), weights)
        network, _ = models.read_network(lambda: Network(nodes), weights)
        tokenizer = None if state is None else Tokenizer.from_dict(state)
        model = cls.__new__(cls)
        model._set(network, features, tokenizer, padding, source)
        return model


saved.register(ImportedModel)


def _shown(settings: dict[str, Any]) -> str:
    if "cells" in settings:
        cells = [f"{c['cell']} {c['input_size']} -> {c['hidden_size']}" for c in settings["cells"]]
        return f"{' and '.join(cells)}, {settings['outputs'].replace('_', ' ')}"
    return ", ".join(f"{name}={value}" for name, value in settings.items())
