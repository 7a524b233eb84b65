"""Published state spaces, linear recurrences and rotations, many of complex numbers, as a user would write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .user_cells import UserCell

HEADS = 2


class S4D(UserCell):
    """Gu et al. 2022: a diagonal state space of complex numbers, of order 3 for each unit."""

    def __init__(self, f: int, h: int, order: int = 3) -> None:
        super().__init__()
        self.order, self.sizes, self.inner = order, (h, 2 * h * order), nn.Linear(f, h)
        self.log_dt = nn.Parameter(torch.rand(h) * 2 - 3)
        self.c = nn.Parameter(torch.view_as_real(torch.randn(h, order, dtype=torch.cfloat)))
        self.log_a_real = nn.Parameter(torch.log(0.5 * torch.ones(h, order)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(order).float().repeat(h, 1))
        self.d = nn.Parameter(torch.randn(h))

    def forward(self, x, state):
        u = self.inner(x)
        z = torch.view_as_complex(state[1].view(len(x), -1, self.order, 2))
        a = -torch.exp(self.log_a_real) + 1j * self.a_imag
        step = torch.exp(a * torch.exp(self.log_dt).unsqueeze(-1))
        z = step * z + (step - 1.0) / a * u.unsqueeze(-1)
        y = 2 * (torch.view_as_complex(self.c) * z).sum(-1).real + self.d * u
        return F.gelu(y), torch.view_as_real(z).reshape(len(x), -1)


class S5(UserCell):
    """Smith et al. 2023: one state space with many inputs and outputs."""

    def __init__(self, f: int, h: int, order: int = 6) -> None:
        super().__init__()
        self.sizes = (h, order, order)
        self.real, self.imag = nn.Parameter(-torch.rand(order) - 0.1), nn.Parameter(torch.randn(order))
        self.b = nn.Parameter(0.3 * torch.randn(order, f, 2))
        self.c = nn.Parameter(0.3 * torch.randn(h, order, 2))
        self.d, self.log_step = nn.Linear(f, h, bias=False), nn.Parameter(torch.rand(order) - 2)

    def forward(self, u, state):
        eigen = torch.complex(self.real, self.imag)
        step = torch.exp(eigen * torch.exp(self.log_step))
        b = ((1 / eigen) * (step - 1))[..., None] * torch.view_as_complex(self.b)
        z = step * torch.complex(state[1], state[2]) + u.to(b.dtype) @ b.T
        y = 2 * (z @ torch.view_as_complex(self.c).T).real
        return F.gelu(y + self.d(u)), z.real, z.imag


class ComplexLRU(UserCell):
    """Orvieto et al. 2023, in complex tensors."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, h, h)
        self.nu_log, self.theta_log, self.gamma_log = (
            nn.Parameter(torch.log(torch.rand(h) + 0.1)) for _ in range(3)
        )
        self.b_re, self.b_im = (nn.Parameter(torch.randn(h, f) / f**0.5) for _ in range(2))
        self.c_re, self.c_im = (nn.Parameter(torch.randn(h, h) / h**0.5) for _ in range(2))
        self.d = nn.Parameter(torch.randn(h, f))

    def forward(self, u, state):
        h = state[1] + 1j * state[2]
        eigen = torch.exp(-torch.exp(self.nu_log) + 1j * torch.exp(self.theta_log))
        b = (self.b_re + 1j * self.b_im) * torch.exp(self.gamma_log).unsqueeze(-1)
        h = eigen * h + torch.matmul(u + 0j, b.T)
        y = torch.matmul(h, (self.c_re + 1j * self.c_im).T).real + u @ self.d.T
        return y, h.real, h.imag


class HGRN(UserCell):
    """Qin et al. 2023: a decay with a lower bound, and a turn of each complex unit."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes = (h, 2 * h)
        self.content, self.forget, self.out = nn.Linear(f, 2 * h), nn.Linear(f, h), nn.Linear(f, h)
        self.theta, self.gamma = nn.Parameter(torch.rand(h)), nn.Parameter(torch.zeros(3, h))
        self.norm = nn.LayerNorm(h)

    def forward(self, x, state):
        bound = torch.softmax(self.gamma, 0).cumsum(0)[0]
        real, imag = F.silu(self.content(x)).chunk(2, -1)
        decay = bound + (1 - bound) * torch.sigmoid(self.forget(x))
        h = torch.view_as_complex(state[1].reshape(len(x), -1, 2).contiguous())
        h = torch.polar(decay, self.theta.expand_as(decay)) * h + (1 - decay) * torch.complex(real, imag)
        return self.norm(h.real) * torch.sigmoid(self.out(x)), torch.view_as_real(h).flatten(1)


class UnitaryRNN(UserCell):
    """Arjovsky et al. 2016: phases, reflections, Fourier transforms, a permutation; modReLU."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.h, self.sizes, self.x = h, 2 * h, nn.Linear(f, 2 * h)
        self.phases, self.reflections = nn.Parameter(6 * torch.rand(3, h)), nn.Parameter(torch.randn(2, h, 2))
        self.b = nn.Parameter(torch.full((h,), 0.05))
        self.register_buffer("order", torch.randperm(h))

    @staticmethod
    def reflected(z, v):
        v = torch.view_as_complex(v)
        return z - 2 * (z @ v.conj().unsqueeze(-1)) * v / (v.abs() ** 2).sum()

    def forward(self, x, state):
        z = torch.complex(state[:, : self.h], state[:, self.h :])
        first, second, third = (torch.polar(torch.ones_like(p), p) for p in self.phases)
        z = self.reflected(torch.fft.fft(z * first, norm="ortho"), self.reflections[0])
        z = torch.fft.ifft(z[:, self.order] * second, norm="ortho")
        z = self.reflected(z, self.reflections[1]) * third + torch.complex(*self.x(x).chunk(2, 1))
        size = z.abs()
        z = z * (torch.relu(size + self.b) / (size + 1e-2))
        return torch.cat([z.real, z.imag], 1)


class EfficientUnitary(UserCell):
    """Jing et al. 2017: turns of neighbours, written into new memory, every second unit."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = h, nn.Linear(f, h)
        self.even, self.odd = nn.Parameter(torch.rand(h // 2)), nn.Parameter(torch.rand(h // 2 - 1))

    def forward(self, x, h):
        turned = torch.empty_like(h)
        c, s = self.even.cos(), self.even.sin()
        turned[:, ::2] = c * h[:, ::2] - s * h[:, 1::2]
        turned[:, 1::2] = s * h[:, ::2] + c * h[:, 1::2]
        again = turned.clone()
        c, s = self.odd.cos(), self.odd.sin()
        again[:, 1:-1:2] = c * turned[:, 1:-1:2] - s * turned[:, 2::2]
        again[:, 2::2] = s * turned[:, 1:-1:2] + c * turned[:, 2::2]
        return torch.tanh(again + self.x(x))


class HolographicMemory(UserCell):
    """Plate 1995: pairs bound by circular convolution, by Fourier transforms, in one vector."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.k, self.v, self.q = (h, h), nn.Linear(f, h), nn.Linear(f, h), nn.Linear(f + h, h)

    def forward(self, x, state):
        h, m = state
        k, v, q = (
            torch.fft.rfft(u, norm="ortho") for u in (self.k(x), self.v(x), self.q(torch.cat([x, h], 1)))
        )
        m = 0.7 * m + torch.fft.irfft(k * v, n=m.shape[1], norm="ortho")
        read = torch.fft.irfft(q.conj() * torch.fft.rfft(m, norm="ortho"), n=m.shape[1], norm="ortho")
        return torch.tanh(read), m


class StateFrequency(UserCell):
    """Hu & Qi 2017: a memory of frequencies for each unit, and the time as part of the state."""

    def __init__(self, f: int, h: int, k: int = 3) -> None:
        super().__init__()
        self.parts, self.sizes = [h, h, h, h, k], (h, h * k, h * k, 1)
        self.gates, self.mix = nn.Linear(f + h, 4 * h + k), nn.Parameter(torch.randn(k))
        self.register_buffer("omega", 2 * math.pi * torch.arange(k) / k)

    def forward(self, x, state):
        h, re, im, t = state
        t = t + 1
        i, c, o, by_state, by_frequency = self.gates(torch.cat([x, h], 1)).split(self.parts, 1)
        keep = torch.einsum("bi,bj->bij", by_state.sigmoid(), by_frequency.sigmoid())
        new, turn = (i.sigmoid() * c.tanh()).unsqueeze(2), t * self.omega
        re = keep * re.view_as(keep) + new * torch.cos(turn).unsqueeze(1)
        im = keep * im.view_as(keep) + new * torch.sin(turn).unsqueeze(1)
        size = torch.sqrt(re**2 + im**2 + 1e-2)
        return o.sigmoid() * torch.tanh(size @ self.mix), re.flatten(1), im.flatten(1), t


class QuaternionRNN(UserCell):
    """Parcollet et al. 2019: a Hamilton product."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        n = h // 4
        self.sizes, self.x = h, nn.Linear(f, h)
        self.w = nn.ParameterList([nn.Parameter(torch.randn(n, n) / n**0.5) for _ in range(4)])

    def forward(self, x, h):
        r, i, j, k = self.w
        rows = [[r, -i, -j, -k], [i, r, -k, j], [j, k, r, -i], [k, -j, i, r]]
        return torch.tanh(h @ torch.cat([torch.cat(row, 0) for row in rows], 1) + self.x(x))


class KroneckerRNN(UserCell):
    """Jose et al. 2018: a recurrent matrix that is a Kronecker product."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.sizes, self.x = h, nn.Linear(f, h)
        self.a, self.b = nn.Parameter(torch.randn(4, 4) / 2), nn.Parameter(torch.randn(h // 4, h // 4) / 2)

    def forward(self, x, h):
        return torch.tanh(self.x(x) + F.linear(h, torch.kron(self.a, self.b)))


class RWKV6(UserCell):
    """Peng et al. 2024 (Finch): mixes with the last input, and decays, by low-rank maps of the input."""

    def __init__(self, f: int, h: int, rank: int = 4) -> None:
        super().__init__()
        self.d = h // HEADS
        self.sizes = (h, h * self.d, f)
        self.mix, self.mixes = nn.Parameter(torch.rand(f)), nn.Parameter(torch.rand(5, f))
        self.a = nn.Parameter(0.3 * torch.randn(f, 5 * rank))
        self.b = nn.Parameter(0.3 * torch.randn(5, rank, f))
        self.r, self.k, self.v, self.g = (nn.Linear(f, h, bias=False) for _ in range(4))
        self.w, self.u = nn.Linear(f, h), nn.Parameter(torch.randn(HEADS, self.d))
        self.norm = nn.GroupNorm(HEADS, h, eps=0.1)

    def forward(self, x, state):
        batch, gone = len(x), state[2] - x
        low = torch.tanh((x + gone * self.mix) @ self.a).view(batch, 5, -1).transpose(0, 1)
        shifts = self.mixes.unsqueeze(1) + torch.bmm(low, self.b).view(5, batch, -1)
        w, k, v, r, g = (x + gone * m for m in shifts.unbind(0))
        r, k = self.r(r).view(batch, HEADS, 1, self.d), self.k(k).view(batch, HEADS, self.d, 1)
        kv = k @ self.v(v).view(batch, HEADS, 1, self.d)
        s = state[1].view(batch, HEADS, self.d, self.d)
        out = r @ (self.u.unsqueeze(-1) * kv + s)
        s = kv + torch.exp(-torch.exp(self.w(w))).view(batch, HEADS, self.d, 1) * s
        return self.norm(out.flatten(1)) * F.silu(self.g(g)), s.flatten(1), x


class Mamba2(UserCell):
    """Dao & Gu 2024: a convolution over a queue of inputs, written in place, and a scalar decay for each head."""

    def __init__(self, f: int, h: int) -> None:
        super().__init__()
        self.n, self.w, self.h = 4, 3, h
        self.channels = h + 2 * self.n
        self.sizes = (h, h * self.n, self.channels * self.w)
        self.inner = nn.Linear(f, h + self.channels + HEADS, bias=False)
        self.conv = nn.Conv1d(self.channels, self.channels, self.w, groups=self.channels)
        self.a_log, self.d = (
            nn.Parameter(torch.log(torch.arange(1.0, 1 + HEADS))),
            nn.Parameter(torch.ones(HEADS)),
        )
        self.norm = nn.RMSNorm(h, eps=0.1)

    def forward(self, x, state):
        _, s, queue = state
        z, u, dt = torch.split(self.inner(x), [self.h, self.channels, HEADS], dim=-1)
        queue = torch.roll(queue.view(-1, self.channels, self.w), shifts=-1, dims=-1)
        queue[:, :, -1] = u
        u = F.silu(torch.sum(queue * self.conv.weight.squeeze(1), dim=-1) + self.conv.bias)
        u, b, c = torch.split(u, [self.h, self.n, self.n], dim=-1)
        dt, u = F.softplus(dt), u.reshape(len(x), HEADS, -1)
        s = s.view(len(x), HEADS, -1, self.n) * torch.exp(dt * -torch.exp(self.a_log))[:, :, None, None]
        s = s + torch.einsum("bh,bn,bhp->bhpn", dt, b, u)
        y = torch.einsum("bhpn,bn->bhp", s, c) + self.d[:, None] * u
        return self.norm(y.reshape(len(x), -1) * F.silu(z)), s.flatten(1), queue.flatten(1)
