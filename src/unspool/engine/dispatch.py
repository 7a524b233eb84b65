"""Which engine runs a call, and why."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import cudnn, door, eager, mismatch, programs, triton
from unspool.engine.programs import Reason, program_of
from unspool.errors import EngineError, SlowPathWarning, warn_caller
from unspool.program import surroundings
from unspool.program.ir import Program
from unspool.state import flatten, unflatten

ENGINES = ("auto", "native", "triton", "eager")
PRECISIONS = ("float32", "bfloat16")
SCRIPT = (
    "torch.jit.trace and torch.jit.script cannot see through the engine: a trace would keep one batch's lengths. "
    "Use torch.export.export(layer, ...), or torch.compile."
)


def refuse_script(module: nn.Module) -> nn.Module:
    """What torch.jit.script asks a layer for (`__prepare_scriptable__`)."""
    raise EngineError(SCRIPT)


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

    def parameters(self) -> Iterable[Tensor]:
        """The weights, in the order of `named_weights`."""
        return programs.parameters_of(self.cell) if self.weights is None else self.weights.values()

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
    cell: nn.Module | None = None  # that has no fast path

    def __str__(self) -> str:
        return f"{self.engine}: {self.reason}" if self.reason else self.engine


def run(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str = "auto",
    index: Tensor | None = None,
    precision: str = "float32",
) -> tuple[Tensor, list[Any]]:
    """Every direction over every sequence: output (N, sum of widths) and each direction's final state.

    values (N, F), offsets (B+1,) int64 on the CPU, states: one for each direction, of (B, ·) parts.
    With `index` (N,) the input of row n is `values[index[n]]`.
    precision: of what products multiply where gradients are recorded; states, sums and weights are float32.
    Raises `EngineError` where `engine` is "native" or "triton", or `precision` "bfloat16", and the call cannot run
    there.
    """
    if torch.compiler.is_compiling():
        return _run_compiled(directions, values, offsets, states, engine, index, precision)
    if surroundings.scripted():
        raise EngineError(SCRIPT)
    return _run_now(directions, values, offsets, states, engine, index, precision)


def _run_now(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str,
    index: Tensor | None,
    precision: str,
) -> tuple[Tensor, list[Any]]:
    door.tensors(values, offsets, index)
    if torch._is_functional_tensor(offsets):  # of torch.func.functionalize: the numbers are inside
        offsets = torch._from_functional_tensor(offsets)
    if not surroundings.watched() and not any(map(surroundings.is_fake, (values, offsets))):
        offsets, index = door.batch(values, offsets, index)
    taken, starts = as_computed(values, states)
    path = choose(directions, taken, starts, engine)
    if path.engine == "native":
        once = engine == "native"
        return _run_native(directions, path.programs, taken, offsets, starts, index, once, precision)
    door.states(states, offsets.shape[0] - 1)
    if precision != "float32":
        raise EngineError(
            f"Only the native engine has products of {precision}, and it cannot run this call: {path.reason}. "
            "Build the layer with precision='float32'."
        )
    if surroundings.traced() or surroundings.is_fake(values):
        raise EngineError(
            f"The plain loop reads the lengths of the sequences, which make_fx and fake tensors cannot follow, and "
            f"only it can run this call: {path}. Trace a call that the native engine runs."
        )
    if engine == "auto":
        warn_slow(path)
    if path.engine == "triton":
        return _run_triton(directions, path.programs, values, offsets, states, index)
    if not values.is_meta:
        door.with_numbers([*flatten(tuple(states)), *(w for d in directions for w in d.parameters())])
    with mismatch.explained(directions, values, states):
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


def as_computed(values: Tensor, states: Sequence[Any]) -> tuple[Tensor, Sequence[Any]]:
    """Under autocast, in float32 what it made of float32 on the way to the call."""
    if not torch.is_autocast_enabled("cpu"):
        return values, states

    def widened(tensor: Tensor) -> Tensor:
        return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor

    return widened(values), [unflatten(s, [widened(leaf) for leaf in flatten(s)]) for s in states]


_warned: weakref.WeakSet[type] = weakref.WeakSet()


def warn_slow(path: Path) -> None:
    """One `SlowPathWarning` for each class of cells that has no program, or no fast path on a GPU."""
    if path.cell is None or type(path.cell) in _warned:
        return
    _warned.add(type(path.cell))
    where = path.reason.where if isinstance(path.reason, Reason) else None
    line = "" if where is None else f" ({where[0]}, line {where[1]})"
    warn_caller(
        f"{type(path.cell).__name__} runs in the plain loop, several times slower than it could: {path.reason}{line}. "
        "Build the layer with engine='eager' to say that this is meant.",
        SlowPathWarning,
    )


def _run_compiled(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str,
    index: Tensor | None,
    precision: str,
) -> tuple[Tensor, list[Any]]:
    """Under torch.compile: one opaque node where the native engine runs; else a graph break around `run`."""
    from unspool.engine import compiled

    taken, starts = as_computed(values, states)
    leaves = [taken, *(leaf for state in starts for leaf in flatten(state))]
    leaves += [weight for d in directions for weight in d.all_weights() if _computes(weight)]
    taken_by_native = all(
        t.dtype == torch.float32 and t.device.type == "cpu" and t.layout is torch.strided for t in leaves
    ) and all(isinstance(p, Tensor) and p.device.type == "cpu" for p in (offsets, index) if p is not None)
    if engine in ("auto", "native") and taken_by_native:
        plan = compiled.plan(directions, taken, starts)
        if plan is not None and precision == "float32":
            return compiled.run(plan, directions, taken, offsets, starts, index)
    if torch.compiler.is_exporting():
        raise EngineError(
            "Only what the native engine runs can be exported: cells that it has all operations of, in torch.float32 "
            "on the CPU, with precision='float32', with sizes that are not dynamic but for batch and time. "
            "explain_path(layer, x) tells more."
        )
    return compiled.outside(_run_now, directions, values, offsets, states, engine, index, precision)


def choose(
    directions: Sequence[Direction], values: Tensor, states: Sequence[Any], engine: str = "auto"
) -> Path:
    """The path of a call; pure: nothing is run."""
    if engine == "eager":
        return Path("eager", "asked for")
    if engine == "triton":
        generated = _triton_path(directions, values, states)
        if isinstance(generated, str):
            raise EngineError(
                f"Generated kernels cannot run this call: {generated}. Use engine='auto', which takes what can."
            )
        return generated
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
        if values.device.type != "cuda":
            return Path("eager", place, cell=directions[0].cell if values.device.type == "mps" else None)
        other = cudnn.without_layer([d.cell for d in directions])
        if other is None:
            return Path("cudnn", place)
        place += f", cuDNN has no {type(other).__name__}"
        if not triton.switched_on():
            off = "generated kernels are off (UNSPOOL_TRITON=1 switches them on)"
            return Path("eager", f"{place}, and {off}", cell=other)
        generated = _triton_path(directions, values, states)
        if isinstance(generated, Path):
            return generated
        return Path("eager", f"{place}, and {generated}", cell=other)
    reason = surroundings.transformed() or _unusual(directions, values, states)
    if reason:
        return Path("eager", reason)
    programs = []
    for direction, state in zip(directions, states):
        found = program_of(direction.cell, int(values.shape[1]), state)
        if isinstance(found, str):
            return Path("eager", found, cell=direction.cell)
        programs.append(found)
    if torch.is_autocast_enabled("cpu"):
        return Path("native", "in torch.float32, as autocast does not reach it", tuple(programs))
    return Path("native", "", tuple(programs))


def _triton_path(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> Path | str:
    """The path by generated kernels, or why there is none."""
    reason = triton.missing(values.device) or surroundings.transformed()
    if reason:
        return reason
    if torch.is_autocast_enabled(values.device.type):
        return "generated kernels do not follow autocast"
    tensors = [values, *(leaf for state in states for leaf in flatten(state))]
    tensors += [weight for d in directions for weight in d.parameters()]
    for tensor in tensors:
        if tensor.dtype is not torch.float32 or tensor.device != values.device:
            return (
                f"generated kernels compute in torch.float32 on one device, {values.device}, and a tensor of the call "
                f"is {tensor.dtype} on {tensor.device}"
            )
    programs = []
    for direction, state in zip(directions, states):
        found = program_of(direction.cell, int(values.shape[1]), state)
        if isinstance(found, Reason):
            return str(found)
        why = triton.why_not(found)
        if why:
            return f"{type(direction.cell).__name__} has none: {why}"
        programs.append(found)
    ways = dict.fromkeys(map(triton.how, programs))
    return Path("triton", "; ".join(ways), tuple(programs))


def _unusual(directions: Sequence[Direction], values: Tensor, states: Sequence[Any]) -> str | None:
    """Which tensor of a call the native engine does not compute with, and why; None: it takes all of them."""
    why = _why_not(values)
    if why:
        return f"{why[0]}, and the input is {why[1]}"
    for direction, state in zip(directions, states):
        for leaf in flatten(state):
            why = _why_not(leaf, ("cpu", "meta"))
            if why:
                return f"{why[0]}, and the state is {why[1]}"
        for at, weight in enumerate(direction.parameters()):
            why = _why_not(weight, ("cpu", "meta"))
            if why and _computes(weight):
                name = list(direction.named_weights())[at]
                return f"{why[0]}, and '{name}' is {why[1]}"
    return None


def _computes(weight: Tensor) -> bool:
    """Whether a step may compute with it: it is no tensor of ids."""
    return weight.is_floating_point() or weight.is_complex() or weight.is_quantized


def _why_not(tensor: Tensor, places: Sequence[str] = ("cpu",)) -> tuple[str, str] | None:
    if tensor.dtype is not torch.float32:
        return "the native engine computes in torch.float32", str(tensor.dtype)
    if not tensor.is_cpu and tensor.device.type not in places:
        return "the native engine runs on the CPU", f"on {tensor.device}"
    if type(tensor) not in surroundings.PLAIN and not surroundings.is_fake(tensor):
        return "the native engine computes with plain tensors", f"a {type(tensor).__name__}"
    if tensor.layout is not torch.strided:
        return "the native engine computes with strided tensors", str(tensor.layout)
    return None


def _run_native(
    directions: Sequence[Direction],
    programs: Sequence[Program],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    index: Tensor | None,
    once: bool,
    precision: str,
) -> tuple[Tensor, list[Any]]:
    from unspool.engine import native, operators
    from unspool.program import sources

    tensors: list[Tensor] = []
    streams = []
    for direction, program, state in zip(directions, programs, states):
        used = sources.used(program)
        streams.append(native.Stream(program, direction.reverse, used))
        tensors += [*flatten(state), *sources.resolve(program, used, direction.weight)]
    door.with_numbers(tensors)
    if surroundings.watched() or any(type(t) not in surroundings.PLAIN for t in (values, *tensors)):
        reverses = [direction.reverse for direction in directions]
        offsets, index = surroundings.as_fake_as(values, offsets), surroundings.as_fake_as(values, index)
        output, finals = operators.run(
            programs, reverses, values, offsets, index, tensors, precision=precision
        )
        return output, [unflatten(s, f) for s, f in zip(states, finals)]
    training = torch.is_grad_enabled() and (values.requires_grad or any(t.requires_grad for t in tensors))
    call = native.Call(
        streams, training, training and values.requires_grad, once, precision if training else "float32"
    )
    results = native.run(call, values, offsets, index, tensors)
    return results[0], [unflatten(s, f) for s, f in zip(states, call.finals(results))]


def _run_triton(
    directions: Sequence[Direction],
    programs: Sequence[Program],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    index: Tensor | None,
) -> tuple[Tensor, list[Any]]:
    from unspool.program import sources

    outputs, finals = [], []
    for direction, program, state in zip(directions, programs, states):
        used = sources.used(program)
        tensors = [t.to(values.device) for t in sources.resolve(program, used, direction.weight)]
        output, final = triton.run(
            program, dict(zip(used, tensors)), values, offsets, index, flatten(state), direction.reverse
        )
        outputs.append(output)
        finals.append(unflatten(state, final))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1), finals


def explain_path(module: nn.Module, x: Any) -> str:
    """Which engine runs `module(x)`, and why: "native", or "eager", "cudnn" or "triton" and a reason.

    module: a layer of `unspool.nn`. x: an input that it takes. Raises `TypeError` for any other module.
    """
    explain = getattr(module, "explain_path", None)
    if not callable(explain):
        raise TypeError(f"explain_path takes a layer of unspool.nn. Got {type(module).__name__}.")
    return explain(x)
