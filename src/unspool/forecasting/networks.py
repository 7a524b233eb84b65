"""The three kinds of network: windows (N, F) and what is known ahead -> (B, horizon, outputs)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.nn.draws import Dropout
from unspool.nn.stack import Stack
from unspool.ragged import Ragged
from unspool.state import flatten, unflatten


class ForecastNetwork(nn.Module):
    """Base. features: of a step. known: K, of them known ahead. static: Q, of a series. outputs: numbers a step.

    `network(x, columns)`: x a Ragged (N, features), y first; columns (B, Q + horizon * K), or None where that is 0.
    """

    encoder: Stack

    def __init__(self, features: int, known: int, static: int, horizon: int, outputs: int) -> None:
        super().__init__()
        self.features, self.known, self.static = features, known, static
        self.horizon, self.outputs = horizon, outputs

    def ahead(self, columns: Tensor | None, x: Ragged) -> tuple[Tensor, Tensor]:
        """columns -> static (B, Q), known (B, horizon, K), beside B windows x."""
        if columns is None:
            columns = x.values.new_zeros(len(x), 0)
        return columns[:, : self.static], columns[:, self.static :].unflatten(1, (self.horizon, self.known))

    def freeze(self, weights: str = "float32") -> ForecastNetwork:
        """A copy for prediction, its recurrent layers frozen: see `Stack.freeze`."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        for name, module in list(self.named_children()):
            if isinstance(module, Stack):
                setattr(twin, name, module.freeze(weights))
        return twin


class Segments(ForecastNetwork):
    """A window read by segments, and all segments of the horizon answered at once (Lin et al. 2023, arXiv:2308.11200).

    Segment i of the window, `segment` steps, becomes relu(W x_i + b), a step of the recurrent layers. Their final state
    is the start of one more step for each segment of the horizon, whose input is a position vector, plus what is known
    of that segment; a linear layer makes `segment` steps of it.
    """

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module],
        hidden_size: int | Sequence[int],
        num_layers: int,
        dropout: float,
        segment: int,
        precision: str,
        **sizes: int,
    ) -> None:
        super().__init__(**sizes)
        self.segment = segment
        self.parts = -(-self.horizon // segment)
        self.encoder = Stack(
            cell, width(hidden_size), hidden_size, layers(hidden_size, num_layers), precision=precision
        )
        self.embed = nn.Linear(segment * self.features, width(hidden_size))
        self.position = nn.Parameter(nn.init.normal_(torch.empty(self.parts, width(hidden_size)), std=0.5))
        self.of_series = nn.Linear(self.static, width(hidden_size), bias=False) if self.static else None
        known = segment * self.known
        self.of_future = nn.Linear(known, width(hidden_size), bias=False) if known else None
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, segment * self.outputs)

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Tensor:
        """The lengths of x are multiples of `segment`."""
        batch = len(x)
        static, known = self.ahead(columns, x)
        embedded = torch.relu(self.embed(x.values.reshape(-1, self.segment * self.features)))
        segments = Ragged(embedded, x.offsets // self.segment)
        if self.of_series is not None:
            segments = segments.with_values(
                embedded + self.of_series(static).index_select(0, segments.owners())
            )
        _, state = self.encoder(segments)
        ask = self.position.expand(batch, -1, -1)
        if self.of_series is not None:
            ask = ask + self.of_series(static)[:, None]
        if self.of_future is not None:
            missing = self.parts * self.segment - self.horizon
            known = nn.functional.pad(known, (0, 0, 0, missing))
            ask = ask + self.of_future(known.reshape(batch, self.parts, -1))
        start = unflatten(state, [leaf.repeat_interleave(self.parts, 0) for leaf in flatten(state)])
        one_each = Ragged(ask.reshape(batch * self.parts, -1), torch.arange(batch * self.parts + 1))
        output, _ = self.encoder(one_each, list(start))
        made = self.head(self.dropout(output.values))
        return made.reshape(batch, self.parts * self.segment, self.outputs)[:, : self.horizon]


class Points(ForecastNetwork):
    """A step at a time: each forecast, as `point` reads it off the outputs, is the next step's input, in training too.

    The further past features of a step of the horizon are 0, their mean.
    """

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module],
        hidden_size: int | Sequence[int],
        num_layers: int,
        dropout: float,
        point: Callable[[Tensor], Tensor],
        precision: str,
        **sizes: int,
    ) -> None:
        super().__init__(**sizes)
        self.point = point
        self.encoder = Stack(
            cell,
            self.features + self.static,
            hidden_size,
            layers(hidden_size, num_layers),
            precision=precision,
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, self.outputs)

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Tensor:
        batch = len(x)
        static, known = self.ahead(columns, x)
        each = static.index_select(0, x.owners())
        output, state = self.encoder(x.with_values(torch.cat([x.values, each], 1)))
        top, made, steps = output.last(), [], torch.arange(batch + 1)
        observed = top.new_ones(batch, 1)
        unknown = top.new_zeros(batch, self.features - 2 - self.known)
        for k in range(self.horizon):
            made.append(self.head(self.dropout(top)))
            if k + 1 == self.horizon:
                break
            y = self.point(made[-1])[:, None]
            step = torch.cat([y, observed, unknown, known[:, k], static], 1)
            output, state = self.encoder(Ragged(step, steps), state)
            top = output.values
        return torch.stack(made, 1)


class Seq2Seq(ForecastNetwork):
    """An encoder over the window, whose final state starts a decoder over the steps of the horizon.

    A step of the decoder reads what is known of it and a position vector; no forecast is fed back, so that training and
    prediction are the same, and one call runs all steps (Wen et al. 2017, arXiv:1711.11053, with a recurrent decoder).
    """

    POSITION = 16  # numbers of a position vector

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module],
        hidden_size: int | Sequence[int],
        num_layers: int,
        dropout: float,
        precision: str,
        **sizes: int,
    ) -> None:
        super().__init__(**sizes)
        depth = layers(hidden_size, num_layers)
        self.encoder = Stack(cell, self.features + self.static, hidden_size, depth, precision=precision)
        self.position = nn.Parameter(nn.init.normal_(torch.empty(self.horizon, self.POSITION), std=0.5))
        width = self.POSITION + self.known + self.static
        self.decoder = Stack(cell, width, hidden_size, depth, precision=precision)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.decoder.output_size, self.outputs)

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Tensor:
        batch = len(x)
        static, known = self.ahead(columns, x)
        each = static.index_select(0, x.owners())
        _, state = self.encoder(x.with_values(torch.cat([x.values, each], 1)))
        beside = static[:, None].expand(-1, self.horizon, -1)
        ask = torch.cat([self.position.expand(batch, -1, -1), known, beside], 2)
        asked = Ragged(ask.flatten(0, 1), torch.arange(batch + 1) * self.horizon)
        output, _ = self.decoder(asked, state)
        made = self.head(self.dropout(output.values))
        return made.reshape(batch, self.horizon, self.outputs)


registry: dict[str, type[ForecastNetwork]] = {"segments": Segments, "recurrent": Points, "seq2seq": Seq2Seq}


def width(hidden_size: Any) -> int:
    """Of the first layer."""
    return hidden_size[0] if isinstance(hidden_size, (tuple, list)) else int(hidden_size)


def layers(hidden_size: Any, num_layers: int) -> int | None:
    """For `Stack`: None where hidden_size has a width for each."""
    return None if isinstance(hidden_size, (tuple, list)) and num_layers == 1 else num_layers
