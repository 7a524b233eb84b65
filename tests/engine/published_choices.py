"""Published cells that choose by values: experts, codes, slots of a memory, winners, as a user would write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .user_cells import UserCell

HEADS = 2


class Experts(UserCell):
    """Shazeer et al. 2017: the two best of four experts, by the softmax of their scores."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.gate = h, nn.Linear(f + h, 4)
        self.experts = nn.ModuleList(nn.Linear(f + h, h) for _ in range(4))

    def forward(self, x, h):
        z = torch.cat([x, h], -1)
        scores = self.gate(z)
        best, which = scores.topk(2, dim=-1)
        share = torch.zeros_like(scores).scatter(-1, which, best.softmax(-1))
        return torch.tanh((share.unsqueeze(-1) * torch.stack([e(z) for e in self.experts], 1)).sum(1))


class SwitchExpert(UserCell):
    """Fedus et al. 2022: the best expert alone, times its probability."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.gate = h, nn.Linear(f + h, 4)
        self.experts = nn.ModuleList(nn.Linear(f + h, h) for _ in range(4))

    def forward(self, x, h):
        z = torch.cat([x, h], -1)
        p = torch.softmax(self.gate(z), -1)
        chosen = F.one_hot(p.argmax(-1), 4).to(p.dtype) * p
        return torch.tanh(torch.einsum("be,beh->bh", chosen, torch.stack([e(z) for e in self.experts], 1)))


class RIMs(UserCell):
    """Goyal et al. 2021: modules that look away from the null input move, the others stay."""

    def __init__(self, f: int, h: int, modules: int = 4, still: int = 2) -> None:
        super().__init__()
        self.n, self.still, self.d, self.sizes = modules, still, h // modules, h
        self.key, self.value = nn.Linear(f, 8), nn.Linear(f, self.d)
        self.query = nn.Parameter(torch.randn(modules, self.d, 8))
        self.w, self.u = (nn.Parameter(0.3 * torch.randn(modules, self.d, 3 * self.d)) for _ in range(2))

    def forward(self, x, h):
        h = h.view(x.size(0), self.n, self.d)
        seen = torch.stack([x, torch.zeros_like(x)], 1)
        q = torch.matmul(h.permute(1, 0, 2), self.query).permute(1, 0, 2)
        attention = F.softmax(q @ self.key(seen).transpose(1, 2) / 8**0.5, -1)
        null = attention[:, :, 1]
        mask = torch.ones_like(null)
        mask.scatter_(1, torch.topk(null, dim=1, sorted=True, largest=True, k=self.still)[1], 0.0)
        read = attention @ self.value(seen)
        r, z, n = torch.bmm(read.transpose(0, 1), self.w).transpose(0, 1).chunk(3, 2)
        hr, hz, hn = torch.bmm(h.transpose(0, 1), self.u).transpose(0, 1).chunk(3, 2)
        new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        new = new + torch.sigmoid(z + hz) * (h - new)
        mask = mask.unsqueeze(2).detach()
        return (mask * new + (1 - mask) * h).flatten(1)


class Winners(UserCell):
    """Makhzani & Frey 2015: the largest quarter of the units, the others are 0."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.all = h, nn.Linear(f + h, h)

    def forward(self, x, h):
        a = self.all(torch.cat((x, h), 1))
        edge = a.topk(a.shape[1] // 4, 1).values[:, -1:]
        return torch.where(a >= edge, a, torch.zeros_like(a)).tanh()


class Quantised(UserCell):
    """van den Oord et al. 2017: the state as the nearest of six codes, with a gradient straight through."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.cell, self.codes = h, nn.GRUCell(f, h), nn.Embedding(6, h)

    def forward(self, x, h):
        z = self.cell(x, h)
        nearest = torch.cdist(z, self.codes.weight).argmin(1)
        return z + (self.codes(nearest) - z).detach()


class WindowAttention(UserCell):
    """Beltagy et al. 2020 as a recurrence: keys and values of the last four steps, and which there are, as a mask."""

    def __init__(self, f: int, h: int, window: int = 4) -> None:
        super().__init__()
        self.w, self.qkv, self.out = window, nn.Linear(f, 3 * h), nn.Linear(h, h)
        self.sizes = (h, window * h, window * h, window)

    def forward(self, x, state):
        _, k, v, there = state
        q, *new = self.qkv(x).chunk(3, -1)
        k, v = (
            torch.cat([old.view(len(x), self.w, -1)[:, 1:], n.unsqueeze(1)], 1) for old, n in zip((k, v), new)
        )
        there = torch.cat([there[:, 1:], torch.ones_like(there[:, :1])], 1)

        def heads(t):
            return t.view(len(x), -1, HEADS, q.shape[1] // HEADS).transpose(1, 2)

        y = F.scaled_dot_product_attention(
            heads(q.unsqueeze(1)), heads(k), heads(v), attn_mask=(there > 0.5)[:, None, None, :]
        )
        return self.out(y.transpose(1, 2).reshape(len(x), -1)), k.flatten(1), v.flatten(1), there


class HardReads(UserCell):
    """Zaremba & Sutskever 2015: one slot is read and one written, the best by score."""

    def __init__(self, f: int, h: int, slots: int = 4) -> None:
        super().__init__()
        self.n, self.sizes = slots, (h, slots * h)
        self.cell, self.read, self.write = nn.GRUCell(f + h, h), nn.Linear(h, slots), nn.Linear(h, slots)

    def forward(self, x, state):
        h, memory = state
        memory, rows = memory.view(x.size(0), self.n, -1), torch.arange(x.size(0))
        h = self.cell(torch.cat([x, memory[rows, self.read(h).argmax(-1)]], 1), h)
        memory = memory.clone()
        memory[rows, self.write(h).argmax(-1)] = h
        return h, memory.flatten(1)


class RingMemory(UserCell):
    """A ring of the last states, written at the time's place, read by attention."""

    def __init__(self, f: int, h: int, slots: int = 4) -> None:
        super().__init__()
        self.n, self.cell, self.sizes = slots, nn.GRUCell(f + h, h), (h, slots * h, 1)

    def forward(self, x, state):
        h, memory, t = state
        memory = memory.view(-1, self.n, h.shape[1])
        share = torch.softmax((memory @ h.unsqueeze(-1)).squeeze(-1), -1)
        h = self.cell(torch.cat([x, (share.unsqueeze(1) @ memory).squeeze(1)], 1), h)
        place = (t.long() % self.n).unsqueeze(-1).expand(-1, 1, h.shape[1])
        return h, memory.scatter(1, place, h.unsqueeze(1)).flatten(1), t + 1


class MessagePassing(UserCell):
    """Li et al. 2016: nodes of a graph send messages along its edges."""

    def __init__(self, f: int, h: int, nodes: int = 4) -> None:
        super().__init__()
        self.n, self.d, self.sizes = nodes, h // nodes, h
        self.register_buffer("source", torch.tensor([0, 1, 2, 3, 0, 2]))
        self.register_buffer("target", torch.tensor([1, 2, 3, 0, 2, 1]))
        self.message, self.x = nn.Linear(self.d, self.d), nn.Linear(f, h)
        self.cell = nn.GRUCell(2 * self.d, self.d)

    def forward(self, x, h):
        h, u = h.view(len(x), self.n, self.d), self.x(x).view(len(x), self.n, self.d)
        sums = torch.zeros_like(h).index_add(1, self.target, self.message(h)[:, self.source])
        new = self.cell(torch.cat([u, sums], -1).view(-1, 2 * self.d), h.reshape(-1, self.d))
        return new.view(len(x), -1)


class RecurrentTransformer(UserCell):
    """Hutchins et al. 2022, in the small: torch's encoder layer over slots and the input, and a gate."""

    def __init__(self, f: int, h: int, slots: int = 2) -> None:
        super().__init__()
        self.n, self.sizes, self.x, self.gate = slots, slots * h, nn.Linear(f, h), nn.Linear(h, h)
        self.layer = nn.TransformerEncoderLayer(h, HEADS, 2 * h, 0.0, batch_first=True, norm_first=True)

    def forward(self, x, m):
        m = m.view(len(x), self.n, -1)
        y = self.layer(torch.cat([m, self.x(x).unsqueeze(1)], dim=1))[:, : self.n]
        z = torch.sigmoid(self.gate(y))
        return (z * m + (1 - z) * y).flatten(1)


class RecurrentEntities(UserCell):
    """Henaff et al. 2017: slots with keys of their own."""

    def __init__(self, f: int, h: int, slots: int = 3) -> None:
        super().__init__()
        self.n, self.sizes, self.x, self.act = slots, slots * h, nn.Linear(f, h), nn.PReLU()
        self.keys = nn.Parameter(0.3 * torch.randn(slots, h))
        self.u, self.v, self.w = (nn.Linear(h, h, bias=False) for _ in range(3))

    def forward(self, x, m):
        m, u = m.view(len(x), self.n, -1), self.x(x).unsqueeze(1)
        g = torch.sigmoid((u * m).sum(2, True) + torch.matmul(u, self.keys.t()).transpose(1, 2))
        m = m + g * self.act(self.u(m) + self.v(self.keys) + self.w(u))
        return (m / (m.norm(p=2, dim=-1, keepdim=True) + 0.1)).flatten(1)


class NeuralMemory(UserCell):
    """Behrouz et al. 2024 (Titans), in the small: a linear memory learnt with momentum and forgetting."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.k, self.q, self.v, self.rates = (
            nn.Linear(f, 4),
            nn.Linear(f, 4),
            nn.Linear(f, h),
            nn.Linear(f, 3),
        )
        self.sizes = (h, 4 * h, 4 * h)

    def forward(self, x, state):
        m, s = (part.reshape(len(x), 4, -1) for part in state[1:])
        k, q = F.normalize(self.k(x), dim=-1, eps=0.1), F.normalize(self.q(x), dim=-1, eps=0.1)
        eta, theta, alpha = torch.sigmoid(self.rates(x)).unsqueeze(-1).unbind(1)
        surprise = torch.einsum("bk,bv->bkv", k, torch.einsum("bk,bkv->bv", k, m) - self.v(x))
        s = eta.unsqueeze(-1) * s - theta.unsqueeze(-1) * surprise
        m = (1 - alpha.unsqueeze(-1)) * m + s
        return torch.einsum("bk,bkv->bv", q, m), m.flatten(1), s.flatten(1)
