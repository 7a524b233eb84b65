"""What the tests of the door share: a layer, a batch, what comes of them, and processes that may crash."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from unspool import Ragged, cells
from unspool.engine import native, programs
from unspool.nn import Recurrent
from unspool.program import sources

F, H = 19, 37
LENGTHS = (9, 3, 0, 14, 1)


def in_a_process(check: Callable[[], None]) -> None:
    """Run `check` in a process of its own, which may crash; here an error, there or a signal, fails the test."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            check()
            status = 0
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}"[:4000].encode())
        os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        message = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    assert status == 0, message or f"the process ended with status {status}"


def ragged(features: int = F, lengths: tuple[int, ...] = LENGTHS) -> Ragged:
    torch.manual_seed(0)
    return Ragged.from_list([torch.randn(n, features) for n in lengths])


def layer(cell: type = cells.LSTMCell, **options: Any) -> Recurrent:
    torch.manual_seed(1)
    return Recurrent(cell(F, H), engine="native", **options)


def everything(made: Recurrent, x: Ragged) -> list[torch.Tensor]:
    """Output, final state and gradients."""
    values = x.values.detach().clone().requires_grad_()
    made.zero_grad()
    output, final = made(x.with_values(values))
    (output.values.square().sum() + sum(part.sum() for part in flat(final))).backward()
    return [
        output.values.detach(),
        *(p.detach() for p in flat(final)),
        values.grad,
        *(p.grad for p in made.parameters()),
    ]


def flat(state: Any) -> list[torch.Tensor]:
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in flat(part)]


def call_of(made: Recurrent, training: bool = False) -> native.Call:
    program = programs.program_of(made.cell, F, made.initial_state(1))
    assert not isinstance(program, str)
    return native.Call([native.Stream(program, False, list(used_sources(program)))], training, training)


def used_sources(program: Any) -> list[int]:
    return sources.used(program)


def tensors_of(made: Recurrent, batch: int) -> list[torch.Tensor]:
    program = programs.program_of(made.cell, F, made.initial_state(1))
    weights = sources.resolve(program, sources.used(program), made.directions()[0].weight)  # type: ignore[arg-type]
    return [*flat(made.initial_state(batch)), *weights]
