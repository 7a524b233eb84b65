"""From a cell to its program: run one step on a small batch and write down every operation that torch carries out."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unspool.program import failures, lowering_functions, lowering_products, lowering_rows, surroundings  # noqa: F401  (register theirs)
from unspool.program.ir import Graph, Matrix, Program
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import LOWERINGS
from unspool.program.lowering_products import ATTENTION
from unspool.program.operands import aligned
from unspool.program.origins import Captured as Captured
from unspool.program.origins import Computed as Computed
from unspool.program.origins import Parameter as Parameter
from unspool.program.origins import Ref as Ref
from unspool.program.origins import leaves, mapped
from unspool.program.simplify import simplify
from unspool.program.sizes import same_alone
from unspool.program.watch import Watch
from unspool.program.writes import overwritten, storage_of
from unspool.state import flatten, unflatten

TRIES = 3  # of a step, where another thread may have done what it seems to do


class Tracer(TorchDispatchMode):
    """Writes every operation of one step into a graph. Values of the batch become nodes, the rest sources."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch asks; with its default, True, the first call would import its compiler: a second."""
        return False

    def __init__(self, cell: nn.Module, batch: int) -> None:
        super().__init__()
        self.graph = Graph()
        self.batch = batch
        self.sources: list[Any] = []
        self.source_tensors: list[Tensor] = []
        self.values: dict[int, Value] = {}
        self.source_of: dict[int, int] = {}
        self.alive: list[Any] = []
        self.refused: dict[int, str] = {}
        self.in_storage: dict[int, list[Tensor]] = {}  # the tensors of the batch that share memory
        self.callers: set[int] = set()  # storages of what the step was given
        self.detached: set[int] = (
            set()
        )  # storages that a detached tensor shares; torch's own kernels detach too
        self.shared_write = False  # whether one of these was written into
        self.computed: dict[Any, int] = {}
        self.func: Any = None  # the operation being written down
        for name, tensor in [*cell.named_parameters(), *cell.named_buffers()]:
            self.add_source(tensor, Parameter(name))

    def add_source(self, tensor: Tensor, source: Any) -> int:
        self.alive.append(tensor)
        self.source_of[id(tensor)] = len(self.sources)
        self.sources.append(source)
        self.source_tensors.append(tensor)
        return len(self.sources) - 1

    def add_computed(self, result: Any, func: Any, args: tuple, kwargs: dict) -> None:
        outputs = result if isinstance(result, (tuple, list)) else [result]
        for item, tensor in enumerate(outputs):
            if isinstance(tensor, Tensor) and id(tensor) not in self.source_of:
                self.add_source(tensor, Computed(func, args, kwargs, item if outputs is result else None))

    def compute(self, func: Any, *args: Any, **kwargs: Any) -> int:
        """The source that `func` makes of others, which `args` name by `Ref`."""
        key = repr((func, args, kwargs))
        if key not in self.computed:
            tensors = mapped(args, lambda a: self.source_tensors[a.source] if isinstance(a, Ref) else a)
            self.computed[key] = self.add_source(func(*tensors, **kwargs), Computed(func, args, kwargs, None))
        return self.computed[key]

    def add_input(self, tensor: Tensor, node: int) -> None:
        """What the step is given, (batch, features)."""
        self.add_value(tensor, Value(node, tuple(tensor.shape), self.batch))
        self.callers.add(storage_of(tensor))

    def add_value(self, tensor: Tensor, value: Value) -> None:
        self.alive.append(tensor)
        self.source_of.pop(id(tensor), None)
        self.values[id(tensor)] = value
        self.in_storage.setdefault(storage_of(tensor), []).append(tensor)

    def refuse(self, tensor: Tensor, why: str) -> None:
        """A step that uses `tensor` is `Unsupported`."""
        self.alive.append(tensor)
        self.refused[id(tensor)] = why

    def as_float(self, source: int) -> int:
        """The source in float32."""
        tensor = self.source_tensors[source]
        if tensor.is_floating_point():
            raise Unsupported(f"a parameter of type {tensor.dtype}")
        return self.compute(torch.ops.aten._to_copy.default, Ref(source), dtype=torch.float32)

    def find(self, tensor: Tensor) -> Value | int:
        """The value of a tensor of the batch, or the index of its source."""
        if id(tensor) in self.refused:
            raise Unsupported(self.refused[id(tensor)])
        if id(tensor) in self.values:
            return self.values[id(tensor)]
        if id(tensor) not in self.source_of:
            return self.add_source(tensor, Captured(tensor))
        return self.source_of[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in leaves((args, kwargs)) if isinstance(t, Tensor)]
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded in func.tags and not (
            name in ATTENTION and args[3:4] in ((), (0.0,))
        ):
            raise Unsupported(f"random numbers ('aten.{name}')")
        for tensor in tensors:
            if id(tensor) in self.refused and name != "detach":
                raise Unsupported(self.refused[id(tensor)])
        if func._schema.is_mutable:
            return self.write(func, name, args, kwargs)
        if any(id(t) in self.values for t in tensors):
            result, made = self.lower(func, name, args, kwargs)
            for tensor, value in zip(leaves(result), leaves(made)):
                if value is not None:
                    self.add_value(tensor, value)
            return result
        result = self.run(func, args, kwargs)
        refs = mapped(args, self._reference), {k: mapped(v, self._reference) for k, v in kwargs.items()}
        self.add_computed(result, func, *refs)
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation itself."""
        return func(*args, **kwargs)

    def lower(self, func: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """What torch makes, and its value in the program."""
        if not torch.is_grad_enabled():
            raise Unsupported("torch.no_grad or a custom autograd.Function inside the step")
        if name == "_local_scalar_dense":
            raise Unsupported("a Python branch or number taken from the values of a tensor")
        lowering = LOWERINGS.get(name)
        if lowering is None:
            raise Unsupported(f"the operation 'aten.{name}'")
        result = self.run(func, args, kwargs)
        self.func = func
        if name == "detach":
            self.detached.add(storage_of(result))
        return result, lowering(self, args, kwargs, result)

    def write(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
        """An operation in place: the value it makes is from then on that of the tensor, and of all that share it."""
        target = args[0] if args else None
        if not name.endswith("_") or name.startswith("_") or not isinstance(target, Tensor):
            raise Unsupported(f"the operation 'aten.{name}' that writes into a given tensor")
        if not isinstance(self.find(target), Value):
            self.own(target, name)
        if storage_of(target) in self.callers:
            raise Unsupported(
                f"the in-place operation 'aten.{name}' on the input or the state that the step is given"
            )
        if storage_of(target) in self.detached:
            self.shared_write = True
        like = self.values[id(target)]
        source = args[1] if len(args) > 1 else 0.0
        if name == "copy_" or name == "fill_" or name == "zero_":
            if not torch.is_grad_enabled():
                raise Unsupported("torch.no_grad or a custom autograd.Function inside the step")
            result, made = self.run(func, args, kwargs), like.of(aligned(self, source, like))
        else:
            result, made = self.lower(func, name.removesuffix("_"), args, kwargs)
        made = like.of(self.graph.spread(made.node, like.width))
        overwritten(self, target, made)
        return result

    def own(self, target: Tensor, name: str) -> None:
        """A tensor that the step made from nothing, and its views, as values, so that it can be written into."""
        if not self.is_created(self.source_of[id(target)]):
            raise Unsupported(f"the in-place operation 'aten.{name}' on a parameter")
        for tensor in [s for s in self.source_tensors if storage_of(s) == storage_of(target)]:
            self.add_value(tensor, self.created(tensor))

    def created(self, tensor: Tensor) -> Value:
        """A tensor that the step made from nothing, for every sequence the same."""
        axis = next((d for d, n in enumerate(tensor.shape) if n % self.batch == 0), None)
        if axis is None:
            raise Unsupported(
                f"a tensor of shape {tuple(tensor.shape)} that is made in the step and written into"
            )
        like = Value(-1, tuple(tensor.shape), self.batch, axis)
        return like.of(self.graph.spread(aligned(self, tensor, like), like.width))

    def _reference(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        found = self.find(value)
        assert isinstance(found, int)
        return Ref(found)

    def is_created(self, source: int) -> bool:
        """True for a tensor that the step makes from nothing, such as torch.zeros(...)."""
        made = self.sources[source]
        if not isinstance(made, Computed):
            return False
        refs = [leaf for leaf in leaves((made.args, made.kwargs)) if isinstance(leaf, Ref)]
        return all(self.is_created(ref.source) for ref in refs)

    def matrix(self, tensor: Tensor) -> Matrix:
        """A two-axis source as a matrix; `aten.t` of a parameter is that parameter, transposed."""
        source = self.find(tensor)
        assert isinstance(source, int)
        transposed = False
        made = self.sources[source]
        if isinstance(made, Computed) and made.func is torch.ops.aten.t.default:
            source, transposed = made.args[0].source, True
        rows, columns = self.source_tensors[source].shape
        return Matrix(source, (0, rows), (0, columns), transposed)


class Recorder(Tracer):
    """A tracer that keeps what went wrong, with the line of the step, even where the step catches it.

    What it does itself is not watched, which would take longer than all the rest; operations are: some are Python code.
    """

    failure: Exception | None = None

    def __init__(self, cell: nn.Module, batch: int, watch: Watch) -> None:
        super().__init__(cell, batch)
        self.watch = watch

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.watch.look()
        try:
            return func(*args, **kwargs)
        finally:
            self.watch.look_away()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.watch.look_away()
        try:
            self._refuse_frozen_number(func, args)
            return super().__torch_dispatch__(func, types, args, kwargs)
        except Unsupported as error:
            error.where = failures.line_of_step()
            self.failure = self.failure or error
            raise
        except Exception as error:
            if failures.of_kernel(error.__traceback__) or failures.of_surroundings(error):
                raise
            self.failure = self.failure or failures.broken(f"tracing '{func}'", error)
            raise self.failure from error
        finally:
            self.watch.look()

    def _refuse_frozen_number(self, func: Any, args: Any) -> None:
        """A number read from a tensor of the cell's would stay what it is now."""
        if func is torch.ops.aten._local_scalar_dense.default and id(args[0]) not in self.values:
            found = self.find(args[0])
            if not isinstance(found, int) or not self.is_created(found):
                raise Unsupported("a Python branch or number taken from a tensor of the cell")


def _step(cell: nn.Module, input_size: int, batch: int, like: Any, seen: list[Watch]) -> Program:
    first = flatten(like)[0]
    sizes = [leaf.shape[1] for leaf in flatten(like)]
    device = next((p.device for p in cell.parameters()), first.device)
    watches: list[Watch] = []
    while True:
        x = torch.zeros(batch, input_size, dtype=first.dtype, device=device)
        parts = [torch.zeros(batch, width, dtype=first.dtype, device=device) for width in sizes]
        x, *parts = (part.requires_grad_().clone() for part in (x, *parts))  # torch writes into no leaf
        watches.append(Watch(cell))
        tracer = Recorder(cell, batch, watches[-1])
        tracer.add_input(x, tracer.graph.node("x", (), input_size))
        for k, part in enumerate(parts):
            tracer.add_input(part, tracer.graph.node("state", (), sizes[k], k))
        try:
            with watches[-1], tracer:
                new = flatten(cell(x, unflatten(like, parts)))
        except Exception as error:
            if failures.of_surroundings(error):
                raise
            if tracer.failure is None and not watches[-1].impure():
                seen.append(watches[-1])
                raise
        if not watches[-1].by_others() or len(watches) == TRIES:
            break
    seen.append(watches[-1])
    if watches[-1].impure():
        watches[0].restore()
    if tracer.failure is not None:
        raise tracer.failure
    watches[-1].check()
    if tracer.shared_write and watches[-1].names & {"data", "detach"}:
        raise Unsupported(
            "an operation in place on what '.data' or 'detach' shares with a value that has a gradient"
        )
    with failures.ours(f"writing down a step of {type(cell).__name__}"):
        return _program(tracer, new, input_size, sizes)


def _program(tracer: Tracer, new: list[Tensor], input_size: int, sizes: list[int]) -> Program:
    _refuse_custom_gradients(new)
    if any(tensor._backward_hooks for tensor in tracer.alive):
        raise Unsupported("a hook on a gradient ('Tensor.register_hook')")
    outputs = []
    for tensor in new:
        value = tracer.find(tensor)
        if not isinstance(value, Value):
            raise Unsupported("a new state that does not depend on the input or the state")
        if not value.plain or len(value.shape) != 2:
            raise Unsupported(f"a new state of shape {value.shape}, which is not (batch, features)")
        outputs.append(value.node)
    if [tracer.graph.width(o) for o in outputs] != sizes:
        raise Unsupported(
            f"a new state of widths {[tracer.graph.width(o) for o in outputs]} from one of widths {sizes}"
        )
    shapes = [tuple(tensor.shape) for tensor in tracer.source_tensors]
    return Program(tracer.graph, outputs, input_size, sizes, tracer.sources, shapes)


def _batches(cell: nn.Module, input_size: int, like: Any) -> list[int]:
    """Two sizes that no axis of features has: what has such a size is of the batch."""
    tensors = [*cell.parameters(), *cell.buffers()]
    sizes = {n for tensor in tensors for n in tensor.shape} | {
        input_size,
        *(s.shape[1] for s in flatten(like)),
    }
    primes = (n for n in itertools.count(2) if all(n % m for m in range(2, n)))
    return list(itertools.islice((p for p in primes if all(n % p for n in sizes if n)), 2))


def _refuse_custom_gradients(outputs: list[Tensor]) -> None:
    todo, seen = [t.grad_fn for t in outputs], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            raise Unsupported(f"a torch.autograd.Function ({node.name().removesuffix('Backward')})")
        seen.add(node)
        todo += [n for n, _ in node.next_functions]


def trace(cell: nn.Module, input_size: int, like: Any, seen: list[Watch] | None = None) -> Program:
    """The simplified program of `cell`. `like`: a state of the cell (any batch size). seen: takes what the step read.

    A cell that is a program already has `program_of_step(input_size)` among its own settings.
    Raises `Unsupported`, naming the operation, where the step cannot be written in the engine's operations,
    `EngineError` where the tracer itself fails, and what the step raises.
    """
    if "program_of_step" in cell.__dict__:
        return cell.__dict__["program_of_step"](input_size)
    for module in cell.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise Unsupported("a module of torch.jit, whose operations are not seen")
        if "_orig_mod" in module._modules:
            raise Unsupported(
                "a module that torch.compile compiled (give the cell itself, and compile the layer)"
            )
    with surroundings.own():
        watches = [] if seen is None else seen
        sizes = _batches(cell, input_size, like)
        programs = [_step(cell, input_size, batch, like, watches) for batch in sizes]
        if programs[0].graph.nodes != programs[1].graph.nodes or programs[0].outputs != programs[1].outputs:
            raise Unsupported("a step that depends on the batch size")
        if not same_alone(cell, input_size, like, sizes[0]):
            raise Unsupported("a step that does something else for a batch of one, or for a large one")
        with failures.ours(f"simplifying a step of {type(cell).__name__}"):
            return simplify(programs[0])
