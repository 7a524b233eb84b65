"""torch.nn's recurrent layers, run by our engine: the same arguments, calls, results and state_dict."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from unspool.cells import GRUCell, LSTMCell, RNNCell
from unspool.engine import numbers
from unspool.engine.dispatch import Direction, choose, refuse_script, run
from unspool.engine.frozen import FORMS, Frozen
from unspool.engine.ready import Ready, calls_can_be_ready, viewable
from unspool.errors import InputError, bad_parameter, check_choice, described
from unspool.nn.layout import as_leaf, check_can_freeze, check_layout, to_ragged
from unspool.nn.like_torch import LikeTorch
from unspool.ragged import Ragged


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


@lru_cache(maxsize=256)
def _names(cell: nn.Module) -> tuple[str, ...]:
    """The names of a template's weights, which never change."""
    return tuple(name for name, _ in cell.named_parameters())


class _Layers(LikeTorch):
    """What the three layers share. Also takes and returns a `Ragged`; sequences of length 0 keep their state.

    Under `torch.autocast` the native engine computes and returns float32, where torch.nn's layers return bfloat16.
    """

    frozen: list[Frozen] | None = None
    __prepare_scriptable__ = refuse_script

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(mode, *args, **kwargs)
        self._find_cells()

    def freeze(self, weights: str = "float32") -> Any:
        """A copy for prediction, its weights laid out once in the form `weights`: see `Recurrent.freeze`."""
        check_choice(type(self).__name__, "weights", weights, list(FORMS))
        check_can_freeze(self)
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
        self.__dict__["_ready"] = None

    def _cell(self, layer: int) -> nn.Module:
        return self.__dict__["_cells"][layer]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        if calls_can_be_ready():
            found = self._as_before(input, hx)
            return self._closely(input, hx, True) if found is None else found
        return self._closely(input, hx, False)

    def _as_before(self, input: Any, hx: Any) -> tuple[Any, Any] | None:
        """The results, by calls that are ready; None where something is not as it was: then look at everything."""
        known: list[Ready] | None = self.__dict__["_ready"]
        if known is None:
            return None
        settings = self._settings()
        if not all(ready.holds(settings) for ready in known):
            self.__dict__["_ready"] = None
            return None
        offsets, values = None, input
        if type(input) is Ragged:
            values, offsets = input.values, input._offsets
        elif not viewable(input) or input.dim() not in (2, 3) or not input.numel():
            return None
        batched = offsets is not None or input.dim() == 3
        if not batched:
            values = input.unsqueeze(0)
        elif offsets is None and not self.batch_first:
            values = input.transpose(0, 1)
        count = 2 if self.mode == "LSTM" else 1
        parts: Any = (None,) * count
        if hx is not None:
            parts = hx if count == 2 else (hx,)
            if not isinstance(parts, (tuple, list)) or len(parts) != count or not all(map(viewable, parts)):
                return None
            if not batched:
                parts = [part.unsqueeze(1) for part in parts]
        results = self._run_ready(known, values, offsets, parts)
        if results is None:
            self.__dict__["_ready"] = None
            return None
        output, *last = results
        if not batched:
            output, last = output[0], [part[:, 0] for part in last]
        elif offsets is not None:
            output = input.with_values(output)
        elif not self.batch_first:
            output = output.transpose(0, 1).contiguous()
        return output, tuple(last) if count == 2 else last[0]

    def _run_ready(
        self, known: list[Ready], values: Tensor, offsets: Tensor | None, parts: Sequence[Any]
    ) -> Sequence[Tensor] | None:
        """The output, then the final state's parts (layers * directions, B, width)."""
        own = self._parameters
        weights = [[own.get(name) for name in ready.names[0]] for ready in known]
        if len(known) == 1:
            return known[0].run(values, offsets, None, [*parts, *weights[0]])
        finals: list[Sequence[Tensor]] = []
        count = 2 if self.bidirectional else 1
        for layer, ready in enumerate(known):
            if layer and self.dropout and self.training:
                values = torch.dropout(values, self.dropout, True)
            states = [part if part is None else part[layer * count : (layer + 1) * count] for part in parts]
            found = ready.run(values, offsets, None, [*states, *weights[layer]])
            if found is None:
                return None
            values, *last = found
            finals.append(last)
        return values, *(torch.cat(part) for part in zip(*finals))

    def _settings(self) -> Any:
        """What calls are made ready for."""
        return self.num_layers, self.bidirectional, self.mode, self.__dict__["_cells"], self.frozen

    def _make_ready(self, values: Tensor, given: tuple[Tensor, ...]) -> list[Ready] | None:
        """A layer's calls, after they ran; None where they are not all the native engine's, on weights of its own."""
        kind: Any = type(self)
        if self.frozen is not None or any(getattr(kind, name) is not own for name, own in _OWN.items()):
            return None
        found = []
        for layer in range(self.num_layers):
            directions = self.directions(layer)
            states = [self._state(given, layer * len(directions) + d) for d in range(len(directions))]
            size = int(self._cell(layer).input_size)  # type: ignore[arg-type]
            if choose(directions, values.new_empty(0, size), states).engine != "native":
                return None
            ready = Ready(directions, size, states, self._settings(), stacked=True)
            suffixes = [f"_l{layer}", f"_l{layer}_reverse"]
            names = [name + suffix for suffix, names in zip(suffixes, ready.names) for name in names]
            if any(self._parameters.get(name) is None for name in names):
                return None
            ready.names = [names]
            found.append(ready)
        return found

    def _closely(self, input: Any, hx: Any, make_ready: bool) -> tuple[Any, Any]:
        """The results, by a look at everything."""
        leaf = as_leaf(self, input, hx)
        if leaf is not None:
            return leaf
        if isinstance(input, Tensor) and input.dim() not in (2, 3):
            got = f"{input.dim()}D{' tensor' if self.mode.startswith('RNN') else ''}"
            raise InputError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {got} instead")
        ragged, restore, batched = to_ragged(input, self.batch_first, type(self).__name__)
        values, offsets = ragged.values, ragged._offsets
        if self.frozen is None:
            self.check_input(values, offsets)
            values = values.to(self.weight_dtype())
        else:
            self.check_features(values, 2)
        if isinstance(input, Tensor) and not input.shape[int(self.batch_first and batched)]:
            raise InputError(
                "Expected sequence length to be larger than 0 in RNN. Give a Ragged for sequences without steps."
            )
        given = self._initial(values, ragged.batch_size, hx, batched)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                values = torch.dropout(values, self.dropout, True)
            directions = self.directions(layer)
            first = layer * len(directions)
            states = [self._state(given, first + d) for d in range(len(directions))]
            if self.frozen is None:
                values, final = run(directions, values, offsets, states)
            else:
                values, final = self.frozen[layer].run(values, offsets, states)
            finals += [f if isinstance(f, tuple) else (f,) for f in final]
        if make_ready and self.__dict__["_ready"] is None:
            self.__dict__["_ready"] = self._make_ready(values, given)
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
            for name in _names(cell):
                weight = own.get(name + suffix)
                weights[name] = self._weight(name + suffix) if weight is None else weight
            found.append(Direction(cell, bool(reverse), weights))
        return found

    def _weight(self, name: str) -> Tensor:
        """A weight that is no parameter of the layer's own: parametrised, or missing."""
        weight = getattr(self, name, None)
        if not isinstance(weight, Tensor):
            raise InputError(
                f"The weight {name!r} of {type(self).__name__} must be a tensor. Got {described(weight)}. "
                "Build the layer anew and load its state_dict, or set the weight to an nn.Parameter."
            )
        return weight

    def initial_state(self, batch_size: int) -> Any:
        """The state that a call without one starts from: zeros (layers * directions, B, width), for LSTM (h, c)."""
        given = self._initial(next(self.parameters()), batch_size, None, True)
        return given if self.mode == "LSTM" else given[0]

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why."""
        if self.frozen is not None:
            return f"native: frozen, {self.frozen[0].weights} weights"
        ragged, _, batched = to_ragged(x, self.batch_first, type(self).__name__)
        given = self._initial(ragged.values, ragged.batch_size, None, batched)
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
        parts = self._parts(hx)
        self._check_axes(parts, 3 if batched else 2)
        for k, (part, width) in enumerate(zip(parts, widths)):
            part = part if batched else part.unsqueeze(1)
            which = f"hidden[{k}]" if self.mode == "LSTM" else "hidden"
            self.check_hidden_size(part, (count, batch, width), f"Expected {which} size {{}}, got {{}}")
            widened = part.is_floating_point() and torch._C._is_any_autocast_enabled()
            if part.dtype != values.dtype and not widened:
                raise InputError(
                    "Input and hidden tensors are not the same dtype, found input tensor with "
                    f"{values.dtype} and hidden tensor with {part.dtype}"
                )
        return tuple((part if batched else part.unsqueeze(1)).to(values.dtype) for part in parts)

    def _parts(self, hx: Any) -> tuple[Tensor, ...]:
        """The tensors of a given state."""
        parts = (hx,) if self.mode != "LSTM" else tuple(hx) if isinstance(hx, (tuple, list, Tensor)) else ()
        if len(parts) != (2 if self.mode == "LSTM" else 1) or not all(isinstance(p, Tensor) for p in parts):
            expected = "a pair of tensors (h_0, c_0)" if self.mode == "LSTM" else "a tensor"
            raise InputError(
                f"The initial state of {type(self).__name__} must be {expected}. Got {described(hx)}. "
                "Leave it out for zeros."
            )
        for part in parts:
            check_layout(part, "initial state", type(self).__name__)
        return parts

    def _check_axes(self, parts: tuple[Tensor, ...], axes: int) -> None:
        if any(part.dim() != axes for part in parts):
            names, got = ("hx and cx", "({}-D, {}-D) tensors") if len(parts) == 2 else ("hx", "{}-D tensor")
            raise InputError(
                f"For {'batched' if axes == 3 else 'unbatched'} {axes}-D input, {names} should also be {axes}-D "
                f"but got {got.format(*(part.dim() for part in parts))}"
            )


# What a call looks at everything with: a class that has its own of these looks at everything each time.
_OWN = {
    name: getattr(_Layers, name)
    for name in (
        *("directions", "check_input", "check_features", "check_hidden_size", "weight_dtype"),
        *("_weight", "_cell", "_initial", "_state", "_parts", "_check_axes"),
    )
}


class LSTM(_Layers):
    """torch.nn.LSTM on our engine: the same arguments, weights and results (equations: `cells.LSTMCell`).

    input: padded (T, B, F), (B, T, F) with batch_first=True, or (T, F) unbatched; a PackedSequence; or a Ragged.
    The output is of the same kind. Raises `InputError`, a `RuntimeError` and a `ValueError`, where the input or the
    state has another shape or type.
    """

    torch_class = nn.LSTM
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, *args, **kwargs)


class GRU(_Layers):
    """torch.nn.GRU on our engine; see `LSTM` (equations: `cells.GRUCell` with reset_after=True)."""

    torch_class = nn.GRU

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        if "proj_size" in kwargs:
            bad_parameter("GRU", "proj_size", "left out: only an LSTM has a projection", kwargs["proj_size"])
        super().__init__("GRU", input_size, hidden_size, num_layers, *args, **kwargs)


class RNN(_Layers):
    """torch.nn.RNN on our engine; see `LSTM` (equations: `cells.RNNCell`). `nonlinearity`: "tanh" or "relu"."""

    torch_class = nn.RNN

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
