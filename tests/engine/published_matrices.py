"""Published cells with a matrix, a stack or rows as their memory, as a user would write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .user_cells import UserCell

HEADS = 2


class FastWeights(UserCell):
    """Ba et al. 2016: attention to the recent past through a decaying outer-product matrix."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x, self.h, self.norm = (
            (h, h * h),
            nn.Linear(f, h),
            nn.Linear(h, h, False),
            nn.LayerNorm(h),
        )

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
        self.sizes, self.qkv = (h, h * self.d, h), nn.Linear(f, 3 * h)

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
        self.qkv, self.beta = nn.Linear(f, 3 * h), nn.Linear(f, HEADS)

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
        self.qkv, self.ab, self.norm = (
            nn.Linear(f, 3 * h),
            nn.Linear(f, 2 * HEADS),
            nn.RMSNorm(self.d, eps=0.1),
        )

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
        self.sizes, self.qkvg, self.out = (h, h * self.d), nn.Linear(f, 4 * h), nn.Linear(f, h)

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
        self.sizes, self.qkv, self.norm = (h, h * self.d), nn.Linear(f, 3 * h), nn.GroupNorm(HEADS, h)
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
        self.k, self.v, self.r, self.out = (nn.Linear(n, h, False) for n in (f, f, f, h))
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
        self.sizes, self.rkvg = (h, h * self.d), nn.Linear(f, 4 * h)
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
        self.inner, self.bc, self.dt = nn.Linear(f, 2 * h), nn.Linear(h, 2 * self.n, False), nn.Linear(h, h)
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
        self.b, self.c, self.d = nn.Linear(f, 2 * h, False), nn.Linear(2 * h, h, False), nn.Linear(f, h)

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
        self.qkv, self.gates, self.out = nn.Linear(f, 3 * h), nn.Linear(f, 2 * HEADS), nn.Linear(f, h)

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
        self.sizes, self.x = (h, h, h, h), nn.Linear(f, 4 * h)
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
        self.head = nn.Linear(h, 3 * self.size + 1 + 1 + 3 + 1)

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
        self.x, self.top, self.act, self.push = (
            nn.Linear(f + h, h),
            nn.Linear(2, h),
            nn.Linear(h, 2),
            nn.Linear(h, 2),
        )

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
        self.sizes, self.x, self.qkv = h, nn.Linear(f, h // 4), nn.Linear(h // 4, 3 * h // 4)
        self.gate, self.norm = nn.Linear(h // 4, 2), nn.LayerNorm(h // 4)

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
        self.sizes, self.q, self.new = (h, 3 * h), nn.Linear(f + h, h), nn.Linear(f + h, h)

    def forward(self, x, state):
        h, slots = state
        both = torch.cat([x, h], 1)
        keep = slots.view(len(x), 3, -1)
        slots = torch.cat([self.new(both).unsqueeze(1), keep[:, :-1]], dim=1)
        q = self.q(both).view(len(x), 1, HEADS, -1).transpose(1, 2)
        k = slots.view(len(x), 3, HEADS, -1).transpose(1, 2)
        read = F.scaled_dot_product_attention(q, k, k)
        return torch.tanh(read.transpose(1, 2).flatten(1)), slots.flatten(1)
