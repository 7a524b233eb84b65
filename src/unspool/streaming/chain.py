"""What a stream runs at each step: cells one after another, and the row of numbers that each session keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.engine.dispatch import Direction
from unspool.engine.frozen import Frozen
from unspool.errors import EngineError, SlowPathWarning, warn_caller
from unspool.state import flatten, unflatten

INPUT, BEFORE, AFTER, BESIDE = range(4)
Spot = tuple[int, int]  # where a row lies during a step: (INPUT, BEFORE, AFTER or BESIDE, offset)
COUNT: Spot = (BESIDE, 0)  # the number of steps so far, as a float


@dataclass
class Link:
    """A cell of a chain: where its input and the parts of its state lie, before and after.

    ends: it runs where a chunk ends, not at every step. frozen: None on the plain loop.
    """

    direction: Direction
    x: Spot
    input_size: int
    like: Any  # its state, of one row
    before: list[Spot]
    after: list[Spot]
    ends: bool = False
    frozen: Frozen | None = None
    layer: bool = False  # it is a recurrent layer, whose state lies in one piece from `before` on

    @property
    def widths(self) -> list[int]:
        return [leaf.shape[1] for leaf in flatten(self.like)]


@dataclass
class Chain:
    """Links are added in order, then `finish` says what the output is; `run` advances sessions.

    A session's row is the state of all links (`width`) and, unless there is an output at `every` step, its last output.
    """

    input_size: int
    weights: str = "float32"
    engine: str = "auto"
    links: list[Link] = field(default_factory=list)
    initial: list[Tensor] = field(default_factory=list)  # (width) each
    beside: int = 1
    output: Spot = COUNT
    output_size: int = 1
    every: bool = True
    opened: Tensor | None = (
        None  # (row): what a session starts with, after so many steps; None: the initial states
    )
    opened_steps: int = 0
    native: Any = None

    @property
    def width(self) -> int:
        """Floats of a session's state."""
        return sum(len(part) for part in self.initial)

    @property
    def row(self) -> int:
        """Floats that a session keeps."""
        return self.width + (0 if self.every else self.output_size)

    # --- building

    def keep(self, initial: Tensor) -> int:
        """Room for a part of the state; its offset."""
        at = self.width
        self.initial.append(initial.detach().to(torch.float32).reshape(-1).clone())
        return at

    def room(self, width: int) -> Spot:
        """Room beside the state, for one step: zeros until something is written."""
        at, self.beside = self.beside, self.beside + width
        return BESIDE, at

    def layer(self, direction: Direction, x: Spot, input_size: int, initial: Any) -> Spot:
        """Add a recurrent layer that starts from `initial`, a state of one row; where its output lies."""
        offsets = [self.keep(leaf) for leaf in flatten(initial)]
        before, after = [(BEFORE, o) for o in offsets], [(AFTER, o) for o in offsets]
        link = Link(direction, x, input_size, initial, before, after, layer=True)
        self.links.append(link)
        return link.after[0]

    def between(
        self,
        cell: nn.Module,
        x: Spot,
        input_size: int,
        parts: Sequence[tuple[Spot | None, Spot | None, int]],
        ends: bool = False,
    ) -> None:
        """Add what is no layer: a cell. parts: of its state, where each is read, where it is written, and its width.

        None: nothing is there to read, or what comes out is not kept.
        """
        like = tuple(torch.zeros(1, width) for _, _, width in parts)
        spare = self.room(max(width for _, _, width in parts))
        before = [spare if spot is None else spot for spot, _, _ in parts]
        after = [spare if spot is None else spot for _, spot, _ in parts]
        self.links.append(Link(Direction(cell), x, input_size, like, before, after, ends))

    def finish(self, output: Spot, output_size: int, every: bool) -> Chain:
        """Say where the output lies, and make the chain ready; `EngineError` where engine="native" cannot be."""
        self.output, self.output_size, self.every = output, output_size, every
        if self.engine != "eager":
            try:
                self.native = self._made()
            except EngineError as error:
                if self.engine == "native" or self.weights != "float32":
                    raise
                warn_caller(
                    f"The stream takes the plain loop, several times slower: {error}", SlowPathWarning
                )
        elif self.weights != "float32":
            raise EngineError(f"weights={self.weights!r} needs the native engine. Got engine='eager'.")
        return self

    def _made(self) -> Any:
        links = []
        for link in self.links:
            link.frozen = Frozen([link.direction], self.weights, link.input_size)
            made = link.frozen.prepare(link.input_size, [link.like]).made
            links.append((made, link.x, link.before, link.after, link.ends))
        return _native.Chain(
            links, self.input_size, self.width, self.beside, self.output, self.output_size, self.every
        )

    def start(self) -> Tensor:
        """(row): what a session starts with."""
        if self.opened is not None:
            return self.opened
        parts = [*self.initial, torch.zeros(self.row - self.width)]
        return torch.cat(parts)

    # --- running

    def run(
        self,
        rows: Tensor,
        steps: Tensor,
        slots: Tensor,
        offsets: Tensor,
        x: Tensor,
        index: Tensor | None,
        out: Tensor,
        threads: int,
    ) -> None:
        """Advance sessions in place, letting go of the interpreter's lock; nothing changes where it raises.

        rows (capacity, row), steps (capacity) int64; slots (n): different ones that get something; offsets (n + 1): of
        the tokens of each. x (N, input_size), or rows that `index` (N) names. out: (n, output_size), after the last
        step of each, or with `every` (N, output_size).
        """
        if self.native is not None:
            self.native.run(rows, steps, slots, offsets, x, index, out, threads)
            return
        fresh = rows[slots], steps[slots]
        for i in range(len(slots)):
            first, last = int(offsets[i]), int(offsets[i + 1])
            chunk = x[first:last] if index is None else x[index[first:last]]
            self._plain(fresh[0][i], fresh[1][i], chunk, out[first:last] if self.every else out[i])
        rows[slots], steps[slots] = fresh

    def _plain(self, row: Tensor, steps: Tensor, chunk: Tensor, out: Tensor) -> None:
        """One session, by the cells themselves."""
        where = {BEFORE: row[: self.width].clone(), AFTER: row[: self.width].clone()}
        where[BESIDE] = torch.zeros(self.beside)
        if not len(chunk) and not self.every:
            if not int(steps):
                self._links(where, ends=True)
                row[self.width :] = self._at(where, self.output, self.output_size)
            out[:] = row[self.width :]
        for t, x in enumerate(chunk):
            steps += 1
            where[INPUT], where[BESIDE][0] = x, float(steps)
            self._links(where, ends=False)
            if self.every or t + 1 == len(chunk):
                self._links(where, ends=True)
                (out[t] if self.every else out)[:] = self._at(where, self.output, self.output_size)
            where[BEFORE], where[AFTER] = where[AFTER], where[BEFORE]
        row[: self.width] = where[BEFORE]
        if not self.every:
            row[self.width :] = out

    def _links(self, where: dict[int, Tensor], ends: bool) -> None:
        for link in self.links:
            if link.ends != ends:
                continue
            state = [
                self._at(where, spot, width).clone()[None] for spot, width in zip(link.before, link.widths)
            ]
            x = self._at(where, link.x, link.input_size)[None]
            with torch.no_grad():
                new = link.direction.step(x, unflatten(link.like, state))
            for spot, leaf in zip(link.after, flatten(new)):
                self._at(where, spot, leaf.shape[1])[:] = leaf[0]

    @staticmethod
    def _at(where: dict[int, Tensor], spot: Spot, width: int) -> Tensor:
        return where[spot[0]][spot[1] : spot[1] + width]

    # --- which model it is

    def digest(self, beside: bytes) -> bytes:
        """32 bytes that tell this chain and its numbers from others; beside: what else the model is."""
        found = hashlib.sha256(beside)
        found.update(
            repr((self.input_size, self.weights, self.output, self.output_size, self.every)).encode()
        )
        for link in self.links:
            shown = (str(link.direction.cell), link.x, link.before, link.after, link.widths, link.ends)
            found.update(repr(shown).encode())
            hash_weights(found, link.direction.all_weights())
        for part in self.initial:
            found.update(part.numpy().tobytes())
        return found.digest()


def hash_weights(found: Any, weights: Sequence[Tensor]) -> None:
    """Tell a hash of hashlib of the shapes and numbers of tensors."""
    for weight in weights:
        found.update(repr((tuple(weight.shape), weight.dtype)).encode())
        found.update(weight.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
