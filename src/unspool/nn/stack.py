"""Layers of one cell, each in one or both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from unspool import cells
from unspool.engine.dispatch import run
from unspool.errors import DataError, check_float, check_int
from unspool.nn.layout import to_ragged
from unspool.nn.recurrent import Recurrent
from unspool.ragged import Ragged


class Stack(nn.Module):
    """`num_layers` layers of a cell; the output of one is the input of the next.

    cell: a name from `unspool.cells.names()`, or a callable `(input_size, hidden_size) -> cell module`.
    dropout: probability of zeroing an input of layers 2, 3, ... while training.

    `output, state = stack(x, state=None)`: x a Ragged (N, F), a PackedSequence or a padded tensor (B, T, F);
    output of the same kind, `output_size` wide; state is a list over layers of tuples over directions.
    """

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        make = cells.get(cell) if isinstance(cell, str) else cell
        check_int("Stack", "input_size", input_size)
        check_int("Stack", "hidden_size", hidden_size)
        self.dropout = nn.Dropout(check_float("Stack", "dropout", dropout, 0.0, 1.0))
        self.layers = nn.ModuleList()
        width = input_size
        for _ in range(check_int("Stack", "num_layers", num_layers)):
            layer = Recurrent(
                make(width, hidden_size),
                bidirectional=bidirectional,
                reverse_cell=make(width, hidden_size) if bidirectional else None,
                engine=engine,
            )
            self.layers.append(layer)
            width = layer.output_size()
        self.output_size = width

    def forward(self, x: Any, state: Sequence[Any] | None = None) -> tuple[Any, list[tuple]]:
        ragged, restore, batched = to_ragged(x, True, "Stack")
        if not batched:
            raise DataError(
                "The input of Stack must have a batch axis. Got an unbatched tensor; use x[None]."
            )
        output, final = self._layers(ragged, state)
        return restore(output), final

    def _recurrent(self) -> list[Recurrent]:
        return [layer for layer in self.layers if isinstance(layer, Recurrent)]

    def embedded(
        self, ids: Ragged, embedding: nn.Embedding, state: Sequence[Any] | None = None
    ) -> tuple[Ragged, list[tuple]]:
        """As `self(ids.with_values(embedding(ids.values)), state)`, computing once what tokens share."""
        return self._layers(ids, state, embedding)

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why; for each layer, where they differ."""
        ragged, _, _ = to_ragged(x, True, "Stack")
        paths = []
        for layer in self._recurrent():
            paths.append(layer.explain_path(ragged))
            ragged = ragged.with_values(ragged.values.new_empty(len(ragged.values), layer.output_size()))
        return paths[0] if len(set(paths)) == 1 else "; ".join(f"layer {i}: {p}" for i, p in enumerate(paths))

    def _layers(
        self, x: Ragged, state: Sequence[Any] | None, embedding: nn.Embedding | None = None
    ) -> tuple[Ragged, list[tuple]]:
        if state is not None and len(state) != len(self.layers):
            raise DataError(f"The state must have one entry a layer, {len(self.layers)}. Got {len(state)}.")
        finals: list[tuple] = []
        for depth, layer in enumerate(self._recurrent()):
            given = None if state is None else state[depth]
            if given is not None and not layer.bidirectional:
                given = given[0]
            states = layer._states(len(x), given, True)
            values, index = x.values, None
            if depth == 0 and embedding is not None and embedding.scale_grad_by_freq:
                values = embedding(values)
            elif depth == 0 and embedding is not None:
                distinct, index = values.unique(return_inverse=True)
                values = embedding(distinct)
            elif depth > 0:
                values = self.dropout(values)
            output, final = run(layer.directions(), values, x.offsets, states, layer.engine, index)
            finals.append(tuple(final))
            x = x.with_values(output)
        return x, finals
