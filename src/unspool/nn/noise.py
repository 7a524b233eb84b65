"""Noise on a recurrence while training: what is drawn once a sequence, once a step, or once a call.

    input dropout      x_t ⊙ m, m drawn once a sequence                       Gal & Ghahramani 2016, arXiv:1512.05287
    recurrent dropout  h ⊙ m where a weight matrix multiplies h, m drawn once a sequence                    same
    zoneout            s_t = z_t ⊙ s_{t-1} + (1 - z_t) ⊙ s'_t for a part s of the state     Krueger et al. 2017,
                       z_t ~ Bernoulli(rate), drawn at each step; in evaluation its mean           arXiv:1606.01305
    weight dropout     the matrices that multiply the state, with entries dropped once a call   Merity et al. 2017,
                       (DropConnect)                                                              arXiv:1708.02182

m is 0 with probability p and 1 / (1 - p) otherwise. The masks are inputs and state parts of a cell around the cell,
so every engine runs them as it runs any cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.engine import numbers
from unspool.engine.dispatch import Direction
from unspool.errors import bad_parameter, check_float
from unspool.nn.products import PRODUCTS, StateProducts, find_products
from unspool.state import flatten, unflatten


@dataclass(frozen=True)
class Noise:
    """The rates of a layer, all in [0, 1); `zoneout` has one for each part of the state, or is empty."""

    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[float, ...] = ()
    weight_dropout: float = 0.0

    @classmethod
    def checked(
        cls,
        cells: Sequence[Any],
        input_dropout: Any,
        recurrent_dropout: Any,
        zoneout: Any,
        weight_dropout: Any,
    ) -> Noise:
        """The rates given to a layer of these cells; `InvalidParameterError` where they do not hold."""

        def rate(name: str, value: Any) -> float:
            return check_float("Recurrent", name, value, 0.0, 1.0, "left")

        several = isinstance(zoneout, (tuple, list))
        rates = tuple(rate("zoneout", value) for value in (zoneout if several else [zoneout]))
        if any(rates):
            counts = [len(flatten(cell.initial_state(1))) for cell in cells]
            if several and set(counts) != {len(rates)}:
                what = f"a number, or {counts[0]} numbers: one for each part of the state"
                bad_parameter("Recurrent", "zoneout", what, zoneout)
            rates = rates if several else rates * max(counts)
        return cls(
            rate("input_dropout", input_dropout),
            rate("recurrent_dropout", recurrent_dropout),
            rates if any(rates) else (),
            rate("weight_dropout", weight_dropout),
        )

    @property
    def any(self) -> bool:
        return bool(self.input_dropout or self.recurrent_dropout or self.zoneout or self.weight_dropout)


class Zoneout(nn.Module):
    """A cell in evaluation: each part of the state moves on by 1 - rate, zoneout's expectation."""

    def __init__(self, cell: nn.Module, rates: Sequence[float]) -> None:
        super().__init__()
        self.cell: Any = cell
        self.rates = tuple(rates)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Tensor, state: Any) -> Any:
        old, new = flatten(state), flatten(self.cell(x, state))
        mixed = [rate * o + (1 - rate) * n if rate else n for rate, o, n in zip(self.rates, old, new)]
        return unflatten(state, mixed)


class Masked(nn.Module):
    """A cell in training: masks of zoneout come with the input, masks of recurrent dropout with the state.

    x is (B, F + ...): the cell's input, then at column `first` a mask for each part of the state that has a
    zoneout rate. The state is flat: the cell's parts, then a mask for each of `masked`, which pass on unchanged.
    """

    def __init__(
        self, cell: Any, input_size: int, first: int, rates: Sequence[float], masked: Sequence[int]
    ) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.first, self.masked = input_size, first, tuple(masked)
        like = cell.initial_state(1)
        self.shape = _shape(like)
        self.widths = [int(leaf.shape[1]) for leaf in flatten(like)]
        self.zoned = [k for k, rate in enumerate(rates) if rate]

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        old, masks = list(state[: len(self.widths)]), state[len(self.widths) :]
        inner = _build(self.shape, iter(old))
        if masks:
            with StateProducts({k: (old[k], mask) for k, mask in zip(self.masked, masks)}):
                new = flatten(self.cell(x[:, : self.input_size], inner))
        else:
            new = flatten(self.cell(x[:, : self.input_size], inner))
        at = self.first
        for k in self.zoned:
            kept = x[:, at : at + self.widths[k]]
            new[k] = torch.where(kept > 0.5, old[k], new[k])
            at += self.widths[k]
        return (*new, *masks)


@dataclass
class Twin:
    """What a direction runs while training: the cell, maybe inside a `Masked`, and what its weights are called."""

    inner: nn.Module
    input_size: int
    cell: nn.Module
    prefix: str
    masked: list[tuple[int, int]]  # (part of the state, its width) under recurrent dropout
    zoned: list[tuple[float, int]]  # (rate, width) of each zoneout mask
    dropped: dict[str, Tensor]  # weights under weight dropout: True for the entries that multiply the state


def make_twins(noise: Noise, cells: Sequence[Any], input_size: int) -> list[Twin]:
    """The training twin of each direction's cell, for inputs of this width."""
    twins, first = [], input_size
    for cell in cells:
        widths = [int(leaf.shape[1]) for leaf in flatten(cell.initial_state(1))]
        masked, dropped = [], {}
        if noise.recurrent_dropout or noise.weight_dropout:
            name = "recurrent_dropout" if noise.recurrent_dropout else "weight_dropout"
            found = find_products(cell, input_size)
            if not found.parts or (noise.weight_dropout and not found.weights):
                bad_parameter(
                    "Recurrent",
                    name,
                    f"0 for {type(cell).__name__}, whose step multiplies no part of its state by a weight matrix",
                    getattr(noise, name),
                    f"Products are found as torch's {', '.join(sorted(PRODUCTS))}.",
                )
            masked = [(k, widths[k]) for k in found.parts] if noise.recurrent_dropout else []
            dropped = found.weights if noise.weight_dropout else {}
        zoned = [(rate, width) for rate, width in zip(noise.zoneout, widths) if rate]
        twin, prefix = cell, ""
        if masked or zoned:
            rates = noise.zoneout[: len(widths)]
            twin, prefix = Masked(cell, input_size, first, rates, [k for k, _ in masked]), "cell."
            numbers.register(twin)
        twins.append(Twin(cell, input_size, twin, prefix, masked, zoned, dropped))
        first += sum(width for _, width in zoned)
    return twins


def with_noise(
    noise: Noise,
    twins: Sequence[Twin],
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    index: Tensor | None,
) -> tuple[list[Direction], Tensor, list[Any], Tensor | None]:
    """Directions, values, states and index of a call with its masks drawn; see `engine.dispatch.run`."""
    rows = any(twin.zoned for twin in twins) or noise.input_dropout > 0
    if rows and index is not None:
        values, index = values[index], None
    if noise.input_dropout:
        mask = _mask(noise.input_dropout, values, len(offsets) - 1, values.shape[1])
        owner = torch.repeat_interleave(offsets.diff(), output_size=len(values))
        values = values * mask[owner.to(mask.device)]
    kept = [
        values.new_empty(len(values), width).bernoulli_(rate) for twin in twins for rate, width in twin.zoned
    ]
    if kept:
        values = torch.cat([values, *kept], dim=1)
    noisy, starts = [], []
    for twin, direction, state in zip(twins, directions, states):
        weights = {
            twin.prefix + name: _drop(weight, twin.dropped[name], noise.weight_dropout)
            if name in twin.dropped
            else weight
            for name, weight in [*direction.cell.named_parameters(), *direction.cell.named_buffers()]
        }
        noisy.append(Direction(twin.cell, direction.reverse, weights))
        if twin.prefix:
            leaves = flatten(state)
            batch = leaves[0].shape[0]
            masks = [_mask(noise.recurrent_dropout, leaves[k], batch, width) for k, width in twin.masked]
            state = (*leaves, *masks)
        starts.append(state)
    return noisy, values, starts, index


def _mask(rate: float, like: Tensor, rows: int, width: int) -> Tensor:
    return F.dropout(like.new_ones(rows, width), rate)


def _drop(weight: Tensor, recurrent: Tensor, rate: float) -> Tensor:
    return torch.where(recurrent.to(weight.device), F.dropout(weight, rate), weight)


def _shape(state: Any) -> Any:
    """The nesting of a state: 0 for a tensor, a tuple for a tuple."""
    return 0 if isinstance(state, Tensor) else tuple(_shape(part) for part in state)


def _build(shape: Any, leaves: Any) -> Any:
    return next(leaves) if shape == 0 else tuple(_build(part, leaves) for part in shape)
