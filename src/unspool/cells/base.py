"""What every built-in cell shares: sizes, named gates, initial weights, a zero initial state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

import torch
from torch import Tensor, nn

from unspool.errors import bad_parameter, check_choice, check_float, check_int

State = Tensor | tuple
_unfilled = ContextVar("unfilled", default=False)


@contextmanager
def unfilled() -> Iterator[None]:
    """Within, cells leave their weights as they are allocated, for numbers that are loaded: what makes an orthogonal
    matrix is LAPACK, whose first call alone takes 8 MB."""
    token = _unfilled.set(True)
    try:
        yield
    finally:
        _unfilled.reset(token)


class Cell(nn.Module):
    """One step of a recurrence: `forward(x, state) -> state`.

    x is (B, F); a state is a tensor (B, H) or a tuple of tensors whose first entry is the output.
    Every built-in cell takes two keywords beside those of its own:

    gate_bias: initial biases by the name of a gate, such as {"f": 2.0}; the others start as `init` says.
    init: how the weights start, "orthogonal" (default) or "uniform"; see `reset_parameters`.

    Raises `InvalidParameterError` for sizes below 1, an unknown gate or `init`, and a `gate_bias` without biases.
    """

    #: The blocks of hidden_size rows of the weights and biases, in order.
    gates: ClassVar[tuple[str, ...]] = ()
    #: The parts of the state, in order; the first is the output.
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    #: The number of parameters with default options, in F (input_size) and H (hidden_size).
    parameter_formula: ClassVar[str] = ""
    #: Gates whose bias starts at 1: open.
    open_gates: ClassVar[tuple[str, ...]] = ()

    #: Width of each part of the state; one entry: the state is a tensor, several: a tuple.
    state_sizes: tuple[int, ...]

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias: nn.Parameter | None
    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        gate_bias: Mapping[str, float] | None = None,
        init: str = "orthogonal",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.input_size = check_int(owner, "input_size", input_size)
        self.hidden_size = check_int(owner, "hidden_size", hidden_size)
        self.state_sizes = (self.hidden_size,) * len(self.state_names)
        self.init = check_choice(owner, "init", init, ["orthogonal", "uniform"])
        self.gate_bias = {
            check_choice(owner, "gate_bias", gate, self.gates): check_float(
                owner, "gate_bias", value, -math.inf, math.inf, closed="neither"
            )
            for gate, value in (gate_bias or {}).items()
        }

    def reset_parameters(self, scheme: str | None = None) -> None:
        """Fresh weights. `scheme`: None (default) is the cell's `init`.

        "orthogonal": input weights uniform (Glorot & Bengio 2010), recurrent weights orthogonal (Saxe et al. 2014),
        biases 0, forget gates 1 (Jozefowicz et al. 2015). As in Keras, a matrix of several gates is filled as a
        whole: W_hhᵀ W_hh = 1, so that all gates together keep the norm of h.
        "uniform": all in ±1/sqrt(hidden_size), as torch.nn's layers start.
        In both, the biases of `gate_bias` are set last. Within `unfilled` nothing is set.
        """
        if _unfilled.get():
            return
        scheme = self.init if scheme is None else scheme
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
        opened = dict.fromkeys(self.open_gates, 1.0) if scheme == "orthogonal" else {}
        self._fill_gates({**opened, **self.gate_bias})

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (batch_size, width) for each part of the state."""
        weights: list[Tensor] = [*self.parameters()]
        weights = weights or [t for t in vars(self).values() if isinstance(t, Tensor)]
        parts = tuple(weights[0].new_zeros(batch_size, width) for width in self.state_sizes)
        return parts if len(parts) > 1 else parts[0]

    def _weights(self, **shapes: tuple[int, ...] | None) -> None:
        """Parameters of these shapes, not yet filled; None: the cell has no such parameter."""
        for name, shape in shapes.items():
            self.register_parameter(name, None if shape is None else nn.Parameter(torch.empty(shape)))

    def _fill_gates(self, values: Mapping[str, float]) -> None:
        """Biases that add up to `values`."""
        biases = dict(self.named_parameters())
        first = biases.get("bias_ih", biases.get("bias"))
        if first is None:
            if self.gate_bias:
                bad_parameter(
                    type(self).__name__, "gate_bias", "left out: the cell has no biases", self.gate_bias
                )
            return
        for gate, value in values.items():
            start = self.gates.index(gate) * self.hidden_size
            nn.init.constant_(first[start : start + self.hidden_size], value)
            if "bias_hh" in biases:
                nn.init.zeros_(biases["bias_hh"][start : start + self.hidden_size])

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
