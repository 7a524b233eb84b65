"""The names under which checkpoints keep recurrent weights, and weights that torch computes at each call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

WEIGHT = r"((?:weight|bias)_(?:ih|hh|hr)_l\d+(?:_reverse)?)"
FIRST = re.compile(r"(.*?)(?:parametrizations\.)?weight_ih_l\d+(?:_reverse)?(_g|_orig|\.original0?)?")
OWN = re.compile(WEIGHT)
#: Names of what a weight is computed from; PARTS are used up with the first.
COMPUTED = re.compile(rf"(.*?)(?:{WEIGHT}_(raw|g|orig)|parametrizations\.{WEIGHT}\.(original0|original))")


def prefixes(names: Mapping[str, Tensor]) -> list[str]:
    """The prefix of each recurrent layer among these names, in their order."""
    return list(dict.fromkeys(match.group(1) for match in map(FIRST.fullmatch, names) if match))


def others(names: Iterable[str]) -> str:
    """What is said of names that make no layer."""
    cells = [name.removesuffix("weight_ih") for name in names if name.endswith("weight_ih")]
    if not cells:
        return "none; it must hold names that end in weight_ih_l0, of floating-point numbers"
    return (
        f"none, but cells ({', '.join(map(repr, cells[:10]))}). Name the weights of one as a layer's, weight_ih_l0 and "
        "so on, if it is an LSTMCell, GRUCell or RNNCell of torch"
    )


def hooked(names: Iterable[str]) -> list[str]:
    """Those of a layer's own names that a weight is computed from."""
    return [name for name in names if re.match(r"parametrizations\.|(weight|bias)_\w+_(orig|g|raw)$", name)]


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by torch.nn's names of a layer, each as the layer computes it in evaluation.

    Weight dropout keeps the weight as `_raw` and beside it what the last batch dropped; weight norm keeps a
    direction v and the length g of its rows, w = g v / |v| (https://arxiv.org/abs/1602.07868, equation 2); pruning a
    mask. Weights computed in another way keep their names: `hooked`.
    """
    found = dict(tensors)
    for name in tensors:
        match = COMPUTED.fullmatch(name)
        if match is None:
            continue
        prefix, weight, how = match[1], match[2] or match[4], match[3] or match[5]
        if how == "raw":
            inner = f"{prefix}module."
            inside = any(
                OWN.fullmatch(other.removeprefix(inner)) for other in found if other.startswith(inner)
            )
            found[f"{inner if inside else prefix}{weight}"] = found.pop(name)
            continue
        partner = {"g": f"{prefix}{weight}_v", "orig": f"{prefix}{weight}_mask"}.get(how, f"{name[:-1]}1")
        first, second = found.get(name), found.get(partner)
        made = None if first is None or second is None else _computed(how, first, second)
        if made is not None:
            del found[name], found[partner]
            found[prefix + weight] = made
    return found


def _computed(how: str, first: Tensor, second: Tensor) -> Tensor | None:
    """The weight; None where these are not the two parts of a norm or of a mask."""
    if how == "orig":
        return first * second if first.shape == second.shape else None
    if how == "original" or second.dim() != 2:
        return None
    length = first.float()
    if first.dim() not in (0, 2) or any(n not in (1, m) for n, m in zip(first.shape, second.shape)):
        return None
    axes = [axis for axis in (0, 1) if first.dim() == 0 or first.shape[axis] == 1]
    if not axes:
        return None
    wide = torch.float64 if second.dtype == torch.float64 else torch.float32
    direction = second.to(wide)
    return length.to(wide) * direction / torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
