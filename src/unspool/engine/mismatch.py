"""A step that torch refused, told in words: which tensor is of another type, place or shape."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.errors import InputError, torch_folder
from unspool.state import flatten

if TYPE_CHECKING:
    from unspool.engine.dispatch import Direction

_RAISES = {dis.opmap[name] for name in ("RAISE_VARARGS", "RERAISE")}
_REFUSALS = ("(): argument '", "Multiple dispatch failed")  # what torch says of operands in a TypeError
MOST = 8  # tensors that a message names


@contextmanager
def explained(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> Iterator[None]:
    """An operation of torch that refuses tensors in here is an `InputError` that names them.

    What a step raises itself, and errors of other kinds (out of memory, ...), pass as they are.
    """
    try:
        yield
    except (RuntimeError, TypeError) as error:
        if not _of_operands(error):
            raise
        wrong = _mixed(directions, values, states) or _shapes(directions, values, states)
        said = str(error).strip().partition("\n")[0][:160].rstrip(".")
        raise InputError(f"{wrong} {said}.") from error


def shapes_of_weights(direction: Direction) -> str:
    """ "weight_ih (4, 3), weight_hh None": the weights of a cell by their names, and what is missing."""
    return _listed({name: _shape(w) for name, w in _weights(direction).items()})


def _of_operands(error: Exception) -> bool:
    """Whether an operation of torch complained about what it was given; nobody's `raise` did."""
    if type(error).__name__ == "FakeTensorDeviceMismatchError":  # torch.export's, of a RuntimeError
        return True
    if type(error) not in (RuntimeError, NotImplementedError, TypeError):
        return False
    if isinstance(error, TypeError) and not any(said in str(error) for said in _REFUSALS):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return True
    code = trace.tb_frame.f_code
    return code.co_filename.startswith(torch_folder()) or code.co_code[trace.tb_lasti] not in _RAISES


def _mixed(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> str | None:
    """What is wrong with a call whose numbers are of several types, places or layouts; None: they agree."""
    named = [("input", values), *(("state", leaf) for state in states for leaf in flatten(state))]
    for direction in directions:
        named += [(f"weight '{n}'", w) for n, w in _weights(direction).items() if w is not None]
    found: dict[tuple[Any, ...], str] = {}
    for name, t in named:
        layout = "" if str(t.layout) == "torch.strided" else f", {t.layout}"
        found.setdefault((t.dtype, t.device, t.layout), f"{name}: {t.dtype} on {t.device}{layout}")
    if len(found) < 2 and not any(not t.is_floating_point() for _, t in named):
        return None
    return (
        "The input, the state and the weights of a layer must have one dtype and be on one device, strided: "
        f"floating point. Got {', '.join(list(found.values())[:MOST])}. "
        "Convert the input, x.to(weight.dtype), or the layer, layer.to(x.dtype)."
    )


def _shapes(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> str:
    cells = ", ".join(dict.fromkeys(type(d.cell).__name__ for d in directions))
    given = ", ".join(_shape(state) for state in states)
    return (
        f"A step of {cells} must be given tensors that its weights can multiply. Got input rows of shape "
        f"{tuple(values.shape[1:])}, a state of {given} and weights of {shapes_of_weights(directions[0])}."
    )


def _shape(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_shape, value))})"
    if not isinstance(value, Tensor):
        return str(value)
    return f"{tuple(value.shape)}{'' if value.dtype is torch.float32 else f' {value.dtype}'}"


def _weights(direction: Direction) -> Mapping[str, Any]:
    """The weights by their names; None for one that is not there."""
    if direction.weights is not None:
        return direction.weights
    return {
        f"{path}.{name}".lstrip("."): weight
        for path, module in direction.cell.named_modules()
        for name, weight in module._parameters.items()
    }


def _listed(named: Mapping[str, str]) -> str:
    first = [f"{name} {text}" for name, text in list(named.items())[:MOST]]
    return ", ".join([*first, *(["..."] if len(named) > MOST else [])])
