"""Steps on values of more than two axes and in-place operations: values and gradients against torch in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unspool import Ragged
from unspool.errors import EngineError
from unspool.explain.step import read_step
from unspool.nn import Recurrent

from . import choice_cases, complex_cases

B, WIDTH = 7, 24  # WIDTH: (2, 3, 4), (4, 6), (3, 8), ...


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.5 * torch.randn(*shape))

        self.row, self.column, self.one = normal(WIDTH), normal(3, 1), normal(1)
        self.square, self.wide, self.small = normal(WIDTH, WIDTH), normal(5, WIDTH), normal(8, 5)
        self.heads, self.bias, self.grid = normal(3, 8, 5), normal(3, 1, 5), normal(3, 8)
        self.kernel, self.kernel_bias, self.kernel2 = normal(6, 4, 3), normal(6), normal(5, 2, 2, 3)
        self.depthwise, self.turned = normal(4, 1, 3), normal(4, 6, 3)
        self.bilinear = nn.Bilinear(WIDTH, WIDTH, 5)
        self.layer_norm, self.group_norm = nn.LayerNorm([3, 8]), nn.GroupNorm(2, 4)
        self.rms_norm, self.lstm = nn.RMSNorm(8), nn.LSTM(8, 5)
        with torch.no_grad():
            for p in self.parameters():
                p.add_(0.3 * torch.randn_like(p))


def in_place(a: Tensor, *steps: Callable[[Tensor], Any]) -> Tensor:
    a = a.clone()
    for step in steps:
        step(a)
    return a


def set_item(index: Any, value: Any) -> Callable[[Tensor], None]:
    def step(a: Tensor) -> None:
        a[index] = value(a) if callable(value) else value

    return step


def buffer(w: Weights, a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(len(a), 3, 10)
    out[:, :, 1:9] = a.view(-1, 3, 8)
    out[:, 1] += b[:, :10]
    return out


def aliases(w: Weights, a: Tensor, b: Tensor) -> Tensor:
    """A write through a view is seen by the whole, by views made before, and by views of views."""
    whole = a * b + a
    heads = whole.view(-1, 3, 8)
    first, last = heads[:, 0], heads[:, 2, 4:]
    turned = heads.transpose(1, 2)
    heads[:, :, ::2] *= 2.0
    last.add_(b[:, :4])
    whole[:, 3].fill_(0.5)
    return torch.cat([whole, first, last, turned.flatten(1)], dim=1)


def chunks(w: Weights, a: Tensor, b: Tensor) -> Tensor:
    i, f, g = (a * w.row).unsafe_chunk(3, 1)
    i.sigmoid_()
    f.add_(i).tanh_()
    return i * f + g.relu_()


def attention(w: Weights, a: Tensor, b: Tensor) -> Tensor:
    q, k = a.view(-1, 3, 2, 4), b.view(-1, 3, 2, 4)
    return F.scaled_dot_product_attention(q, k, k * w.grid.view(3, 2, 4))


Function = Callable[[Weights, Tensor, Tensor], Tensor]
CASES: dict[str, Function] = {
    "view": lambda w, a, b: a.view(-1, 3, 8) * b.view(-1, 3, 8) + a.unflatten(1, (3, 8)),
    "unsqueeze": lambda w, a, b: a.unsqueeze(1) + b.reshape(-1, 1, WIDTH).squeeze(1).unsqueeze(-2),
    "outer": lambda w, a, b: a[:, :5].unsqueeze(2) * b[:, :4].unsqueeze(1),
    "broadcast middle": lambda w, a, b: (
        a.view(-1, 2, 3, 4) * b[:, :8].view(-1, 2, 1, 4) - b[:, :3].view(-1, 1, 3, 1)
    ),
    "broadcast batch of one axis": lambda w, a, b: a.view(-1, 3, 8) * b[:, 0].view(-1, 1, 1) + b[:, :1, None],
    "broadcast parameters": lambda w, a, b: (
        a.view(-1, 3, 8) * w.grid + w.column * w.one + w.grid[:, :1] * w.row[:8]
    ),
    "compare": lambda w, a, b: torch.where(a.view(-1, 3, 8) > w.column, b.view(-1, 3, 8), w.grid),
    "permute": lambda w, a, b: a.view(-1, 2, 3, 4).permute(0, 3, 1, 2) * b.view(-1, 4, 2, 3),
    "permute batch": lambda w, a, b: (
        (a.view(-1, 3, 8).permute(1, 0, 2) * w.column[..., None]).transpose(0, 1) + b.view(-1, 3, 8)
    ),
    "batch last": lambda w, a, b: (
        (a.t() * b.t()).t() + a.view(-1, 4, 6).permute(2, 1, 0).permute(2, 1, 0).flatten(1)
    ),
    "fold batch": lambda w, a, b: F.linear(a.reshape(-1, 8), w.small.t()).view(len(a), 3, 5),
    "fold batch after heads": lambda w, a, b: (
        (a.view(-1, 3, 8).transpose(0, 1).reshape(-1, 8) @ w.small).view(3, len(a), 5).transpose(0, 1)
        * b.view(-1, 3, 8).transpose(0, 1).reshape(-1, 8)[:, :5].reshape(3, -1, 5).transpose(0, 1)
    ),
    "fold batch between": lambda w, a, b: (
        a.view(-1, 2, 3, 4)
        .permute(1, 0, 2, 3)
        .reshape(-1, 4)
        .softmax(1)
        .view(2, -1, 3, 4)
        .permute(1, 0, 3, 2)
    ),
    "select": lambda w, a, b: a.view(-1, 3, 8)[:, 1] * b.view(-1, 3, 8)[..., -3:].sum(-1)[:, :1],
    "steps": lambda w, a, b: a[:, ::2] * b[:, 1::2] + a.view(-1, 6, 4)[:, ::2, 1:3].flatten(1).repeat(1, 2),
    "unbind": lambda w, a, b: (
        torch.stack([p * k for k, p in enumerate(a.view(-1, 3, 8).unbind(1), 1)], 2) + b.view(-1, 8, 3)
    ),
    "unsafe": lambda w, a, b: torch.cat([*a.unsafe_split_with_sizes([3, 20, 1], 1)][::-1], 1) * b,
    "chunk": lambda w, a, b: torch.cat(a.view(-1, 3, 8).chunk(3, dim=2)[::-1], dim=2),
    "cat": lambda w, a, b: torch.cat(
        [a.view(-1, 3, 8), b.view(-1, 3, 8)[..., :3], torch.zeros(len(a), 3, 1)], -1
    ),
    "cat parameter": lambda w, a, b: (
        torch.cat([a.view(-1, 3, 8), w.grid.expand(len(a), 3, 8)], 1) * w.grid[:1]
    ),
    "stack": lambda w, a, b: torch.stack([a, b, a * b], -1) * torch.stack([a, b, a], 1).transpose(1, 2),
    "flip": lambda w, a, b: a.view(-1, 3, 8).flip(1, 2) + b.flip(-1).view(-1, 3, 8),
    "roll": lambda w, a, b: a.roll(5, 1) * b.view(-1, 3, 8).roll((1, -2), (1, 2)).flatten(1),
    "expand": lambda w, a, b: (
        a[:, :8].unsqueeze(1).expand(-1, 3, -1) * b[:, :3].unsqueeze(-1).expand(-1, 3, 8)
    ),
    "repeat": lambda w, a, b: a[:, :6].repeat(1, 4) * b.view(-1, 6, 4)[:, :2].repeat(1, 3, 1).flatten(1),
    "repeat_interleave": lambda w, a, b: a[:, :6].repeat_interleave(4, dim=1) * b,
    "diagonal": lambda w, a, b: (
        a.view(-1, 4, 6).diagonal(1, 1, 2) + b.view(-1, 2, 3, 4).diagonal(dim1=2, dim2=3).flatten(1)[:, :4]
    ),
    "diag_embed": lambda w, a, b: torch.diag_embed(a[:, :5]) * b[:, :5, None],
    "triangle": lambda w, a, b: a.view(-1, 4, 6).tril() + b.view(-1, 4, 6).triu(1),
    "index": lambda w, a, b: a[:, [3, 0, 5]] * b.view(-1, 3, 8)[:, :, torch.tensor([1, 1, 7])].sum(1),
    "index_select": lambda w, a, b: a.index_select(1, torch.tensor([3, 3, 1])) + b[:, :3],
    "cumsum": lambda w, a, b: a.cumsum(1) * b.view(-1, 3, 8).cumsum(2).flatten(1),
    "pad": lambda w, a, b: F.pad(a, (2, 1)) * F.pad(b.view(-1, 3, 9 - 1), (0, 1)).flatten(1),
    "pads": lambda w, a, b: (
        F.pad(a.view(-1, 4, 6), (2, 3), "reflect") + F.pad(b.view(-1, 4, 6), (1, 4), "replicate")
    ),
    "windows": lambda w, a, b: torch.cat(
        [a.unfold(1, 4, 2).flatten(1), F.unfold(b.view(-1, 2, 3, 4), (2, 2)).flatten(1)], dim=1
    ),
    "upsampled": lambda w, a, b: (
        F.interpolate(a.view(-1, 4, 6), scale_factor=2)
        + F.interpolate(b.view(-1, 4, 6), size=12, mode="linear")
    ),
    "sum": lambda w, a, b: (
        a.view(-1, 2, 3, 4).sum((1, 3)) + b.view(-1, 3, 8).mean(-1) + a.view(-1, 8, 3).sum(1)
    ),
    "var": lambda w, a, b: a.view(-1, 3, 8).var(-1) * b.view(-1, 8, 3).std(1, correction=0),
    "amax": lambda w, a, b: (
        a.view(-1, 3, 8).amax(2) - b.view(-1, 2, 3, 4).amin((1, 3)) + a.amax(1, keepdim=True)
    ),
    "max": lambda w, a, b: (
        a.view(-1, 3, 8).max(1).values * b.view(-1, 8, 3).min(-1, keepdim=True)[0].flatten(1)
    ),
    "ties": lambda w, a, b: a.relu().view(-1, 8, 3).max(2).values + a.clamp(-0.1, 0.1).view(-1, 8, 3).amax(2),
    "norm": lambda w, a, b: (
        F.normalize(a.view(-1, 3, 8), dim=-1) * b.view(-1, 3, 8).norm(dim=1, keepdim=True)
    ),
    "norm 1": lambda w, a, b: (
        a.view(-1, 3, 8).norm(p=1, dim=-1) + torch.linalg.vector_norm(b, dim=1, keepdim=True)
    ),
    "softmax": lambda w, a, b: a.view(-1, 3, 8).softmax(-1) * b.view(-1, 3, 8).softmax(1),
    "log_softmax": lambda w, a, b: (
        a.view(-1, 3, 8).log_softmax(1) + b.view(-1, 3, 8).logsumexp(-1, keepdim=True)
    ),
    "layer_norm": lambda w, a, b: w.layer_norm(a.view(-1, 3, 8)) + F.layer_norm(b.view(-1, 3, 8), (8,)),
    "group_norm": lambda w, a, b: (
        w.group_norm(a.view(-1, 4, 6)) + w.group_norm(b.view(-1, 4, 3, 2)).flatten(2)
    ),
    "rms_norm": lambda w, a, b: w.rms_norm(a.view(-1, 3, 8)) + F.rms_norm(b, (WIDTH,)).view(-1, 3, 8),
    "glu": lambda w, a, b: F.glu(a, 1) + F.glu(b.view(-1, 3, 8), 2).flatten(1),
    "bmm": lambda w, a, b: torch.bmm(a.view(-1, 4, 6), b.view(-1, 6, 4)),
    "bmm turned": lambda w, a, b: (
        a.view(-1, 6, 4).mT @ b.view(-1, 4, 6).mT
        + b.view(-1, 2, 3, 4)[:, 0, :, :1].mT @ a[:, :12].view(-1, 3, 4)
    ),
    "memory": lambda w, a, b: torch.einsum("bhij,bhj->bhi", a.view(-1, 2, 3, 4), b[:, :8].view(-1, 2, 4)),
    "memory turned": lambda w, a, b: torch.einsum(
        "bhij,bhi->bhj", a.view(-1, 2, 3, 4), b[:, :6].view(-1, 2, 3)
    ),
    "outer by heads": lambda w, a, b: torch.einsum(
        "bhi,bhj->bhij", a[:, :6].view(-1, 2, 3), b[:, :8].view(-1, 2, 4)
    ),
    "matmul vector": lambda w, a, b: (a.view(-1, 4, 6) @ b[:, :6].unsqueeze(-1)).squeeze(-1),
    "matmul by batch": lambda w, a, b: torch.matmul(a.view(-1, 2, 3, 4), b.view(-1, 2, 4, 3)),
    "dot": lambda w, a, b: (
        torch.einsum("bi,bi->b", a, b)[:, None] * a + (a * b).view(-1, 3, 8).sum(-1).repeat(1, 8)
    ),
    "einsum plain": lambda w, a, b: torch.einsum("oi,bi->bo", w.wide, a) + b[:, :5],
    "einsum turned": lambda w, a, b: torch.einsum("bi,oi->ob", a, w.wide).t() * b[:, :5],
    "einsum heads": lambda w, a, b: torch.einsum("bhd,hde->bhe", a.view(-1, 3, 8), w.heads) + b[:, None, :5],
    "matmul heads": lambda w, a, b: (a.view(-1, 3, 1, 8) @ w.heads).squeeze(2) * b[:, :5].unsqueeze(1),
    "heads first": lambda w, a, b: (
        torch.bmm(a.view(-1, 3, 8).transpose(0, 1), w.heads).transpose(0, 1) + b[:, None, :5]
    ),
    "baddbmm": lambda w, a, b: (
        torch.baddbmm(w.bias, a.view(-1, 3, 8).transpose(0, 1), w.heads).transpose(0, 1)
        * b[:, :15].view(-1, 3, 5)
    ),
    "left": lambda w, a, b: (
        torch.matmul(w.wide, a.unsqueeze(-1)).squeeze(-1)
        + torch.matmul(w.grid.t(), b.view(-1, 3, 8)).sum(1)[:, :5]
    ),
    "linear on heads": lambda w, a, b: (
        a.view(-1, 3, 8) @ w.small + F.linear(b.view(-1, 3, 8), w.small.t(), w.row[:5])
    ),
    "matrix of weights": lambda w, a, b: (
        a.view(-1, 3, 8) @ (w.small @ w.small.t()) * torch.einsum("ij,kj->ik", w.grid, w.grid)[:, :1]
    ),
    "vector": lambda w, a, b: (a @ w.row)[:, None] * b + torch.einsum("bi,i->b", b, w.row).unsqueeze(1),
    "addmm": lambda w, a, b: torch.addmm(b[:, :5], a, w.wide.t()),
    "bilinear": lambda w, a, b: w.bilinear(a, b),
    "conv1d": lambda w, a, b: F.conv1d(a.view(-1, 4, 6), w.kernel, w.kernel_bias, padding=1) * b[:, :6, None],
    "conv1d strided": lambda w, a, b: F.conv1d(
        a.view(-1, 4, 6), w.depthwise, groups=4, stride=2, padding=2, dilation=2
    ),
    "conv transposed": lambda w, a, b: F.conv_transpose1d(a.view(-1, 4, 6), w.turned, w.kernel_bias),
    "conv2d": lambda w, a, b: F.conv2d(a.view(-1, 2, 3, 4), w.kernel2, w.row[:5]),
    "pool": lambda w, a, b: F.avg_pool1d(a.view(-1, 4, 6), 2) + F.adaptive_avg_pool1d(b.view(-1, 4, 6), 3),
    "attention": attention,
    "in place": lambda w, a, b: in_place(
        a, lambda v: v.add_(b), lambda v: v.sub_(0.5), lambda v: v.div_(2.0), torch.sigmoid_
    ),
    "augmented": lambda w, a, b: in_place(
        a, set_item((slice(None), slice(2, 9)), lambda v: v[:, 2:9] + b[:, :7])
    ),
    "item": lambda w, a, b: in_place(
        a, set_item((slice(None), 0), 1.0), set_item((slice(None), -1), lambda v: b[:, 3])
    ),
    "item steps": lambda w, a, b: in_place(a, set_item((slice(None), slice(0, None, 3)), lambda v: b[:, :8])),
    "all rows": lambda w, a, b: in_place(
        a, set_item(slice(None), lambda v: b * 2), lambda v: v.copy_(v + b[:, :1])
    ),
    "fill": lambda w, a, b: (
        in_place(a, lambda v: v.view(-1, 3, 8)[:, 1].zero_(), lambda v: v[:, 20:].fill_(0.25)) * b
    ),
    "masked fill": lambda w, a, b: in_place(
        a, lambda v: v.clamp_(-0.5, 0.5), lambda v: v.lerp_(b, 0.3), lambda v: v.addcmul_(b, a)
    ),
    "buffer": buffer,
    "aliases": aliases,
    "chunks": chunks,
}


CASES |= choice_cases.CASES | complex_cases.CASES


class OnInput(nn.Module):
    """The function in the prologue: of the two halves of the input."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.weights, self.function = Weights(), function
        self.width = self.value(torch.zeros(2, WIDTH), torch.zeros(2, WIDTH)).shape[1]

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        return self.function(self.weights, a, b).flatten(1)

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.width)

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.value(x[:, :WIDTH], x[:, WIDTH:])


class OnState(OnInput):
    """The function in the time loop: of two parts of the state, which are turned a little at each step."""

    def initial_state(self, batch_size: int) -> Any:
        return tuple(torch.zeros(batch_size, w) for w in (self.width, WIDTH, WIDTH))

    def forward(self, x: Tensor, state: Any) -> Any:
        _, a, b = state
        return self.value(a, b), 0.9 * a + 0.1 * x[:, :WIDTH], b


def run(layer: Recurrent, values: Tensor, offsets: Tensor, state: Any) -> dict[str, Tensor]:
    values, state = values.clone().requires_grad_(), [s.clone().requires_grad_() for s in state]
    given: Any = tuple(state) if len(state) > 1 else state[0]
    output, _ = layer(Ragged(values, offsets), given)
    weight = torch.cos(torch.arange(output.values.numel(), dtype=values.dtype)).reshape(output.values.shape)
    leaves = {"x": values, **{f"state {k}": s for k, s in enumerate(state)}, **dict(layer.named_parameters())}
    found = torch.autograd.grad(output.values, list(leaves.values()), weight, allow_unused=True)
    grads = {n: torch.zeros_like(leaf) if g is None else g for (n, leaf), g in zip(leaves.items(), found)}
    return {"output": output.values.detach(), **grads}


@pytest.mark.parametrize("where", [OnInput, OnState])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, where: type[OnInput]) -> None:
    cell = where(CASES[name])
    torch.manual_seed(3)
    offsets = torch.tensor([0, 3, 3, 4, 6])
    values = torch.randn(6, 2 * WIDTH)
    state = [torch.randn(4, s.shape[1]) for s in _parts(cell.initial_state(1))]
    fast = run(Recurrent(cell, engine="native"), values, offsets, state)
    torch.set_default_dtype(torch.float64)
    try:
        plain = Recurrent(copy.deepcopy(cell).double(), engine="eager")
        exact = run(plain, values.double(), offsets, [s.double() for s in state])
    finally:
        torch.set_default_dtype(torch.float32)
    for key, expected in exact.items():
        scale = max(1.0, float(expected.abs().max()))
        difference = float((fast[key].double() - expected).abs().max())
        assert difference <= 1e-5 * scale, f"{key}: off by {difference:.2e}, largest entry {scale:.2e}"


def _parts(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


REFUSED: dict[str, tuple[Function, str]] = {
    "over sequences": (
        lambda w, a, b: a @ (a.t() @ b),
        "a product of two values of the batch|over the batch",
    ),
    "sum over the batch": (lambda w, a, b: a.view(-1, 3, 8).sum(0).flatten() + b, "over the batch"),
    "mixed rows": (lambda w, a, b: a.reshape(8, -1).t().reshape(-1, 8), "mixes sequences|batch size"),
    "parameter": (lambda w, a, b: a * w.row.detach().mul_(2), "on weights.row|detach"),
    "first row": (lambda w, a, b: a + b[0], "over the batch"),
    "input": (lambda w, a, b: a.add_(b), "on the input or the state"),
    "part of the state": (
        lambda w, a, b: in_place(b, lambda v: a[:, 2:4].zero_()),
        "on the input or the state",
    ),
    "into a given tensor": (
        lambda w, a, b: torch.add(a, b, out=torch.zeros(len(a), WIDTH)),
        "out=|writes into a given",
    ),
    "index of values": (lambda w, a, b: a.gather(1, b.long()), "an index by values whose range is not known"),
    "index beyond": (lambda w, a, b: w.wide[b.argmax(1)] + a, "from 0 to 23 into 5 places"),
    "large numbers": (lambda w, a, b: a * (b.argmax(1, True) * 9**7), "more than float32 has exactly"),
    "same places": (
        lambda w, a, b: a.scatter(1, a.view(-1, 3, 8).argmax(2), b[:, :3]),
        "whose places may be the same",
    ),
    "places of sort": (lambda w, a, b: b.gather(1, a.sort(1)[1]), "how equal numbers stand"),
    "masked part": (lambda w, a, b: a * a[b > 0].sum(), "a choice by a mask|over the batch"),
    "as many as there are": (lambda w, a, b: F.one_hot(a.argmax(1)), "into 1 places"),
    "looks at a class": (
        lambda w, a, b: a * float(torch.aminmax(a.argmax(1))[1]),
        "a Python branch or number",
    ),
    "norm by the batch": (lambda w, a, b: F.batch_norm(a, None, None, training=True), "as in training"),
    "a part unwritten": (
        lambda w, a, b: in_place(torch.empty_like(a), lambda v: v[:, 1:].copy_(b[:, 1:])) + a,
        "uninitialised memory",
    ),
    "unwritten through a copy": (
        lambda w, a, b: a.clone().copy_(torch.empty_like(b)),
        "uninitialised memory",
    ),
    "detached before": (
        lambda w, a, b: (lambda v, d: v.add_(b) * d[:, :1])(*(lambda v: (v, v.detach()))(a * b)),
        "an operation in place on what",
    ),
    "not number by number": (
        lambda w, a, b: choice_cases.Summed.apply(a),
        "Function.*Summed.*each number alone",
    ),
    "gradient that jumps": (
        lambda w, a, b: choice_cases.Clipped.apply(a),
        "Function.*Clipped.*each number alone",
    ),
    "several results": (lambda w, a, b: choice_cases.Two.apply(a)[0] + a, "Function.*Two.*several results"),
    "complex in place": (lambda w, a, b: torch.complex(a, b).mul_(2).real, "on complex numbers"),
    "complex function": (lambda w, a, b: torch.complex(a, b).tanh().real, "'aten.tanh' on complex numbers"),
    "under complex numbers": (
        lambda w, a, b: (lambda v: torch.view_as_complex(v).real + v.mul_(2)[..., 0])(
            a.view(-1, 12, 2) * 1.0
        ),
        "memory that complex numbers lie in",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str) -> None:
    cell = OnState.__new__(OnState)
    nn.Module.__init__(cell)
    cell.weights, cell.function, cell.width = Weights(), REFUSED[name][0], WIDTH
    x = Ragged(torch.randn(3, 2 * WIDTH), torch.tensor([0, 2, 3]))
    with pytest.raises(EngineError, match=REFUSED[name][1]):
        Recurrent(cell, engine="native")(x)


@pytest.mark.parametrize("name", CASES)
def test_the_interpreter_agrees(name: str) -> None:
    cell = OnState(CASES[name])
    x, state = torch.randn(4, 2 * WIDTH), tuple(torch.randn(4, w) for w in (cell.width, WIDTH, WIDTH))
    _, got = read_step(cell, 2 * WIDTH).run(x, list(state))
    with torch.no_grad():
        for part, expected in zip(got, cell(x, state)):
            torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)
