"""Published cells of orthogonal, oscillating and memory-measuring dynamics, as a user would write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .user_cells import UserCell


class AntisymmetricRNN(UserCell):
    """Chang et al. 2019, gated."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w = h, nn.Parameter(torch.randn(h, h) / h**0.5)
        self.v, self.vz = nn.Linear(f, h), nn.Linear(f, h)
        self.register_buffer("eye", torch.eye(h))

    def forward(self, x, h):
        a = self.w.triu(1)
        m = h @ (a - a.T - 0.1 * self.eye).T
        return h + 0.5 * torch.sigmoid(m + self.vz(x)) * torch.tanh(m + self.v(x))


class LipschitzRNN(UserCell):
    """Erichson et al. 2021, one Euler step."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.ma, self.mw = (nn.Parameter(torch.randn(h, h) / h**0.5) for _ in range(2))
        self.x = nn.Linear(f, h)

    def build(self, m):
        beta, gamma = 0.75, 0.001
        eye = torch.eye(len(m), dtype=m.dtype)
        return (1 - beta) * (m + m.t()) + beta * (m - m.t()) - gamma * eye

    def forward(self, x, h):
        return h + 0.1 * (h @ self.build(self.ma).t() + torch.tanh(h @ self.build(self.mw).t() + self.x(x)))


class coRNN(UserCell):
    """Rusch & Mishra 2021: coupled oscillators."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.all = (h, h), nn.Linear(f + 2 * h, h)

    def forward(self, x, state):
        y, z = state
        z = z + 0.1 * (torch.tanh(self.all(torch.cat([x, z, y], 1))) - 1.5 * y - 0.9 * z)
        return y + 0.1 * z, z


class UnICORNN(UserCell):
    """Rusch & Mishra 2021: undamped, independent oscillators."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.v = (h, h), nn.Linear(f, h)
        self.w, self.c = nn.Parameter(torch.rand(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, state):
        y, z = state
        z = z - 0.1 * torch.sigmoid(self.c) * (torch.tanh(self.w * y + self.v(x)) + 0.5 * y)
        return y + 0.1 * torch.sigmoid(self.c) * z, z


class expRNN(UserCell):
    """Lezcano-Casado & Martínez-Rubio 2019: an orthogonal matrix as an exponential; modrelu."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.a, self.x = h, nn.Parameter(torch.randn(h, h)), nn.Linear(f, h)
        self.b = nn.Parameter(0.1 * torch.randn(h))

    def forward(self, x, h):
        skew = self.a.triu(1)
        z = h @ torch.matrix_exp(skew - skew.t()) + self.x(x)
        return torch.where(z >= 0, 1.0, -1.0) * torch.relu(z.abs() + self.b)


class GORU(UserCell):
    """Jing et al. 2019: a gated unit around plane rotations of neighbouring units."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.angle = h, nn.Parameter(torch.randn(2, h // 2))
        self.gates, self.x = nn.Linear(f + h, 2 * h), nn.Linear(f, h)

    def forward(self, x, h):
        z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        turned = h
        for k, angle in enumerate(self.angle):
            a, b = turned.roll(k, 1).view(len(x), -1, 2).unbind(2)
            c, s = torch.cos(angle), torch.sin(angle)
            turned = torch.stack([c * a - s * b, s * a + c * b], 2).flatten(1).roll(-k, 1)
        return z * h + (1 - z) * F.softsign(self.x(x) + r * turned)


class RUM(UserCell):
    """Dangovski et al. 2019, the core: a rotation in the plane of two vectors, normalised to its length."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.q, self.e, self.u = h, nn.Linear(f + h, h), nn.Linear(f, h), nn.Linear(f + h, h)

    def forward(self, x, h):
        both = torch.cat([x, h], 1)
        e, q = self.e(x), self.q(both)
        u = F.normalize(e, dim=1)
        v = F.normalize(q - (u * q).sum(1, keepdim=True) * u, dim=1)
        cos = (e * q).sum(1, keepdim=True) / (
            e.norm(dim=1, keepdim=True) * q.norm(dim=1, keepdim=True) + 1e-6
        )
        sin = torch.sqrt(1 - cos.square() + 1e-3)
        hu, hv = (h * u).sum(1, keepdim=True), (h * v).sum(1, keepdim=True)
        turned = h + u * (hu * (cos - 1) - hv * sin) + v * (hv * (cos - 1) + hu * sin)
        g = torch.sigmoid(self.u(both))
        return F.normalize(g * h + (1 - g) * torch.relu(turned + e), dim=1)


class LMU(UserCell):
    """Voelker et al. 2019: Legendre memory beside a hidden layer."""

    def __init__(self, f: int, h: int, order: int = 6, theta: float = 9.0) -> None:
        super().__init__()
        self.sizes = (h, order)
        n = torch.arange(order, dtype=torch.float64)
        i, j = torch.meshgrid(n, n, indexing="ij")
        a = (2 * i + 1) / theta * torch.where(i < j, -1.0, (-1.0) ** (i - j + 1))
        b = ((2 * n + 1) / theta * (-1.0) ** n)[:, None]
        self.register_buffer("a", (torch.eye(order) + a).float())
        self.register_buffer("b", b.float())
        self.ex, self.eh, self.em = nn.Linear(f, 1, False), nn.Linear(h, 1, False), nn.Linear(order, 1, False)
        self.wx, self.wh, self.wm = nn.Linear(f, h, False), nn.Linear(h, h, False), nn.Linear(order, h, False)

    def forward(self, x, state):
        h, m = state
        u = self.ex(x) + self.eh(h) + self.em(m)
        m = m @ self.a.T + u @ self.b.T
        return torch.tanh(self.wx(x) + self.wh(h) + self.wm(m)), m


class HiPPO(UserCell):
    """Gu et al. 2020, gated, LegT: a memory of order 4 of a signal for each unit."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.order = 4
        self.sizes = (h, h * self.order)
        q = torch.arange(self.order, dtype=torch.float32)
        r = (2 * q + 1).sqrt()
        sign = torch.where(q[:, None] < q, (-1.0) ** (q[:, None] - q), 1.0)
        self.register_buffer("A", torch.eye(self.order) - 0.1 * r[:, None] * sign * r)
        self.register_buffer("b", 0.1 * r)
        self.gate = nn.Linear(f + h * self.order, 2 * h)

    def forward(self, x, state):
        h, c = state
        g, n = self.gate(torch.cat([x, c], 1)).chunk(2, 1)
        g = torch.sigmoid(g)
        h = g * h + (1 - g) * torch.tanh(n)
        c = torch.einsum("ij,bhj->bhi", self.A, c.view(len(x), -1, self.order)) + h.unsqueeze(-1) * self.b
        return h, c.flatten(1)
