"""Registry: where a call is made. Each runs it and names what came out, for comparison with torch's numbers.

A surrounding that torch cannot trace or transform the call in may end in an error that says so: `words`, of which
its message has one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from .given import Given, Named, loss_of, name_results


@dataclass(frozen=True)
class Surrounding:
    """run: (given) -> results by name. words: of the errors allowed; none: torch's numbers are what is asked for.

    rounding: relative tolerance where the surrounding asks for fewer digits. manager: where it is a context, also of
    a whole `fit`. shapes: only the shapes of the results are compared. reads: it computes with
    the tensors itself, before the call. slow: a tracer or a compiler.
    """

    name: str
    run: Callable[[Given], Named]
    words: tuple[str, ...] = ()
    rounding: float = 1e-4
    manager: Callable[[], Any] | None = None
    shapes: bool = False
    reads: bool = False
    slow: bool = False


ALL: list[Surrounding] = []


def ordinary(given: Given) -> Named:
    """The call and, for one that trains, every gradient."""
    results = given.forward()
    named = name_results(results)
    leaves = given.leaves()
    if given.train and torch.is_grad_enabled() and leaves and any(r.requires_grad for r in results):
        grads = torch.autograd.grad(loss_of(results), list(leaves.values()), allow_unused=True)
        named |= {f"d {name}": grad for name, grad in zip(leaves, grads)}
    return named


def inside(name: str, manager: Callable[[], Any], words: tuple[str, ...] = (), **options: Any) -> None:
    def run(given: Given) -> Named:
        with manager():
            return ordinary(given)

    ALL.append(Surrounding(name, run, words, manager=manager, **options))


def around(name: str, *words: str, **options: Any) -> Callable[[Callable[[Given], Named]], Any]:
    def add(run: Callable[[Given], Named]) -> Callable[[Given], Named]:
        ALL.append(Surrounding(name, run, words, **options))
        return run

    return add


@contextlib.contextmanager
def setting(change: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


class PassingDispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class PassingFunction(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def grad_in_no_grad() -> Iterator[None]:
    with torch.no_grad(), torch.enable_grad():
        yield


# --- contexts

inside("calm", contextlib.nullcontext)
for dtype in (torch.float64, torch.float16, torch.bfloat16):
    inside(
        f"default dtype {str(dtype)[6:]}",
        lambda dtype=dtype: setting(torch.set_default_dtype, dtype, torch.float32),
    )
inside("default device meta", lambda: setting(torch.set_default_device, "meta", None))
inside("device meta", lambda: torch.device("meta"))
inside("device cpu", lambda: torch.device("cpu"))
for dtype in (torch.bfloat16, torch.float16):
    inside(
        f"autocast {str(dtype)[6:]}",
        lambda dtype=dtype: torch.autocast("cpu", dtype),
        ("autocast",),
        rounding=5e-2,
    )
inside("no_grad", torch.no_grad)
inside("inference_mode", torch.inference_mode)
inside("grad in no_grad", grad_in_no_grad)
inside("anomaly", torch.autograd.detect_anomaly)
inside("deterministic", lambda: setting(torch.use_deterministic_algorithms, True, False))
inside("save_on_cpu", torch.autograd.graph.save_on_cpu)
inside("saved as float64", lambda: torch.autograd.graph.saved_tensors_hooks(_pack, _unpack))
for count in (1, 3):
    inside(f"{count} threads", lambda count=count: setting(torch.set_num_threads, count, 2))
inside("dispatch mode", PassingDispatch)
inside("function mode", PassingFunction)
inside("forward AD level", forward_ad.dual_level)
inside("backward on one thread", lambda: torch.autograd.set_multithreading_enabled(False))
inside("no subclasses", torch._C.DisableTorchFunctionSubclass)
inside("profiler", lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]))


def _pack(tensor: Tensor) -> Any:
    return tensor.dtype, tensor.double() if tensor.is_floating_point() else tensor.clone()


def _unpack(packed: Any) -> Tensor:
    return packed[1].to(packed[0])


# --- other ways of calling


@around("another thread")
def another_thread(given: Given) -> Named:
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(ordinary(given))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@around("backward twice")
def backward_twice(given: Given) -> Named:
    results = given.forward()
    leaves = given.leaves()
    if not leaves:
        return name_results(results)
    loss = loss_of(results)
    first = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for a, b in zip(first, second):
        assert a is b or torch.allclose(a, b, 0, 0, equal_nan=True), "the second backward has other numbers"
    return {**name_results(results), **{f"d {name}": grad for name, grad in zip(leaves, second)}}


@around("accumulated gradients")
def accumulated(given: Given) -> Named:
    leaves = given.leaves()
    for _ in range(2):
        results = given.forward()
        if leaves:
            loss_of(results).backward()
    return {
        **name_results(results),
        **{f"d {n}": t.grad / 2 for n, t in leaves.items() if t.grad is not None},
    }


@around("second derivative", "derivative", "differentiat")
def second_derivative(given: Given) -> Named:
    results = given.forward()
    leaves = list(given.leaves().values())
    if leaves:
        grads = torch.autograd.grad(loss_of(results), leaves, create_graph=True, allow_unused=True)
        sum(g.square().sum() for g in grads if g is not None).backward()
    return name_results(results)


def checkpointed(given: Given, reentrant: bool) -> Named:
    leaves = given.leaves()
    given.layer.requires_grad_(True)
    results = checkpoint(lambda x: given.flat(x, given.nested()), given.x, use_reentrant=reentrant)
    grads = {}
    if given.train and leaves and not reentrant:
        found = torch.autograd.grad(loss_of(results), list(leaves.values()), allow_unused=True)
        grads = {f"d {name}": grad for name, grad in zip(leaves, found)}
    elif given.train and leaves:
        loss_of(results).backward()
        grads = {f"d {name}": t.grad for name, t in leaves.items() if t.grad is not None}
    return {**name_results(results), **grads}


around("checkpoint", "gradient")(lambda given: checkpointed(given, False))
around("reentrant checkpoint", "gradient")(lambda given: checkpointed(given, True))


@around("functional_call", "frozen")
def functional_call(given: Given) -> Named:
    layer, weights = given.layer, given.weights()
    given.layer = lambda *args: torch.func.functional_call(layer, dict(weights), args)
    for method in ("step", "run"):
        if hasattr(layer, method):
            setattr(given.layer, method, getattr(layer, method))
    results = given.forward()
    given.layer = layer
    return name_results(results)


# --- transforms

TRANSFORM = ("transform", "vmap", "torch.func", "jvp", "forward-mode", "functorch", "frozen", "Frozen")


@around("func.grad", *TRANSFORM)
def func_grad(given: Given) -> Named:
    state = given.nested()
    grad, results = torch.func.grad(lambda x: _with_loss(given.flat(x, state)), has_aux=True)(given.x)
    return {**name_results(results), "d x": grad}


def _with_loss(results: Any) -> Any:
    return loss_of(results), results


@around("func.vjp", *TRANSFORM)
def func_vjp(given: Given) -> Named:
    state = given.nested()
    loss, pull, results = torch.func.vjp(
        lambda x: _with_loss(given.flat(x, state)), given.x.detach(), has_aux=True
    )
    return {**name_results(results), "d x": pull(torch.ones_like(loss))[0]}


@around("func.jvp", *TRANSFORM)
def func_jvp(given: Given) -> Named:
    given.train, state = False, given.nested()
    x = given.x.detach()
    results, _ = torch.func.jvp(lambda x: given.flat(x, state), (x,), (torch.ones_like(x),))
    return name_results(results)


@around("forward AD", *TRANSFORM)
def forward_mode(given: Given) -> Named:
    """The directional derivative along ones against the gradient's sum, by hand in `differences`' place."""
    with forward_ad.dual_level():
        x = forward_ad.make_dual(given.x.detach(), torch.ones_like(given.x))
        results = given.flat(x, given.nested())
        tangent = forward_ad.unpack_dual(loss_of(results)).tangent
        if tangent is None:
            raise AssertionError("the tangent of the input is lost without a word")
        return name_results([forward_ad.unpack_dual(r).primal for r in results]) | {"tangent": tangent}


@around("vmap", *TRANSFORM, reads=True)
def vmap(given: Given) -> Named:
    state = given.nested()
    stacked = torch.stack([given.x, given.x.detach().flip(0)])
    results = torch.func.vmap(lambda x: given.flat(x, state))(stacked)
    return name_results([part[0] for part in results])


@around("functionalize", *TRANSFORM)
def functionalize(given: Given) -> Named:
    state = given.nested()
    return name_results(torch.func.functionalize(lambda x: given.flat(x, state))(given.x))


# --- fake tensors


def faked(given: Given, whole: bool) -> Named:
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=not whole)

    def fake(value: Any) -> Any:
        return mode.from_tensor(value) if isinstance(value, Tensor) else value

    if whole:
        for module in given.layer.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = torch.nn.Parameter(mode.from_tensor(weight.detach()), False)
        given.state = [fake(part) for part in given.state]
    given.x = fake(given.x)
    with mode:
        return name_results(given.forward())


around("fake input", "fake", "Fake", shapes=True)(lambda given: faked(given, False))
around("fake throughout", "fake", "Fake", shapes=True)(lambda given: faked(given, True))
