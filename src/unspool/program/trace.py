"""From a cell to its program: run one step on a small batch and write down every operation that torch carries out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unspool.program import lowering_rows  # noqa: F401  (registers its lowerings)
from unspool.program.ir import Graph, Matrix, Program
from unspool.program.lowering import LOWERINGS, Unsupported, Value
from unspool.program.simplify import simplify
from unspool.state import flatten, unflatten


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of the cell, by its name."""

    name: str


@dataclass(frozen=True)
class Captured:
    """A tensor that the cell holds without registering it."""

    tensor: Tensor


@dataclass(frozen=True)
class Computed:
    """The result of a torch operation on parameters alone; carried out at every call, with its gradient."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    item: int | None


@dataclass(frozen=True)
class Ref:
    """In the arguments of a `Computed`: the source with this index."""

    source: int


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
        for name, tensor in [*cell.named_parameters(), *cell.named_buffers()]:
            self.add_source(tensor, Parameter(name))

    def add_source(self, tensor: Tensor, source: Any) -> int:
        self.alive.append(tensor)
        self.source_of[id(tensor)] = len(self.sources)
        self.sources.append(source)
        self.source_tensors.append(tensor)
        return len(self.sources) - 1

    def add_value(self, tensor: Tensor, node: int) -> None:
        self.alive.append(tensor)
        self.values[id(tensor)] = Value(node, tuple(tensor.shape))

    def refuse(self, tensor: Tensor, why: str) -> None:
        """A step that uses `tensor` is `Unsupported`."""
        self.alive.append(tensor)
        self.refused[id(tensor)] = why

    def as_float(self, source: int) -> int:
        """The source in float32."""
        tensor = self.source_tensors[source]
        if tensor.is_floating_point():
            raise Unsupported(f"a parameter of type {tensor.dtype}")
        made = Computed(torch.ops.aten._to_copy.default, (Ref(source),), {"dtype": torch.float32}, None)
        return self.add_source(tensor.to(torch.float32), made)

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
        tensors = [t for t in _leaves((args, kwargs)) if isinstance(t, Tensor)]
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"random numbers ('aten.{name}')")
        for tensor in tensors:
            if id(tensor) in self.refused and name != "detach":
                raise Unsupported(self.refused[id(tensor)])
        if any(id(t) in self.values for t in tensors):
            if not torch.is_grad_enabled():
                raise Unsupported("torch.no_grad or a custom autograd.Function inside the step")
            if name == "_local_scalar_dense":
                raise Unsupported("a Python branch or number taken from the values of a tensor")
            if func._schema.is_mutable:
                raise Unsupported(f"the in-place operation 'aten.{name}'")
            lowering = LOWERINGS.get(name)
            if lowering is None:
                raise Unsupported(f"the operation 'aten.{name}'")
            result = func(*args, **kwargs)
            nodes = lowering(self, args, kwargs, result)
            for tensor, node in zip(_leaves(result), _leaves(nodes)):
                if node is not None:
                    self.add_value(tensor, node)
            return result
        if func._schema.is_mutable:
            raise Unsupported(f"the in-place operation 'aten.{name}' on a parameter")
        result = func(*args, **kwargs)
        refs = _map(args, self._reference), {k: _map(v, self._reference) for k, v in kwargs.items()}
        outputs = result if isinstance(result, (tuple, list)) else [result]
        for item, tensor in enumerate(outputs):
            if isinstance(tensor, Tensor) and id(tensor) not in self.source_of:
                self.add_source(tensor, Computed(func, *refs, item if outputs is result else None))
        return result

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
        refs = [leaf for leaf in _leaves((made.args, made.kwargs)) if isinstance(leaf, Ref)]
        return all(self.is_created(ref.source) for ref in refs)

    def matrix(self, tensor: Tensor) -> Matrix:
        """A two-axis source as a matrix; `aten.t` of a parameter is that parameter, transposed."""
        source = self.find(tensor)
        if isinstance(source, Value) or tensor.dim() != 2:
            raise Unsupported("a product of two values of the batch")
        transposed = False
        made = self.sources[source]
        if isinstance(made, Computed) and made.func is torch.ops.aten.t.default:
            source, transposed = made.args[0].source, True
        rows, columns = self.source_tensors[source].shape
        return Matrix(source, (0, rows), (0, columns), transposed)


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in _leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    return [tree]


def _map(tree: Any, f: Callable[[Any], Any]) -> Any:
    if isinstance(tree, (tuple, list)):
        return type(tree)(_map(part, f) for part in tree)
    return f(tree)


def _step(cell: nn.Module, input_size: int, batch: int, like: Any) -> Program:
    first = flatten(like)[0]
    sizes = [leaf.shape[1] for leaf in flatten(like)]
    device = next((p.device for p in cell.parameters()), first.device)
    x = torch.zeros(batch, input_size, dtype=first.dtype, device=device)
    leaves = [torch.zeros(batch, width, dtype=first.dtype, device=device) for width in sizes]
    tracer = Tracer(cell, batch)
    tracer.add_value(x, tracer.graph.node("x", (), input_size))
    for k, leaf in enumerate(leaves):
        tracer.add_value(leaf, tracer.graph.node("state", (), sizes[k], k))
    for leaf in (x, *leaves):
        leaf.requires_grad_()
    with tracer:
        new = flatten(cell(x, unflatten(like, leaves)))
    _refuse_custom_gradients(new)
    outputs = []
    for tensor in new:
        value = tracer.find(tensor)
        if not isinstance(value, Value):
            raise Unsupported("a new state that does not depend on the input or the state")
        outputs.append(value.node)
    if [tracer.graph.width(o) for o in outputs] != sizes:
        raise Unsupported(
            f"a new state of widths {[tracer.graph.width(o) for o in outputs]} from one of widths {sizes}"
        )
    return Program(tracer.graph, outputs, input_size, sizes, tracer.sources)


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


def trace(cell: nn.Module, input_size: int, like: Any) -> Program:
    """The simplified program of `cell`. `like`: a state of the cell (any batch size).

    A cell that is a program already has `program_of_step(input_size)` among its own settings.
    Raises `Unsupported`, naming the operation, where the step cannot be written in the engine's operations.
    """
    if "program_of_step" in cell.__dict__:
        return cell.__dict__["program_of_step"](input_size)
    off = torch.autocast("cpu", enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), off:
        programs = [_step(cell, input_size, batch, like) for batch in (2, 3)]
    if programs[0].graph.nodes != programs[1].graph.nodes or programs[0].outputs != programs[1].outputs:
        raise Unsupported("a step that depends on the batch size")
    return simplify(programs[0])
