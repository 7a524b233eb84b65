"""Registry: what is wrong, or unusual, with the weights, inputs, states, offsets or index of a call."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .given import Given


@dataclass(frozen=True)
class Disturbance:
    """apply: changes what is given. wanted: "numbers" (torch's, and no error), "error", or "either".

    words: of which the error's message has one: what is wrong and where.
    """

    name: str
    target: str
    wanted: str
    words: tuple[str, ...]
    apply: Callable[[Given], None]

    def fits(self, given: Given) -> bool:
        if given.subject.frozen and self.name == "weights resized storage":
            return False  # torch itself crashes where it copies one
        layouts = {"index": ("indexed",), "offsets": ("indexed", "ragged")}
        return self.target not in layouts or given.subject.layout in layouts[self.target]


ALL: list[Disturbance] = []


def disturb(name: str, wanted: str, *words: str) -> Callable[[Callable[[Given], None]], Any]:
    def add(apply: Callable[[Given], None]) -> Callable[[Given], None]:
        ALL.append(Disturbance(name, name.split()[0], wanted, words, apply))
        return apply

    return add


def tensors(change: Callable[[Tensor], Any], name: str, wanted: str, *words: str) -> None:
    """The same change of an input, of a state, and of the first weight that multiplies the state."""

    def of_x(given: Given) -> None:
        given.x = change(given.x.detach())
        _learn(given, given.x)

    def of_state(given: Given) -> None:
        given.state[0] = change(given.state[0].detach())
        _learn(given, given.state[0])

    def of_weights(given: Given) -> None:
        set_weight(given, change(recurrent_weight(given).detach()))

    for target, apply in (("x", of_x), ("state", of_state), ("weights", of_weights)):
        disturb(f"{target} {name}", wanted, *words)(apply)


def _learn(given: Given, tensor: Any) -> None:
    if given.train and isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.is_leaf:
        tensor.requires_grad_()


def recurrent_weight(given: Given) -> Tensor:
    return next(p for name, p in given.layer.named_parameters() if "weight_hh" in name)


def set_weight(given: Given, tensor: Tensor) -> None:
    """By `.data`, or as another Parameter where torch does not let these numbers in."""
    weight = recurrent_weight(given)
    try:
        weight.data = tensor
    except RuntimeError:
        for module in given.layer.modules():
            for name, own in module._parameters.items():
                if own is weight:
                    module._parameters[name] = nn.Parameter(tensor, False)


disturb("none", "numbers")(lambda given: None)

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

ROWS = ("rows", "shape", "batch", "offsets", "steps")


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


# --- layers
def layer_of(name: str, wanted: str, *words: str) -> Callable[[Callable[[Any], Any]], Any]:
    def add(change: Callable[[Any], Any]) -> Any:
        def apply(given: Given) -> None:
            given.layer = change(given.layer)

        disturb(f"layer {name}", wanted, *words)(apply)
        return change

    return add


layer_of("deep-copied", "numbers")(copy.deepcopy)
layer_of("pickled", "numbers")(lambda layer: pickle.loads(pickle.dumps(layer)))
layer_of("of float64", "error", "float64", "dtype")(lambda layer: layer.double())
layer_of("of float16", "error", "float16", "Half", "dtype")(lambda layer: layer.half())
layer_of("of bfloat16", "error", "bfloat16", "dtype")(lambda layer: layer.bfloat16())
layer_of("on meta", "error", "meta")(lambda layer: layer.to("meta"))
layer_of("in shared memory", "numbers")(lambda layer: layer.share_memory())
layer_of("there and back", "numbers")(lambda layer: layer.double().float())


@layer_of("assigned weights", "numbers")
def _(layer: Any) -> Any:
    weights = {name: weight.clone() for name, weight in layer.state_dict().items()}
    layer.load_state_dict(weights, assign=True)
    return layer


@layer_of("with weights of one storage", "numbers")
def _(layer: Any) -> Any:
    flat = torch.cat([p.detach().flatten() for p in layer.parameters()])
    at = 0
    for weight in layer.parameters():
        weight.data = flat[at : at + weight.numel()].view(weight.shape)
        at += weight.numel()
    return layer


@layer_of("with a new Parameter", "numbers")
def _(layer: Any) -> Any:
    for module in layer.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                setattr(module, name, nn.Parameter(weight.detach() * 0.5, weight.requires_grad))
    return layer


@layer_of("with a weight missing", "error", "weight", "None", "attribute")
def _(layer: Any) -> Any:
    for module in layer.modules():
        for name in list(module._parameters):
            if name.startswith("weight_hh"):
                module._parameters[name] = None
                return layer
    return layer


@disturb("x of float64, and all else", "either", "float32")
def _(given: Given) -> None:
    """A whole call in double: torch's numbers from the plain loop; a frozen layer may refuse."""
    given.layer = given.layer.double()
    given.x = given.x.detach().double()
    given.state = [part.detach().double() for part in given.state]
    for tensor in (given.x, *given.state):
        _learn(given, tensor)


@disturb("weights changed in place before backward", "either", "inplace", "in place", "in-place", "modified")
def _(given: Given) -> None:
    """Gradients of weights that are no longer there: torch refuses."""
    flat = given.flat

    def changed(x: Any, state: Any) -> Any:
        results = flat(x, state)
        if given.train:
            with torch.no_grad():
                recurrent_weight(given).mul_(2)
        return results

    given.flat = changed  # type: ignore[method-assign]


@disturb("weights replaced before backward", "either", "shape", "size", "weight")
def _(given: Given) -> None:
    flat = given.flat

    def changed(x: Any, state: Any) -> Any:
        results = flat(x, state)
        if given.train:
            weight = recurrent_weight(given)
            weight.data = weight.data[:1, :1].clone()
        return results

    given.flat = changed  # type: ignore[method-assign]


# --- offsets and index
OFFSETS = ("offsets", "Offsets", "steps", "unwritable", "read-only", "int64")


def offsets_of(name: str, wanted: str, change: Callable[[Tensor], Any]) -> None:
    def apply(given: Given) -> None:
        given.offsets = change(given.offsets.clone())

    disturb(f"offsets {name}", wanted, *OFFSETS, "rows", "shape")(apply)


offsets_of("int32", "either", lambda o: o.int())
offsets_of("float", "either", lambda o: o.double())
offsets_of("negative", "error", lambda o: o - 1)
offsets_of("too long", "error", lambda o: torch.cat([o[:-1], o[-1:] + 1000]))
offsets_of("too short", "error", lambda o: o[:-1])
offsets_of("decreasing", "error", lambda o: torch.stack([o[0], o[2] + 3, o[1], *o[3:]]))
offsets_of("huge", "error", lambda o: torch.cat([o[:2], o[2:3] + 2**40, o[3:]]))
offsets_of("a column of a table", "numbers", lambda o: torch.stack([o, o + 9], 1)[:, 0])
offsets_of("a list", "either", lambda o: o.tolist())
offsets_of("numpy's", "either", lambda o: o.numpy())
offsets_of("two axes", "error", lambda o: o[None])
offsets_of("none at all", "error", lambda o: o[:0])
offsets_of("meta", "error", lambda o: o.to("meta"))


@disturb("offsets changed after the batch was made", "either", *OFFSETS)
def _(given: Given) -> None:
    """Through every way there is: their tensor, and numpy's view of it."""
    from unspool import Ragged

    own = given.offsets.numpy().copy()
    call = given.subject.call

    def changed(given: Given, x: Any, state: Any) -> Any:
        before = given.offsets
        given.offsets = torch.from_numpy(own)
        batch = Ragged(torch.zeros(int(own[-1]), 5), given.offsets)
        given.offsets = batch.offsets
        own[1:] += 2**20
        with contextlib.suppress(RuntimeError, ValueError):
            batch.offsets[1] = 2**30
        given.offsets = batch.offsets if given.subject.layout == "indexed" else before
        return call(given, x, state)

    object.__setattr__(given, "subject", _with(given.subject, changed))


def _with(subject: Any, call: Any) -> Any:
    return dataclasses.replace(subject, call=call)


def index_of(name: str, wanted: str, change: Callable[[Tensor], Any]) -> None:
    def apply(given: Given) -> None:
        given.index = change(given.index.clone())

    disturb(f"index {name}", wanted, "index", "ids", "Ids", "rows", "int64", "shape", "offsets")(apply)


index_of("int32", "either", lambda i: i.int())
index_of("float", "error", lambda i: i.float())
index_of("negative", "error", lambda i: i - 6)
index_of("beyond the end", "error", lambda i: i + 5)
index_of("huge", "error", lambda i: i + 2**40)
index_of("one less", "error", lambda i: i[:-1])
index_of("every second number", "numbers", lambda i: torch.stack([i, i + 9], 1)[:, 0])
index_of("meta", "error", lambda i: i.to("meta"))
index_of("a list", "either", lambda i: i.tolist())


DISTURBANCES = {d.name: d for d in ALL}
