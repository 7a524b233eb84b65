"""Which engine runs a call, and why."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import cudnn, door, eager
from unspool.errors import EngineError
from unspool.program.ir import LOCK, Program
from unspool.program.lowering import Unsupported
from unspool.program.signature import HOOKS, Unchanged, signature
from unspool.state import flatten, unflatten, widths

ENGINES = ("auto", "native", "eager")


@dataclass(frozen=True)
class Direction:
    """One pass over time: a cell, the direction, and where its weights are (None: in the cell itself)."""

    cell: nn.Module
    reverse: bool = False
    weights: Mapping[str, Tensor] | None = None

    def step(self, x: Tensor, state: Any) -> Any:
        if self.weights is None:
            return self.cell(x, state)
        return torch.func.functional_call(self.cell, dict(self.weights), (x, state))

    def all_weights(self) -> list[Tensor]:
        """Parameters, then buffers, in the cell's order."""
        if self.weights is not None:
            named = [*self.cell.named_parameters(), *self.cell.named_buffers()]
            return [self.weights[name] for name, _ in named]
        return [*self.cell.parameters(), *self.cell.buffers()]

    def named_weights(self) -> Mapping[str, Tensor]:
        return dict(self.cell.named_parameters()) if self.weights is None else self.weights

    def weight(self, name: str) -> Tensor:
        if self.weights is not None:
            return self.weights[name]
        module: Any = self.cell
        *path, last = name.split(".")
        for part in path:
            module = module._modules[part]
        found = module._parameters.get(last)
        return module._buffers[last] if found is None else found


@dataclass(frozen=True)
class Path:
    """The engine of a call, and the reason where it is not the native one."""

    engine: str
    reason: str = ""
    programs: tuple[Program, ...] = ()

    def __str__(self) -> str:
        return f"{self.engine}: {self.reason}" if self.reason else self.engine


def run(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str = "auto",
    index: Tensor | None = None,
) -> tuple[Tensor, list[Any]]:
    """Every direction over every sequence: output (N, sum of widths) and each direction's final state.

    values (N, F), offsets (B+1,) int64 on the CPU, states: one for each direction, of (B, ·) parts.
    With `index` (N,) the input of row n is `values[index[n]]`.
    Raises `EngineError` where `engine` is "native" and the call cannot run there.
    """
    if torch.compiler.is_compiling():
        return _run_compiled(directions, values, offsets, states, engine, index)
    offsets, index = door.batch(values, offsets, index)
    path = choose(directions, values, states, engine)
    if path.engine == "native":
        return _run_native(directions, path.programs, values, offsets, states, index, engine == "native")
    if index is not None:
        values = values[index]
    if path.engine == "cudnn":
        results = [
            cudnn.run(d.cell, d.named_weights(), values, offsets, s, d.reverse)
            for d, s in zip(directions, states)
        ]
    else:
        results = [eager.run(d.step, values, offsets, s, d.reverse) for d, s in zip(directions, states)]
    outputs = [output for output, _ in results]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1), [final for _, final in results]


def _run_compiled(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str,
    index: Tensor | None,
) -> tuple[Tensor, list[Any]]:
    """Under torch.compile: one opaque node where the native engine runs; else a graph break around `run`."""
    from unspool.engine import compiled

    leaves = [values, *(leaf for state in states for leaf in flatten(state))]
    if engine != "eager" and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in leaves):
        numbers = tuple(d.cell._unspool_number for d in directions)
        if compiled.path_of(numbers, values.shape[1], tuple(map(widths, states))) == "native":
            return compiled.run(directions, values, offsets, states, index)
    return compiled.outside(run, directions, values, offsets, states, engine, index)


def choose(
    directions: Sequence[Direction], values: Tensor, states: Sequence[Any], engine: str = "auto"
) -> Path:
    """The path of a call; pure: nothing is run."""
    if engine == "eager":
        return Path("eager", "asked for")
    path = _native_path(directions, values, states)
    if engine == "native" and path.engine != "native":
        raise EngineError(
            f"The native engine cannot run this call: {path.reason}. "
            "Use engine='auto' to fall back to the plain loop, or change the cell."
        )
    return path


def _native_path(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> Path:
    if values.device.type != "cpu":
        place = f"the input is on {values.device.type}; the native engine runs on the CPU"
        other = cudnn.why_not([d.cell for d in directions])
        if values.device.type != "cuda":
            return Path("eager", place)
        return Path("eager", f"{place}, and cuDNN has no {other}") if other else Path("cudnn", place)
    if torch._C._are_functorch_transforms_active():
        return Path("eager", "the call is inside a torch.func transform")
    programs = []
    for direction, state in zip(directions, states):
        for tensor in (values, *flatten(state)):
            if tensor.dtype != torch.float32:
                return Path(
                    "eager", f"the native engine computes in torch.float32, and a tensor is {tensor.dtype}"
                )
        found = program_of(direction, values.shape[1], state)
        if isinstance(found, str):
            return Path("eager", found)
        programs.append(found)
    return Path("native", "", tuple(programs))


@dataclass
class _Traced:
    """A cell's program or the reason why it has none; `held` keeps alive what the key names by identity."""

    found: Program | str
    held: list[Any]


@dataclass
class _Known:
    """What is known of a cell for as long as it is unchanged: programs by input size and widths of the state."""

    unchanged: Unchanged
    programs: dict[Any, Program | str]


_known: weakref.WeakKeyDictionary[nn.Module, _Known] = weakref.WeakKeyDictionary()
_traced: weakref.WeakKeyDictionary[nn.Module, dict[Any, _Traced]] = weakref.WeakKeyDictionary()
_shared: dict[Any, Program] = {}


def program_of(direction: Direction, input_size: int, state: Any) -> Program | str:
    """The program of a direction's cell, or the reason why it has none. Traced once for each configuration."""
    cell = direction.cell
    known = _known.get(cell)
    if known is None or not known.unchanged():
        known = _known[cell] = _Known(Unchanged(cell), {})
    sizes = (input_size, widths(state))
    found = known.programs.get(sizes)
    if found is None:
        found = known.programs[sizes] = _program_of(cell, input_size, state)
    return found


def _program_of(cell: nn.Module, input_size: int, state: Any) -> Program | str:
    described, held = signature(cell)
    key = (described, input_size, widths(state))
    mine = _traced.setdefault(cell, {})
    if key not in mine:
        with LOCK:
            found = _shared.get(key) or _trace(cell, input_size, state)
            mine[key] = _Traced(found, held)
            if not held and isinstance(found, Program):
                _shared[key] = found
    return mine[key].found


def _trace(cell: nn.Module, input_size: int, state: Any) -> Program | str:
    from unspool import _native
    from unspool.program.trace import Captured, trace

    for module in cell.modules():
        if any(getattr(module, name) for name in HOOKS):
            return f"{type(module).__name__} has hooks, which run only in the plain loop"
    for name, tensor in cell.named_parameters():
        if tensor.dtype != torch.float32 or tensor.device.type not in ("cpu", "meta"):
            return f"'{name}' is {tensor.dtype} on {tensor.device}; the native engine needs torch.float32 on the CPU"
    if len(flatten(state)) > _native.MAX_STATES:
        return (
            f"the state has {len(flatten(state))} parts; the native engine takes up to {_native.MAX_STATES}"
        )
    if any(parameter.is_meta for parameter in cell.parameters()):
        # Meta tensors' kernels (`to_empty` has one) import sympy and torch's compiler: a second.
        cell = copy.deepcopy(cell)._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))
    try:
        program = trace(cell, input_size, state)
    except Unsupported as reason:
        return f"{type(cell).__name__} uses {reason}, which the native engine does not have"
    except Exception as error:  # the step may work for the call's own batch: the plain loop shows
        return f"one step of {type(cell).__name__} on a batch of 2 failed: {type(error).__name__}: {error}"
    if any(isinstance(s, Captured) and s.tensor.device.type != "cpu" for s in program.sources):
        return f"{type(cell).__name__} holds a tensor that is not on the CPU"
    return program


def _run_native(
    directions: Sequence[Direction],
    programs: Sequence[Program],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    index: Tensor | None,
    once: bool,
) -> tuple[Tensor, list[Any]]:
    from unspool.engine import native
    from unspool.program import sources

    tensors: list[Tensor] = []
    streams = []
    for direction, program, state in zip(directions, programs, states):
        used = sources.used(program)
        streams.append(native.Stream(program, direction.reverse, used))
        tensors += [*flatten(state), *sources.resolve(program, used, direction.weight)]
    if any(t.is_meta for t in tensors):
        raise EngineError(
            "The native engine needs weights with numbers. Got some on the 'meta' device. "
            "Give them numbers first (to_empty, then load_state_dict), or move the input to 'meta' too."
        )
    training = torch.is_grad_enabled() and (values.requires_grad or any(t.requires_grad for t in tensors))
    call = native.Call(streams, training, training and values.requires_grad, once)
    output, finals = native.run(call, values, offsets, index, tensors)
    return output, [unflatten(s, f) for s, f in zip(states, finals)]


def explain_path(module: nn.Module, x: Any) -> str:
    """Which engine runs `module(x)`, and why: "native", "eager: <reason>" or "cudnn: <reason>".

    module: a layer of `unspool.nn`. x: an input that it takes.
    """
    explain = getattr(module, "explain_path", None)
    if not callable(explain):
        raise TypeError(f"explain_path takes a layer of unspool.nn. Got {type(module).__name__}.")
    return explain(x)
