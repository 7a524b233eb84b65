"""One token at a time, for many prompts at once: the whole network as one cell, run by the native step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.engine import memory
from unspool.engine.frozen import Frozen
from unspool.errors import EngineError
from unspool.generation.network import LanguageModel
from unspool.generation.streams import Carried
from unspool.nn import Recurrent
from unspool.ragged import Ragged
from unspool.state import flatten, of_widths, unflatten, widths

FEW = 1000  # tokens at most whose vectors are kept apart, a view each


class NextToken(nn.Module):
    """The layers of a `LanguageModel` and its output as one cell: x (B, E) -> a flat state, scores (B, V) first.

    The scores are a part of the state that no step reads.
    allowed: (V,) bool, the tokens that may come; others have the score -inf.
    """

    def __init__(self, network: LanguageModel, allowed: Tensor) -> None:
        super().__init__()
        layers = [layer for layer in network.stack.layers if isinstance(layer, Recurrent)]
        self.cells = nn.ModuleList(layer.step_cell() for layer in layers)
        self.likes = [widths(layer.initial_state(1)) for layer in layers]
        self.connection = network.stack.connection
        self.highways = network.stack.highways if self.connection == "highway" else None
        self.projection = network.projection
        self.input_size = network.embedding.embedding_dim
        weight, bias = network.output_weights()
        self.weight = weight
        self.bias: Tensor
        self.register_buffer("bias", bias.detach().masked_fill(~allowed, -torch.inf), persistent=False)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros: it is the form of the state that counts; steps start from what the prompts leave."""
        sizes = [
            len(self.weight),
            *(leaf.shape[1] for like in self.likes for leaf in flatten(of_widths(like))),
        ]
        return tuple(self.weight.new_zeros(batch_size, size) for size in sizes)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        new: list[Tensor] = []
        at = 1
        for depth, cell in enumerate(self.cells):
            like = of_widths(self.likes[depth])
            count = len(flatten(like))
            leaves = flatten(cell(x, unflatten(like, state[at : at + count])))
            at += count
            new += leaves
            output = leaves[0]
            if depth and self.connection == "residual":
                output = x + output
            elif depth and self.highways is not None:
                output = self.highways[depth - 1](x, output)
            x = output
        hidden = x if self.projection is None else self.projection(x)
        return F.linear(hidden, self.weight, self.bias), *new


class Stepper:
    """A network ready to go on from prompts. weights: the form of `Recurrent.freeze`.

    A cell that the native engine cannot run takes the plain loop, of which torch's users are warned once
    (`SlowPathWarning`).
    """

    def __init__(self, network: LanguageModel, allowed: Tensor, weights: str = "float32") -> None:
        self.network, self.allowed = network, allowed
        layer = Recurrent(NextToken(network, allowed)).eval()
        self.advance: Callable[..., Any] = layer.step
        self.frozen: Frozen | None = None
        try:
            self.frozen = layer.freeze(weights).frozen
            if self.frozen is not None:
                self.advance = self.frozen.step
        except EngineError:
            if weights != "float32":
                raise
        self.table = network.embedding.weight.detach()
        self.rows = self.table.split(1) if len(self.table) <= FEW else None

    def start(self, prompts: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        """The flat state after prompts of any lengths, at least one token each; scores (B, V) first."""
        ids = Ragged.from_list([torch.from_numpy(prompt) for prompt in prompts])
        carried = Carried()
        output, state = self.network.stack.embedded(ids, self.network.embedding, carried.state)
        scores = self.network.scores(output.last()).masked_fill(~self.allowed, -torch.inf)
        return scores, *(leaf.contiguous() for layer in state for leaf in flatten(layer))

    def step(self, ids: np.ndarray, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after one more token for each: ids (B,)."""
        return self.advance(self.table[torch.from_numpy(ids)], state)


class OneRow:
    """A single text going on: as `Stepper.step`, into two states that are written in turn, and `scores` (1, V) with
    them, so that nothing is made anew for a token. The state that it starts from is left as it is."""

    def __init__(self, stepper: Stepper, prompt: np.ndarray) -> None:
        self.stepper, self.state = stepper, stepper.start([prompt])
        self.scores = self.state[0].numpy()
        spare = [tuple(memory.empty(1, part.shape[1]) for part in self.state) for _ in range(2)]
        self.turns = [(state, state[0].numpy()) for state in spare]

    def step(self, token: int) -> None:
        """One more token."""
        stepper = self.stepper
        x = stepper.table[token : token + 1] if stepper.rows is None else stepper.rows[token]
        new, scores = self.turns[0]
        if stepper.frozen is not None and stepper.frozen.step_into(x, self.state, new):
            self.state, self.scores = new, scores
            self.turns.reverse()
            return
        self.state = stepper.advance(x, self.state)
        self.scores = self.state[0].numpy()


def select(state: tuple[Any, ...], rows: np.ndarray) -> tuple[Tensor, ...]:
    """The state of `rows` (K,) ints, in their order."""
    index = torch.from_numpy(rows)
    return tuple(part.index_select(0, index) for part in state)
