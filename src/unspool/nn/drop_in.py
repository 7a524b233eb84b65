"""torch.nn's recurrent layers, run by our engine: the same arguments, calls, results and state_dict."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from unspool.cells import GRUCell, LSTMCell, RNNCell
from unspool.engine import numbers
from unspool.engine.dispatch import Direction, choose, run
from unspool.engine.frozen import FORMS, Frozen
from unspool.errors import DataError, bad_parameter, check_choice
from unspool.nn.layout import to_ragged


@lru_cache(maxsize=256)
def _template(mode: str, input_size: int, hidden_size: int, bias: bool, proj_size: int) -> nn.Module:
    """The cell of a layer, without data: the layer's own weights take the place of the cell's."""
    cell: nn.Module
    with torch.device("meta"):
        if mode == "LSTM":
            cell = LSTMCell(input_size, hidden_size, bias, proj_size)
        elif mode == "GRU":
            cell = GRUCell(input_size, hidden_size, bias)
        else:
            cell = RNNCell(input_size, hidden_size, bias, nonlinearity=mode.removeprefix("RNN_").lower())
    numbers.register(cell)
    return cell


class _Layers(nn.RNNBase):
    """What the three layers share. Also takes and returns a `Ragged`; sequences of length 0 keep their state."""

    frozen: list[Frozen] | None = None

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(mode, *args, **kwargs)
        self._find_cells()

    def freeze(self, weights: str = "float32") -> Any:
        """A copy for prediction, its weights laid out once in the form `weights`: see `Recurrent.freeze`."""
        check_choice(type(self).__name__, "weights", weights, list(FORMS))
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        given = twin._initial(next(twin.parameters()), 1, None, True)
        twin.frozen = []
        for layer in range(self.num_layers):
            directions = twin.directions(layer)
            width = int(twin._cell(layer).input_size)  # type: ignore[arg-type]
            frozen = Frozen(directions, weights, width)
            frozen.prepare(
                width, [self._state(given, layer * len(directions) + d) for d in range(len(directions))]
            )
            twin.frozen.append(frozen)
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._find_cells()

    def _find_cells(self) -> None:
        """One cell without data a layer; they are no submodules, so `state_dict` is torch's."""
        width = (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)
        inputs = [self.input_size, *[width] * (self.num_layers - 1)]
        cells = [_template(self.mode, n, self.hidden_size, self.bias, self.proj_size) for n in inputs]
        self.__dict__["_cells"] = tuple(cells)

    def _cell(self, layer: int) -> nn.Module:
        return self.__dict__["_cells"][layer]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        ragged, restore, batched = to_ragged(input, self.batch_first, type(self).__name__)
        values = ragged.values
        if values.dim() != 2 or values.shape[1] != self.input_size:
            raise DataError(
                f"The input of {type(self).__name__} must have {self.input_size} features. "
                f"Got values of shape {tuple(values.shape)}."
            )
        given = self._initial(values, len(ragged), hx, batched)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                values = torch.dropout(values, self.dropout, True)
            directions = self.directions(layer)
            first = layer * len(directions)
            states = [self._state(given, first + d) for d in range(len(directions))]
            if self.frozen is None:
                values, final = run(directions, values, ragged.offsets, states)
            else:
                values, final = self.frozen[layer].run(values, ragged.offsets, states)
            finals += [f if isinstance(f, tuple) else (f,) for f in final]
        last = tuple(torch.stack(p) if len(p) > 1 else p[0].unsqueeze(0) for p in zip(*finals))
        if not batched:
            last = tuple(part[:, 0] for part in last)
        return restore(ragged.with_values(values)), last if self.mode == "LSTM" else last[0]

    def directions(self, layer: int) -> list[Direction]:
        """The directions of a layer, each with the names of its weights in torch.nn."""
        cell, own = self._cell(layer), self._parameters
        found = []
        for reverse in range(2 if self.bidirectional else 1):
            suffix = f"_l{layer}{'_reverse' if reverse else ''}"
            weights = {}
            for name, _ in cell.named_parameters():
                weight = own.get(name + suffix)
                weights[name] = getattr(self, name + suffix) if weight is None else weight
            found.append(Direction(cell, bool(reverse), weights))
        return found

    def initial_state(self, batch_size: int) -> Any:
        """The state that a call without one starts from: zeros (layers * directions, B, width), for LSTM (h, c)."""
        given = self._initial(next(self.parameters()), batch_size, None, True)
        return given if self.mode == "LSTM" else given[0]

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why."""
        if self.frozen is not None:
            return f"native: frozen, {self.frozen[0].weights} weights"
        ragged, _, batched = to_ragged(x, self.batch_first, type(self).__name__)
        given = self._initial(ragged.values, len(ragged), None, batched)
        directions = self.directions(0)
        states = [self._state(given, d) for d in range(len(directions))]
        return str(choose(directions, ragged.values, states))

    def _state(self, given: tuple[Tensor, ...], at: int) -> Any:
        return tuple(part[at] for part in given) if self.mode == "LSTM" else given[0][at]

    def _initial(self, values: Tensor, batch: int, hx: Any, batched: bool) -> tuple[Tensor, ...]:
        """The initial state parts, (layers * directions, B, width) each."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        widths = [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")
        if hx is None:
            return tuple(values.new_zeros(count, batch, width) for width in widths)
        parts = tuple(hx) if self.mode == "LSTM" else (hx,)
        if not batched:
            parts = tuple(part.unsqueeze(1) for part in parts)
        expected = [(count, batch, width) for width in widths]
        if [tuple(part.shape) for part in parts] != expected:
            raise DataError(
                f"The initial state of {type(self).__name__} must have parts of shape {expected}. "
                f"Got {[tuple(part.shape) for part in parts]}."
            )
        return parts


class LSTM(_Layers):
    """torch.nn.LSTM on our engine: the same arguments, weights and results (equations: `cells.LSTMCell`).

    input: padded (T, B, F), (B, T, F) with batch_first=True, or (T, F) unbatched; a PackedSequence; or a Ragged.
    The output is of the same kind. Raises `DataError` where the input or the state has another shape.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, *args, **kwargs)


class GRU(_Layers):
    """torch.nn.GRU on our engine; see `LSTM` (equations: `cells.GRUCell` with reset_after=True)."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        if "proj_size" in kwargs:
            bad_parameter("GRU", "proj_size", "left out: only an LSTM has a projection", kwargs["proj_size"])
        super().__init__("GRU", input_size, hidden_size, num_layers, *args, **kwargs)


class RNN(_Layers):
    """torch.nn.RNN on our engine; see `LSTM` (equations: `cells.RNNCell`). `nonlinearity`: "tanh" or "relu"."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.nonlinearity = check_choice("RNN", "nonlinearity", nonlinearity, ["tanh", "relu"])
        if "proj_size" in kwargs:
            bad_parameter("RNN", "proj_size", "left out: only an LSTM has a projection", kwargs["proj_size"])
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **kwargs)
