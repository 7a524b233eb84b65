"""Registry, continued: tracers and compilers. What they made is run on other numbers than it was made with."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from .given import Given, Named, name_results
from .surroundings import around, ordinary

JIT = ("torch.jit", "jit.trace", "jit.script", "TorchScript")
EXPORT = ("export", "torch.compile")


class Called(torch.nn.Module):
    """A call as a module of tensors: (x, *state's parts) -> (output, *final state's parts)."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.layer = given.layer
        self.__dict__["given"] = given

    def forward(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        given = self.given
        return given.flat(x, (given.shape or given.subject.nest)(parts))


def _others(given: Given) -> tuple[Tensor, ...]:
    """Other numbers of the same kind."""
    return tuple(torch.full_like(t, 0.25) + t.detach() / 2 for t in (given.x, *given.state))


def _detached(given: Given) -> tuple[Tensor, ...]:
    given.layer.requires_grad_(False)
    given.train = False
    return tuple(t.detach() for t in (given.x, *given.state))


def made_elsewhere(given: Given, make: Callable[[Called, tuple[Tensor, ...]], Any]) -> Named:
    """Made of other numbers, then run on the case's own."""
    own = _detached(given)
    made = make(Called(given), _others(given))
    return name_results(made(*own))


@around("jit.trace", *JIT, slow=True, reads=True)
def jit_trace(given: Given) -> Named:
    return made_elsewhere(
        given, lambda called, others: torch.jit.trace(called, others, check_trace=False, strict=False)
    )


@around("jit.script", *JIT, slow=True)
def jit_script(given: Given) -> Named:
    _detached(given)
    given.layer = torch.jit.script(given.layer)
    return name_results(given.forward())


@around("make_fx", "make_fx", "proxy", "traced", "tracing", "trace", slow=True, reads=True)
def fx(given: Given) -> Named:
    return made_elsewhere(given, lambda called, others: make_fx(called)(*others))


@around("make_fx symbolic", "make_fx", "proxy", "traced", "tracing", "trace", slow=True, reads=True)
def fx_symbolic(given: Given) -> Named:
    return made_elsewhere(given, lambda called, others: make_fx(called, tracing_mode="symbolic")(*others))


def _exported(strict: bool) -> Callable[[Given], Named]:
    def run(given: Given) -> Named:
        def make(called: Called, others: tuple[Tensor, ...]) -> Any:
            return torch.export.export(called, others, strict=strict).module()

        return made_elsewhere(given, make)

    return run


around("export", *EXPORT, slow=True, reads=True)(_exported(False))
around("export strict", *EXPORT, slow=True, reads=True)(_exported(True))


@around("export, another process", *EXPORT, slow=True, reads=True)
def exported_elsewhere(given: Given) -> Named:
    """Saved by a child; loaded here, where that program was never traced and others were before it."""
    own = _detached(given)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        torch.set_num_threads(1)  # torch's own operations wait for threads that a child is without
        try:
            program = torch.export.export(Called(given), _others(given), strict=False)
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            sent = pickle.dumps(buffer.getvalue())
        except BaseException as error:
            sent = pickle.dumps(_picklable(error))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(sent)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not data:
        raise AssertionError(f"export ended its process with status {status}")
    got = pickle.loads(data)
    if isinstance(got, dict):
        raise ReportedError(got)
    _use_another_cell()
    return name_results(torch.export.load(io.BytesIO(got)).module()(*own))


class ReportedError(Exception):
    """What another process raised: its type, message and whether it is an error of ours."""


def _picklable(error: BaseException) -> dict[str, Any]:
    from .verdict import describe

    return describe(error)


def _use_another_cell() -> None:
    from unspool import cells, nn

    layer = nn.Recurrent(cells.MGUCell(3, 2))
    with torch.no_grad():
        torch.compile(layer, backend="eager")(torch.zeros(1, 2, 3))


def _compiled(later_lengths: bool = False, **options: Any) -> Callable[[Given], Named]:
    def run(given: Given) -> Named:
        eager = given.layer
        forward = torch.compile(given.flat, **options)
        if later_lengths and given.subject.layout == "padded":
            other = torch.cat([given.x, given.x], 1).detach()
            forward(other, given.nested())
        whole = given.flat
        given.flat = forward  # type: ignore[method-assign]
        results = ordinary(given)
        given.flat = whole  # type: ignore[method-assign]
        assert given.layer is eager
        return results

    return run


around("compile eager", slow=True)(_compiled(backend="eager"))
around("compile", slow=True)(_compiled(backend="aot_eager"))
around("compile dynamic", slow=True, reads=True)(_compiled(True, backend="aot_eager", dynamic=True))
around("compile other lengths", slow=True, reads=True)(_compiled(True, backend="aot_eager"))
around("compile fullgraph", "fullgraph", "torch.compile", "graph", slow=True)(
    _compiled(backend="aot_eager", fullgraph=True)
)
