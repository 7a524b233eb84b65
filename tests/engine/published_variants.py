"""Published variants: convolutional, multiplicative, nested, continuous in time, as a user would write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .user_cells import UserCell

HEADS = 2


class ConvLSTM(UserCell):
    """Shi et al. 2015, in one dimension: two channels in, H / 4 channels of 4 places."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.places = (h, h), 4
        self.lift, self.conv = nn.Linear(f, 2 * self.places), nn.Conv1d(2 + h // 4, h, 3, padding=1)

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
        self.sizes, self.lift = h, nn.Linear(f, h)
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
        self.sizes, self.mx, self.mh = (h, h), nn.Linear(f, h, False), nn.Linear(h, h, False)
        self.x, self.m = nn.Linear(f, 4 * h), nn.Linear(h, 4 * h, False)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.x(x) + self.m(self.mx(x) * self.mh(h))).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class MultiplicativeIntegration(UserCell):
    """Wu et al. 2016."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h = h, nn.Linear(f, h, False), nn.Linear(h, h, False)
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
        self.x, self.h, self.scale = nn.Linear(f, 4 * h), nn.Linear(h, 4 * h), nn.Linear(h // 2, 8 * h)

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
        self.sizes, self.all = (h, h), nn.Linear(f + h, 4 * h + 2 * self.groups)

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
        self.sizes, self.x, self.h = h, nn.Linear(f, 2 * h, False), nn.Linear(h, 2 * h, False)
        self.norm = nn.LayerNorm(2 * h)

    def forward(self, x, h):
        a, z = (self.norm(self.x(x)) + self.h(h)).chunk(2, 1)
        z = torch.sigmoid(z)
        return z * h + (1 - z) * torch.relu(a)


class NestedLSTM(UserCell):
    """Moniz & Krueger 2017: the content is kept by an inner LSTM."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.outer, self.inner = (h, h, h), nn.Linear(f + h, 4 * h), nn.LSTMCell(h, h)

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
        self.gates, self.key, self.u = nn.Linear(f + h, h + h // 2), nn.Linear(f + h, h), nn.Linear(f + h, h)
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
        self.sizes, self.z, self.n, self.update = h, nn.Linear(h, h), nn.Linear(h, h), nn.GRUCell(f - 1, h)

    def forward(self, x, h):
        x, dt = x[:, :-1], x[:, -1:].abs()
        z = torch.sigmoid(self.z(h))
        h = h + 0.1 * dt * (1 - z) * (torch.tanh(self.n(z * h)) - h)
        return self.update(x, h)


class TimeAwareLSTM(UserCell):
    """Baytas et al. 2017: short-term content fades with the time gone (the last column)."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.d, self.cell = (h, h), nn.Linear(h, h), nn.LSTMCell(f - 1, h)

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
        self.sizes, self.backbone = h, nn.Linear(f - 1 + h, h + 2)
        self.ff1, self.ff2, self.ta, self.tb = (nn.Linear(h + 2, h) for _ in range(4))

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
        self.q = nn.ModuleList(nn.Linear(h, f) for _ in range(3))
        self.r = nn.ModuleList(nn.Linear(f, h) for _ in range(2))

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
        self.sizes, self.qkv, self.rate = (h, h * self.d), nn.Linear(f, 3 * h), nn.Linear(f, HEADS)

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
        self.sizes, self.x, self.h = (h, h), nn.Linear(f, 4 * h), nn.Linear(h, 4 * h)

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
