"""The recurrent layers of a saved model, with its embedding, against torch's and the plain loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from unspool.bench.case import Case
from unspool.bench.competitors import TORCH, work
from unspool.bench.timing import Runner, runner
from unspool.cells import GRUCell, LSTMCell, RNNCell
from unspool.errors import DataError
from unspool.estimators.network import SequenceNetwork
from unspool.nn import Recurrent
from unspool.nn.characters import WordsAndCharacters
from unspool.ragged import Ragged

PEERS = {RNNCell: "rnn", GRUCell: "gru", LSTMCell: "lstm"}


class Layers(nn.Module):
    """Embedding, where the model has one, and recurrent layers: `call(x, embedding or None) -> (output, state)`."""

    def __init__(self, embedding: nn.Module | None, layers: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.embedding, self.layers, self.call = embedding, layers, call

    def forward(self, x: Any) -> Any:
        return self.call(x, self.embedding)


def random_input(network: SequenceNetwork, case: Case) -> Ragged:
    """Random tokens, every word as likely, or random features, with the lengths of `case`."""
    lengths = case.lengths()
    if network.embedding is None:
        return Ragged.from_padded(case.padded(), lengths)
    if isinstance(network.embedding, WordsAndCharacters):
        raise DataError(
            "This model reads the characters of words, which no random token has: bench one without `characters`."
        )
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(network.embedding.num_embeddings, (int(lengths.sum()),), generator=generator)
    return Ragged(ids, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))


def model_runs(network: SequenceNetwork, case: Case) -> dict[str, Runner]:
    """Name -> runner: "unspool", "torch padded" and "torch packed" where torch has such layers, "plain loop".

    case: its work, shape, batch, length; features, where the model has no embedding.
    """
    x = random_input(network, case)

    def ours(network: SequenceNetwork) -> Layers:
        def call(x: Ragged, embedding: nn.Module | None) -> Any:
            return network.stack(x) if embedding is None else network.stack.embedded(x, embedding)

        return Layers(network.embedding, network.stack, call)

    loop = copy.deepcopy(network)
    for layer in loop.stack.modules():
        if isinstance(layer, Recurrent):
            layer.engine = "eager"
    calls = {"unspool": work(case.work, ours(network), x)}
    twin = torch_twin(network)
    if twin is not None:
        padded, lengths = x.to_padded(), x.lengths

        def dense(x: Tensor, embedding: nn.Module | None) -> Any:
            return twin(x if embedding is None else embedding(x))

        def packed(x: Tensor, embedding: nn.Module | None) -> Any:
            x = x if embedding is None else embedding(x)
            return twin(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))

        calls["torch padded"] = work(case.work, Layers(network.embedding, twin, dense), padded)
        if case.shape == "ragged":
            calls["torch packed"] = work(case.work, Layers(network.embedding, twin, packed), padded)
    calls["plain loop"] = work(case.work, ours(loop), x)
    return {name: runner(call) for name, call in calls.items()}


def torch_twin(network: SequenceNetwork) -> nn.Module | None:
    """torch.nn's layers with weights of the same shapes, or None where torch has no such stack."""
    layers = [layer for layer in network.stack.layers if isinstance(layer, Recurrent)]
    first = layers[0]
    name = PEERS.get(type(first.cell))
    if name is None or network.stack.connection is not None:
        return None
    if any(type(r.cell) is not type(first.cell) or r.merge != "concat" or r.noise.any for r in layers):
        return None
    twin = TORCH[name](
        first.cell.input_size,
        first.cell.hidden_size,
        num_layers=len(layers),
        batch_first=True,
        bidirectional=first.bidirectional,
        dropout=network.stack.dropout.p if len(layers) > 1 else 0.0,
    )

    def shapes(module: nn.Module) -> list[tuple[int, ...]]:
        return sorted(tuple(p.shape) for p in module.parameters())

    return twin if shapes(twin) == shapes(network.stack) else None
