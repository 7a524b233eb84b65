"""The network: an encoder over both directions, a decoder that starts from its state and attends to its steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unspool.nn import Recurrent, Stack, draws
from unspool.nn.draws import Dropout
from unspool.ragged import Ragged
from unspool.seq2seq.attention import Attention, Memory
from unspool.state import flatten, unflatten

SMALL_VOCABULARY = 1000
HANDED_OVER = ("h", "c")


class HandOver(nn.Module):
    """The state that one layer of the decoder starts from: each part h, c = W [forward's; backward's] + b, the
    final states of the encoder's layer; through tanh for the output h (as Bahdanau et al. 2015, appendix A.2.2).

    The cell's other parts, such as a clock or a normaliser, start as the cell says; of a cell that does not name its
    parts all but the output do.
    """

    def __init__(self, encoder: Recurrent, decoder: Recurrent) -> None:
        super().__init__()
        parts = flatten(decoder.cell.initial_state(1))
        names = getattr(decoder.cell, "state_names", ())
        names = names if len(names) == len(parts) else ("h", *[""] * (len(parts) - 1))
        width = parts[0].shape[1]
        self.parts = [i for i, p in enumerate(parts) if names[i] in HANDED_OVER and p.shape[1] == width]
        incoming = [flatten(cell.initial_state(1)) for cell in encoder.cells()]
        sizes = [sum(direction[i].shape[1] for direction in incoming) for i in self.parts]
        self.linear = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        for linear in self.linear:
            nn.init.xavier_uniform_(linear.weight)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, final: Any, initial: Any) -> Any:
        """final: the encoder layer's, a tuple over directions; initial: the decoder layer's own; gives that, filled."""
        leaves = flatten(initial)
        directions = [flatten(direction) for direction in final]
        for place, linear in zip(self.parts, self.linear):
            given = linear(torch.cat([leaves_of[place] for leaves_of in directions], 1))
            leaves[place] = torch.tanh(given) if place == 0 else given
        return unflatten(initial, leaves)


class EncoderDecoder(nn.Module):
    """Source tokens and target tokens so far -> the scores of the next target token at each step.

    The encoder reads the source both ways. The decoder's first layer starts from the encoder's state; at each step
    its output s attends to the encoder's outputs, and s̃ = tanh(W [c; s]) (Luong et al. 2015, eq. 5) goes on: to the
    decoder's other layers, as in Wu et al. 2016 (arXiv:1609.08144, section 3), and to the output. What was attended to
    is no input of the first layer ("input feeding"), so that each layer runs over a whole target at once.

    hidden_size: of each direction of the encoder, and of the decoder. attention: see `Attention`.
    dropout: probability of zeroing a feature of the inputs of layers 2, 3, ... and of the output, at each step.
    input_dropout: of a feature of the token vectors, for a whole sequence.
    options: of `Stack`, for every layer: recurrent_dropout, zoneout, weight_dropout, precision.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        cell: str | Callable[[int, int], nn.Module],
        embedding_dim: int,
        hidden_size: int,
        num_layers: int,
        attention: str,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.source_embedding = _embedding(source_size, embedding_dim)
        self.embedding = _embedding(target_size, embedding_dim)
        rates = [input_dropout, *[0.0] * (num_layers - 1)]
        self.encoder = Stack(
            cell, embedding_dim, hidden_size, num_layers, True, dropout, input_dropout=rates, **options
        )
        self.decoder = Stack(cell, embedding_dim, hidden_size, 1, input_dropout=input_dropout, **options)
        width = self.decoder.output_size
        self.upper = None
        if num_layers > 1:
            self.upper = Stack(cell, width, hidden_size, num_layers - 1, dropout=dropout, **options)
        layers = [*self.decoder.layers, *([] if self.upper is None else self.upper.layers)]
        self.hand_over = nn.ModuleList(HandOver(e, d) for e, d in zip(self.encoder.layers, layers))  # type: ignore[arg-type]
        memory_size = self.encoder.output_size
        self.attention = Attention(attention, width, memory_size, width)
        self.combine = nn.Linear(memory_size + width, width, bias=False)
        nn.init.xavier_uniform_(self.combine.weight)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(width, target_size)

    def forward(self, source: Ragged, tokens: Ragged) -> Ragged:
        """source (N,) and tokens (M,) of the same B pairs -> scores (M, target_size) of the token after each."""
        memory, state = self.encode(source)
        return self.decode(tokens, memory, state)

    def encode(self, source: Ragged) -> tuple[Memory, list[tuple]]:
        """(what B sequences are attended by, the state that the decoder starts from: an entry a layer)."""
        draws.reading(targets=False)
        encoded, finals = self.encoder.embedded(source, self.source_embedding)
        initial = self.decoder.initial_state(len(source))
        if self.upper is not None:
            initial += self.upper.initial_state(len(source))
        state = [(h(final, own[0]),) for h, final, own in zip(self.hand_over, finals, initial)]
        return self.attention.memory(encoded.with_values(self.dropout(encoded.values, encoded))), state

    def decode(self, tokens: Ragged, memory: Memory, state: list[tuple]) -> Ragged:
        """The scores (M, target_size) of the token after each of `tokens` (M,), all of them known."""
        draws.reading(targets=True)
        output, _ = self.decoder.embedded(tokens, self.embedding, state[:1])
        context = self.attention(output, memory)
        output = output.with_values(self._combined(context, output.values))
        if self.upper is not None:
            output, _ = self.upper(output.with_values(self.dropout(output.values, output)), state[1:])
        return output.with_values(self.head(self.dropout(output.values, output)))

    def step(self, rows: Tensor, memory: Memory, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """One token: its vector's `rows` (R, E), R a multiple of the memory's B, and a state for each layer of the
        decoder -> (scores (R, target_size), the states after it)."""
        layers = [*self.decoder.layers, *([] if self.upper is None else self.upper.layers)]
        states = [layers[0].step(rows, state[0])]
        output = flatten(states[0])[0]
        blocks = output.view(len(memory.values), -1, output.shape[1])
        output = self._combined(self.attention.contexts(blocks, memory).flatten(0, 1), output)
        for layer, before in zip(layers[1:], state[1:]):
            states.append(layer.step(output, before))
            output = flatten(states[-1])[0]
        return self.head(output), states

    def _combined(self, context: Tensor, output: Tensor) -> Tensor:
        return torch.tanh(self.combine(torch.cat([context, output], 1)))

    def freeze(self, weights: str = "float32") -> EncoderDecoder:
        """A copy for prediction, its recurrent layers frozen: see `Stack.freeze`."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        twin.encoder = self.encoder.freeze(weights, twin.source_embedding)
        twin.decoder = self.decoder.freeze(weights)
        twin.upper = None if self.upper is None else self.upper.freeze(weights)
        return twin


def _embedding(tokens: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(tokens, width)
    if tokens > SMALL_VOCABULARY:
        nn.init.uniform_(embedding.weight, -0.1, 0.1)
    return embedding
