"""Cells as they were published, written as a user would write them. Sizes: input F, hidden H, a multiple of 4."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .user_cells import UserCell

HEADS = 2


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


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
        self.hidden, self.output = linear(f + h, h + 2), linear(h + 2, h)

    def forward(self, x, y):
        return torch.tanh(self.output(torch.sigmoid(self.hidden(torch.cat((x, y), 1)))))


class LSTM1997(UserCell):
    """Hochreiter & Schmidhuber 1997: no forget gate."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.gates = (h, h), linear(f + h, 3 * h)

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
        self.gates, self.down = linear(f + h // 2, 4 * h), linear(h, h // 2, False)

    def forward(self, x, state):
        r, c = state
        i, f, g, o = self.gates(torch.cat([x, r], 1)).split(c.shape[1], 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return self.down(torch.sigmoid(o) * torch.tanh(c)), c


class JANET(UserCell):
    """van der Westhuizen & Lasenby 2018: the forget gate alone."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, linear(f, 2 * h), linear(h, 2 * h, False)

    def forward(self, x, h):
        s, g = (self.x(x) + self.h(h)).chunk(2, 1)
        return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - 1.0)) * torch.tanh(g)


class MUT1(UserCell):
    """Jozefowicz et al. 2015."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.z, self.xr, self.hr, self.hh = linear(f, h), linear(f, h), linear(h, h), linear(h, h)
        self.xh = linear(f, h)

    def forward(self, x, h):
        z = torch.sigmoid(self.z(x))
        r = torch.sigmoid(self.xr(x) + self.hr(h))
        return torch.tanh(self.hh(r * h) + torch.tanh(self.xh(x))) * z + h * (1 - z)


class MUT2(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.z, self.up, self.hr = linear(f + h, h), linear(f, h, False), linear(h, h)
        self.xh, self.hh = linear(f, h), linear(h, h, False)

    def forward(self, x, h):
        z = torch.sigmoid(self.z(torch.cat([x, h], -1)))
        r = torch.sigmoid(self.up(x) + self.hr(h))
        return torch.tanh(self.hh(r * h) + self.xh(x)) * z + h * (1 - z)


class MUT3(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.zx, self.zh = linear(f, h), linear(h, h, False)
        self.xr, self.hr, self.xh, self.hh = linear(f, h), linear(h, h), linear(f, h), linear(h, h, False)

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
            linear(f, h // 2, False),
            linear(h // 2, h),
            linear(f, h),
            linear(h, h),
        )

    def forward(self, x, state):
        h, s = state
        s = 0.05 * self.b(x) + 0.95 * s
        return torch.sigmoid(self.p(s) + self.a(x) + self.r(h)), s


class UGRNN(UserCell):
    """Collins et al. 2017."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.both = h, linear(f + h, 2 * h)

    def forward(self, x, h):
        c, g = torch.split(self.both(torch.cat([x, h], 1)), h.size(1), dim=1)
        g = torch.sigmoid(g + 1)
        return g * h + (1 - g) * torch.tanh(c)


class IntersectionRNN(UserCell):
    """Collins et al. 2017, +RNN: also a gated output."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.all, self.skip = (h, h), linear(f + h, 4 * h), linear(f, h)

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
        self.sizes, self.x = h, linear(f, 2 * h)
        self.deep = nn.ModuleList(linear(h, 2 * h) for _ in range(3))

    def forward(self, x, s):
        for depth, layer in enumerate(self.deep):
            h, t = (layer(s) + self.x(x) if depth == 0 else layer(s)).chunk(2, 1)
            s = torch.tanh(h) * torch.sigmoid(t) + s * (1 - torch.sigmoid(t))
        return s


class BRC(UserCell):
    """Vecoven et al. 2021: bistable, neuron by neuron."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = h, linear(f, 3 * h)
        self.wa, self.wc = nn.Parameter(torch.randn(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, h):
        u, a, c = self.x(x).chunk(3, 1)
        a, c = 1 + torch.tanh(a + self.wa * h), torch.sigmoid(c + self.wc * h)
        return c * h + (1 - c) * torch.tanh(u + a * h)


class nBRC(UserCell):
    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, linear(f, 3 * h), linear(h, 2 * h, False)

    def forward(self, x, h):
        (u, a, c), (ha, hc) = self.x(x).chunk(3, 1), self.h(h).chunk(2, 1)
        a, c = 1 + torch.tanh(a + ha), torch.sigmoid(c + hc)
        return c * h + (1 - c) * torch.tanh(u + a * h)


class STAR(UserCell):
    """Turkoglu et al. 2021."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.z, self.k, self.h = h, linear(f, h), linear(f, h), linear(h, h, False)

    def forward(self, x, h):
        k = torch.sigmoid(self.k(x) + self.h(h))
        return torch.tanh((1 - k) * h + k * torch.tanh(self.z(x)))


class FastRNN(UserCell):
    """Kusupati et al. 2018."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.u = h, linear(f, h), linear(h, h, False)
        self.alpha, self.beta = nn.Parameter(torch.tensor([-1.0])), nn.Parameter(torch.tensor([2.0]))

    def forward(self, x, h):
        return self.alpha.sigmoid() * torch.tanh(self.w(x) + self.u(h)) + self.beta.sigmoid() * h


class FastGRNN(UserCell):
    """The same paper: one low-rank matrix for gate and candidate."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.u1, self.u2 = (
            h,
            linear(f, h, False),
            linear(h, 3, False),
            linear(3, h, False),
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
        self.sizes, self.x, self.u = (h, h), linear(f, 4 * h), nn.Parameter(torch.randn(4, h))

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
        self.sizes, self.x, self.skip = (h, h), linear(f, 3 * h), linear(f, h, False)
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
        self.sizes, self.z, self.n = h, linear(f, h), linear(f, h)

    def forward(self, x, h):
        return torch.lerp(h, self.n(x), torch.sigmoid(self.z(x)))


class AntisymmetricRNN(UserCell):
    """Chang et al. 2019, gated."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w = h, nn.Parameter(torch.randn(h, h) / h**0.5)
        self.v, self.vz = linear(f, h), linear(f, h)
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
        self.x = linear(f, h)

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
        self.sizes, self.all = (h, h), linear(f + 2 * h, h)

    def forward(self, x, state):
        y, z = state
        z = z + 0.1 * (torch.tanh(self.all(torch.cat([x, z, y], 1))) - 1.5 * y - 0.9 * z)
        return y + 0.1 * z, z


class UnICORNN(UserCell):
    """Rusch & Mishra 2021: undamped, independent oscillators."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.v = (h, h), linear(f, h)
        self.w, self.c = nn.Parameter(torch.rand(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, state):
        y, z = state
        z = z - 0.1 * torch.sigmoid(self.c) * (torch.tanh(self.w * y + self.v(x)) + 0.5 * y)
        return y + 0.1 * torch.sigmoid(self.c) * z, z


class expRNN(UserCell):
    """Lezcano-Casado & Martínez-Rubio 2019: an orthogonal matrix as an exponential; modrelu."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.a, self.x = h, nn.Parameter(torch.randn(h, h)), linear(f, h)
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
        self.gates, self.x = linear(f + h, 2 * h), linear(f, h)

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
        self.sizes, self.q, self.e, self.u = h, linear(f + h, h), linear(f, h), linear(f + h, h)

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
        self.ex, self.eh, self.em = linear(f, 1, False), linear(h, 1, False), linear(order, 1, False)
        self.wx, self.wh, self.wm = linear(f, h, False), linear(h, h, False), linear(order, h, False)

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
        self.gate = linear(f + h * self.order, 2 * h)

    def forward(self, x, state):
        h, c = state
        g, n = self.gate(torch.cat([x, c], 1)).chunk(2, 1)
        g = torch.sigmoid(g)
        h = g * h + (1 - g) * torch.tanh(n)
        c = torch.einsum("ij,bhj->bhi", self.A, c.view(len(x), -1, self.order)) + h.unsqueeze(-1) * self.b
        return h, c.flatten(1)


class FastWeights(UserCell):
    """Ba et al. 2016: attention to the recent past through a decaying outer-product matrix."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h, self.norm = (h, h * h), linear(f, h), linear(h, h, False), nn.LayerNorm(h)

    def forward(self, x, state):
        h, a = state
        fast = 0.95 * a.view(-1, h.size(1), h.size(1)) + 0.5 * torch.bmm(h.unsqueeze(2), h.unsqueeze(1))
        boundary = self.x(x) + self.h(h)
        s = torch.relu(boundary)
        for _ in range(2):
            s = torch.relu(self.norm(boundary + torch.bmm(fast, s.unsqueeze(2)).squeeze(2)))
        return s, fast.reshape(len(x), -1)


class LinearAttention(UserCell):
    """Katharopoulos et al. 2020 as a recurrence, two heads."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.qkv = (h, h * self.d, h), linear(f, 3 * h)

    def forward(self, x, state):
        _, s, z = state
        q, k, v = self.qkv(x).view(len(x), 3, HEADS, self.d).unbind(1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        s = s.view(len(x), HEADS, self.d, self.d) + torch.einsum("bhi,bhj->bhij", k, v)
        z = z.view(len(x), HEADS, self.d) + k
        y = torch.einsum("bhi,bhij->bhj", q, s) / (torch.einsum("bhi,bhi->bh", q, z).unsqueeze(-1).abs() + 1)
        return y.flatten(1), s.flatten(1), z.flatten(1)


class DeltaNet(UserCell):
    """Schlag et al. 2021: fast weights written by the delta rule."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes = (h, h * self.d)
        self.qkv, self.beta = linear(f, 3 * h), linear(f, HEADS)

    def forward(self, x, state):
        _, w = state
        w = w.reshape(-1, HEADS, self.d, self.d)
        q, k, v = (p.view(-1, HEADS, self.d) for p in self.qkv(x).chunk(3, -1))
        q, k = F.softmax(q, -1), F.softmax(k, -1)
        old = (w @ k.unsqueeze(-1)).squeeze(-1)
        beta = torch.sigmoid(self.beta(x))[..., None]
        w = w + (beta * (v - old)).unsqueeze(-1) * k.unsqueeze(-2)
        return torch.matmul(w, q[..., None])[..., 0].flatten(1), w.flatten(1)


class GatedDeltaNet(UserCell):
    """Yang et al. 2025: the delta rule on a decaying memory."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes = (h, h * self.d)
        self.qkv, self.ab, self.norm = linear(f, 3 * h), linear(f, 2 * HEADS), nn.RMSNorm(self.d, eps=0.1)

    def forward(self, x, state):
        s = state[1].view(-1, HEADS, self.d, self.d)
        q, k, v = F.silu(self.qkv(x)).view(-1, 3, HEADS, self.d).unbind(1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        a, b = torch.sigmoid(self.ab(x)).view(-1, 2, HEADS, 1, 1).unbind(1)
        s = a * s
        s = s + b * torch.einsum("bhv,bhk->bhvk", v - torch.einsum("bhvk,bhk->bhv", s, k), k)
        return self.norm(torch.einsum("bhvk,bhk->bhv", s, q)).flatten(1), s.flatten(1)


class GatedLinearAttention(UserCell):
    """Yang et al. 2024: a decay for each key."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.qkvg, self.out = (h, h * self.d), linear(f, 4 * h), linear(f, h)

    def forward(self, x, state):
        q, k, v, g = self.qkvg(x).view(-1, 4, HEADS, self.d).unbind(1)
        decay = torch.exp(F.logsigmoid(g) / 4)
        s = state[1].view(-1, HEADS, self.d, self.d) * decay[..., None] + k[..., None] * v[..., None, :]
        y = (q[..., None, :] @ s).squeeze(-2) / math.sqrt(self.d)
        return F.silu(self.out(x)) * y.flatten(1), s.flatten(1)


class RetNet(UserCell):
    """Sun et al. 2023, the recurrent form: a fixed decay for each head, a group norm."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.qkv, self.norm = (h, h * self.d), linear(f, 3 * h), nn.GroupNorm(HEADS, h)
        self.register_buffer("gamma", 1 - 2.0 ** (-1 - torch.arange(HEADS)).float())

    def forward(self, x, state):
        q, k, v = self.qkv(x).view(-1, 3, HEADS, self.d).unbind(1)
        s = self.gamma.view(HEADS, 1, 1) * state[1].view(-1, HEADS, self.d, self.d) + torch.einsum(
            "bhk,bhv->bhkv", k * self.d**-0.5, v
        )
        return self.norm(torch.einsum("bhk,bhkv->bhv", q, s).flatten(1)), s.flatten(1)


class RWKV(UserCell):
    """Peng et al. 2023, time mixing, with the running maximum that keeps exponentials small."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, h, h, h, f)
        self.mix = nn.Parameter(torch.rand(3, f))
        self.k, self.v, self.r, self.out = (linear(n, h, False) for n in (f, f, f, h))
        self.decay, self.first = nn.Parameter(torch.randn(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, state):
        _, num, den, top, before = state
        k, v, r = (m(x * p + before * (1 - p)) for m, p in zip((self.k, self.v, self.r), self.mix))
        largest = torch.maximum(top, k + self.first)
        a, b = torch.exp(top - largest), torch.exp(k + self.first - largest)
        wkv = (a * num + b * v) / (a * den.abs() + b)
        kept = top - torch.exp(self.decay)
        top = torch.maximum(kept, k)
        a, b = torch.exp(kept - top), torch.exp(k - top)
        return self.out(torch.sigmoid(r) * wkv), a * num + b * v, a * den + b, top, x


class RWKV5(UserCell):
    """Peng et al. 2024 (Eagle): a matrix for each head."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.rkvg = (h, h * self.d), linear(f, 4 * h)
        self.w, self.u = nn.Parameter(torch.randn(HEADS, self.d)), nn.Parameter(torch.randn(HEADS, self.d))
        self.norm = nn.GroupNorm(HEADS, h)

    def forward(self, x, state):
        r, k, v, g = self.rkvg(x).view(-1, 4, HEADS, self.d).unbind(1)
        s = state[1].view(-1, HEADS, self.d, self.d)
        kv = k.unsqueeze(-1) * v.unsqueeze(-2)
        y = torch.einsum("bhk,bhkv->bhv", r, s + self.u[:, :, None] * kv)
        s = torch.exp(-torch.exp(self.w)).unsqueeze(-1) * s + kv
        return self.norm(y.flatten(1)) * F.silu(g.flatten(1)), s.flatten(1)


class Mamba(UserCell):
    """Gu & Dao 2023: a selective state space of order 4 for each unit, one step."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.n = 4
        self.sizes = (h, h * self.n)
        self.inner, self.bc, self.dt = linear(f, 2 * h), linear(h, 2 * self.n, False), linear(h, h)
        self.log_a = nn.Parameter(torch.log(torch.arange(1.0, self.n + 1)).repeat(h, 1))
        self.skip = nn.Parameter(torch.ones(h))

    def forward(self, x, state):
        u, z = self.inner(x).chunk(2, 1)
        u = F.silu(u)
        b, c = self.bc(u).split(self.n, dim=-1)
        dt = F.softplus(self.dt(u))
        s = state[1].view(-1, u.size(1), self.n)
        s = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.log_a)) * s + (dt * u).unsqueeze(-1) * b.unsqueeze(1)
        y = (s * c.unsqueeze(1)).sum(-1) + self.skip * u
        return y * F.silu(z), s.flatten(1)


class LRU(UserCell):
    """Orvieto et al. 2023: complex diagonal, as real and imaginary parts."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, 2 * h)
        self.nu, self.theta = nn.Parameter(torch.rand(h)), nn.Parameter(torch.rand(h))
        self.b, self.c, self.d = linear(f, 2 * h, False), linear(2 * h, h, False), linear(f, h)

    def forward(self, x, state):
        re, im = state[1].view(-1, 2, self.nu.numel()).unbind(1)
        size = torch.exp(-torch.exp(self.nu))
        a, b = size * torch.cos(self.theta), size * torch.sin(self.theta)
        u_re, u_im = self.b(x).chunk(2, 1)
        gain = torch.sqrt(1 - size**2)
        new = torch.stack([a * re - b * im + gain * u_re, b * re + a * im + gain * u_im], dim=1).flatten(1)
        return F.gelu(self.c(new)) + self.d(x), new


class MLSTM(UserCell):
    """Beck et al. 2024: matrix memory by heads, exponential gates with a stabiliser."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes = (h, h * self.d, h, HEADS)
        self.qkv, self.gates, self.out = linear(f, 3 * h), linear(f, 2 * HEADS), linear(f, h)

    def forward(self, x, state):
        _, c, n, m = state
        c, n = c.view(-1, HEADS, self.d, self.d), n.view(-1, HEADS, self.d)
        q, k, v = self.qkv(x).view(-1, 3, HEADS, self.d).unbind(1)
        k = k / math.sqrt(self.d)
        i, f = self.gates(x).chunk(2, 1)
        kept = F.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m).unsqueeze(-1), torch.exp(kept - m).unsqueeze(-1)
        c = f.unsqueeze(-1) * c + i.unsqueeze(-1) * (v.unsqueeze(-1) @ k.unsqueeze(-2))
        n = f * n + i * k
        low = torch.maximum((n * q).sum(-1).abs(), torch.exp(-m)).unsqueeze(-1)
        y = (c @ q.unsqueeze(-1)).squeeze(-1) / low
        return torch.sigmoid(self.out(x)) * y.flatten(1), c.flatten(1), n.flatten(1), m


class HeadedSLSTM(UserCell):
    """Beck et al. 2024: scalar memory, recurrent weights block-diagonal by heads, group norm."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.x = (h, h, h, h), linear(f, 4 * h)
        self.r = nn.Parameter(torch.randn(4, HEADS, self.d, self.d) / self.d**0.5)
        self.norm = nn.GroupNorm(HEADS, h)

    def forward(self, x, state):
        h, c, n, m = state
        recurrent = torch.einsum("bhd,ghde->bghe", h.view(-1, HEADS, self.d), self.r)
        i, f, z, o = (self.x(x) + recurrent.flatten(1)).chunk(4, 1)
        kept = F.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c, n = f * c + i * torch.tanh(z), f * n.abs() + i + 1e-3
        return self.norm(torch.sigmoid(o) * c / n), c, n, m


class NTM(UserCell):
    """Graves et al. 2014, the memory's part: content and location addressing, erase and add, one head."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.slots, self.size = 5, 3
        self.sizes = (h, self.slots * self.size, self.slots, self.size)
        self.controller = nn.GRUCell(f + self.size, h)
        self.head = linear(h, 3 * self.size + 1 + 1 + 3 + 1)

    def forward(self, x, state):
        h, memory, w, read = state
        memory = memory.view(-1, self.slots, self.size)
        h = self.controller(torch.cat([x, read], 1), h)
        k, e, a, beta, g, s, gamma = self.head(h).split([self.size] * 3 + [1, 1, 3, 1], dim=1)
        similar = torch.bmm(memory, k.tanh().unsqueeze(2)).squeeze(2)
        similar = similar / (memory.norm(dim=2) * k.tanh().norm(dim=1, keepdim=True) + 1e-3)
        content = F.softmax(F.softplus(beta) * similar, dim=1)
        g = torch.sigmoid(g)
        w = g * content + (1 - g) * torch.softmax(w, 1)
        s = F.softmax(s, dim=1)
        w = s[:, :1] * w.roll(1, 1) + s[:, 1:2] * w + s[:, 2:] * w.roll(-1, 1)
        sharp = torch.exp((1 + F.softplus(gamma)) * torch.log(w + 1e-6))
        w = sharp / sharp.sum(1, keepdim=True)
        memory = memory * (1 - w.unsqueeze(2) * torch.sigmoid(e).unsqueeze(1)) + w.unsqueeze(2) * a.unsqueeze(
            1
        )
        return h, memory.flatten(1), w, torch.einsum("bn,bnm->bm", w, memory)


class StackRNN(UserCell):
    """Joulin & Mikolov 2015: a stack of depth 4 of vectors of 2 numbers, pushed and popped by degrees."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, 8)
        self.x, self.top, self.act, self.push = linear(f + h, h), linear(2, h), linear(h, 2), linear(h, 2)

    def forward(self, x, state):
        h, stack = state
        stack = stack.view(-1, 4, 2)
        h = torch.sigmoid(self.x(torch.cat([x, h], 1)) + self.top(stack[:, 0]))
        push, pop = torch.softmax(self.act(h), dim=1).unsqueeze(2).split(1, dim=1)
        pushed = torch.cat([torch.sigmoid(self.push(h)).unsqueeze(1), stack[:, :-1]], dim=1)
        popped = F.pad(stack[:, 1:], (0, 0, 0, 1))
        return h, (push * pushed + pop * popped).flatten(1)


class RelationalMemory(UserCell):
    """Santoro et al. 2018: slots that attend to each other and to the input."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.qkv = h, linear(f, h // 4), linear(h // 4, 3 * h // 4)
        self.gate, self.norm = linear(h // 4, 2), nn.LayerNorm(h // 4)

    def forward(self, x, m):
        m = m.view(len(x), 4, -1)
        u = self.x(x).unsqueeze(1)
        q, k, v = self.qkv(torch.cat([m, u], 1)).chunk(3, -1)
        seen = self.norm(m + F.softmax(q[:, :4] @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v)
        i, f = torch.sigmoid(self.gate(m) + self.gate(u)).split(1, -1)
        return (f * m + i * torch.tanh(seen)).flatten(1)


class AttentiveMemory(UserCell):
    """Slots read by torch's own attention."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.q, self.new = (h, 3 * h), linear(f + h, h), linear(f + h, h)

    def forward(self, x, state):
        h, slots = state
        both = torch.cat([x, h], 1)
        keep = slots.view(len(x), 3, -1)
        slots = torch.cat([self.new(both).unsqueeze(1), keep[:, :-1]], dim=1)
        q = self.q(both).view(len(x), 1, HEADS, -1).transpose(1, 2)
        k = slots.view(len(x), 3, HEADS, -1).transpose(1, 2)
        read = F.scaled_dot_product_attention(q, k, k)
        return torch.tanh(read.transpose(1, 2).flatten(1)), slots.flatten(1)


class ConvLSTM(UserCell):
    """Shi et al. 2015, in one dimension: two channels in, H / 4 channels of 4 places."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.places = (h, h), 4
        self.lift, self.conv = linear(f, 2 * self.places), nn.Conv1d(2 + h // 4, h, 3, padding=1)

    def forward(self, x, state):
        h, c = (s.view(len(x), -1, self.places) for s in state)
        gates = self.conv(torch.cat([self.lift(x).view(len(x), 2, self.places), h], dim=1))
        i, f, o, g = torch.chunk(gates, 4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h.flatten(1), c.flatten(1)


class ConvGRU(UserCell):
    """Ballas et al. 2016, in two dimensions: H / 4 channels of 2 x 2 places."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.lift = h, linear(f, h)
        self.gates, self.new = (
            nn.Conv2d(h // 2, h // 2, 3, padding=1),
            nn.Conv2d(h // 2, h // 4, 3, padding=1),
        )

    def forward(self, x, h):
        u, h = (v.reshape(len(x), -1, 2, 2) for v in (self.lift(x), h))
        r, z = torch.sigmoid(self.gates(torch.cat([u, h], 1))).chunk(2, 1)
        n = torch.tanh(self.new(torch.cat([u, r * h], 1)))
        return ((1 - z) * n + z * h).flatten(1)


class MultiplicativeLSTM(UserCell):
    """Krause et al. 2016."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.mx, self.mh = (h, h), linear(f, h, False), linear(h, h, False)
        self.x, self.m = linear(f, 4 * h), linear(h, 4 * h, False)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.x(x) + self.m(self.mx(x) * self.mh(h))).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class MultiplicativeIntegration(UserCell):
    """Wu et al. 2016."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, linear(f, h, False), linear(h, h, False)
        self.a, self.b1, self.b2, self.b = (nn.Parameter(torch.rand(h)) for _ in range(4))

    def forward(self, x, h):
        wx, uh = self.x(x), self.h(h)
        return torch.tanh(self.a * wx * uh + self.b1 * uh + self.b2 * wx + self.b)


class SecondOrder(UserCell):
    """Goudreau et al. 1994: the input chooses the transition, through a tensor."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.both = h, nn.Bilinear(f, h, h)

    def forward(self, x, h):
        return torch.sigmoid(self.both(x, h))


class HyperLSTM(UserCell):
    """Ha et al. 2017, in the small: a second network scales the gates."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, h, h // 2)
        self.hyper = nn.RNNCell(f + h, h // 2)
        self.x, self.h, self.scale = linear(f, 4 * h), linear(h, 4 * h), linear(h // 2, 8 * h)

    def forward(self, x, state):
        h, c, s = state
        s = self.hyper(torch.cat([x, h], 1), s)
        dx, dh = self.scale(s).chunk(2, 1)
        i, f, g, o = (dx * self.x(x) + dh * self.h(h)).view(len(x), 4, -1).unbind(1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c, s


class OrderedNeurons(UserCell):
    """Shen et al. 2019: gates that are cumulative softmaxes over groups of units."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.groups = h // 4
        self.sizes, self.all = (h, h), linear(f + h, 4 * h + 2 * self.groups)

    def forward(self, x, state):
        h, c = state
        gates = self.all(torch.cat([x, h], 1))
        first, last = (
            torch.softmax(g, -1).cumsum(-1).unsqueeze(-1) for g in gates[:, : 2 * self.groups].chunk(2, 1)
        )
        last = 1 - last
        i, f, o, g = gates[:, 2 * self.groups :].view(len(x), 4, self.groups, -1).unbind(1)
        both = first * last
        f, i = f.sigmoid() * both + (first - both), i.sigmoid() * both + (last - both)
        c = f * c.view(len(x), self.groups, -1) + i * g.tanh()
        return (o.sigmoid() * c.tanh()).flatten(1), c.flatten(1)


class LiGRU(UserCell):
    """Ravanelli et al. 2018 (with layer norm in place of batch norm)."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, linear(f, 2 * h, False), linear(h, 2 * h, False)
        self.norm = nn.LayerNorm(2 * h)

    def forward(self, x, h):
        a, z = (self.norm(self.x(x)) + self.h(h)).chunk(2, 1)
        z = torch.sigmoid(z)
        return z * h + (1 - z) * torch.relu(a)


class NestedLSTM(UserCell):
    """Moniz & Krueger 2017: the content is kept by an inner LSTM."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.outer, self.inner = (h, h, h), linear(f + h, 4 * h), nn.LSTMCell(h, h)

    def forward(self, x, state):
        h, c, inner = state
        i, f, g, o = self.outer(torch.cat([x, h], 1)).chunk(4, 1)
        c, inner = self.inner(i.sigmoid() * g.tanh(), (f.sigmoid() * c, inner))
        return o.sigmoid() * c.tanh(), c, inner


class AssociativeLSTM(UserCell):
    """Danihelka et al. 2016, the core: complex keys bind contents to two redundant copies."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, 2 * h)
        self.gates, self.key, self.u = linear(f + h, h + h // 2), linear(f + h, h), linear(f + h, h)
        self.order = [list(range(h // 2)), list(reversed(range(h // 2)))]

    @staticmethod
    def bound(a: Tensor) -> Tensor:
        re, im = a.chunk(2, 1)
        d = torch.sqrt(re * re + im * im + 1.0)
        return torch.cat([re / d, im / d], 1)

    @staticmethod
    def times(a: Tensor, b: Tensor) -> Tensor:
        (ar, ai), (br, bi) = a.chunk(2, -1), b.chunk(2, -1)
        return torch.cat([ar * br - ai * bi, ar * bi + ai * br], -1)

    def forward(self, x, state):
        h, c = state
        both = torch.cat([x, h], 1)
        i, f, o = self.gates(both).sigmoid().chunk(3, 1)
        key, u = self.bound(self.key(both)), self.bound(self.u(both))
        half = key.shape[1] // 2
        keys = torch.stack([key.view(-1, 2, half)[:, :, p].flatten(1) for p in self.order], 1)
        c = f.repeat(1, 2).unsqueeze(1) * c.view(len(x), 2, -1) + self.times(
            keys, (i.repeat(1, 2) * u).unsqueeze(1).expand(-1, 2, -1)
        )
        sign = torch.cat([x.new_ones(half), -x.new_ones(half)])
        return o.repeat(1, 2) * self.bound(self.times(keys * sign, c).mean(1)), c.flatten(1)


class GRUODE(UserCell):
    """De Brouwer et al. 2019: between observations an Euler step of an equation; the last column is the time gone."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.z, self.n, self.update = h, linear(h, h), linear(h, h), nn.GRUCell(f - 1, h)

    def forward(self, x, h):
        x, dt = x[:, :-1], x[:, -1:].abs()
        z = torch.sigmoid(self.z(h))
        h = h + 0.1 * dt * (1 - z) * (torch.tanh(self.n(z * h)) - h)
        return self.update(x, h)


class TimeAwareLSTM(UserCell):
    """Baytas et al. 2017: short-term content fades with the time gone (the last column)."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.d, self.cell = (h, h), linear(h, h), nn.LSTMCell(f - 1, h)

    def forward(self, x, state):
        h, c = state
        x, t = x.tensor_split([x.shape[1] - 1], dim=1)
        short = torch.tanh(self.d(c))
        c = c - short + short / torch.log(math.e + t.square())
        return self.cell(x, (h, c))


class LTC(UserCell):
    """Hasani et al. 2021: a liquid time constant, three steps of the fused solver, synapse by synapse."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = h
        self.mu, self.sigma, self.w, self.e = (nn.Parameter(torch.randn(f + h, h)) for _ in range(4))
        self.leak, self.v_leak = nn.Parameter(torch.rand(h)), nn.Parameter(torch.randn(h))

    def forward(self, x, v):
        for _ in range(3):
            pre = torch.cat([x, v], 1).unsqueeze(-1)
            act = F.softplus(self.w) * torch.sigmoid(self.sigma * (pre - self.mu))
            top = 3.0 * v + F.softplus(self.leak) * self.v_leak + (act * torch.tanh(self.e)).sum(1)
            v = top / (3.0 + F.softplus(self.leak) + act.sum(dim=1) + 1e-8)
        return v


class CfC(UserCell):
    """Hasani et al. 2022: the closed form; the last column is the time gone."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.backbone = h, linear(f - 1 + h, h + 2)
        self.ff1, self.ff2, self.ta, self.tb = (linear(h + 2, h) for _ in range(4))

    def forward(self, x, h):
        t = x[:, -1:]
        b = 1.7159 * torch.tanh(0.666 * self.backbone(torch.cat([x[:, :-1], h], 1)))
        gate = torch.sigmoid(self.ta(b) * t + self.tb(b))
        return torch.tanh(self.ff1(b)) * (1.0 - gate) + gate * torch.tanh(self.ff2(b))


class Mogrifier(UserCell):
    """Melis et al. 2020: input and state gate each other before the step."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell = (h, h), nn.LSTMCell(f, h)
        self.q = nn.ModuleList(linear(h, f) for _ in range(3))
        self.r = nn.ModuleList(linear(f, h) for _ in range(2))

    def forward(self, x, state):
        h, c = state
        for k in range(5):
            if k % 2 == 0:
                x = (2 * torch.sigmoid(self.q[k // 2](h))) * x
            else:
                h = (2 * torch.sigmoid(self.r[k // 2](x))) * h
        return self.cell(x, (h, c))


class TestTimeTraining(UserCell):
    """Sun et al. 2024, TTT-Linear: the state is a linear model that takes a gradient step at each token."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes, self.qkv, self.rate = (h, h * self.d), linear(f, 3 * h), linear(f, HEADS)

    def forward(self, x, state):
        q, k, v = self.qkv(x).view(-1, 3, HEADS, self.d).unbind(1)
        w = state[1].view(-1, HEADS, self.d, self.d)
        error = F.layer_norm((k.unsqueeze(-2) @ w).squeeze(-2), (self.d,), eps=1e-2) - (v - k)
        w = w - torch.sigmoid(self.rate(x))[..., None, None] * torch.einsum("bhi,bhj->bhij", k, error)
        return (q + torch.einsum("bhi,bhij->bhj", q, w)).flatten(1), w.flatten(1)


class InPlaceLSTM(UserCell):
    """An LSTM by somebody who saves memory."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = (h, h), linear(f, 4 * h), linear(h, 4 * h)

    def forward(self, x, state):
        h, c = state
        gates = self.x(x)
        gates += self.h(h)
        size = h.shape[1]
        new = torch.zeros_like(c)
        new += torch.sigmoid(gates[:, size : 2 * size]) * c
        new.addcmul_(torch.sigmoid(gates[:, :size]), torch.tanh(gates[:, 2 * size : 3 * size]))
        return gates[:, 3 * size :].sigmoid() * new.tanh(), new


class Blocks(UserCell):
    """Goyal et al. 2021 (RIMs), in the small: modules with weights of their own, the most relevant ones move."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.n = h, 4
        d = h // self.n
        self.x, self.h = nn.Parameter(torch.randn(self.n, f, d)), nn.Parameter(torch.randn(self.n, d, d))
        self.score = nn.Parameter(torch.randn(self.n, d))

    def forward(self, x, h):
        h = h.view(len(x), self.n, -1)
        new = torch.tanh(torch.einsum("bf,nfd->bnd", x, self.x) + torch.einsum("bne,ned->bnd", h, self.h))
        score = (new * self.score).sum(-1)
        share = torch.sigmoid(4 * (score - score.mean(1, keepdim=True))).unsqueeze(-1)
        return torch.where(share > 0.05, share * new + (1 - share) * h, h).flatten(1)


CELLS: list[Callable[[int, int], nn.Module]] = [
    made
    for made in list(globals().values())
    if isinstance(made, type) and issubclass(made, UserCell) and made is not UserCell
]
