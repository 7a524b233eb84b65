"""Published cells that spike, skip, wait, filter or impute, as a user would write them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .user_cells import UserCell


class Spike(torch.autograd.Function):
    """A step, with the gradient of a triangle."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        out = torch.zeros_like(v)
        out[v > 0] = 1.0
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return g.clone() * 0.3 * torch.max(torch.zeros_like(v), 1 - v.abs())


class LSNN(UserCell):
    """Bellec et al. 2018: spiking neurons whose threshold adapts."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.r = (h, h, h), nn.Linear(f, h, bias=False), nn.Linear(h, h, bias=False)

    def forward(self, x, state):
        z, v, a = state
        v = 0.9 * v + self.w(x) + self.r(z) - z * (1.0 + 1.8 * a)
        a = 0.95 * a + 0.05 * z
        return Spike.apply(v - 1.0 - 1.8 * a), v, a


class Synaptic(UserCell):
    """Neftci et al. 2019: a synaptic current, and a membrane that a spike resets."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.w, self.r = (h, h, h), nn.Linear(f, h), nn.Linear(h, h)

    def forward(self, x, state):
        spikes, current, membrane = state
        current = 0.8 * current + self.w(x) + self.r(spikes)
        membrane = (0.9 * membrane + current) * (1 - spikes.detach())
        return Spike.apply(membrane - 1.0), current, membrane


class Straight(torch.autograd.Function):
    """Rounded, with the gradient of the number itself."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return u.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class SkipLSTM(UserCell):
    """Campos et al. 2018: a binary gate says whether the state moves at all."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell, self.p = (h, h, 1), nn.LSTMCell(f, h), nn.Linear(h, 1)

    def forward(self, x, state):
        h, c, gathered = state
        u = Straight.apply(gathered)
        new_h, new_c = self.cell(x, (h, c))
        h, c = u * new_h + (1 - u) * h, u * new_c + (1 - u) * c
        more = torch.sigmoid(self.p(c))
        return h, c, u * more + (1 - u) * (gathered + torch.min(more, 1 - gathered))


class AdaptiveTime(UserCell):
    """Graves 2016: up to four steps of thought, halted by masks."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell, self.halt = (h, 1), nn.GRUCell(f + 1, h), nn.Linear(h, 1)

    def forward(self, x, state):
        inner = state[0]
        halted, rest, steps = (torch.zeros(len(x), 1) for _ in range(3))
        out = torch.zeros_like(inner)
        for n in range(4):
            inner = self.cell(torch.cat([x, torch.full((len(x), 1), float(n == 0))], 1), inner)
            p = torch.sigmoid(self.halt(inner))
            still = (halted < 1.0).to(x.dtype)
            last = (halted + p * still > 0.9).to(x.dtype) * still
            still = (halted + p * still <= 0.9).to(x.dtype) * still
            halted = halted + p * still
            rest = rest + last * (1 - halted)
            halted = halted + last * rest
            steps = steps + still + last
            share = p * still + last * rest
            out = inner * share + out * (1 - share)
        return out, steps + rest


class Clockwork(UserCell):
    """Koutník et al. 2014: groups of units that move every 1, 2, 4, 8 steps; slow ones do not see fast ones."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = (h, 1), nn.Linear(f, h)
        self.u = nn.Parameter(torch.randn(h, h) / h**0.5)
        periods = torch.tensor([1.0, 2.0, 4.0, 8.0]).repeat_interleave(h // 4)
        self.register_buffer("periods", periods)
        self.register_buffer("mask", (periods[:, None] >= periods).float())

    def forward(self, x, state):
        h, t = state
        new = torch.tanh(self.x(x) + h @ (self.u * self.mask))
        return torch.where(torch.remainder(t, self.periods) == 0, new, h), t + 1


class BRITS(UserCell):
    """Cao et al. 2018: missing inputs (NaN) are guessed from the state and from the other features."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell, self.past = (h, h, f), nn.LSTMCell(2 * f, h), nn.Linear(h, f)
        self.fade_h, self.fade_x, self.mix = nn.Linear(f, h), nn.Linear(f, f), nn.Linear(2 * f, f)
        self.w = nn.Parameter(torch.randn(f, f))
        self.register_buffer("others", torch.ones(f, f) - torch.eye(f))

    def forward(self, x, state):
        h, c, gone = state
        there = 1.0 - torch.isnan(x).to(x.dtype)
        x, gone = torch.nan_to_num(x), 1 + (1 - there) * gone
        h = h * torch.exp(-F.relu(self.fade_h(gone)))
        by_past = self.past(h)
        by_others = F.linear(there * x + (1 - there) * by_past, self.w * self.others)
        share = torch.sigmoid(self.mix(torch.cat([torch.exp(-F.relu(self.fade_x(gone))), there], dim=1)))
        whole = there * x + (1 - there) * (share * by_others + (1 - share) * by_past)
        return *self.cell(torch.cat([whole, there], dim=1), (h, c)), gone


class RecurrentKalman(UserCell):
    """Becker et al. 2019: a mean in two halves, and the three diagonals of its covariance."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        n = h // 2
        self.n, self.sizes, self.mean, self.noise = n, (h, n, n, n), nn.Linear(f, n), nn.Linear(f, n)
        self.bases = nn.Parameter(0.1 * torch.randn(3, h, h) + torch.eye(h))
        self.share = nn.Sequential(nn.Linear(h, 3), nn.Softmax(dim=-1))

    def forward(self, x, state):
        m, upper, lower, side = state
        n, noise = self.n, F.elu(self.noise(x)) + 1.1
        upper, lower = upper.abs() + 0.1, lower.abs() + 0.1
        gain, side_gain = upper / (upper + noise), side / (upper + noise)
        apart = self.mean(x) - m[:, :n]
        m = m + torch.cat([gain * apart, side_gain * apart], 1)
        upper, side, lower = (1 - gain) * upper, (1 - gain) * side, lower - side_gain * side
        a = (self.share(m)[:, :, None, None] * self.bases).sum(dim=1)
        m = torch.bmm(a, m[..., None]).squeeze(-1)
        a11, a12, a21, a22 = a[:, :n, :n], a[:, :n, n:], a[:, n:, :n], a[:, n:, n:]

        def spread(p, variance, q):
            return (p * variance[:, None, :] * q).sum(-1)

        new_upper = spread(a11, upper, a11) + 2 * spread(a11, side, a12) + spread(a12, lower, a12) + 0.1
        new_lower = spread(a21, upper, a21) + 2 * spread(a21, side, a22) + spread(a22, lower, a22) + 0.1
        new_side = (
            spread(a21, upper, a11)
            + spread(a22, side, a11)
            + spread(a21, side, a12)
            + spread(a22, lower, a12)
        )
        return torch.tanh(m), torch.tanh(new_upper), torch.tanh(new_lower), torch.tanh(new_side)


class WaveNetQueue(UserCell):
    """Paine et al. 2016: dilated convolutions over queues of past values."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.dilations = (1, 2, 4)
        self.x, self.sizes = nn.Linear(f, h), (h, *(d * h for d in self.dilations))
        self.convs = nn.ModuleList(nn.Conv1d(h, 2 * h, 2) for _ in self.dilations)
        self.skips = nn.ModuleList(nn.Conv1d(h, h, 1) for _ in self.dilations)

    def forward(self, x, state):
        y, out, new = self.x(x), 0, []
        for d, queue, conv, skip in zip(self.dilations, state[1:], self.convs, self.skips):
            queue = queue.view(len(x), d, -1)
            a, b = conv(torch.stack([queue[:, 0], y], dim=2)).squeeze(2).chunk(2, dim=1)
            z = torch.tanh(a) * torch.sigmoid(b)
            out = out + skip(z.unsqueeze(-1)).squeeze(-1)
            new.append(torch.cat([queue[:, 1:], y.unsqueeze(1)], 1).flatten(1))
            y = y + z
        return (F.relu(out), *new)


class LayerInside(UserCell):
    """torch.nn.LSTM itself, one step of it, as the controller of other cells is often written."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.layer = (h, h), nn.LSTM(f, h, batch_first=True)

    def forward(self, x, state):
        h, c = (part.unsqueeze(0).contiguous() for part in state)
        y, (_, c) = self.layer(x.unsqueeze(1), (h, c))
        return y[:, -1], c.squeeze(0)


class ScaledByStatistics(UserCell):
    """A state divided by its size, which has no gradient."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.all = h, nn.Linear(f + h, h)

    def forward(self, x, h):
        y = self.all(torch.cat([x, h], 1))
        with torch.no_grad():
            size = y.abs().mean(1, keepdim=True) + 1.0
        return torch.tanh(y / size)
