"""Published cells of gates, as a user would write them."""

from __future__ import annotations

import torch
from torch import nn

from .user_cells import UserCell


class TorchLSTM(UserCell):
    """torch.nn.LSTMCell, wrapped."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell = (h, h), nn.LSTMCell(f, h)

    def forward(self, x, state):
        return self.cell(x, state)


class TorchGRU(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell = h, nn.GRUCell(f, h)

    def forward(self, x, h):
        return self.cell(x, h)


class TorchRNN(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell = h, nn.RNNCell(f, h)

    def forward(self, x, h):
        return self.cell(x, h)


class Jordan(UserCell):
    """Jordan 1986: the output, not the hidden layer, comes back."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.hidden, self.output = nn.Linear(f + h, h + 2), nn.Linear(h + 2, h)

    def forward(self, x, y):
        return torch.tanh(self.output(torch.sigmoid(self.hidden(torch.cat((x, y), 1)))))


class LSTM1997(UserCell):
    """Hochreiter & Schmidhuber 1997: no forget gate."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.gates = (h, h), nn.Linear(f + h, 3 * h)

    def forward(self, x, state):
        h, c = state
        i, o, g = self.gates(torch.cat([x, h], 1)).chunk(3, 1)
        c = c + i.sigmoid() * (4 * g.sigmoid() - 2)
        return o.sigmoid() * (2 * c.sigmoid() - 1), c


class ProjectedLSTM(UserCell):
    """Sak et al. 2014."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h // 2, h)
        self.gates, self.down = nn.Linear(f + h // 2, 4 * h), nn.Linear(h, h // 2, False)

    def forward(self, x, state):
        r, c = state
        i, f, g, o = self.gates(torch.cat([x, r], 1)).split(c.shape[1], 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return self.down(torch.sigmoid(o) * torch.tanh(c)), c


class JANET(UserCell):
    """van der Westhuizen & Lasenby 2018: the forget gate alone."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, nn.Linear(f, 2 * h), nn.Linear(h, 2 * h, False)

    def forward(self, x, h):
        s, g = (self.x(x) + self.h(h)).chunk(2, 1)
        return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - 1.0)) * torch.tanh(g)


class MUT1(UserCell):
    """Jozefowicz et al. 2015."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.z, self.xr, self.hr, self.hh = nn.Linear(f, h), nn.Linear(f, h), nn.Linear(h, h), nn.Linear(h, h)
        self.xh = nn.Linear(f, h)

    def forward(self, x, h):
        z = torch.sigmoid(self.z(x))
        r = torch.sigmoid(self.xr(x) + self.hr(h))
        return torch.tanh(self.hh(r * h) + torch.tanh(self.xh(x))) * z + h * (1 - z)


class MUT2(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.z, self.up, self.hr = nn.Linear(f + h, h), nn.Linear(f, h, False), nn.Linear(h, h)
        self.xh, self.hh = nn.Linear(f, h), nn.Linear(h, h, False)

    def forward(self, x, h):
        z = torch.sigmoid(self.z(torch.cat([x, h], -1)))
        r = torch.sigmoid(self.up(x) + self.hr(h))
        return torch.tanh(self.hh(r * h) + self.xh(x)) * z + h * (1 - z)


class MUT3(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.zx, self.zh = nn.Linear(f, h), nn.Linear(h, h, False)
        self.xr, self.hr, self.xh, self.hh = (
            nn.Linear(f, h),
            nn.Linear(h, h),
            nn.Linear(f, h),
            nn.Linear(h, h, False),
        )

    def forward(self, x, h):
        z = torch.sigmoid(self.zx(x) + self.zh(torch.tanh(h)))
        r = torch.sigmoid(self.xr(x) + self.hr(h))
        return torch.tanh(self.hh(r * h) + self.xh(x)) * z + h * (1 - z)


class SCRN(UserCell):
    """Mikolov et al. 2015: a slow context beside the hidden layer."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, h // 2)
        self.b, self.p, self.a, self.r = (
            nn.Linear(f, h // 2, False),
            nn.Linear(h // 2, h),
            nn.Linear(f, h),
            nn.Linear(h, h),
        )

    def forward(self, x, state):
        h, s = state
        s = 0.05 * self.b(x) + 0.95 * s
        return torch.sigmoid(self.p(s) + self.a(x) + self.r(h)), s


class UGRNN(UserCell):
    """Collins et al. 2017."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.both = h, nn.Linear(f + h, 2 * h)

    def forward(self, x, h):
        c, g = torch.split(self.both(torch.cat([x, h], 1)), h.size(1), dim=1)
        g = torch.sigmoid(g + 1)
        return g * h + (1 - g) * torch.tanh(c)


class IntersectionRNN(UserCell):
    """Collins et al. 2017, +RNN: also a gated output."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.all, self.skip = (h, h), nn.Linear(f + h, 4 * h), nn.Linear(f, h)

    def forward(self, x, state):
        _, h = state
        y, c, gy, gh = self.all(torch.cat([x, h], 1)).unflatten(1, (4, -1)).unbind(1)
        gy, gh = torch.sigmoid(gy), torch.sigmoid(gh + 1)
        h = gh * h + (1 - gh) * torch.tanh(c)
        return gy * self.skip(x) + (1 - gy) * torch.relu(y), h


class RecurrentHighway(UserCell):
    """Zilly et al. 2017, depth 3."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = h, nn.Linear(f, 2 * h)
        self.deep = nn.ModuleList(nn.Linear(h, 2 * h) for _ in range(3))

    def forward(self, x, s):
        for depth, layer in enumerate(self.deep):
            h, t = (layer(s) + self.x(x) if depth == 0 else layer(s)).chunk(2, 1)
            s = torch.tanh(h) * torch.sigmoid(t) + s * (1 - torch.sigmoid(t))
        return s


class BRC(UserCell):
    """Vecoven et al. 2021: bistable, neuron by neuron."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = h, nn.Linear(f, 3 * h)
        self.wa, self.wc = nn.Parameter(torch.randn(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, h):
        u, a, c = self.x(x).chunk(3, 1)
        a, c = 1 + torch.tanh(a + self.wa * h), torch.sigmoid(c + self.wc * h)
        return c * h + (1 - c) * torch.tanh(u + a * h)


class nBRC(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, nn.Linear(f, 3 * h), nn.Linear(h, 2 * h, False)

    def forward(self, x, h):
        (u, a, c), (ha, hc) = self.x(x).chunk(3, 1), self.h(h).chunk(2, 1)
        a, c = 1 + torch.tanh(a + ha), torch.sigmoid(c + hc)
        return c * h + (1 - c) * torch.tanh(u + a * h)


class STAR(UserCell):
    """Turkoglu et al. 2021."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.z, self.k, self.h = h, nn.Linear(f, h), nn.Linear(f, h), nn.Linear(h, h, False)

    def forward(self, x, h):
        k = torch.sigmoid(self.k(x) + self.h(h))
        return torch.tanh((1 - k) * h + k * torch.tanh(self.z(x)))


class FastRNN(UserCell):
    """Kusupati et al. 2018."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.u = h, nn.Linear(f, h), nn.Linear(h, h, False)
        self.alpha, self.beta = nn.Parameter(torch.tensor([-1.0])), nn.Parameter(torch.tensor([2.0]))

    def forward(self, x, h):
        return self.alpha.sigmoid() * torch.tanh(self.w(x) + self.u(h)) + self.beta.sigmoid() * h


class FastGRNN(UserCell):
    """The same paper: one low-rank matrix for gate and candidate."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.u1, self.u2 = (
            h,
            nn.Linear(f, h, False),
            nn.Linear(h, 3, False),
            nn.Linear(3, h, False),
        )
        self.bz, self.bh = nn.Parameter(torch.ones(1, h)), nn.Parameter(torch.zeros(1, h))
        self.zeta, self.nu = nn.Parameter(torch.tensor([[1.0]])), nn.Parameter(torch.tensor([[-4.0]]))

    def forward(self, x, h):
        pre = self.w(x) + self.u2(self.u1(h))
        z, c = torch.sigmoid(pre + self.bz), torch.tanh(pre + self.bh)
        return z * h + (torch.sigmoid(self.zeta) * (1.0 - z) + torch.sigmoid(self.nu)) * c


class IndyLSTM(UserCell):
    """Gonnet & Deselaers 2019: diagonal recurrent weights."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.u = (h, h), nn.Linear(f, 4 * h), nn.Parameter(torch.randn(4, h))

    def forward(self, x, state):
        h, c = state
        gates = self.x(x).view(-1, 4, h.shape[1]) + self.u * h.unsqueeze(1)
        i, f, o = gates[:, :3].sigmoid().unbind(1)
        c = f * c + i * gates[:, 3].tanh()
        return o * c.tanh(), c


class SRU(UserCell):
    """Lei et al. 2018."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.skip = (h, h), nn.Linear(f, 3 * h), nn.Linear(f, h, False)
        self.v = nn.Parameter(torch.randn(2, h))

    def forward(self, x, state):
        _, c = state
        u, f, r = self.x(x).chunk(3, 1)
        f, r = torch.sigmoid(f + self.v[0] * c), torch.sigmoid(r + self.v[1] * c)
        c = f * c + (1 - f) * u
        return r * c + (1 - r) * self.skip(x), c


class QRNN(UserCell):
    """Bradbury et al. 2017, window 2, fo-pooling: the last input is part of the state."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.conv = (h, h, f), nn.Conv1d(f, 3 * h, 2)

    def forward(self, x, state):
        _, c, before = state
        z, f, o = self.conv(torch.stack([before, x], dim=2)).squeeze(2).chunk(3, 1)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(z)
        return torch.sigmoid(o) * c, c, x


class MinGRU(UserCell):
    """Feng et al. 2024."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.z, self.n = h, nn.Linear(f, h), nn.Linear(f, h)

    def forward(self, x, h):
        return torch.lerp(h, self.n(x), torch.sigmoid(self.z(x)))
