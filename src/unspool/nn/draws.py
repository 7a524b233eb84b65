"""Random numbers of a batch that several processes share: each draws those of the whole batch, and takes its rows'.

So the masks do not depend on how many processes there are, and every process has drawn as much. Outside `sharing`
each function here is the plain draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unspool.nn import masks
from unspool.offsets import offsets_of
from unspool.ragged import Ragged
from unspool.ranks import ParallelError

OTHERS = (
    "A layer with dropout or noise runs over other sequences than those of the batch, whose masks several ranks draw "
    "together. Train in one process, or set its rates to 0."
)

Draw = Callable[[int], Tensor]  # n -> (n, ...), drawn by torch's generator


class Layout:
    """Steps of the own sequences among those of the whole batch; own (b + 1,), whole (B + 1,): their offsets."""

    def __init__(self, rows: Tensor, own: Tensor, whole: Tensor) -> None:
        self.rows, self.own, self.whole = rows, own, whole
        self.steps = int(whole[-1])

    def index(self) -> Tensor:
        """(n,): the place of each own step in the whole batch."""
        shift = self.whole[:-1][self.rows] - self.own[:-1]
        return torch.arange(int(self.own[-1]), device="cpu") + shift.repeat_interleave(self.own.diff())


class Shared:
    """Which sequences of a batch are one's own.

    rows (b,): their numbers among `total`. whole: the offsets of the whole batch, of its inputs and, where there is one
    a step, of its targets. rank: of the process, for what cannot be drawn for the whole.
    """

    def __init__(self, rows: Tensor, total: int, whole: list[Tensor], rank: int) -> None:
        self.rows, self.total, self.rank = rows, total, rank
        self.layouts = [Layout(rows, offsets_of(offsets.diff()[rows]), offsets) for offsets in whole]
        self.first = 0  # where inputs and targets have the same lengths here, this one is meant
        self.step: Layout | None = None

    def layout(self, own: Tensor) -> Layout:
        """Of steps with the offsets `own`. `ParallelError` for others than the batch's."""
        order = [*self.layouts[self.first :], *self.layouts[: self.first]]
        found = next((one for one in order if torch.equal(one.own, own)), None)
        if found is None:
            raise ParallelError(OTHERS)
        return found


# Of the process, whose ranks take one step together, not of a thread; torch.compile reads no context variables.
_shared: Shared | None = None


@contextmanager
def sharing(shared: Shared) -> Iterator[None]:
    """Within, draws are those of the whole batch, for these rows of it."""
    global _shared
    before, _shared = _shared, shared
    try:
        yield
    finally:
        _shared = before


def sequences(draw: Draw, count: int) -> Tensor:
    """(count, ...): a row a sequence, or several a sequence one after the other."""
    shared = _shared
    if shared is None:
        return draw(count)
    each = count // len(shared.rows)
    if each * len(shared.rows) != count:
        raise ParallelError(OTHERS)
    drawn = draw(shared.total * each)
    index = (shared.rows[:, None] * each + torch.arange(each, device="cpu")).flatten()
    return drawn[index.to(drawn.device)]


def steps(draw: Draw, offsets: Tensor) -> Tensor:
    """(N, ...): a row a step of the sequences with these offsets (B + 1,)."""
    shared = _shared
    return draw(int(offsets[-1])) if shared is None else _steps(draw, shared.layout(offsets))


def _steps(draw: Draw, layout: Layout) -> Tensor:
    drawn = draw(layout.steps)
    return drawn[layout.index().to(drawn.device)]


def apart(draw: Callable[[], Tensor]) -> Tensor:
    """What is drawn of other things than sequences and steps, such as the distinct words of a batch: from a generator
    for each process, so that it is not the same with another number of them."""
    shared = _shared
    if shared is None:
        return draw()
    seed = int(torch.randint(2**31 - 1, (), device="cpu")) + shared.rank
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw()


def lengths(x: Ragged) -> tuple[Tensor, Tensor | slice]:
    """(the lengths of all sequences of the batch, which of these x holds)."""
    shared = _shared
    if shared is None:
        return x.lengths, slice(None)
    return shared.layout(x.offsets).whole.diff(), shared.rows


def cut(whole: Tensor) -> None:
    """The sequences have other lengths from here on: `whole`, of all of the batch."""
    shared = _shared
    if shared is not None:
        shared.layouts = [Layout(shared.rows, offsets_of(whole[shared.rows]), offsets_of(whole))]


def fair(own: int, counts: Callable[[Tensor], Tensor], x: Ragged) -> float:
    """What makes a mean over `own` things count in the loss of the whole batch as a mean over steps does.

    counts: lengths (B,) -> how many each sequence has, 0 where it is negative.
    """
    shared = _shared
    if shared is None:
        return 1.0
    layout = shared.layout(x.offsets)
    every = int(counts(layout.whole.diff()).clamp(min=0).sum())
    return own / every * layout.steps / len(x.values)


def reading(targets: bool) -> None:
    """What comes next goes over the steps of the targets, or of the inputs."""
    shared = _shared
    if shared is not None:
        shared.first = int(targets)


@contextmanager
def each_step(x: Ragged) -> Iterator[None]:
    """Within, the rows of a `Dropout` are the steps of x, not sequences."""
    shared = _shared
    if shared is None:
        yield
        return
    shared.step = shared.layout(x.offsets)
    try:
        yield
    finally:
        shared.step = None


class Dropout(nn.Dropout):
    """As torch's, whose rows are sequences, several a sequence, or the steps of a Ragged."""

    def forward(self, input: Tensor, of: Ragged | None = None) -> Tensor:
        """input (N, ...); of: the Ragged whose steps the rows are."""
        shared = _shared
        if not self.training or not self.p:
            return input
        if shared is None:
            drawn = masks.drawn(input, input.shape, self.p)
            return super().forward(input) if drawn is None else input * drawn

        def mask(n: int) -> Tensor:
            return masks.kept(input, (n, *input.shape[1:]), self.p)

        layout = shared.step if of is None else shared.layout(of.offsets)
        return input * (sequences(mask, len(input)) if layout is None else _steps(mask, layout))
