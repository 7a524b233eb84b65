"""Noise on a recurrence while training: what is drawn once a sequence, once a step, or once a call.

    input dropout      x_t ⊙ m, m drawn once a sequence                       Gal & Ghahramani 2016, arXiv:1512.05287
    recurrent dropout  h ⊙ m where a weight matrix multiplies h, m drawn once a sequence                    same
    zoneout            s_t = z_t ⊙ s_{t-1} + (1 - z_t) ⊙ s'_t for a part s of the state     Krueger et al. 2017,
                       z_t ~ Bernoulli(rate), drawn at each step; in evaluation its mean           arXiv:1606.01305
    weight dropout     the matrices that multiply the state, with entries dropped once a call   Merity et al. 2017,
                       (DropConnect)                                                              arXiv:1708.02182

m is 0 with probability p and 1 / (1 - p) otherwise. The masks are inputs and state parts of a cell around the cell, so
every engine runs them as it runs any cell. Where weights multiply the state is decided on the cell's program
(`nn.products`), and what runs is that program with the masks in it (`nn.masking`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import numbers
from unspool.engine.dispatch import Direction
from unspool.errors import bad_parameter, check_float
from unspool.nn import draws, masks
from unspool.nn.masking import Drop, Zones, find_drops, masked_program
from unspool.nn.products import Products, Undecided, find_products
from unspool.program.interpret import evaluate
from unspool.program.signature import Unchanged
from unspool.program.sources import resolve, used
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

    x is (B, F + ...): the cell's input, then from column `zones.first` on a mask for each part of the state that has
    a zoneout rate. The state is flat: the cell's parts, then a mask for each of `masked`, which pass on unchanged.
    found: the cell's products, for masks of the state and of weights; such a step is carried out by the cell's
        program on every engine. Without them the step is the cell's own.
    """

    def __init__(
        self,
        cell: Any,
        zones: Zones,
        found: Products | None = None,
        masked: Sequence[int] = (),
        drops: Sequence[Drop] = (),
    ) -> None:
        super().__init__()
        self.cell = cell
        self.zones = zones
        like = cell.initial_state(1)
        self.shape = _shape(like)
        self.widths = tuple(int(leaf.shape[1]) for leaf in flatten(like))
        for j, drop in enumerate(drops):
            ones = torch.ones((), device="cpu").expand(drop.entries.shape)
            self.register_buffer(f"drop{j}", ones, persistent=False)
        if found is not None:
            self.program_of_step = cache(
                lambda input_size: masked_program(found, masked, drops, zones, input_size, "cell.")
            )

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if "program_of_step" in self.__dict__:
            program = self.program_of_step(x.shape[1])
            wanted = used(program)
            tensors = resolve(program, wanted, Direction(self).weight)
            sources = {i: t.to(x) for i, t in zip(wanted, tensors)}
            return tuple(evaluate(program.graph, program.outputs, sources, x, state))
        old = list(state)
        new = flatten(self.cell(x[:, : self.zones.input_size], _build(self.shape, iter(old))))
        at = self.zones.first
        for k in self.zones.parts:
            kept = x[:, at : at + self.widths[k]]
            new[k] = torch.where(kept > 0.5, old[k], new[k])
            at += self.widths[k]
        return tuple(new)


@dataclass
class Twin:
    """What a direction runs while training: the cell, maybe inside a `Masked`, and what its weights are called."""

    inner: nn.Module
    input_size: int
    cell: nn.Module
    prefix: str
    masked: list[tuple[int, int]]  # (part of the state, its width) under recurrent dropout
    zoned: list[tuple[float, int]]  # (rate, width) of each zoneout mask
    drops: list[Drop]
    unchanged: Callable[[], bool]

    def serves(self, cell: nn.Module, input_size: int) -> bool:
        """Whether it is still the twin of `cell`. A graph of torch.compile keeps the one that it was made with."""
        same = self.inner is cell and self.input_size == input_size
        return same and (torch.compiler.is_compiling() or self.unchanged())


def make_twins(noise: Noise, cells: Sequence[Any], input_size: int) -> list[Twin]:
    """The training twin of each direction's cell, for inputs of this width."""
    twins, first = [], input_size
    for cell in cells:
        widths = [int(leaf.shape[1]) for leaf in flatten(cell.initial_state(1))]
        found, drops = _products(noise, cell, input_size)
        masked = [(k, widths[k]) for k in found.parts] if found and noise.recurrent_dropout else []
        zoned = [(k, rate) for k, rate in enumerate(noise.zoneout[: len(widths)]) if rate]
        twin, prefix = cell, ""
        if found or zoned:
            zones = Zones(input_size, first, tuple(k for k, _ in zoned))
            twin, prefix = Masked(cell, zones, found, [k for k, _ in masked], drops), "cell."
            numbers.register(twin)
        rates = [(rate, widths[k]) for k, rate in zoned]
        twins.append(Twin(cell, input_size, twin, prefix, masked, rates, drops, Unchanged(cell)))
        first += sum(width for _, width in rates)
    return twins


def _products(noise: Noise, cell: Any, input_size: int) -> tuple[Products | None, list[Drop]]:
    """The products of a cell that has a rate on them, and the weights that lose entries."""
    name = "recurrent_dropout" if noise.recurrent_dropout else "weight_dropout"
    if not getattr(noise, name):
        return None, []
    drops: list[Drop] = []
    try:
        found = find_products(cell, input_size)
        if noise.recurrent_dropout:
            found.check_masks()
        if noise.weight_dropout and found.recurrent:
            drops = find_drops(found, Direction(cell).weight)
    except Undecided as reason:
        expected = f"0 for {type(cell).__name__}: where its weights multiply its state cannot be told"
        bad_parameter("Recurrent", name, expected, getattr(noise, name), f"The reason: {reason}.")
    if not found.recurrent or (noise.weight_dropout and not drops):
        expected = (
            f"0 for {type(cell).__name__}, whose step multiplies no part of its state by a weight matrix"
        )
        bad_parameter("Recurrent", name, expected, getattr(noise, name))
    return found, drops


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
        width = values.shape[1]
        mask = draws.sequences(partial(_mask, noise.input_dropout, values, width), len(offsets) - 1)
        owner = torch.repeat_interleave(offsets.diff(), output_size=len(values))
        values = values * mask[owner.to(mask.device)]
    kept = [
        draws.steps(partial(_zones, rate, values, width), offsets)
        for twin in twins
        for rate, width in twin.zoned
    ]
    if kept:
        values = torch.cat([values, *kept], dim=1)
    noisy, starts = [], []
    for twin, direction, state in zip(twins, directions, states):
        named = [*direction.cell.named_parameters(), *direction.cell.named_buffers()]
        weights = {twin.prefix + name: weight for name, weight in named}
        for j, drop in enumerate(twin.drops):
            weights[f"drop{j}"] = _drop(drop.entries, noise.weight_dropout, values)
        noisy.append(Direction(twin.cell, direction.reverse, weights))
        if twin.prefix:
            leaves = flatten(state)
            batch = leaves[0].shape[0]
            masks = [
                draws.sequences(partial(_mask, noise.recurrent_dropout, leaves[k], width), batch)
                for k, width in twin.masked
            ]
            state = (*leaves, *masks)
        starts.append(state)
    return noisy, values, starts, index


def _mask(rate: float, like: Tensor, width: int, rows: int) -> Tensor:
    return masks.kept(like, (rows, width), rate)


def _zones(rate: float, like: Tensor, width: int, rows: int) -> Tensor:
    return masks.ones(like, (rows, width), rate)


def _drop(entries: Tensor, rate: float, like: Tensor) -> Tensor:
    """What a weight is multiplied by: a mask where it multiplies the state, 1 elsewhere."""
    return torch.where(entries.to(like.device), masks.kept(like, entries.shape, rate), like.new_ones(()))


def _shape(state: Any) -> Any:
    """The nesting of a state: 0 for a tensor, a tuple for a tuple."""
    return 0 if isinstance(state, Tensor) else tuple(_shape(part) for part in state)


def _build(shape: Any, leaves: Any) -> Any:
    return next(leaves) if shape == 0 else tuple(_build(part, leaves) for part in shape)
