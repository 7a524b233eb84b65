"""What a case calls: a layer and its tensors, the same call by torch in float64, and the two compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool import Ragged
from unspool.state import flatten

Named = dict[str, Tensor]
LENGTHS = (6, 1, 0, 9)


@dataclass(frozen=True)
class Subject:
    """A kind of call. build: the layer, with the weights of one seed; call: (given, x, state) -> output, final state.

    mode, layers and directions name torch's layer of the same numbers. layout: of x: "padded" (B, T, F), "ragged"
    (N, F), "rows" (B, F), or "indexed" (V, F). nest: a state's parts, one for each layer, direction and h or c.
    frozen: the layer is frozen after what disturbs it, before the call.
    """

    name: str
    build: Callable[[], Any]
    call: Callable[[Given, Any, Any], tuple[Any, Any]]
    mode: str
    layout: str
    nest: Callable[[Sequence[Any]], Any]
    layers: int = 1
    directions: int = 1
    drop_in: bool = False
    frozen: bool = False

    @property
    def parts(self) -> int:
        return 2 if self.mode == "LSTM" else 1

    @property
    def batch(self) -> int:
        return 3 if self.layout == "padded" else len(LENGTHS)


@dataclass
class Given:
    """A subject's layer and tensors: what disturbances change and surroundings call."""

    subject: Subject
    layer: Any
    x: Any
    state: list[Any]
    offsets: Any
    index: Any
    train: bool
    wrap: Callable[[Any], Any] = lambda x: x  # of x, as the last thing before the call
    shape: Callable[[Any], Any] | None = None  # of the state, in place of the subject's nesting

    def nested(self) -> Any:
        return (self.shape or self.subject.nest)(self.state)

    def flat(self, x: Any, state: Any) -> tuple[Tensor, ...]:
        """(output, final state's parts) of one call."""
        output, final = self.subject.call(self, self.wrap(x), state)
        return (output, *flatten(_as_tuples(final)))

    def forward(self) -> tuple[Tensor, ...]:
        return self.flat(self.x, self.nested())

    def weights(self) -> Named:
        return dict(self.layer.named_parameters()) if hasattr(self.layer, "named_parameters") else {}

    def leaves(self) -> Named:
        """The tensors that gradients are taken of."""
        named = {"x": self.x, **{f"state{k}": s for k, s in enumerate(self.state)}, **self.weights()}
        return {k: t for k, t in named.items() if isinstance(t, Tensor) and t.requires_grad}

    def without(self) -> Given:
        return replace(self, train=False)


def _as_tuples(state: Any) -> Any:
    return state if isinstance(state, Tensor) else tuple(_as_tuples(part) for part in state)


def lengths_of(subject: Subject) -> tuple[int, ...]:
    return {"padded": (7,) * 3, "rows": (1,) * 4}.get(subject.layout, LENGTHS)


def clean(subject: Subject, width: int, hidden: int) -> Given:
    """The call as nobody disturbed it."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    train = not subject.frozen
    shapes = {"padded": (3, 7), "ragged": (sum(LENGTHS),), "rows": (4,), "indexed": (6,)}
    x = draw(*shapes[subject.layout], width)
    count = subject.layers * subject.directions
    if subject.drop_in:
        state = [draw(count, subject.batch, hidden) for _ in range(subject.parts)]
    else:
        state = [draw(subject.batch, hidden) for _ in range(count * subject.parts)]
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    index = torch.randint(0, 6, (sum(LENGTHS),), generator=generator)
    for tensor in (x, *state):
        tensor.requires_grad_(train)
    return Given(subject, subject.build(), x, state, offsets, index, train)


def loss_of(results: Sequence[Tensor]) -> Tensor:
    """A sum whose gradient tells every number from every other."""
    total: Any = 0
    for result in results:
        size = max(result.numel(), 1)
        with torch.device("cpu"):
            factors = torch.arange(size, dtype=torch.float64).cos()[: result.numel()].reshape(result.shape)
        total = total + (result * factors.to(result.dtype)).sum()
    return total


# --- torch's numbers


def torch_name(name: str) -> str:
    """A weight of ours by its name in torch.nn."""
    found = re.fullmatch(r"(?:layers\.(\d+)\.)?(reverse_)?cell\.(\w+)", name)
    if found is None:
        return name
    return f"{found[3]}_l{found[1] or 0}{'_reverse' if found[2] else ''}"


def dense(tensor: Any) -> Tensor:
    """The numbers that a tensor stands for, in float64, with memory of their own."""
    if not isinstance(tensor, Tensor):
        tensor = torch.as_tensor(np.array(tensor))
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.detach().resolve_conj().resolve_neg().to(torch.float64, copy=True)


def reference(given: Given) -> Named:
    """Output, final state and every gradient by torch.nn in float64, sequence by sequence."""
    subject = given.subject
    x = dense(given.x)
    state = [dense(part) for part in given.state]
    weights = {name: dense(weight) for name, weight in given.weights().items()}
    named = {"x": x, **{f"state{k}": s for k, s in enumerate(state)}, **weights}
    for tensor in named.values():
        tensor.requires_grad_()
    width, hidden = weights_sizes(weights, subject)
    make = getattr(torch.nn, subject.mode)
    layer = make(width, hidden, subject.layers, bidirectional=subject.directions == 2).double()
    own = {torch_name(name): weight for name, weight in weights.items()}
    count, parts = subject.layers * subject.directions, subject.parts
    if subject.drop_in:
        blocks = state
    else:
        blocks = [torch.stack([state[k * parts + p] for k in range(count)]) for p in range(parts)]
    rows = x.flatten(0, 1) if subject.layout == "padded" else x
    if subject.layout == "indexed":
        rows = rows[torch.as_tensor(given.index).long()]
    outputs, finals, at = [], [], 0
    for b, length in enumerate(lengths_of(subject)):
        start = tuple(block[:, b : b + 1].contiguous() for block in blocks)
        if length:
            sequence = rows[at : at + length].unsqueeze(1)
            arguments = (sequence, start if parts == 2 else start[0])
            output, final = torch.func.functional_call(layer, own, arguments)
            outputs.append(output.squeeze(1))
            start = final if parts == 2 else (final,)
        finals.append(start)
        at += length
    output = torch.cat(outputs)
    if subject.layout == "padded":
        output = output.unflatten(0, x.shape[:2])
    ends = [torch.cat([final[p] for final in finals], dim=1) for p in range(parts)]
    if not subject.drop_in:
        ends = [ends[p][k] for k in range(count) for p in range(parts)]
    results = (output, *ends)
    grads = torch.autograd.grad(loss_of(results), list(named.values()), allow_unused=True)
    found = {f"d {name}": grad for name, grad in zip(named, grads) if grad is not None}
    return {**name_results(results), **found}


def weights_sizes(weights: Named, subject: Subject) -> tuple[int, int]:
    first = next(w for name, w in weights.items() if torch_name(name) == "weight_ih_l0")
    return first.shape[1], first.shape[0] // {"LSTM": 4, "GRU": 3, "RNN": 1}[subject.mode]


def name_results(results: Sequence[Tensor]) -> Named:
    return {"output": results[0], **{f"final {k}": part for k, part in enumerate(results[1:])}}


TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float64: 1e-5}


def differences(got: Named, wanted: Named, rounding: float = 1e-4) -> str:
    """What of `got` is not as `wanted`; empty: nothing."""
    wrong = []
    for name, value in got.items():
        if value is None:
            wrong.append(f"{name} is missing")
            continue
        expected = wanted[name]
        if tuple(value.shape) != tuple(expected.shape):
            wrong.append(f"{name} is {tuple(value.shape)}, not {tuple(expected.shape)}")
            continue
        tolerance = max(rounding, TOLERANCES.get(value.dtype, 0.0))
        scale = max(float(expected.nan_to_num().abs().max()), 1.0) if expected.numel() else 1.0
        same = torch.allclose(dense(value), expected.detach(), tolerance, tolerance * scale, equal_nan=True)
        if not same:
            wrong.append(f"{name} is wrong by {float((dense(value) - expected).abs().max()):.3g}")
    return ", ".join(wrong)


def ragged(given: Given, values: Any) -> Ragged:
    return Ragged(values, given.offsets)


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    subject: str
    surrounding: str
    disturbance: str
    when: str = "first"  # or "later": after a call in calm surroundings
    name: str = field(init=False)

    def __post_init__(self) -> None:
        parts = (self.subject, self.surrounding, self.disturbance, self.when)
        object.__setattr__(self, "name", " | ".join(parts))

    @classmethod
    def of(cls, name: str) -> Case:
        return cls(*name.split(" | "))
