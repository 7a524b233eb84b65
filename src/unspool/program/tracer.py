"""Every operation of one step, written into a graph: values of the batch become nodes, the rest sources."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from unspool.program import custom, integers, pairs
from unspool.program.aliases import UNWRITTEN, Aliases, is_view, storage_of
from unspool.program.ir import Graph, Matrix
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import LOWERINGS, draws
from unspool.program.lowering_composed import OVER_THE_BATCH
from unspool.program.lowering_products import ATTENTION
from unspool.program.operands import aligned
from unspool.program.origins import Captured, Computed, Parameter, Ref, leaves, mapped
from unspool.program.writes import overwritten


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
        self.callers: dict[int, str] = {}  # storages that the step must not write into, and what they hold
        self.aliases = Aliases()
        self.followed: set[Any] = set()  # the Functions of the step whose gradients are in the graph
        self.computed: dict[Any, int] = {}
        self.ranges: dict[int, integers.Range] = {}  # of tensors of whole numbers, by identity
        self.checked: dict[int, Any] = {}  # tensors that one function of torch's alone may look at, and where
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}  # real and imaginary part of complex tensors
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
        self.callers[storage_of(tensor)] = "the input or the state that the step is given"

    def add_value(self, tensor: Tensor, value: Value) -> None:
        self.alive.append(tensor)
        self.source_of.pop(id(tensor), None)
        self.values[id(tensor)] = value
        self.in_storage.setdefault(storage_of(tensor), []).append(tensor)

    def refuse(self, tensor: Tensor, why: str) -> Tensor:
        """`tensor`, of which any use is `Unsupported`."""
        self.alive.append(tensor)
        self.refused[id(tensor)] = why
        return tensor

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
            for other in self.in_storage.get(storage_of(tensor), ()):  # another object for the same numbers
                if _same_place(tensor, other):
                    self.add_value(tensor, self.values[id(other)])
                    return self.values[id(tensor)]
            return self.add_source(tensor, Captured(tensor))
        return self.source_of[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.write_down(func, args, kwargs or {})

    def write_down(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry an operation out, and add what it does to the graph."""
        tensors = [t for t in leaves((args, kwargs)) if isinstance(t, Tensor)]
        name = func.overloadpacket.__name__
        if draws(func) and not (name in ATTENTION and args[3:4] in ((), (0.0,))):
            raise Unsupported(f"random numbers ('aten.{name}')")
        if name == "_linalg_check_errors":
            # Of a matrix that has no inverse the program gives no finite numbers.
            return self.run(func, args, kwargs)
        for tensor in tensors:
            if id(tensor) in self.refused:
                if is_view(func):  # torch's own, such as that which keeps the tensor for its gradient
                    return self.refuse(self.run(func, args, kwargs), self.refused[id(tensor)])
                raise Unsupported(self.refused[id(tensor)])
            if name != "detach" and tensor.requires_grad and custom.is_custom(tensor.grad_fn):
                custom.follow(self, tensor)
        target = args[0] if func._schema.is_mutable and args else None
        self.aliases.read(name, is_view(func), tensors, target)
        if func._schema.is_mutable:
            result = self.write(func, name, args, kwargs)
            self.aliases.written(name, result, args[1] if len(args) > 1 else None)
            return result
        if name in UNWRITTEN:
            return self.unwritten(func, args, kwargs)
        if pairs.has(self, name, args, kwargs, tensors):
            return pairs.lower(self, func, name, args, kwargs, self.run(func, args, kwargs))
        if any(id(t) in self.values for t in tensors):
            result, made = self.lower(func, name, args, kwargs)
            for tensor, value in zip(leaves(result), leaves(made)):
                if value is not None:
                    self.add_value(tensor, value)
                elif isinstance(tensor, Tensor) and id(tensor) not in self.source_of:
                    self.refuse(tensor, self.refused.get(id(tensor), f"another result of 'aten.{name}'"))
        elif name == "lift_fresh" and tensors[0].numel() == 1 and id(tensors[0]) not in self.source_of:
            return self.literal(self.run(func, args, kwargs))
        else:
            result = self.run(func, args, kwargs)
            refs = mapped(args, self._reference), {k: mapped(v, self._reference) for k, v in kwargs.items()}
            self.add_computed(result, func, *refs)
        self.aliases.viewed(leaves(result), tensors, name == "detach")
        return result

    def given_back(self, tensors: list[Tensor]) -> None:
        """What the step returns: as if it were read."""
        self.aliases.read("", False, tensors)
        with _disable_current_modes():
            for tensor in tensors:
                if custom.is_custom(tensor.grad_fn):
                    custom.follow(self, tensor)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation itself."""
        return func(*args, **kwargs)

    def lower(self, func: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """What torch makes, and its value in the program."""
        if name == "_local_scalar_dense":
            raise Unsupported("a Python branch or number taken from the values of a tensor")
        lowering = LOWERINGS.get(name)
        if lowering is None:
            raise Unsupported(f"the operation 'aten.{name}'")
        result = self.run(func, args, kwargs)
        self.func = func
        made = lowering(self, args, kwargs, result)
        integers.note(self, name, args, kwargs, zip(leaves(result), leaves(made)))
        return result, made if torch.is_grad_enabled() else mapped(made, self._stopped)

    def _stopped(self, made: Any) -> Any:
        """A value under `torch.no_grad`."""
        return made.of(self.graph.stopped(made.node)) if isinstance(made, Value) else made

    def literal(self, tensor: Tensor) -> Tensor:
        """A number that the step writes down, as in `a[mask] = 1.0`."""
        made = {"dtype": tensor.dtype, "device": "cpu"}
        self.add_computed(
            tensor, torch.ops.aten.full.default, (tuple(tensor.shape), tensor.flatten()[0].item()), made
        )
        return tensor

    def unwritten(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """A tensor on new memory: as if of zeros, which nothing can read before it is written."""
        tensor = self.run(func, args, kwargs)
        if tensor.is_meta:
            raise Unsupported("uninitialised memory made while tracing without data")
        tensor.zero_()
        made = {"dtype": tensor.dtype, "device": "cpu"}
        self.add_computed(tensor, torch.ops.aten.full.default, (tuple(tensor.shape), 0.0), made)
        self.aliases.made_unwritten(tensor)
        return tensor

    def write(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
        """An operation in place: the value it makes is from then on that of the tensor, and of all that share it."""
        target = args[0] if args else None
        if not name.endswith("_") or name.startswith("_") or not isinstance(target, Tensor):
            raise Unsupported(f"the operation 'aten.{name}' that writes into a given tensor")
        if target.is_complex():
            raise Unsupported(f"the in-place operation 'aten.{name}' on complex numbers")
        if not isinstance(self.find(target), Value):
            self.own(target, name)
        if storage_of(target) in self.callers:
            raise Unsupported(f"the in-place operation 'aten.{name}' on {self.callers[storage_of(target)]}")
        if target.requires_grad and not torch.is_grad_enabled():
            raise Unsupported(
                f"the in-place operation 'aten.{name}' under torch.no_grad on what has a gradient"
            )
        like = self.values[id(target)]
        source = args[1] if len(args) > 1 else 0.0
        if name == "copy_" or name == "fill_" or name == "zero_":
            result, made = self.run(func, args, kwargs), like.of(aligned(self, source, like))
            integers.note(self, name, args, kwargs, [(result, made)])
            made = made if torch.is_grad_enabled() else self._stopped(made)
        else:
            result, made = self.lower(func, name.removesuffix("_"), args, kwargs)
        made = like.of(self.graph.spread(made.node, like.width))
        overwritten(self, target, made)
        return result

    def own(self, target: Tensor, name: str) -> None:
        """A tensor that the step made from nothing, and its views, as values, so that it can be written into."""
        if not self.is_created(self.source_of[id(target)]):
            raise Unsupported(f"the in-place operation 'aten.{name}' on {self._named(target)}")
        for tensor in [s for s in self.source_tensors if storage_of(s) == storage_of(target)]:
            if not tensor.is_floating_point() and tensor.numel():
                self.ranges[id(tensor)] = integers.Range(float(tensor.min()), float(tensor.max()))
            self.add_value(tensor, self.created(tensor))

    def _named(self, tensor: Tensor) -> str:
        """What of the cell a tensor is."""
        made = self.sources[self.source_of[id(tensor)]]
        if isinstance(made, Parameter) and made.name.endswith("num_batches_tracked"):
            return f"the cell's own '{made}': {OVER_THE_BATCH}"
        if isinstance(made, Parameter):
            return f"the cell's own '{made}'"
        return str(made) if isinstance(made, Captured) else "what is computed from the weights alone"

    def constant(self, numbers: Any) -> int:
        """The source of numbers that are the same at every call."""
        return self.compute(of_numbers, tuple(numbers))

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


def of_numbers(numbers: tuple[float, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device="cpu")


def _same_place(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.stride(), a.storage_offset(), a.dtype) == (
        b.shape,
        b.stride(),
        b.storage_offset(),
        b.dtype,
    )
