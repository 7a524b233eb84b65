"""The network of an estimator as a chain: embedding, layers, pooling, head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.heads import DenseHead
from unspool.nn.characters import WordsAndCharacters
from unspool.nn.given import GivenEmbedding
from unspool.streaming.ahead import Layer, check_backward, layers_of
from unspool.streaming.between import Kept, Pool, Pooled
from unspool.streaming.chain import AFTER, BEFORE, BESIDE, COUNT, INPUT, Chain, Spot
from unspool.streaming.layers import add, check_forward, copied, engine_of, size_of_input
from unspool.streaming.spelled import Spelling


def chain_of_networks(members: Sequence[Any], weights: str) -> tuple[Chain, Tensor | None]:
    """(a chain of `SequenceNetwork`s side by side, the rows of their embeddings (V, input size)); None where the input
    is features, or words with their characters, of which `spelling_of` gives rows.

    Its outputs are those of the members, one after the other. Raises as `chain_of`.
    """
    for member in members:
        check_forward(member.stack)
    members = [copied(member) for member in members]
    table, sides, width = _table_of(members)
    chain = Chain(width * sides, weights, engine_of(members[0].stack))
    size = _head(members[0]).output_size
    every = members[0].pooling is None
    output = chain.room(size * len(members))
    for number, member in enumerate(members):
        out = BESIDE, output[1] + number * size
        top, top_size = add(chain, member.stack, (INPUT, width * number if sides > 1 else 0), width)
        if every:
            chain.between(_head(member).cell, top, top_size, [(None, out, size)])
        else:
            _add_pooling(chain, member, top, top_size, out, size)
    return chain.finish(output, size * len(members), every), table


def layers_of_networks(
    members: Sequence[Any], weights: str, look_ahead: int
) -> tuple[list[list[Layer]], Chain, Tensor | None]:
    """(the layers of each `SequenceNetwork`, a chain of what is behind them, table as of `chain_of_networks`).

    The chain takes for each member the output of its layers and, where its pooling reads it, what their directions end
    with, one after the other. Raises as `layers_of`.
    """
    check_backward(members[0].stack)
    members = [copied(member) for member in members]
    table, _, width = _table_of(members)
    engine = engine_of(members[0].stack)
    size, outputs = members[0].stack.output_size, _head(members[0]).output_size
    every = members[0].pooling is None
    ends = not every and "last" in members[0].pooling.names
    chain = Chain((size + size * ends) * len(members), weights, engine)
    output = chain.room(outputs * len(members))
    for number, member in enumerate(members):
        out = BESIDE, output[1] + number * outputs
        top = INPUT, (size + size * ends) * number
        if every:
            chain.between(_head(member).cell, top, size, [(None, out, outputs)])
        else:
            last = chain.room(size)
            chain.between(Kept(), (INPUT, top[1] + size * ends), size, [(None, last, size)])
            _add_pooling(chain, member, top, size, out, outputs, last)
    layers = [layers_of(member.stack, width, look_ahead, weights, engine) for member in members]
    return layers, chain.finish(output, outputs * len(members), every), table


def _table_of(members: Sequence[Any]) -> tuple[Tensor | None, int, int]:
    """(as of `chain_of_networks`, how many inputs stand side by side, the width of one)."""
    table = None
    if members[0].embedding is not None and not isinstance(members[0].embedding, WordsAndCharacters):
        table = torch.cat([_table(member.embedding) for member in members], 1)
    return table, 1 if members[0].embedding is None else len(members), size_of_input(members[0].stack)


def spelling_of(members: Sequence[Any]) -> Spelling | None:
    """What gives the rows of words with their characters; None for networks that read none."""
    if not isinstance(members[0].embedding, WordsAndCharacters):
        return None
    return Spelling([copy.deepcopy(member.embedding).eval() for member in members])


def _head(member: Any) -> Any:
    """The `DenseHead`; `DataError` for a model with another, of ordered classes."""
    head = member.head.module if member.pooling is None else member.head
    if not isinstance(head, DenseHead):
        raise DataError(
            "A model of ordered classes (order=...) cannot be a stream. Fit one without an order."
        )
    return head


def _table(embedding: Any) -> Tensor:
    if isinstance(embedding, GivenEmbedding):
        embedding = embedding.merged()
    with torch.no_grad():
        rows = embedding(torch.arange(embedding.num_embeddings))
    return rows.detach().clone()


def _add_pooling(
    chain: Chain, member: Any, top: Spot, size: int, out: Spot, outputs: int, last: Spot | None = None
) -> None:
    """last: where the pooling "last" lies; None: at the top."""
    pooling = member.pooling
    pool = Pool(pooling.names, pooling.score)
    kept = pool.initial(size)
    places = [(chain.keep(part), len(part)) for part in kept]
    counted = (COUNT, None, 1)
    if kept:
        parts = [counted, *(((BEFORE, at), (AFTER, at), width) for at, width in places)]
        chain.between(pool, top, size, parts)
    pooled = chain.room(pooling.output_size)
    ends = [(None, (BESIDE, pooled[1] + k * size), size) for k in range(len(pooling.names))]
    read = [((AFTER, at), None, width) for at, width in places]
    chain.between(
        Pooled(pooling.names), top if last is None else last, size, [counted, *read, *ends], ends=True
    )
    chain.between(member.head.cell, pooled, pooling.output_size, [(None, out, outputs)], ends=True)
