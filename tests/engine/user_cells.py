"""Cells as a user would write them; the library has none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UserCell(nn.Module):
    sizes: Any

    def initial_state(self, batch_size: int) -> Any:
        def zeros(sizes: Any) -> Any:
            return torch.zeros(batch_size, sizes) if isinstance(sizes, int) else tuple(map(zeros, sizes))

        return zeros(self.sizes)


class PeepholeLSTM(UserCell):
    """Gers & Schmidhuber 2000: the gates also see the cell's content."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size)
        self.x = nn.Linear(input_size, 4 * hidden_size)
        self.h = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.peep = nn.Parameter(0.3 * torch.randn(3, hidden_size))

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.x(x) + self.h(h)).chunk(4, dim=1)
        p_i, p_f, p_o = self.peep
        c_new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * c_new) * torch.tanh(c_new), c_new


class CoupledLSTM(UserCell):
    """Input gate = 1 - forget gate (Greff et al. 2017, CIFG)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size)
        self.gates = nn.Linear(input_size + hidden_size, 3 * hidden_size)

    def forward(self, x, state):
        h, c = state
        f, g, o = self.gates(torch.cat([x, h], dim=-1)).chunk(3, dim=-1)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class LayerNormLSTM(UserCell):
    """Ba et al. 2016: both products and the cell's content are normalised."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size)
        self.x, self.h = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)
        self.norm_x, self.norm_h = nn.LayerNorm(4 * hidden_size), nn.LayerNorm(4 * hidden_size)
        self.norm_c = nn.LayerNorm(hidden_size, eps=1e-3)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.norm_x(self.x(x)) + self.norm_h(self.h(h))).chunk(4, dim=1)
        c = self.norm_c(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        return torch.sigmoid(o) * torch.tanh(c), c


class LayerNormGRU(UserCell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.x, self.h = nn.Linear(input_size, 3 * hidden_size), nn.Linear(hidden_size, 3 * hidden_size)
        self.norm_x = nn.LayerNorm(3 * hidden_size, elementwise_affine=False)
        self.norm_h = nn.LayerNorm(3 * hidden_size)

    def forward(self, x, h):
        x_r, x_z, x_n = self.norm_x(self.x(x)).chunk(3, dim=1)
        h_r, h_z, h_n = self.norm_h(self.h(h)).chunk(3, dim=1)
        z = torch.sigmoid(x_z + h_z)
        return torch.lerp(torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n), h, z)


class GRU2014(UserCell):
    """A second product, of what a gate lets through; one layer for each gate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.reset, self.update, self.candidate = (
            nn.Linear(input_size + hidden_size, hidden_size) for _ in range(3)
        )

    def forward(self, x, h):
        both = torch.cat([x, h], dim=1)
        r, z = torch.sigmoid(self.reset(both)), torch.sigmoid(self.update(both))
        n = torch.tanh(self.candidate(torch.cat([x, r * h], dim=1)))
        return (1 - z) * n + z * h


class ThreeStates(UserCell):
    """States of three widths, each fed by the others."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size + 3, 2)
        self.a = nn.Linear(input_size + 2, hidden_size)
        self.b = nn.Linear(hidden_size, hidden_size + 3)
        self.c = nn.Linear(hidden_size + 3, 2)

    def forward(self, x, state):
        h, m, k = state
        new_h = torch.tanh(self.a(torch.cat([k, x], dim=1)) + m[:, 3:] * h)
        new_m = torch.sigmoid(self.b(h)) * m + self.b(new_h)
        return new_h, torch.tanh(new_m), torch.tanh(self.c(m)) * 0.5 + k[:, :1] * 0.1


class MinimalGated(UserCell):
    """Zhou et al. 2016: one gate that forgets and resets."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, h):
        f = torch.sigmoid(self.gate(torch.cat([h, x], 1)))
        return (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([f * h, x], 1)))


class MinGRU(UserCell):
    """Feng et al. 2024: the gate sees the input alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.gate, self.value = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def forward(self, x, h):
        z = torch.sigmoid(self.gate(x))
        return (1 - z) * h + z * self.value(x)


class Leaky(UserCell):
    """The input is used number by number: scaled, squared, its first feature as a factor of every unit."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.scale = nn.Parameter(torch.linspace(-1, 1, input_size))
        self.mix = nn.Linear(input_size, hidden_size)
        self.leak = nn.Parameter(torch.tensor(0.3))

    def forward(self, x, h):
        drive = self.mix(x * self.scale + 0.1 * x.square())
        return h + self.leak * (torch.tanh(drive) - h) + 0.01 * x[:, :1] * h


class Softmax(UserCell):
    """The units compete; log-softmax, spread and mean of the features come in too."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        share = torch.softmax(self.x(x) + self.h(h), dim=-1)
        flat = F.log_softmax(self.h(h), dim=1) * 0.05
        return share * h + flat + h.mean(1, keepdim=True) * x.std(dim=1, keepdim=True)


class Prelude(UserCell):
    """Vectors computed from parameters before the loop."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.log_decay = nn.Parameter(torch.linspace(-2, 2, hidden_size))
        self.a = nn.Parameter(torch.linspace(-1, 1, hidden_size))
        self.x = nn.Linear(input_size, hidden_size)
        self.w = nn.Parameter(torch.randn(hidden_size, hidden_size))

    def forward(self, x, h):
        decay = torch.exp(-torch.exp(self.log_decay))
        orthogonal = (self.w - self.w.t()) / self.w.shape[0]
        return torch.tanh(decay * h + self.x(x) + torch.sigmoid(self.a) * h + h @ orthogonal)


class Tied(UserCell):
    """One matrix in two products, as it stands and transposed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.first = nn.Linear(hidden_size, hidden_size, bias=False)
        self.second = nn.Linear(hidden_size, hidden_size)
        self.second.weight = self.first.weight
        self.x = nn.Linear(input_size, hidden_size)

    def forward(self, x, h):
        return torch.tanh(self.second(torch.tanh(self.first(h) + self.x(x))) + h @ self.first.weight)


class PassThrough(UserCell):
    """A key that never changes, and a state of which one half is kept."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size + 2, hidden_size)
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size + 2, hidden_size)

    def forward(self, x, state):
        h, key = state
        return torch.cat([torch.tanh(self.x(x) + self.h(h)) * key, h[:, -2:]], dim=1), key


class Nested(UserCell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, (hidden_size, (3,)))
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.down, self.up = nn.Linear(hidden_size, 3), nn.Linear(3, hidden_size)

    def forward(self, x, state):
        h, (c, (small,)) = state
        c = torch.sigmoid(self.x(x)) * c + self.up(small)
        return torch.tanh(c + self.h(h)), (c, (torch.tanh(self.down(h)),))


class Constants(UserCell):
    """A plain tensor, a buffer, a number, and tensors made in the step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.mask = (torch.arange(hidden_size) % 3 > 0).float()
        self.register_buffer("gain", torch.linspace(0.5, 1.5, hidden_size))
        self.slope = 0.7
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        new = torch.tanh(self.slope * self.x(x) + self.gain * self.h(h))
        floor = torch.full_like(new, -0.4)
        extra = torch.ones(x.shape[0], 1) / 3
        return torch.maximum(self.mask * new + (1 - self.mask) * h, floor) + torch.zeros(len(x), 1) + extra


class Swapped(UserCell):
    """The parts of the state change places; the input reaches one of them as it is."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size, input_size)
        self.x = nn.Linear(input_size, hidden_size)

    def forward(self, x, state):
        a, b, seen = state
        return b, torch.tanh(a + self.x(seen)), x


class Twice(UserCell):
    """One value as two parts of the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size)
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, state):
        new = torch.tanh(self.x(x) + self.h(state[0]) * state[1])
        return new, new


class Deaf(UserCell):
    """Does not use its input."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        return torch.tanh(self.h(h))


class Switched(UserCell):
    """The input only decides: no gradient reaches it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        return torch.where(x[:, :1] > 0, torch.tanh(self.h(h)), 0.5 * h)


class Forgetful(UserCell):
    """Does not use its state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.x = nn.Linear(input_size, hidden_size)

    def forward(self, x, h):
        return F.elu(self.x(x))


class Partial(UserCell):
    """Uses two features of its input, and slices that overlap."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.a, self.b = nn.Linear(2, hidden_size), nn.Linear(2, hidden_size)

    def forward(self, x, h):
        shifted = torch.cat([h[:, 1:], h[:, :1]], dim=1)
        return torch.tanh(self.a(x[:, 1:3]) + self.b(x[:, 2:4]) + shifted * h)


CELLS: list[Callable[[int, int], nn.Module]] = [
    PeepholeLSTM,
    CoupledLSTM,
    LayerNormLSTM,
    LayerNormGRU,
    GRU2014,
    ThreeStates,
    MinimalGated,
    MinGRU,
    Leaky,
    Softmax,
    Prelude,
    Tied,
    PassThrough,
    Nested,
    Constants,
    Swapped,
    Twice,
    Deaf,
    Switched,
    Forgetful,
    Partial,
]

# What a pre-activation goes through, on a range where it is smooth enough to compare in float32.
POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "leaky_relu": lambda a: F.leaky_relu(a, 0.2),
    "elu": F.elu,
    "softplus": F.softplus,
    "softplus_beta": lambda a: F.softplus(a, beta=3.0),
    "mish": F.mish,
    "logsigmoid": lambda a: F.logsigmoid(a) * 0.3,
    "clamp": lambda a: a.clamp(-0.5, 0.8),
    "where": lambda a: torch.where((a > -0.3) & ~(a > 0.9), a, 0.2 * a),
    "min_max": lambda a: torch.minimum(torch.maximum(a, -0.5 * a), torch.tanh(a) + 0.6),
    "abs": torch.abs,
    "log": lambda a: torch.log(a.abs() + 0.5),
    "log1p": lambda a: torch.log1p(a.square()),
    "sqrt": lambda a: torch.sqrt(a.square() + 0.1),
    "rsqrt": lambda a: torch.rsqrt(a.square() + 0.3),
    "square": lambda a: torch.square(torch.tanh(a)),
    "exp": lambda a: torch.exp(-a.square()),
    "expm1": lambda a: torch.expm1(torch.tanh(a)),
    "erf": torch.erf,
    "reciprocal": lambda a: 1 / (1.5 + torch.tanh(a)),
    "divide": lambda a: torch.tanh(a) / (1 + torch.exp(a)),
    "power": lambda a: torch.tanh(a) ** 3,
    "relu": torch.relu,
}


class Pointwise(UserCell):
    def __init__(self, name: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = hidden_size
        self.name = name
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        return 0.8 * POINTWISE[self.name](self.x(x) + self.h(h)) + 0.1 * POINTWISE[self.name](h)
