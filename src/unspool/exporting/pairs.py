"""A fitted `Seq2Seq` as a whole graph: the encoder, and in a Loop the decoder, that writes the likeliest token at each
step."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import torch

from unspool.errors import check_fitted
from unspool.exporting.checking import SHAPES, Case, lengths_for
from unspool.exporting.graph import BOOL, DOUBLE, FLOAT, INT64, Graph
from unspool.exporting.stack import Layers, linear
from unspool.exporting.steps import numbers
from unspool.exporting.time import Lengths
from unspool.generation.vocabulary import END_ID, UNKNOWN_ID
from unspool.ragged import Ragged
from unspool.seq2seq import Seq2Seq
from unspool.seq2seq.decoding import greedy
from unspool.seq2seq.network import EncoderDecoder, HandOver


class PairsGraph:
    """Inputs `ids` int64 (batch, time), `lengths` int64 (batch,) and `max_new_tokens` int64 (), with the end counted;
    outputs `tokens` int64 (batch, steps), 0 from the end on, `token_counts` int64 (batch,), `ended` bool (batch,) and
    `log_probability` float64 (batch,), with the end's.

    tokenizer: of the sources, as JSON of the tokenizers library; that of the targets is in the metadata.
    """

    def __init__(self, model: Seq2Seq) -> None:
        check_fitted(model)
        self.model = model
        self.network: EncoderDecoder = copy.deepcopy(model.network_).cpu().eval()
        self.tokenizer = model.source_.vocabulary.tokenizer().to_str(pretty=True)
        told = (
            ""
            if not model.source_.before
            else " A space goes before each text, and stands before each target."
        )
        self.notes = (
            f"predict writes at most {2 * model.longest_} tokens: max_new_tokens. Greedy: beams have no graph.{told}",
        )
        network = self.network
        self.encoder = Layers(network.encoder, network.source_embedding.embedding_dim)
        self.decoder = Layers(network.decoder, network.embedding.embedding_dim)
        self.upper = None if network.upper is None else Layers(network.upper, network.decoder.output_size)
        self.graph = g = Graph()
        ids = g.input("ids", INT64, ["batch", "time"])
        given = g.input("lengths", INT64, ["batch"])
        most = g.input("max_new_tokens", INT64, [])
        memory, keys, energy, states = self._encoded(g, ids, given)
        self._decoded(g, memory, keys, energy, states, most)

    def _encoded(self, g: Graph, ids: Any, given: Any) -> tuple[Any, Any, Any, list[Any]]:
        """(values (B, S, D), keys (B, S, A), what is added to energies (B, S): 0, or -inf where there is no step; the
        parts that the decoder's layers start from)."""
        network = self.network
        turned = g.op("Transpose", ids, perm=[1, 0])
        lengths = Lengths(g, turned, given)
        alive = g.op("Squeeze", lengths.alive, g.ints(2))
        known = g.op("Where", g.op("Less", turned, np.int64(0)), np.int64(len(self.model.source_)), turned)
        safe = g.op("Where", alive, known, np.int64(0))
        table = numbers(network.source_embedding.weight, "The embedding")
        x = g.op("Gather", table, safe, axis=0)
        start = self.encoder.own_start(g, lengths.batch)
        (output,), finals = self.encoder.over_time(g, x, start, lengths)
        values = g.op("Transpose", output, perm=[1, 0, 2])
        keys = (
            values if network.attention.kind == "multiplicative" else linear(g, values, network.attention.key)
        )
        there = g.op("Or", alive, g.op("Equal", g.op("Unsqueeze", lengths.steps, g.ints(1)), np.int64(0)))
        energy = g.op("Where", g.op("Transpose", there, perm=[1, 0]), np.float32(0), np.float32(-np.inf))
        return values, keys, energy, self._handed_over(g, finals, lengths.batch)

    def _handed_over(self, g: Graph, finals: list[Any], batch: Any) -> list[Any]:
        """As `HandOver` makes them, of all layers; the other parts are the cells' own."""
        own = self.decoder.own_start(g, batch)
        own += [] if self.upper is None else self.upper.own_start(g, batch)
        found, at = [], 0
        for layer, hand in zip(self.encoder.layers, self.network.hand_over):
            assert isinstance(hand, HandOver)
            count = len(layer.widths[0])
            parts = own[at : at + count]
            for place, weights in zip(hand.parts, hand.linear):
                both = [finals[2 * at + place], finals[2 * at + count + place]]
                made = linear(g, g.op("Concat", *both, axis=1), weights)  # type: ignore[arg-type]
                parts[place] = g.op("Tanh", made) if place == 0 else made
            found += parts
            at += count
        return found

    def _decoded(self, g: Graph, memory: Any, keys: Any, energy: Any, states: list[Any], most: Any) -> None:
        """The Loop: a state is the parts of the layers, the token before, whether the row goes on, its log p."""
        upper = self.upper
        widths = [*self.decoder.widths, *([] if upper is None else upper.widths)]
        batch = g.sizes(memory, 0)
        body = Graph(g)
        body.input(g.root.new_name("i"), INT64, [])
        body.input(g.root.new_name("more"), BOOL, [])
        parts = [body.input(g.root.new_name("s"), FLOAT, ["batch", width]) for width in widths]
        token = body.input(g.root.new_name("token"), INT64, ["batch"])
        going = body.input(g.root.new_name("going"), BOOL, ["batch"])
        total = body.input(g.root.new_name("total"), DOUBLE, ["batch"])
        scores, new = self._step(body, token, parts, memory, keys, energy)
        best = body.op("ArgMax", scores, axis=1, keepdims=0)
        value = body.op("ReduceMax", scores, g.ints(1), keepdims=0)
        written = body.op("Where", going, best, np.int64(END_ID))
        on = body.op("And", going, body.op("Not", body.op("Equal", best, np.int64(END_ID))))
        summed = body.op("Add", total, body.op("Where", going, value, np.float64(0)))
        some = body.op("ReduceMax", body.cast(on, INT64), g.ints(0), keepdims=0)
        body.output(g.root.new_name("more"), body.cast(some, BOOL), BOOL, [])
        for part, width in zip(new, widths):
            body.output(g.root.new_name("s"), part, FLOAT, ["batch", width])
        for result, kind in ((written, INT64), (on, BOOL), (summed, DOUBLE), (written, INT64)):
            body.output(g.root.new_name("r"), result, kind, ["batch"])
        first = [
            g.op("Expand", np.array([END_ID], np.int64), batch),
            g.op("Expand", np.array([True]), batch),
            g.op("Expand", np.array([0.0]), batch),
        ]
        results = g.several(
            "Loop", len(widths) + 4, most, np.array(True), *states, *first, body=body.finished("token")
        )
        going, total, tokens = results[-3:]
        rows = g.op("Transpose", tokens, perm=[1, 0])
        g.output("tokens", rows, INT64, ["batch", "steps"])
        real = g.cast(g.op("Not", g.op("Equal", rows, np.int64(END_ID))), INT64)
        g.output("token_counts", g.op("ReduceSum", real, g.ints(1), keepdims=0), INT64, ["batch"])
        g.output("ended", g.op("Not", going), BOOL, ["batch"])
        g.output("log_probability", total, DOUBLE, ["batch"])

    def _step(
        self, g: Graph, token: Any, parts: list[Any], memory: Any, keys: Any, energy: Any
    ) -> tuple[Any, list[Any]]:
        """(log p (B, V) float64 of the next token, -inf for the unknown one; the new parts)."""
        network, count = self.network, len(self.decoder.widths)
        x = g.op("Gather", numbers(network.embedding.weight, "The embedding"), token, axis=0)
        output, new = self.decoder.one_step(g, x, parts[:count])
        query = linear(g, output, network.attention.query)
        if network.attention.kind == "multiplicative":
            products = g.op("MatMul", keys, g.op("Unsqueeze", query, g.ints(2)))  # (B, S, 1)
        else:
            both = g.op("Tanh", g.op("Add", keys, g.op("Unsqueeze", query, g.ints(1))))
            products = linear(g, both, network.attention.energy)
        energies = g.op("Add", g.op("Squeeze", products, g.ints(2)), energy)
        weights = g.op("Unsqueeze", g.op("Softmax", energies, axis=1), g.ints(1))
        context = g.op("Squeeze", g.op("MatMul", weights, memory), g.ints(1))
        output = g.op("Tanh", linear(g, g.op("Concat", context, output, axis=1), network.combine))
        if self.upper is not None:
            output, more = self.upper.one_step(g, output, parts[count:])
            new += more
        scores = g.op("LogSoftmax", g.cast(linear(g, output, network.head), DOUBLE), axis=1)
        never = np.zeros((1, len(self.model.target_)))
        never[0, UNKNOWN_ID] = -np.inf
        return g.op("Add", scores, never), new

    def about(self) -> dict[str, str]:
        """Metadata: what a program needs beside the graph, as JSON."""
        model = self.model
        return {
            "model": type(model).__name__,
            "description": model.describe(),
            "source": json.dumps(model.source_.to_dict()),
            "target": json.dumps(model.target_.to_dict()),
            "target_tokenizer": model.target_.vocabulary.tokenizer().to_str(),
            "max_new_tokens": json.dumps(2 * model.longest_),
            "notes": " ".join(self.notes),
        }

    def cases(self) -> list[Case]:
        """Batches of several sizes, ragged, with the network's own targets, some of them cut."""
        random = np.random.RandomState(0)
        return [
            self.case(*shape, random, most) for shape, most in zip(SHAPES, (2 * self.model.longest_, 3, 1))
        ]

    def case(self, batch: int, time: int, random: np.random.RandomState, most: int) -> Case:
        """One batch of random ids."""
        lengths = lengths_for(batch, time, random)
        ids = random.randint(0, len(self.model.source_), (batch, time)).astype(np.int64)
        rows = Ragged.from_padded(torch.from_numpy(ids), torch.from_numpy(lengths))
        with torch.inference_mode():
            found = greedy(self.network, rows, most)
        steps = max(len(one.ids) + one.ended for one in found)
        tokens = np.full((batch, steps), END_ID, np.int64)
        for row, one in zip(tokens, found):
            row[: len(one.ids)] = one.ids
        expected = {
            "tokens": tokens,
            "token_counts": np.array([len(one.ids) for one in found]),
            "ended": np.array([one.ended for one in found]),
            "log_probability": np.array([one.log_probability for one in found]),
        }
        feeds = {"ids": ids, "lengths": lengths, "max_new_tokens": np.array(most, np.int64)}
        return Case(feeds, expected)
