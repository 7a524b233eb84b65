"""The registered cells, forms of them that are equations of their own, and three that the library does not have:
a nested state, a tensor state, uncommon operations."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unspool import cells
from unspool.nn.noise import Zoneout


class NestedMemory(nn.Module):
    """State (h (H), (slow (H + 3), (clock (2)))): three widths, nested, each part fed by the others."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.write, self.read = (
            nn.Linear(hidden_size, hidden_size + 3),
            nn.Linear(hidden_size + 3, hidden_size),
        )
        self.tick = nn.Linear(input_size + 2, 2)

    def initial_state(self, batch_size: int) -> tuple:
        like = self.x.weight
        h, slow, clock = (like.new_zeros(batch_size, w) for w in (self.hidden_size, self.hidden_size + 3, 2))
        return h, (slow, (clock,))

    def forward(self, x: Tensor, state: tuple) -> tuple:
        h, (slow, (clock,)) = state
        clock = torch.sigmoid(self.tick(torch.cat([x, clock], dim=1)))
        slow = slow + clock[:, :1] * (torch.tanh(self.write(h)) - slow)
        return torch.tanh(self.x(x) + self.h(h) + clock[:, 1:] * self.read(slow)), (slow, (clock,))


class FastDecay(nn.Module):
    """State: one tensor. Each unit forgets at a rate of its own, faster where the input says so."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.rate, self.drive = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)
        self.mix = nn.Linear(hidden_size, hidden_size, bias=False)
        self.log_time = nn.Parameter(torch.linspace(-1.0, 2.0, hidden_size))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.log_time.new_zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        keep = torch.exp(-F.softplus(self.rate(x)) * torch.exp(-self.log_time))
        return keep * h + (1 - keep) * torch.tanh(self.drive(x) + self.mix(h))


class Competition(nn.Module):
    """Softmax, log-softmax, erf, log1p, std, lerp, where and clamp; the input reaches the state unweighted, too."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        h = self.x.weight.new_zeros(batch_size, self.hidden_size)
        return h, h.clone()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, trace = state
        drive = self.x(x) + self.h(h)
        share = torch.softmax(drive, dim=1) + 0.05 * F.log_softmax(trace, dim=1)
        spread = torch.sqrt(x.square().mean(dim=1, keepdim=True) + 0.1)
        new = torch.where(x[:, :1] > 0, torch.erf(share + 0.1 * drive), torch.log1p(drive.square()) * spread)
        trace = torch.lerp(trace, self.norm(new), 0.25)
        return (0.7 * h + 0.3 * new + 0.1 * trace).clamp(-3.0, 3.0), trace


def stacked(input_size: int, hidden_size: int) -> nn.Module:
    """A stack as one cell: a GRU two units wider below a cell with a nested state."""
    below = cells.GRUCell(input_size, hidden_size + 2)
    return cells.StackedCell([below, NestedMemory(hidden_size + 2, hidden_size)])


def projected(input_size: int, hidden_size: int) -> nn.Module:
    return cells.LSTMCell(input_size, hidden_size, proj_size=hidden_size // 2)


def zoned_out(input_size: int, hidden_size: int) -> nn.Module:
    """What a layer with zoneout runs in evaluation."""
    return Zoneout(cells.LSTMCell(input_size, hidden_size), (0.1, 0.5))


CELLS: dict[str, Callable[..., nn.Module]] = {
    **cells.registry,
    "gru_of_2014": functools.partial(cells.GRUCell, reset_after=False),
    "relu_rnn": functools.partial(cells.RNNCell, nonlinearity="relu"),
    "projected_lstm": projected,
    "zoned_out_lstm": zoned_out,
    "nested_memory": NestedMemory,
    "fast_decay": FastDecay,
    "competition": Competition,
    "stacked": stacked,
}
