"""A fitted `SequenceTagger` as a whole graph: ids and characters in, tags and labels out."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import torch

from unspool.errors import check_fitted
from unspool.exporting.answers import labels_of
from unspool.exporting.checking import SHAPES, Case, lengths_for
from unspool.exporting.graph import FLOAT, Graph
from unspool.exporting.heads import dense, output_layers, pooled
from unspool.exporting.inputs import random_inputs, sequence_input
from unspool.exporting.networks import recurrent
from unspool.exporting.viterbi import best_path
from unspool.heads import PerStep
from unspool.tagging import SequenceTagger


class TaggerGraph:
    """Outputs `tags` (batch, time), text, "" past the end; `scores` float32 (batch, time, K) of each tag, those that a
    CRF adds its transitions to; with labels also `label` (batch,) and `label_probabilities` float32 (batch, C).

    tokenizer: numbers of tokens, as JSON of the tokenizers library.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, model: SequenceTagger) -> None:
        check_fitted(model)
        self.model = model
        self.network = copy.deepcopy(model.network_).cpu().eval()
        self.tokenizer = model.input_.encoder.tokenizer().to_str(pretty=True)
        self.graph = g = Graph()
        given = sequence_input(g, model.input_, None)
        layers, output, finals = recurrent(g, self.network, given)
        assert isinstance(self.network.head, PerStep)
        found = dense(g, self.network.head.module, output)  # type: ignore[arg-type]
        scores = g.op("Where", given.lengths.alive, found, np.float32(0))
        if self.network.crf is None:
            best = g.op("ArgMax", scores, axis=2, keepdims=0)
        else:
            best = best_path(g, self.network.crf, scores, given.lengths)
        names = np.array([*map(str, model.classes_), ""], dtype=object)
        alive = g.op("Squeeze", given.lengths.alive, g.ints(2))
        placed = g.op("Where", alive, best, np.int64(len(names) - 1))
        tags = g.op("Transpose", g.op("Gather", names, placed, axis=0), perm=[1, 0])
        g.output("tags", tags, "STRING", ["batch", "time"])
        turned = g.op("Transpose", scores, perm=[1, 0, 2])
        g.output("scores", turned, FLOAT, ["batch", "time", len(model.classes_)])
        if self.network.pooled is not None and self.network.label_head is not None:
            vector = pooled(g, self.network.pooled, layers, output, finals, given.lengths)
            logits = output_layers(g, self.network.label_head, vector)
            labels, kind = labels_of(model.labels_)  # type: ignore[arg-type]
            chosen = g.op("Gather", labels, g.op("ArgMax", logits, axis=1, keepdims=0), axis=0)
            g.output("label", chosen, kind, ["batch"])
            shares = g.op("Softmax", logits, axis=1)
            g.output("label_probabilities", shares, FLOAT, ["batch", len(labels)])

    def about(self) -> dict[str, str]:
        """Metadata: what a program needs beside the graph, as JSON."""
        model = self.model
        labels = {} if model.labels_ is None else {"labels": json.dumps(model.labels_.tolist())}
        return {
            "model": type(model).__name__,
            "description": model.describe(),
            "input": json.dumps(model.input_.to_dict()),
            "classes": json.dumps(model.classes_.tolist()),
            "scheme": model.scheme_ or "",
            **labels,
        }

    def cases(self) -> list[Case]:
        """Batches of several sizes, ragged, with the tagger's own answers."""
        random = np.random.RandomState(0)
        return [self.case(batch, time, random) for batch, time in SHAPES]

    def case(self, batch: int, time: int, random: np.random.RandomState) -> Case:
        """One batch of random inputs."""
        lengths = lengths_for(batch, time, random)
        feeds, inputs = random_inputs(self.model.input_, batch, time, lengths, random)
        with torch.no_grad():
            outputs = self.network(inputs)
        count = len(self.model.classes_)
        tags = np.full((batch, time), "", dtype=object)
        scores = np.zeros((batch, time, count), dtype=np.float32)
        for row, (best, each) in enumerate(zip(outputs.best(), outputs.emissions)):
            tags[row, : len(best)] = self.model.classes_[best.numpy()].astype(object)
            scores[row, : len(best)] = each.numpy()
        expected: dict[str, Any] = {"tags": tags, "scores": scores}
        if outputs.labels is not None:
            names, _ = labels_of(self.model.labels_)  # type: ignore[arg-type]
            expected["label"] = names[outputs.labels.argmax(1).numpy()]
            expected["label_probabilities"] = outputs.labels.softmax(1).numpy()
        return Case({**feeds, "lengths": lengths}, expected)
