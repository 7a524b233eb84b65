"""torch.nn's cells, run by our engine: the same arguments, calls, results and state_dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspool import cells
from unspool.engine.dispatch import Direction, choose
from unspool.engine.step import step
from unspool.errors import DataError


class _Cell(nn.RNNCellBase):
    """What the three share. A step without gradients runs natively; one with gradients is torch's own."""

    parts = 1  # of the state

    def _twin(self) -> nn.Module:
        """Our cell of the same equations; its weights are this module's."""
        raise NotImplementedError

    @property
    def cell(self) -> Any:
        """Our cell on this module's weights: for `Recurrent`, `study.equations` and the like."""
        found = self.__dict__.get("_cell")
        if found is None:
            with torch.device("meta"):
                found = self.__dict__["_cell"] = self._twin()
            for name in set(found._parameters) - set(self._parameters):  # a projection
                found.__dict__[name] = None
            found._parameters = self._parameters
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_cell"}

    def initial_state(self, batch_size: int) -> Any:
        """Zeros (batch_size, H); for LSTM a pair of them."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return (zeros, torch.zeros_like(zeros)) if self.parts == 2 else zeros

    def explain_path(self, x: Tensor) -> str:
        """Which engine runs `self(x)` without gradients, and why. x (B, F) or (F,)."""
        rows = x.reshape(-1, self.input_size)
        return str(choose([Direction(self.cell)], rows, [self.initial_state(len(rows))]))

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """input (B, F) or (F,), hx the state, zeros by default -> the next state, as torch.nn's cell."""
        owner = type(self).__name__
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise DataError(
                f"The input of {owner} must be (B, {self.input_size}) or ({self.input_size},). "
                f"Got a tensor of shape {tuple(input.shape)}."
            )
        expected = (*input.shape[:-1], self.hidden_size)
        given = () if hx is None else tuple(hx) if self.parts == 2 else (hx,)
        if hx is not None and [tuple(part.shape) for part in given] != [expected] * self.parts:
            raise DataError(
                f"The state of {owner} must have {self.parts} part(s) of shape {expected}. "
                f"Got {[tuple(part.shape) for part in given]}."
            )
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(input, hx)
        rows = input.reshape(-1, self.input_size)
        state = [p.reshape(-1, self.hidden_size) for p in given] or [
            rows.new_zeros(len(rows), self.hidden_size) for _ in range(self.parts)
        ]
        new = step(self.cell, rows, tuple(state) if self.parts == 2 else state[0])
        if self.parts == 1:
            return new.reshape(expected)
        return tuple(part.reshape(expected) for part in new)


class LSTMCell(_Cell, nn.LSTMCell):
    """torch.nn.LSTMCell on our engine (equations: `cells.LSTMCell`).

    input (B, F) or (F,), hx = (h, c) of (B, H) or (H,), zeros by default -> (h', c').
    Raises `DataError` where the input or the state has another shape.
    """

    parts = 2

    def _twin(self) -> nn.Module:
        return cells.LSTMCell(self.input_size, self.hidden_size, self.bias)


class GRUCell(_Cell, nn.GRUCell):
    """torch.nn.GRUCell on our engine (equations: `cells.GRUCell` with reset_after=True); see `LSTMCell`."""

    def _twin(self) -> nn.Module:
        return cells.GRUCell(self.input_size, self.hidden_size, self.bias)


class RNNCell(_Cell, nn.RNNCell):
    """torch.nn.RNNCell on our engine (equations: `cells.RNNCell`); nonlinearity "tanh" or "relu"; see `LSTMCell`."""

    def _twin(self) -> nn.Module:
        return cells.RNNCell(self.input_size, self.hidden_size, self.bias, nonlinearity=self.nonlinearity)
