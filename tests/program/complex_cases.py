"""Steps of complex numbers: functions of two parts of 24 numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pair(a: Tensor, b: Tensor) -> Tensor:
    return torch.complex(a[:, :12], b[:, :12])


def both(z: Tensor) -> Tensor:
    return torch.cat([z.real, z.imag], 1)


def decay(w: Any) -> Tensor:
    """A diagonal transition, as state spaces have it: a parameter."""
    return torch.exp(-torch.exp(w.row[:12]) + 1j * torch.exp(w.row[12:]))


def parts(w: Any, a: Tensor, b: Tensor) -> Tensor:
    z = torch.view_as_complex(a.view(-1, 12, 2))
    first, second = torch.cat([z, pair(a, b)], 1).view(-1, 2, 12).unbind(1)
    turned = torch.stack([first, second.flip(1)], 1).sum(1)
    return torch.view_as_real(turned.roll(3, 1)[:, [0, 5, 2]] * second[:, :3]).flatten(1)


def products(w: Any, a: Tensor, b: Tensor) -> Tensor:
    weights = torch.complex(w.wide[:, :12], w.wide[:, 12:])
    z = torch.einsum("bi,oi->bo", pair(a, b), weights) + torch.addmm(weights[0, :5], pair(b, a), weights.mH)
    return both(z + (a[:, :12] + 0j) @ weights.T)


CASES: dict[str, Any] = {
    "complex": lambda w, a, b: both(pair(a, b) * pair(b, a + 1) - 2j * pair(a, a) + 0.5 * pair(b, b).conj()),
    "division": lambda w, a, b: both(
        pair(a, b) / (pair(b, a) + 4) + 1 / (pair(a, a) + 3j) - pair(a, b) / 2.0
    ),
    "sizes": lambda w, a, b: (
        pair(a, b).abs() * pair(b, a).angle() + (pair(a, b) ** 2).square().real + torch.sgn(pair(b, a)).imag
    ),
    "size of nothing": lambda w, a, b: (pair(a, b) * (a[:, :12] > 0)).abs(),
    "polar": lambda w, a, b: both(torch.polar(a.abs()[:, :12], b[:, :12]) + torch.exp(pair(a, b))),
    "diagonal of complex": lambda w, a, b: both(decay(w) * pair(a, b) + (1 - decay(w).abs()) * a[:, 12:]),
    "complex parts": parts,
    "complex products": products,
    "real and complex": lambda w, a, b: both(
        torch.where(a[:, :12] > 0, a[:, :12] + 0j, 1j * b[:, :12]) - (1 + 2j - a[:, 12:])
    ),
    "transform": lambda w, a, b: torch.fft.irfft(
        torch.fft.rfft(a) * torch.fft.rfft(b).conj(), n=24, norm="ortho"
    ),
    "transform of complex": lambda w, a, b: both(
        torch.fft.ifft(decay(w) * torch.fft.fft(pair(a, b), norm="ortho"))
    ),
    "transform in two": lambda w, a, b: torch.fft.irfft2(
        torch.fft.rfft2(a.view(-1, 4, 6)) * torch.fft.rfft2(b.view(-1, 4, 6)), s=(4, 6), norm="ortho"
    ),
}
