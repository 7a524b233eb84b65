"""Layers of one cell, each in one or both directions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool import cells
from unspool.engine.frozen import check_ids
from unspool.errors import DataError, bad_parameter, check_choice, check_float, check_int, described
from unspool.nn.characters import WordsAndCharacters
from unspool.nn.draws import Dropout
from unspool.nn.layout import as_leaf, check_can_freeze, to_ragged
from unspool.nn.recurrent import Recurrent, final_output
from unspool.nn.rows import OfRows, row_by_row
from unspool.ragged import Ragged
from unspool.state import flatten

PROJECTED = 2**26  # numbers
CONNECTIONS = (None, "residual", "highway")


class Highway(nn.Module):
    """y = t ⊙ h + (1 - t) ⊙ x, t = σ(W x + b) (Srivastava, Greff, Schmidhuber 2015, arXiv:1505.00387, eq. 3).

    x (N, size): what goes into a layer; h (N, size): what comes out. b starts at -1, so that x passes at first.
    """

    cell: Mixed

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(size, size)
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.constant_(self.gate.bias, -1.0)
        self.__dict__["cell"] = Mixed(self.gate)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return row_by_row(self, self.cell, h.shape[-1], x, h)


class Mixed(OfRows):
    """The equation of `Highway`."""

    def __init__(self, gate: nn.Linear) -> None:
        super().__init__()
        self.gate = gate

    def of(self, x: Tensor, *others: Tensor) -> Tensor:
        return x + torch.sigmoid(self.gate(x)) * (others[0] - x)


class Stack(nn.Module):
    """Layers of a cell; the output of one is the input of the next.

    cell: a name from `unspool.cells.names()`, or a callable `(input_size, hidden_size) -> cell module`.
    hidden_size: units of every layer, or a sequence with a width for each layer.
    num_layers: default: one for each of `hidden_size`.
    dropout: probability of zeroing an input of layers 2, 3, ... while training, drawn for every step.
    connection: around layers 2, 3, ..., between what goes in (before dropout) and what comes out: None, "residual"
        (their sum) or "highway" (a learned mixture, `Highway`). All layers must have one output width.
    input_dropout: as `Recurrent`'s, of every layer, or a sequence with a rate for each layer.
    options: of `Recurrent`, for every layer: merge (not None), recurrent_dropout, zoneout, weight_dropout, precision,
        initial_state ("cell" or "learned").

    `output, state = stack(x, state=None)`: x a Ragged (N, F), a PackedSequence or a padded tensor (B, T, F);
    output of the same kind, `output_size` wide; state is a list over layers of tuples over directions. Under
    `torch.autocast` the native engine computes and returns float32.
    """

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module],
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        bidirectional: bool = False,
        dropout: float = 0.0,
        engine: str = "auto",
        *,
        connection: str | None = None,
        input_dropout: float | Sequence[float] = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        if isinstance(cell, nn.Module) or not (isinstance(cell, str) or callable(cell)):
            expected = "a name or a callable (input_size, hidden_size) -> cell module, such as its class"
            bad_parameter("Stack", "cell", expected, cell)
        make = cells.get(cell) if isinstance(cell, str) else cell
        check_int("Stack", "input_size", input_size)
        if options.get("merge", "concat") is None:
            bad_parameter("Stack", "merge", "'concat', 'sum', 'mean' or 'product'", None)
        if callable(options.get("initial_state")):
            expected = "'cell' or 'learned'"
            hint = "Pass a computed state at the call."
            bad_parameter("Stack", "initial_state", expected, options["initial_state"], hint)
        self.dropout = Dropout(check_float("Stack", "dropout", dropout, 0.0, 1.0))
        self.layers = nn.ModuleList()
        width = input_size
        sizes = layer_sizes("Stack", hidden_size, num_layers)
        rates = input_dropout if isinstance(input_dropout, (tuple, list)) else [input_dropout] * len(sizes)
        if len(rates) != len(sizes):
            bad_parameter(
                "Stack", "input_dropout", f"a rate, or one for each of {len(sizes)} layers", input_dropout
            )
        for size, rate in zip(sizes, rates):
            layer = Recurrent(
                make(width, size),
                bidirectional=bidirectional,
                reverse_cell=make(width, size) if bidirectional else None,
                engine=engine,
                input_dropout=rate,
                **options,
            )
            self.layers.append(layer)
            width = layer.output_size()
        self.output_size = width
        self.connection = check_choice("Stack", "connection", connection, CONNECTIONS)
        if connection is not None:
            self._check_widths()
        if connection == "highway":
            self.highways = nn.ModuleList(Highway(width) for _ in self.layers[1:])

    def _check_widths(self) -> None:
        widths = [layer.output_size() for layer in self._recurrent()]
        if len(widths) == 1:
            bad_parameter(
                "Stack", "connection", "None for one layer: it goes around layers 2, 3, ...", self.connection
            )
        if len(set(widths)) > 1:
            expected = f"None for layers of different output widths, {widths}"
            bad_parameter("Stack", "connection", expected, self.connection)

    def forward(self, x: Any, state: Sequence[Any] | None = None) -> tuple[Any, list[tuple]]:
        """(output, final states): a Ragged of (N, output_size), or padded or packed as x is; a tuple a layer.

        x: a Ragged of (N, F), a padded batch (B, T, F) or a PackedSequence. state: what a call gave, to go on from;
        None: each cell's own. Raises `DataError` for what does not fit, and for a tensor without a batch axis.
        """
        leaf = as_leaf(self, x, state)
        if leaf is not None:
            return leaf
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
        self, ids: Ragged, embedding: nn.Module, state: Sequence[Any] | None = None
    ) -> tuple[Ragged, list[tuple]]:
        """As `self(ids.with_values(embedding(ids.values)), state)`, computing once what tokens share. ids: of (N,), or
        of (N, 2 + L) for a `WordsAndCharacters`."""
        check_ids(ids.values[:, 0] if isinstance(embedding, WordsAndCharacters) else ids.values)
        return self._layers(ids, state, embedding)

    def freeze(self, weights: str = "float32", embedding: nn.Embedding | None = None) -> Stack:
        """A copy for prediction: every layer frozen, see `Recurrent.freeze`.

        embedding: the one that `embedded` will be called with. What the first layer makes of each of its rows is
        computed once, where that takes no more than PROJECTED numbers (256 MiB).
        """
        check_can_freeze(self)
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        for depth, layer in enumerate(self._recurrent()):
            twin.layers[depth] = layer.freeze(weights)
        first = twin._recurrent()[0]
        if embedding is not None and first.frozen is not None:
            states = first._states(1, None, True)
            first._check_width(embedding.weight)
            width = first.frozen.projected_width(embedding.embedding_dim, states)
            if len(embedding.weight) * width <= PROJECTED:
                first.frozen.project(_rows(embedding), states)
        return twin

    def initial_state(self, batch_size: int) -> list[tuple]:
        """The state that a call without one starts from."""
        states = [layer.initial_state(batch_size) for layer in self._recurrent()]
        return [s if layer.bidirectional else (s,) for s, layer in zip(states, self._recurrent())]

    def final_output(self, output: Ragged, state: Sequence[Any]) -> Tensor:
        """(B, output_size): what each direction ends with, merged; with a connection, its part of the output there.

        An empty sequence ends with its initial state; with a connection, with zeros.
        """
        top = self._recurrent()[-1]
        if self.connection is None:
            return final_output(state, top.merge or "concat")
        if not top.bidirectional:
            return output.last(default=0.0)
        if top.merge != "concat":
            raise DataError(
                f"A stack with connection={self.connection!r} and merge={top.merge!r} has no last output: its two "
                "directions end at different steps. Use merge='concat', or pool over the steps."
            )
        forward, backward = (flatten(s)[0].shape[1] for s in state[-1])
        ends = [output.last(default=0.0)[:, :forward], output.first(default=0.0)[:, -backward:]]
        return torch.cat(ends, dim=1)

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why; for each layer, where they differ."""
        ragged, _, _ = to_ragged(x, True, "Stack")
        paths = []
        for layer in self._recurrent():
            paths.append(layer.explain_path(ragged))
            ragged = ragged.with_values(ragged.values.new_empty(len(ragged.values), layer.output_size()))
        return paths[0] if len(set(paths)) == 1 else "; ".join(f"layer {i}: {p}" for i, p in enumerate(paths))

    def _layers(
        self, x: Ragged, state: Sequence[Any] | None, embedding: nn.Module | None = None
    ) -> tuple[Ragged, list[tuple]]:
        if state is not None and not (isinstance(state, (tuple, list)) and len(state) == len(self.layers)):
            raise DataError(
                f"The state must have one entry a layer, {len(self.layers)}. Got {described(state)}."
            )
        finals: list[tuple] = []
        for depth, layer in enumerate(self._recurrent()):
            given = None if state is None else state[depth]
            if given is not None and not layer.bidirectional:
                given = _only(given, depth)
            states = layer._states(x.batch_size, given, True)
            values, index = x.values, None
            if depth == 0 and embedding is not None:
                values, index = _looked_up(layer, values, embedding)
            elif depth > 0:
                values = self.dropout(values, x)
            output, final = layer.run(values, x.offsets, states, index)
            if depth > 0 and self.connection == "residual":
                output = x.values + output
            elif depth > 0 and self.connection == "highway":
                output = self.highways[depth - 1](x.values, output)
            finals.append(tuple(final))
            x = x.with_values(output)
        return x, finals


def _only(state: Any, depth: int) -> Any:
    """The state of a layer's one direction."""
    if not isinstance(state, (tuple, list)) or len(state) != 1:
        raise DataError(
            f"The state of layer {depth} must have one entry, of its one direction. Got {described(state)}."
        )
    return state[0]


def _rows(embedding: nn.Embedding) -> Tensor:
    """What a lookup of each id gives; the embedding itself stays as it is."""
    if embedding.max_norm is not None:  # a lookup shortens rows in place
        embedding = copy.deepcopy(embedding)
    with torch.no_grad():
        return embedding(torch.arange(len(embedding.weight), device=embedding.weight.device))


def _looked_up(layer: Recurrent, ids: Tensor, embedding: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The first layer's input, and for each token its row there; None: the row of its own number."""
    if layer.frozen is not None and layer.frozen.table is not None:
        return layer.frozen.table, ids
    index = None
    if isinstance(embedding, WordsAndCharacters):
        ids, index = embedding.distinct(ids)
    elif not getattr(embedding, "scale_grad_by_freq", False):
        ids, index = ids.unique(return_inverse=True)
    values = embedding(ids)
    return (values if layer.frozen is None else values.detach()), index


def layer_sizes(owner: str, hidden_size: int | Sequence[int], num_layers: int | None) -> list[int]:
    """The width of each layer; `InvalidParameterError` where the two do not go together."""
    layers = None if num_layers is None else check_int(owner, "num_layers", num_layers)
    if not isinstance(hidden_size, (tuple, list)):
        return [check_int(owner, "hidden_size", hidden_size)] * (layers or 1)
    sizes = [check_int(owner, "hidden_size", size) for size in hidden_size]
    if not sizes:
        bad_parameter(owner, "hidden_size", "an int, or one for each layer", hidden_size)
    if layers not in (None, len(sizes)):
        bad_parameter(
            owner, "num_layers", f"left out or {len(sizes)}, the number of hidden sizes", num_layers
        )
    return sizes
