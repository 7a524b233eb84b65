"""One step of a fitted `SequenceGenerator` as a graph: a token and a state in, the scores of the next token out."""

from __future__ import annotations

import copy
import json

import numpy as np
import torch

from unspool.errors import check_fitted
from unspool.exporting.checking import Case
from unspool.exporting.graph import FLOAT, INT64, Graph
from unspool.exporting.stack import Layers, linear
from unspool.exporting.steps import numbers
from unspool.generation import SequenceGenerator
from unspool.generation.vocabulary import END_ID, UNKNOWN_ID
from unspool.ragged import Ragged
from unspool.state import flatten


class GeneratorGraph:
    """Inputs `token` int64 (batch,) and the state `initial_h_l0`, ...; outputs `scores` float32 (batch, V), logarithms
    of probabilities up to a constant of each row, -inf for tokens that `generate` never writes, and `final_h_l0`, ...,
    which go in again with the next token."""

    def __init__(self, model: SequenceGenerator) -> None:
        check_fitted(model)
        self.model, self.network = model, copy.deepcopy(model.network_).cpu().eval()
        self.tokenizer = model.vocabulary_.tokenizer().to_str(pretty=True)
        self.notes = (
            "One step: a token and the state in, the scores of the next token and the state out. A text starts with "
            f"token {END_ID} and the state in the metadata (unspool.initial_state)"
            + (f", and ends where {END_ID} is next." if model.ends_ else "."),
        )
        self.layers = Layers(self.network.stack, self.network.embedding.embedding_dim)
        self.graph = g = Graph()
        token = g.input("token", INT64, ["batch"])
        named = list(zip(self.layers.names, self.layers.widths))
        parts = [g.input(f"initial_{name}", FLOAT, ["batch", width]) for name, width in named]
        weight, bias = self.network.output_weights()
        x = g.op("Gather", numbers(self.network.embedding.weight, "The embedding"), token, axis=0)
        hidden, finals = self.layers.one_step(g, x, parts)
        if self.network.projection is not None:
            hidden = linear(g, hidden, self.network.projection)
        scores = g.op("Gemm", hidden, numbers(weight, "A weight"), self._masked(bias), transB=1)
        g.output("scores", scores, FLOAT, ["batch", len(weight)])
        for (name, width), final in zip(named, finals):
            g.output(f"final_{name}", final, FLOAT, ["batch", width])

    def _masked(self, scores: torch.Tensor) -> np.ndarray:
        """(..., V): -inf for the unknown token, and for the end where texts have none."""
        found = numbers(scores, "The scores").copy()
        found[..., UNKNOWN_ID] = -np.inf
        if not self.model.ends_:
            found[..., END_ID] = -np.inf
        return found

    def about(self) -> dict[str, str]:
        """Metadata: what a program needs beside the graph, as JSON."""
        return {
            "model": type(self.model).__name__,
            "description": self.model.describe(),
            "vocabulary": json.dumps(self.model.vocabulary_.to_dict()),
            "initial_state": json.dumps(self.layers.start_values()),
            "ends": json.dumps(bool(self.model.ends_)),
            "notes": " ".join(self.notes),
        }

    @torch.no_grad()
    def cases(self) -> list[Case]:
        """Steps of a batch, each from the state that the one before left, with the network's own results."""
        random, found = np.random.RandomState(0), []
        ids = torch.from_numpy(random.randint(0, len(self.model.vocabulary_), (4, 3)))
        state = self.network.stack.initial_state(len(ids))
        for tokens in ids.T:
            before = [part.numpy() for part in flatten(state)]
            each = Ragged(tokens, torch.arange(len(tokens) + 1))
            output, state = self.network.stack.embedded(each, self.network.embedding, state)
            after = [part.numpy() for part in flatten(state)]
            feeds = {f"initial_{name}": part for name, part in zip(self.layers.names, before)}
            expected = {f"final_{name}": part for name, part in zip(self.layers.names, after)}
            expected["scores"] = self._masked(self.network.scores(output.values))
            found.append(Case({"token": tokens.numpy(), **feeds}, expected))
        return found
