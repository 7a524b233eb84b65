"""What every built-in cell shares: sizes, initial weights, a zero initial state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unspool.errors import check_choice, check_int

State = Tensor | tuple


class Cell(nn.Module):
    """One step of a recurrence: `forward(x, state) -> state`.

    x is (B, F); a state is a tensor (B, H) or a tuple of tensors whose first entry is the output.
    """

    #: Width of each part of the state; one entry: the state is a tensor, several: a tuple.
    state_sizes: tuple[int, ...]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = check_int(type(self).__name__, "input_size", input_size)
        self.hidden_size = check_int(type(self).__name__, "hidden_size", hidden_size)
        self.state_sizes = (self.hidden_size,)

    def reset_parameters(self, scheme: str = "orthogonal") -> None:
        """Fresh weights.

        "orthogonal" (default): input weights uniform (Glorot & Bengio 2010), recurrent weights orthogonal (Saxe
        et al. 2014), biases 0, forget gates 1 (Jozefowicz et al. 2015). "uniform": all in ±1/sqrt(hidden_size),
        as torch.nn's layers start.
        """
        check_choice(type(self).__name__, "scheme", scheme, ["orthogonal", "uniform"])
        bound = 1.0 / math.sqrt(self.hidden_size)
        for name, weight in self.named_parameters():
            if scheme == "uniform":
                nn.init.uniform_(weight, -bound, bound)
            elif weight.dim() == 1:
                nn.init.zeros_(weight)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weight)
            else:
                nn.init.orthogonal_(weight)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (batch_size, width) for each part of the state."""
        like = next(self.parameters())
        parts = tuple(like.new_zeros(batch_size, width) for width in self.state_sizes)
        return parts if len(parts) > 1 else parts[0]

    def _gate_weights(self, gates: int, bias: bool, recurrent_size: int | None = None) -> None:
        """weight_ih (gates*H, F), weight_hh (gates*H, H or recurrent_size), bias_ih, bias_hh (gates*H)."""
        rows = gates * self.hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, self.input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, recurrent_size or self.hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias else None

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
