"""Generated batches, and everything that a layer makes of one: values, final states, every gradient."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from torch import Tensor

from unspool import Ragged, explain_path
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

from .user_cells import CELLS

#: Around the widths of vectors: 4, 8 and 16 floats.
SIZES = (1, 7, 8, 9, 15, 16, 17, 33)
PROFILE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=3,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


@dataclass(frozen=True)
class Case:
    """Batch size, longest sequence, F and H all differ; lengths hold a 0 and a 1 where there is room."""

    input_size: int
    hidden_size: int
    lengths: tuple[int, ...]
    seed: int

    @classmethod
    def of(cls, pair: int, batch: int, longest: int, seed: int) -> Case:
        rng = random.Random(seed)
        lengths = [longest, 0, 1, *(rng.randint(0, longest) for _ in range(batch))][:batch]
        rng.shuffle(lengths)
        return cls(*_pair(pair), tuple(lengths), seed)


def _pair(k: int) -> tuple[int, int]:
    """F and H: 8 pairs, because each is traced once for each cell."""
    return SIZES[k], SIZES[(k + 3) % len(SIZES)]


def _others(pair: int) -> list[int]:
    return [size for size in SIZES if size not in _pair(pair)]


@st.composite
def cases(draw: Any) -> Case:
    pair = draw(st.integers(0, len(SIZES) - 1))
    batch, longest, *_ = draw(st.permutations(_others(pair)))
    return Case.of(pair, batch, longest, draw(st.integers(0, 999)))


def fixed_cases(count: int) -> list[Case]:
    """The same `count` cases in every process."""
    made = []
    for k in range(1, 2 * count, 2):
        batch, longest = random.Random(k).sample(_others(k), 2)
        made.append(Case.of(k, batch, longest, k))
    return made


def layer_of(name: str, case: Case, direction: str = "forward", engine: str = "native") -> Recurrent:
    """Weights away from special values, such as biases and peepholes that start at zero."""
    torch.manual_seed(case.seed)
    cell = CELLS[name](case.input_size, case.hidden_size)
    layer = Recurrent(cell, reverse=direction == "reverse", bidirectional=direction == "both", engine=engine)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return layer


@dataclass(frozen=True)
class Batch:
    """Inputs and initial states, and what multiplies the outputs and final states in the loss."""

    x: Ragged
    state: Any
    dy: Ragged
    d_final: Any

    def rows(self, rows: Sequence[int]) -> Batch:
        index = torch.tensor(rows, dtype=torch.int64)
        return Batch(self.x[index], pick(self.state, index), self.dy[index], pick(self.d_final, index))


def pick(state: Any, index: Any) -> Any:
    return unflatten(state, [leaf[index] for leaf in flatten(state)])


def batch_of(layer: Recurrent, case: Case) -> Batch:
    """Initial states as three steps on random inputs leave them, so that each is one that the cell can be in."""
    assert len({len(case.lengths), max(case.lengths), case.input_size, case.hidden_size}) == 4
    torch.manual_seed(case.seed + 1)
    offsets = torch.tensor([0, *case.lengths]).cumsum(0)
    tokens, batch = int(offsets[-1]), len(case.lengths)
    states = []
    with torch.no_grad():
        for direction in layer.directions():
            cell: Any = direction.cell
            state = cell.initial_state(batch)
            for _ in range(3):
                state = cell(torch.randn(batch, case.input_size), state)
            states.append(state)
    given = tuple(states) if layer.bidirectional else states[0]
    d_final = unflatten(given, [torch.randn_like(leaf) for leaf in flatten(given)])
    x, dy = torch.randn(tokens, case.input_size), torch.randn(tokens, layer.output_size())
    made = Batch(Ragged(x, offsets), given, Ragged(dy, offsets), d_final)
    if layer.engine == "native":
        assert explain_path(layer, made.x) == "native"
    return made


@dataclass(frozen=True)
class Result:
    output: Ragged
    final: list[Tensor]
    d_input: Ragged
    d_state: list[Tensor]
    d_weights: dict[str, Tensor]

    def rows(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """What belongs to these sequences."""
        index = torch.tensor(rows, dtype=torch.int64)
        found = {"output": self.output[index].values, "d input": self.d_input[index].values}
        found |= {f"final {k}": leaf[index] for k, leaf in enumerate(self.final)}
        return found | {f"d state {k}": leaf[index] for k, leaf in enumerate(self.d_state)}

    def all(self) -> dict[str, Tensor]:
        return self.rows(range(len(self.output))) | {f"d {name}": g for name, g in self.d_weights.items()}


def results(layer: Recurrent, batch: Batch) -> Result:
    """One forward and one backward, in the precision of the layer's weights."""
    dtype = next(layer.parameters()).dtype
    layer.zero_grad()
    values = batch.x.values.to(dtype, copy=True).requires_grad_()
    starts = [leaf.to(dtype, copy=True).requires_grad_() for leaf in flatten(batch.state)]
    output, final = layer(Ragged(values, batch.x.offsets), unflatten(batch.state, starts))
    loss = (output.values * batch.dy.values).sum()
    for leaf, weight in zip(flatten(final), flatten(batch.d_final)):
        loss = loss + (leaf * weight).sum()
    loss.backward()
    return Result(
        Ragged(output.values.detach(), batch.x.offsets),
        [leaf.detach() for leaf in flatten(final)],
        Ragged(_gradient(values), batch.x.offsets),
        [_gradient(leaf) for leaf in starts],
        {name: _gradient(p).clone() for name, p in layer.named_parameters()},
    )


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def assert_bits(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every bit, NaN included."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        same = torch.equal(got[name].contiguous().view(torch.int32), value.contiguous().view(torch.int32))
        assert same, f"{name}: off by up to {float((got[name] - value).abs().max()):.2e}"


def assert_near(
    got: dict[str, Tensor],
    expected: dict[str, Tensor],
    forward: float,
    backward: float,
    plain: dict[str, Tensor] | None = None,
) -> None:
    """Within the tolerance of the largest entry (of 1, where all are smaller): `backward` for gradients ("d ...").

    plain: the plain loop in float32; where it is further off than that (layer norm of nearly equal numbers),
    four times its own distance is allowed.
    """
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape, name
        if value.numel():
            allowed = (backward if name.startswith("d ") else forward) * max(1.0, float(value.abs().max()))
            if plain is not None:
                allowed = max(allowed, 4 * _distance(plain[name], value))
            off = _distance(got[name], value)
            assert off <= allowed, f"{name}: off by {off:.2e}, allowed {allowed:.2e}"


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())
