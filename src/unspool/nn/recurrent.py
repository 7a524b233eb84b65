"""Any cell over time: one direction or both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import numbers
from unspool.engine.dispatch import ENGINES, PRECISIONS, Direction, choose, refuse_script, run
from unspool.engine.frozen import FORMS, Frozen
from unspool.engine.ready import calls_can_be_ready, viewable
from unspool.engine.step import step
from unspool.errors import DataError, bad_parameter, check_choice, described
from unspool.nn.layout import as_leaf, check_can_freeze, check_layout, to_ragged
from unspool.nn.noise import Noise, Zoneout, make_twins, with_noise
from unspool.nn.short_way import ShortWay
from unspool.state import flatten, unflatten

MERGES = ("concat", "sum", "mean", "product", None)
INITIAL_STATES = ("cell", "learned")


class Recurrent(ShortWay):
    """Run a cell over sequences, passing the state on.

    cell: any module with `forward(x, state) -> state` and `initial_state(batch_size) -> state`.
    reverse: run each sequence from its end.
    bidirectional: also run a second cell from the end; the state is then a pair (forward's, backward's). The
        second cell is `reverse_cell`, or a copy of `cell` with fresh weights (`reset_parameters`, where the cell
        has it).
    merge: what becomes of the two directions' outputs: "concat" (N, 2H), "sum", "mean" or "product" (N, H), or
        None: a pair of outputs, forward's first.
    input_dropout: probability of zeroing a feature of the input, for a whole sequence at once.
    recurrent_dropout: probability of zeroing a unit of the state where weights multiply it, for a whole sequence.
    zoneout: probability that a unit of the state keeps its value at a step; a tuple has a rate for each part of
        the state, such as (0.05, 0.5) for an LSTM's (h, c).
    weight_dropout: probability of dropping an entry of the matrices that multiply the state, drawn at each call.
        These four apply while training (zoneout in evaluation by its mean); `unspool.nn.noise` has the equations.
    initial_state: "cell": the cell's own, zeros for the built-in ones; "learned": trained, one for all sequences;
        or a callable, maybe a module, (batch_size) -> state. A state computed from context is passed at the call.
    batch_first: for padded tensors: (B, T, F), the default, or (T, B, F).
    engine: "auto" picks the fastest that can run the call (`unspool.explain_path` tells which and why);
        "native" raises `EngineError` where the native engine cannot; "eager" is the plain loop; "triton" is kernels
        generated for a GPU (docs/gpu.md), `EngineError` where there are none.
        Under `torch.autocast` the native engine computes and returns float32; the plain loop follows autocast.
    precision: "bfloat16": in training, what products multiply is rounded to 8 significant bits; sums, states and
        weights stay float32, and so does all of prediction (`freeze` has narrower forms for that). It pays on
        processors whose bfloat16 products are faster than their float32 ones: `unspool doctor` measures both.
        Raises `EngineError` at a call that the native engine cannot run.

    `output, state = layer(x, state=None)`: x a Ragged, PackedSequence or padded tensor; output the same kind;
    state the final state of each sequence, in batch order.
    """

    __prepare_scriptable__ = refuse_script

    def __init__(
        self,
        cell: nn.Module,
        *,
        reverse: bool = False,
        bidirectional: bool = False,
        reverse_cell: nn.Module | None = None,
        merge: str | None = "concat",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        initial_state: str | Callable[[int], Any] = "cell",
        batch_first: bool = True,
        engine: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.frozen: Frozen | None = None
        if isinstance(cell, type):
            raise TypeError(
                f"The cell of Recurrent must be a module, not its class. Got {cell.__name__}: "
                f"give {cell.__name__}(input_size, hidden_size)."
            )
        for method in ("forward", "initial_state"):
            if not callable(getattr(cell, method, None)):
                raise TypeError(
                    f"The cell of Recurrent must have a method '{method}'. Got {type(cell).__name__}, which has "
                    "none. A cell is a module with forward(x, state) -> state and initial_state(batch_size)."
                )
        if reverse_cell is not None and not bidirectional:
            raise ValueError("'reverse_cell' needs bidirectional=True.")
        self.cell: Any = cell
        self.reverse = bool(reverse)
        self.bidirectional = bool(bidirectional)
        self.batch_first = bool(batch_first)
        self.engine = check_choice("Recurrent", "engine", engine, ENGINES)
        self.precision = check_choice("Recurrent", "precision", precision, PRECISIONS)
        if precision != "float32" and engine == "eager":
            bad_parameter("Recurrent", "precision", "'float32' with engine='eager'", precision)
        if bidirectional:
            self.reverse_cell = _fresh_copy(cell) if reverse_cell is None else reverse_cell
        cells = self.cells()
        self.merge = self._check_merge(merge, cells)
        self.noise = Noise.checked(cells, input_dropout, recurrent_dropout, zoneout, weight_dropout)
        self._set_initial_state(initial_state, cells)
        self._prepare()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_twins": None, "_zoneout": (), "_ready": None}

    def freeze(self, weights: str = "float32") -> Recurrent:
        """A copy for prediction: weights laid out once, as they are now; no gradients, and noise as in evaluation.

        weights: the form of the weights in products: "float32", the bits of `self(x)`; "bfloat16": half the memory,
        weights and what they multiply rounded to 8 significant bits; "int8": a quarter, both in 127 steps a sign.
        Measure what the narrow ones cost on data of your own: `docs/performance.md` has figures.
        Raises `EngineError` where the native engine cannot run the cell, or a hook makes a weight at each call, as
        torch.nn.utils.prune does.
        """
        check_choice(type(self).__name__, "weights", weights, list(FORMS))
        check_can_freeze(self)
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        size = getattr(self.cell, "input_size", None)
        twin.frozen = Frozen(twin._still(), weights, size if isinstance(size, int) else None)
        if twin.frozen.input_size is not None:
            twin.frozen.prepare(twin.frozen.input_size, twin._states(1, None, True))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _check_merge(self, merge: str | None, cells: list[Any]) -> str | None:
        check_choice("Recurrent", "merge", merge, MERGES)
        if merge != "concat" and len(cells) == 1:
            bad_parameter("Recurrent", "merge", "left out without bidirectional=True", merge)
        if merge in ("sum", "mean", "product") and len({_output_width(cell) for cell in cells}) > 1:
            bad_parameter("Recurrent", "merge", "'concat' or None for directions of different widths", merge)
        return merge

    def _set_initial_state(self, initial_state: Any, cells: list[Any]) -> None:
        self.start: Any = initial_state
        if isinstance(initial_state, str):
            check_choice("Recurrent", "initial_state", initial_state, INITIAL_STATES)
        elif not callable(initial_state):
            expected = f"one of {list(INITIAL_STATES)} or a callable (batch_size) -> state"
            bad_parameter("Recurrent", "initial_state", expected, initial_state)
        if initial_state == "learned":
            leaves = [leaf[0] for cell in cells for leaf in flatten(cell.initial_state(1))]
            self.learned_state = nn.ParameterList(nn.Parameter(leaf.detach().clone()) for leaf in leaves)

    def _prepare(self) -> None:
        """What surrounds the cells; held beside the module's own, so that `state_dict` has the cells alone."""
        cells = self.cells()
        zoneout = [Zoneout(cell, self.noise.zoneout) for cell in cells] if self.noise.zoneout else []
        self.__dict__["_zoneout"] = tuple(zoneout)
        self.__dict__["_twins"] = None
        self.__dict__["_ready"] = None
        numbers.register(*cells, *zoneout)
        size = getattr(self.cell, "input_size", None)
        if isinstance(size, int) and not any(p.is_meta for p in self.parameters()):
            self._make_twins(size)

    def _make_twins(self, input_size: int) -> None:
        if torch.compiler.is_compiling():
            from unspool.engine import compiled

            compiled.outside(self._make_twins, input_size)
            return
        self.__dict__["_twins"] = make_twins(self.noise, self.cells(), input_size) if self.noise.any else None

    def cells(self) -> list[Any]:
        """The cell of each direction."""
        return [self.cell, self.reverse_cell] if self.bidirectional else [self.cell]

    def directions(self) -> list[Direction]:
        """What runs over the sequences: one cell, or two of which the second reads them the other way round."""
        first = Direction(self.cell, self.reverse)
        return [first, Direction(self.reverse_cell, not self.reverse)] if self.bidirectional else [first]

    def initial_state(self, batch_size: int) -> Any:
        """The state that a call without one starts from: the cell's form, parts (B, H), or a pair of these for
        both directions. Raises what the cell raises."""
        like = [cell.initial_state(batch_size) for cell in self.cells()]
        for leaf in flatten(like):
            if leaf.dim() != 2 or leaf.shape[0] != batch_size:
                raise DataError(
                    f"initial_state({batch_size}) of a cell must give tensors (B, width), B being {batch_size}. "
                    f"Got one of shape {tuple(leaf.shape)}."
                )
        whole = tuple(like) if self.bidirectional else like[0]
        if self.start == "cell":
            return whole
        if self.start == "learned":
            return unflatten(whole, [leaf.expand(batch_size, -1) for leaf in self.learned_state])
        return check_state(self.start(batch_size), whole)

    def output_size(self) -> int:
        """The width of the output; of both together with merge=None."""
        widths = [_output_width(cell) for cell in self.cells()]
        return widths[0] if self.merge in ("sum", "mean", "product") else sum(widths)

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        if calls_can_be_ready() and viewable(x) and x.dim() in (2, 3) and x.numel():
            found = self._padded_as_before(x, state)
            if found is not None:
                return found
        leaf = as_leaf(self, x, state)
        if leaf is not None:
            return leaf
        ragged, restore, batched = to_ragged(x, self.batch_first, "Recurrent")
        states = self._states(ragged.batch_size, state, batched)
        outputs, finals = self.run(ragged.values, ragged._offsets, states)
        final = tuple(finals) if self.bidirectional else finals[0]
        if not batched:
            final = unflatten(final, [leaf[0] for leaf in flatten(final)])
        if isinstance(outputs, tuple):
            return tuple(restore(ragged.with_values(output)) for output in outputs), final
        return restore(ragged.with_values(outputs)), final

    def run(
        self, values: Tensor, offsets: Tensor, states: list[Any], index: Tensor | None = None
    ) -> tuple[Any, list[Any]]:
        """The merged output (N, output_size), a pair with merge=None, and each direction's final state, parts (B, H).

        values (N, F), or with index (N,) the different rows of it; offsets (B + 1,); states: one a direction, in the
        cell's form. Raises as `engine.dispatch.run`.
        """
        can_be_ready = calls_can_be_ready()
        found = self._as_before(values, offsets, index, states) if can_be_ready else None
        if found is not None:
            return self._merged(found[0]), found[1]
        if self.frozen is not None:
            self._check_width(values)
            output, finals = self.frozen.run(values, offsets, states, index)
        else:
            directions, values, starts, index = self._call(values, offsets, states, index)
            output, finals = run(directions, values, offsets, starts, self.engine, index, self.precision)
            if can_be_ready and self.__dict__["_ready"] is None:
                self.__dict__["_ready"] = self._make_ready(values, starts)
        return self._merged(output), [unflatten(s, flatten(f)) for s, f in zip(states, finals)]

    def _call(self, values: Tensor, offsets: Tensor, states: list[Any], index: Tensor | None) -> Any:
        """(directions, values, states, index) of a call: noise drawn in training, zoneout's mean in evaluation."""
        directions = self.directions()
        self._check_width(values)
        if self.training and self.noise.any:
            twins, cells = self.__dict__["_twins"], [direction.cell for direction in directions]
            if twins is None or not all(t.serves(c, values.shape[1]) for t, c in zip(twins, cells)):
                self._make_twins(int(values.shape[1]))
            return with_noise(self.noise, self.__dict__["_twins"], directions, values, offsets, states, index)
        return self._still(), values, states, index

    def _still(self) -> list[Direction]:
        """The directions in evaluation: zoneout by its mean."""
        directions = self.directions()
        if self.noise.zoneout:
            return [Direction(z, d.reverse) for z, d in zip(self._zoneouts(), directions)]
        return directions

    def _check_width(self, values: Tensor) -> None:
        if not isinstance(values, Tensor):
            raise DataError(f"The input of a layer must be a tensor (N, F). Got {described(values)}.")
        check_layout(values, "input", "a layer")
        size = getattr(self.cell, "input_size", None)
        if isinstance(size, int) and (values.dim() != 2 or values.shape[1] != size):
            got = ", ".join(["N", *map(str, values.shape[1:])])
            raise DataError(
                f"The input of {type(self.cell).__name__} must have {size} features, (N, {size}). Got ({got})."
            )

    def _merged(self, output: Tensor) -> Any:
        if self.merge == "concat":
            return output
        return merge_outputs(output.split([_output_width(cell) for cell in self.cells()], dim=-1), self.merge)

    def step(self, x: Tensor, state: Any = None) -> Any:
        """One step: x (B, F), state as the cell's -> the next state. The output is its first part.

        Noise needs whole sequences: in training mode a layer that has any raises `DataError`.
        """
        if self.bidirectional or self.reverse:
            raise DataError("A step needs the past only: build Recurrent without reverse or bidirectional.")
        if not isinstance(x, Tensor) or x.dim() != 2:
            raise DataError(f"The input of a step must be a tensor of shape (B, F). Got {described(x)}.")
        if state is None:
            state = self.initial_state(x.shape[0])
        if self.frozen is not None:
            return self.frozen.step(x, state)
        return step(self.step_cell(), x, state, self.engine)

    def step_cell(self) -> Any:
        """What one step runs: the cell, or with zoneout the cell with its mean."""
        if self.training and self.noise.any:
            raise DataError(
                "A single step cannot draw noise for a whole sequence. Call eval() before stepping, "
                "or build Recurrent without dropout and zoneout."
            )
        return self._zoneouts()[0] if self.noise.zoneout else self._modules["cell"]

    def _zoneouts(self) -> tuple[Zoneout, ...]:
        if any(z.cell is not cell for z, cell in zip(self.__dict__["_zoneout"], self.cells())):
            self._prepare()
        return self.__dict__["_zoneout"]

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why."""
        ragged, _, _ = to_ragged(x, self.batch_first, "Recurrent")
        if self.frozen is not None:
            return f"native: frozen, {self.frozen.weights} weights"
        none = torch.zeros(1, dtype=torch.int64, device="cpu")
        with torch.random.fork_rng(devices=[]):
            directions, values, states, _ = self._call(
                ragged.values[:0], none, self._states(0, None, True), None
            )
        return str(choose(directions, values, states, self.engine))

    def _states(self, batch: int, state: Any, batched: bool) -> list[Any]:
        if state is None:
            initial = self.initial_state(batch)
            return list(initial) if self.bidirectional else [initial]
        cells = self.cells()
        if self.bidirectional and not (isinstance(state, (tuple, list)) and len(state) == 2):
            raise DataError(f"A bidirectional layer takes a pair of states. Got {described(state)}.")
        given = list(state) if self.bidirectional else [state]
        return [check_state(s, cell.initial_state(batch), batched) for s, cell in zip(given, cells)]

    def extra_repr(self) -> str:
        shown = {"merge": self.merge} if self.bidirectional else {}
        shown |= {name: rate for name, rate in vars(self.noise).items() if rate}
        options = "".join(f", {name}={value!r}" for name, value in shown.items())
        return f"reverse={self.reverse}, bidirectional={self.bidirectional}, engine={self.engine!r}{options}"


def _output_width(cell: Any) -> int:
    return int(flatten(cell.initial_state(1))[0].shape[1])


def merge_outputs(parts: Sequence[Tensor], merge: str | None) -> Any:
    """The outputs of the directions, (N, H) each, as one; as a tuple for None. One direction stays as it is."""
    if merge is None:
        return tuple(parts)
    if len(parts) == 1:
        return parts[0]
    if merge == "concat":
        return torch.cat(list(parts), dim=-1)
    if merge == "product":
        return parts[0] * parts[1]
    total = parts[0] + parts[1]
    return total / 2 if merge == "mean" else total


def check_state(state: Any, like: Any, batched: bool = True) -> Any:
    """`state` with a batch axis, once its parts have the shapes of `like`'s."""
    leaves = flatten(state) if batched else [leaf.unsqueeze(0) for leaf in flatten(state)]
    for leaf in leaves:
        check_layout(leaf, "state", "a layer")
    expected = [tuple(leaf.shape) for leaf in flatten(like)]
    got = [tuple(leaf.shape) for leaf in leaves]
    if got != expected:
        raise DataError(f"The initial state must have parts of shape {expected}. Got {got}.")
    return unflatten(like, leaves)


def _fresh_copy(cell: nn.Module) -> nn.Module:
    twin = copy.deepcopy(cell)
    for module in twin.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return twin


def final_output(state: Sequence[Any], merge: str = "concat") -> Tensor:
    """Each direction's own final output in the last layer of a Stack's state, merged: (B, D*H) or (B, H)."""
    return merge_outputs([flatten(direction)[0] for direction in state[-1]], merge)
