"""The network of an estimator as ONNX: embedding, characters of words, layers, pooling, head."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from unspool.estimators.network import Ensemble, SequenceNetwork, members_of
from unspool.exporting.graph import FLOAT, INT64, Graph
from unspool.exporting.heads import output_layers, pooled
from unspool.exporting.stack import Layers, linear, merged
from unspool.exporting.steps import numbers
from unspool.exporting.time import Lengths
from unspool.nn.characters import CharacterNet, WordsAndCharacters
from unspool.nn.given import GivenEmbedding


class Given:
    """What a network reads, time-major. x: features (T, B, F), or ids (T, B); characters (T, B, L) of the words, and
    columns (B, C), or None."""

    def __init__(self, x: Any, lengths: Lengths, characters: Any = None, columns: Any = None) -> None:
        self.x, self.lengths, self.characters, self.columns = x, lengths, characters, columns


def outputs_of(g: Graph, network: SequenceNetwork | Ensemble, given: Given) -> Any:
    """(B, output size), averaged over the members of an ensemble."""
    members = members_of(network)
    found = [_member(g, member, given) for member in members]
    total = found[0] if len(found) == 1 else g.op("Sum", *found)
    return total if len(found) == 1 else g.op("Div", total, np.float32(len(found)))


def _member(g: Graph, network: SequenceNetwork, given: Given) -> Any:
    layers, output, finals = recurrent(g, network, given)
    assert network.pooling is not None
    vector = pooled(g, network.pooling, layers, output, finals, given.lengths)
    return output_layers(g, network.head, vector, given.columns)


def recurrent(g: Graph, network: SequenceNetwork, given: Given) -> tuple[Layers, Any, list[Any]]:
    """The layers, their output (T, B, H) and final state parts."""
    x = given.x
    if network.embedding is not None:
        x = embedded(g, network.embedding, given)
    width = int(network.stack._recurrent()[0].cell.input_size)
    layers = Layers(network.stack, width)
    start = layers.own_start(g, given.lengths.batch)
    outputs, finals = layers.over_time(g, x, start, given.lengths)
    return layers, outputs[0], finals


def embedded(g: Graph, embedding: nn.Module, given: Given) -> Any:
    """(T, B, E): the rows of the ids, beside them what the characters give."""
    if isinstance(embedding, WordsAndCharacters):
        words = embedded(g, embedding.embedding, given)
        spelt = spelled(g, embedding.characters, given.characters, given.lengths)
        return g.op("Concat", words, spelt, axis=2)
    if isinstance(embedding, GivenEmbedding):
        embedding = embedding.merged()
    table = numbers(embedding.weight, "The embedding")  # type: ignore[arg-type]
    return g.op("Gather", table, given.x, axis=0)


def spelled(g: Graph, net: CharacterNet, characters: Any, lengths: Lengths) -> Any:
    """(T, B, L) ids of characters, 0 where a word has ended -> (T, B, size); a word without any gives zeros."""
    longest = g.sizes(characters, 2)
    rows = g.op("Reshape", characters, g.shape(-1, longest))  # (W, L): a word a row
    there = g.op("Greater", rows, np.int64(0))
    counts = g.op("ReduceSum", g.cast(there, INT64), g.ints(1), keepdims=0)
    time_major = g.op("Transpose", rows, perm=[1, 0])
    words = Lengths(g, time_major, counts)
    x = g.op("Gather", numbers(net.embedding.weight, "The characters' embedding"), time_major, axis=0)
    x = g.op("Where", words.alive, x, np.float32(0))  # (L, W, dim)
    if net.recurrent is not None:
        layers = Layers(net.recurrent, net.embedding.embedding_dim)
        _, finals = layers.over_time(g, x, layers.own_start(g, words.batch), words)
        half = len(finals) // 2
        found = merged(g, [finals[0], finals[half]], "concat")[0]
    else:
        assert net.filters is not None
        found = _convolved(g, net, x, words)
    found = g.op("Where", words.some, found, np.float32(0))
    return g.op("Reshape", found, g.shape(lengths.time, lengths.batch, net.output_size))


def _convolved(g: Graph, net: CharacterNet, x: Any, words: Lengths) -> Any:
    """The largest of each filter over three characters; x (L, W, dim), zeros past the end."""
    none = g.op(
        "Expand", np.zeros((1, 1, 1), np.float32), g.shape(1, words.batch, net.embedding.embedding_dim)
    )
    everything = g.ints(np.iinfo(np.int64).max)
    before = g.op("Concat", none, g.op("Slice", x, g.ints(0), g.ints(-1), g.ints(0)), axis=0)
    after = g.op("Concat", g.op("Slice", x, g.ints(1), everything, g.ints(0)), none, axis=0)
    assert net.filters is not None
    values = g.op("Tanh", linear(g, g.op("Concat", before, x, after, axis=2), net.filters))
    there = g.op("Where", words.alive, values, np.float32(-2))
    return g.op("ReduceMax", there, g.ints(0), keepdims=0)


def scaled(g: Graph, values: Any, mean: np.ndarray, scale: np.ndarray) -> Any:
    """(values - mean) / scale in float64, as float32."""
    exact = g.op("Div", g.op("Sub", g.cast(values, "DOUBLE"), mean), scale)
    return g.cast(exact, FLOAT)
