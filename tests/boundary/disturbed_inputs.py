"""Registry: what is wrong, or unusual, with the inputs, states and weights of a call."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from .disturbing import disturb, recurrent_weight, tensors
from .given import Given

# --- dtypes
for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.bool):
    short = str(dtype)[6:]
    wanted = "either" if dtype.is_floating_point else "error"
    tensors(lambda t, dtype=dtype: t.to(dtype), short, wanted, short, "floating point")

# --- devices and kinds of tensors
tensors(lambda t: t.to("meta"), "meta", "error", "meta")
tensors(lambda t: t.to_sparse(), "sparse", "either", "sparse", "layout", "strided")
tensors(lambda t: t.flatten(0, -2).to_mkldnn(), "mkldnn", "error", "mkldnn", "layout", "axes", "shape", "2-D")
tensors(
    lambda t: torch.quantize_per_tensor(t, 0.05, 0, torch.qint8), "quantized", "error", "quantized", "qint8"
)
SIGNS = ("resolve_neg", "sign")
tensors(lambda t: torch.complex(t * 0, -t).conj().imag, "conjugate's imaginary part", "either", *SIGNS)
tensors(lambda t: torch._neg_view(-t), "negative bit", "either", *SIGNS)
tensors(lambda t: t.as_subclass(Plain), "subclass", "numbers")
tensors(lambda t: _resized(t), "resized storage", "error", "storage", "memory", "elements", "out of bounds")


class Plain(Tensor):
    """A subclass that adds nothing."""


def _resized(t: Tensor) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(0)
    return t


# --- layouts
tensors(lambda t: t.transpose(0, -1).contiguous().transpose(0, -1), "transposed", "numbers")
tensors(lambda t: torch.stack([t, t], -1)[..., 0], "every second number", "numbers")
tensors(lambda t: torch.cat([t.flatten(), t.flatten()])[3 : 3 + t.numel()].view(t.shape), "offset", "numbers")
tensors(lambda t: t[..., :1].expand(t.shape), "stride 0 along features", "numbers")
tensors(lambda t: t[:1].expand(t.shape), "stride 0 along rows", "numbers")
tensors(lambda t: t.contiguous().detach().view(t.shape).clone().share_memory_(), "shared memory", "numbers")
tensors(lambda t: torch.from_numpy(t.numpy().copy()), "numpy's memory", "numbers")

# --- numbers
tensors(lambda t: t * 1e-41, "denormal", "numbers")
tensors(lambda t: _put(t, float("nan")), "one NaN", "numbers")
tensors(lambda t: t * 1e4, "large", "numbers")


def _put(t: Tensor, number: float) -> Tensor:
    t = t.clone()
    t.flatten(0, -1)[0] = number
    return t


# --- shapes
SHAPES = ("shape", "features", "columns", "axes", "axis", "width", "rows", "size", "2D", "2-D", "3-D")

tensors(lambda t: torch.cat([t, t[..., :1]], -1), "one column more", "error", *SHAPES)
tensors(lambda t: t[..., :-1].contiguous(), "one column less", "error", *SHAPES)
tensors(lambda t: t[..., :0], "no columns", "error", *SHAPES)
tensors(lambda t: t.flatten(), "one axis", "error", *SHAPES)
tensors(lambda t: t[None, None], "two axes more", "error", *SHAPES)

ROWS = ("rows", "shape", "size", "batch", "offsets", "steps")


@disturb("x one row less", "error", *ROWS)
def _(given: Given) -> None:
    if given.subject.layout == "indexed":
        given.index[0] = len(given.x)
    elif given.subject.layout == "padded":
        given.x = given.x.detach()[:-1]
    else:
        given.x = given.x.detach()[:-1]


for more, word in ((1, "more"), (-1, "less")):

    @disturb(f"state one row {word}", "error", *ROWS)
    def _(given: Given, more: int = more) -> None:
        axis = given.state[0].dim() - 2
        part = given.state[0].detach()
        given.state[0] = torch.cat([part, part], axis).narrow(axis, 0, part.shape[axis] + more).contiguous()


@disturb("state all of another batch", "error", *ROWS)
def _(given: Given) -> None:
    given.state = [torch.cat([part.detach()] * 2, part.dim() - 2) for part in given.state]


@disturb("weights one row less", "error", "shape", "weight", "rows")
def _(given: Given) -> None:
    weight = recurrent_weight(given)
    weight.data = weight.data[:-1].contiguous()


# --- what is no tensor
for name, make, ok in (
    ("numpy array", lambda t: t.detach().numpy(), "either"),
    ("numpy array, negative steps", lambda t: t.detach().numpy()[::-1], "either"),
    ("list", lambda t: t.detach().tolist(), "either"),
    ("text", lambda t: "a text", "error"),
    ("int", lambda t: 3, "error"),
):
    words = ("tensor", "Tensor", "Ragged", "axes", "values", "numbers", "text", "ndarray", "list")

    @disturb(f"x {name}", ok, *words)
    def _(given: Given, make: Any = make) -> None:
        given.x = make(given.x)

    @disturb(f"state {name}", ok, *words, "state")
    def _(given: Given, make: Any = make) -> None:
        given.state[0] = make(given.state[0])


@disturb("x None", "error", "tensor", "Tensor", "values", "None")
def _(given: Given) -> None:
    given.x = None


@disturb("state None inside", "error", "state", "None", "tensor")
def _(given: Given) -> None:
    given.shape = lambda parts: (parts[0], None)


# --- nesting
NESTING = ("state", "pair", "parts", "shape", "entry")


@disturb("state nested once more", "either", *NESTING)
def _(given: Given) -> None:
    given.shape = lambda parts: (given.subject.nest(parts),)


@disturb("state of one part less", "error", *NESTING)
def _(given: Given) -> None:
    given.shape = lambda parts: given.subject.nest(parts[:-1]) if len(parts) > 1 else ()


@disturb("state of one part more", "error", *NESTING)
def _(given: Given) -> None:
    given.shape = lambda parts: (*parts, parts[-1])


@disturb("state a list", "numbers")
def _(given: Given) -> None:
    def as_lists(state: Any) -> Any:
        return state if isinstance(state, Tensor) else [as_lists(part) for part in state]

    given.shape = lambda parts: as_lists(given.subject.nest(parts))


# --- gradients
@disturb("x without gradient", "numbers")
def _(given: Given) -> None:
    given.x = given.x.detach()


@disturb("state without gradient", "numbers")
def _(given: Given) -> None:
    given.state = [part.detach() for part in given.state]


@disturb("weights half of them frozen", "numbers")
def _(given: Given) -> None:
    for weight in list(given.layer.parameters())[::2]:
        weight.requires_grad_(False)


@disturb("x an inference tensor", "either", "inference", "Inference")
def _(given: Given) -> None:
    with torch.inference_mode():
        given.x = given.x.detach().clone()


@disturb("state a view of an inference tensor", "either", "inference", "Inference")
def _(given: Given) -> None:
    with torch.inference_mode():
        given.state[0] = given.state[0].detach().clone()[:]


@disturb("weights inference tensors", "either", "inference", "Inference")
def _(given: Given) -> None:
    with torch.inference_mode():
        given.layer = copy.deepcopy(given.layer)
    given.train = False
