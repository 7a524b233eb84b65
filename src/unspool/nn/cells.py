"""torch.nn's cells, run by our engine: the same arguments, calls, results and state_dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspool import cells
from unspool.engine.dispatch import Direction, choose
from unspool.engine.step import step
from unspool.errors import InputError, described
from unspool.nn.layout import as_leaf


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
        leaf = as_leaf(self, input, hx)
        if leaf is not None:
            return leaf
        given = self._given(input, hx)
        expected = (*input.shape[:-1], self.hidden_size)
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

    def _given(self, input: Any, hx: Any) -> tuple[Tensor, ...]:
        """The parts of the state; `InputError` in torch's words where these or the input have other shapes."""
        owner, size = type(self).__name__, self.hidden_size
        if not isinstance(input, Tensor):
            raise InputError(
                f"The input of {owner} must be a tensor (B, {self.input_size}). Got {described(input)}."
            )
        rule = f"It must be (B, {self.input_size}) or ({self.input_size},). Got shape {tuple(input.shape)}."
        if input.dim() not in (1, 2):
            raise InputError(f"{owner}: Expected input to be 1D or 2D, got {input.dim()}D instead. {rule}")
        if input.shape[-1] != self.input_size:
            raise InputError(
                f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}. {rule}"
            )
        if hx is None:
            return ()
        given = (hx,) if self.parts == 1 else tuple(hx) if isinstance(hx, (tuple, list, Tensor)) else ()
        if len(given) != self.parts or not all(isinstance(part, Tensor) for part in given):
            form = "a pair of tensors (h, c)" if self.parts == 2 else "a tensor"
            raise InputError(f"The state of {owner} must be {form}. Got {described(hx)}.")
        expected = (*input.shape[:-1], size)
        rule = f"The state of {owner} must have {self.parts} part(s) of shape {expected}."
        for k, part in enumerate(given):
            if part.dim() != input.dim():
                which = f"hx[{k}]" if self.parts == 2 else "hidden"
                raise InputError(
                    f"{owner}: Expected {which} to be {input.dim()}D, got {part.dim()}D instead. {rule}"
                )
            if part.shape[-1] != size:
                raise InputError(
                    f"hidden{k} has inconsistent hidden_size: got {part.shape[-1]}, expected {size}. {rule}"
                )
            if tuple(part.shape) != expected:
                raise InputError(
                    f"Input batch size {input.shape[0]} doesn't match hidden{k} batch size {part.shape[0]}. {rule}"
                )
        return given


class LSTMCell(_Cell, nn.LSTMCell):
    """torch.nn.LSTMCell on our engine (equations: `cells.LSTMCell`).

    input (B, F) or (F,), hx = (h, c) of (B, H) or (H,), zeros by default -> (h', c').
    Raises `InputError`, a `RuntimeError` and a `ValueError`, where the input or the state has another shape.
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
