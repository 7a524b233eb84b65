"""Functions of one to three values, and where each is smooth enough to be compared with float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Case = tuple[Callable[..., Tensor], tuple[tuple[float, float], ...]]

ANY, POSITIVE, INSIDE, ABOVE = (-4.0, 4.0), (0.05, 6.0), (-0.95, 0.95), (1.05, 6.0)
SLOPES = torch.linspace(-0.5, 1.5, 21)

ONE: dict[str, Case] = {
    **{
        name: (getattr(torch, name), (ANY,))
        for name in "expm1 exp2 sin cos tan atan sinh cosh asinh erfc floor ceil round trunc sign sgn frac sinc".split()
    },
    **{name: (getattr(torch, name), (POSITIVE,)) for name in "log1p log2 log10".split()},
    **{name: (getattr(torch, name), (INSIDE,)) for name in "asin acos atanh".split()},
    "acosh": (torch.acosh, (ABOVE,)),
    "ndtr": (torch.special.ndtr, (ANY,)),
    "expit": (torch.special.expit, (ANY,)),
    "signbit": (lambda a: torch.where(torch.signbit(a), a, 2 * a), (ANY,)),
    "deg2rad": (torch.deg2rad, (ANY,)),
    "rad2deg": (torch.rad2deg, (ANY,)),
    "logit": (torch.logit, ((0.05, 0.95),)),
    "logit eps": (lambda a: torch.logit(a, 0.2), ((0.05, 0.95),)),
    "nan_to_num": (lambda a: a.nan_to_num(), (ANY,)),
    "nan_to_num numbers": (lambda a: a.nan_to_num(1.0, 2.0, -3.0), (ANY,)),
    "celu": (lambda a: F.celu(a, 0.6), (ANY,)),
    "relu6": (lambda a: F.relu6(2 * a), (ANY,)),
    "threshold": (lambda a: F.threshold(a, 0.3, -1.5), (ANY,)),
    "hardshrink": (lambda a: F.hardshrink(a, 0.7), (ANY,)),
    "softshrink": (lambda a: F.softshrink(a, 0.7), (ANY,)),
    "tanhshrink": (F.tanhshrink, (ANY,)),
    "softsign": (F.softsign, (ANY,)),
    "prelu": (lambda a: F.prelu(a, SLOPES.to(a.dtype)), (ANY,)),
    "prelu of one": (lambda a: F.prelu(a, SLOPES[:1].to(a.dtype)), (ANY,)),
    "rrelu": (lambda a: F.leaky_relu(a, (1 / 8 + 1 / 3) / 2), (ANY,)),
    "glu": (lambda a: F.glu(torch.cat([a, a.sin()], 1), 1), (ANY,)),
    "detach": (lambda a: a * a.detach() + torch.sin(a).detach() + a.data, (ANY,)),
    "isnan": (lambda a: torch.where((a / torch.relu(a) * 0).isnan(), a, 2 * a), (ANY,)),
    "isinf": (lambda a: torch.where((1 / torch.relu(a)).detach().isinf(), a, 2 * a), (ANY,)),
    "isposinf": (lambda a: torch.where((a / torch.relu(a)).detach().isneginf(), a, 2 * a), (ANY,)),
    "isneginf": (lambda a: torch.where((1 / torch.relu(a)).detach().isposinf(), a, 2 * a), (ANY,)),
    "isfinite": (lambda a: torch.where((1 / torch.relu(a)).detach().isfinite(), a, 2 * a), (ANY,)),
    "masked_fill": (lambda a: a.masked_fill(a > 1, 0.25), (ANY,)),
    "where numbers": (lambda a: a * torch.where(a > 0, 1.5, -0.5) + torch.where(a > 1, 2.0, a), (ANY,)),
    "type_as": (lambda a: a * (a > 0).type_as(a) + (a > 1).float() * (a < 2).to(a), (ANY,)),
    "likes": (lambda a: torch.zeros_like(a) + a * torch.full_like(a, 0.3) - a.new_full(a.shape, 2.0), (ANY,)),
    "norm": (lambda a: a / a.norm(dim=1, keepdim=True) + a.norm(p=1, dim=1, keepdim=True), (ANY,)),
    "normalize": (lambda a: F.normalize(a, dim=1), (ANY,)),
    **{f"pow {p}": ((lambda a, p=p: a**p), (POSITIVE,)) for p in (0, 1.5, -2.5, 0.1, 5, -3)},
    "pow of a number": (lambda a: 2.5**a, (ANY,)),
    "pow of negative numbers": (lambda a: a**3 + a**4 + a**-2, ((-3.0, -0.5),)),
    "floor by a number": (lambda a: a + torch.div(a, 0.7, rounding_mode="floor") + a.detach() // 0.3, (ANY,)),
    "remainder by a number": (lambda a: a % 0.7, (ANY,)),
}

TWO: dict[str, Case] = {
    **{
        name: (getattr(torch, name), (ANY, ANY))
        for name in "atan2 hypot copysign logaddexp logaddexp2 fmax fmin".split()
    },
    "pow": (torch.pow, (POSITIVE, ANY)),
    "remainder": (torch.remainder, (ANY, (0.6, 1.9))),
    "remainder of a negative": (torch.remainder, (ANY, (-1.9, -0.6))),
    "fmod": (torch.fmod, (ANY, (0.6, 1.9))),
    "xlogy": (torch.xlogy, (ANY, POSITIVE)),
    "div floor": (lambda a, b: a * torch.div(a, b, rounding_mode="floor") + b, (ANY, POSITIVE)),
    "div trunc": (lambda a, b: a * torch.div(a, b, rounding_mode="trunc") + b, (ANY, POSITIVE)),
    "floor_divide": (lambda a, b: a + torch.floor_divide(a.detach(), b.detach()) * b, (ANY, POSITIVE)),
    "prelu of values": (lambda a, b: torch.where(a > 0, a, a * b[:, :1]), (ANY, ANY)),
    "heaviside": (lambda a, b: a * torch.heaviside(torch.relu(a).detach(), b.detach()), (ANY, ANY)),
    "logical": (
        lambda a, b: a * torch.logical_and(torch.relu(a), b > 0) + b * torch.logical_or(a > 1, torch.relu(b)),
        (ANY, ANY),
    ),
    "xor": (lambda a, b: a * torch.logical_xor(a > 0, b > 0) + b * ((a > 1) ^ (b > 1)), (ANY, ANY)),
    "clamp to one": (lambda a, b: torch.clamp(a, min=b) + torch.clamp_max(a, b), (ANY, ANY)),
    "addcdiv": (lambda a, b: torch.addcdiv(a, a, b, value=0.7), (ANY, POSITIVE)),
}

THREE: dict[str, Case] = {
    "clamp to two": (torch.clamp, (ANY, ANY, ANY)),
    "masked_fill value": (lambda a, b, c: torch.where(a > 0, b, a.masked_fill(c > 0, -2.0)), (ANY, ANY, ANY)),
    "lerp beyond": (lambda a, b, c: torch.lerp(a, b, 2 * c), (ANY, ANY, ANY)),
}

FUNCTIONS = {**ONE, **TWO, **THREE}
