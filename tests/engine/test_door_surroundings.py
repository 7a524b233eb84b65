"""The door: what the surroundings of a call say does not reach the engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from unspool import Ragged, cells
from unspool.engine import memory, native, programs
from unspool.errors import DataError, EngineError

from .door import F, H, call_of, everything, in_a_process, layer, ragged, tensors_of


class _Default:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_: Any) -> None:
        torch.set_default_dtype(self.before)


class _Device:
    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> None:
        torch.set_default_device(self.device)

    def __exit__(self, *_: Any) -> None:
        torch.set_default_device(None)


SURROUNDINGS = {
    "float64": lambda: _Default(torch.float64),
    "float16": lambda: _Default(torch.float16),
    "bfloat16": lambda: _Default(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "default meta": lambda: _Device("meta"),
    "function mode": lambda: torch.overrides.BaseTorchFunctionMode(),
}


@pytest.mark.parametrize(
    "cell", [cells.LSTMCell, cells.GRUCell, cells.LayerNormLSTMCell], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "first call"])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_the_engine(name: str, warm: bool, cell: type) -> None:
    made, x = layer(cell, bidirectional=True), ragged()
    expected = everything(layer(cell, bidirectional=True), x)

    def check() -> None:
        if not warm:
            programs._shared.clear()
            for each in made.cells():
                programs.Memory.of(each).forget()
        with SURROUNDINGS[name]():
            got = everything(made, x)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype is torch.float32 and a.device.type == "cpu"
            assert torch.equal(a, b)

    in_a_process(check)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_a_step_or_a_frozen_layer(name: str) -> None:
    made = layer()
    x = torch.randn(3, F)
    state = tuple(torch.randn(3, H) for _ in range(2))
    batch = ragged()
    with torch.no_grad():
        frozen = made.freeze()
        expected = [*made.step(x, state), *frozen.step(x, state), frozen(batch)[0].values]

    def check() -> None:
        with torch.no_grad(), SURROUNDINGS[name]():
            got = [*made.step(x, state), *frozen.step(x, state), frozen(batch)[0].values]
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))

    in_a_process(check)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_a_ragged(name: str) -> None:
    def all_of_it() -> list[torch.Tensor]:
        x = ragged(3, (4, 1, 2))
        y = Ragged(torch.ones(7, 3, dtype=torch.float32, device="cpu"), [0, 4, 5, 7])
        block = y.to_padded()
        out = [y.offsets, y.lengths, block, y.mask(), y.mask(side="left"), y.reverse().values, y[1:].values]
        out += [
            y[[2, 0]].values,
            y.first(),
            y.last(),
            y.to_packed().data,
            Ragged.from_packed(y.to_packed()).values,
        ]
        out += [Ragged.from_padded(block, y.lengths).values, Ragged.from_padded(block).values, x.offsets]
        return out

    def check() -> None:
        expected = all_of_it()
        with SURROUNDINGS[name]():
            got = all_of_it()
        for a, b in zip(got, expected, strict=True):
            assert a.dtype is b.dtype and torch.equal(a, b)

    def only_offsets() -> None:  # random numbers follow torch's defaults, as torch's own do
        check()

    torch.manual_seed(0)
    values = torch.randn(7, 3)
    globals()["ragged"], before = lambda *_: Ragged(values, [0, 4, 5, 7]), ragged
    try:
        in_a_process(only_offsets)
    finally:
        globals()["ragged"] = before


def test_fake_tensors_end_in_an_error_or_in_the_plain_loop() -> None:
    made, x = layer(), ragged()
    call, tensors = call_of(made), tensors_of(made, len(x))

    def check() -> None:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(x.values)
            with pytest.raises((EngineError, RuntimeError)):
                native.run(call, fake, x.offsets, None, tensors)
        assert everything(made, x)  # and nothing of it stays

    in_a_process(check)


def test_the_engine_can_be_used_first_under_a_fake_mode() -> None:
    def check() -> None:
        assert type(memory.empty(2, 3)) is torch.Tensor
        assert memory._FLOATS.dtype is torch.float32

    in_a_process(check)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_transforms_of_torch_func_have_their_numbers(engine: str) -> None:
    made, x = layer(), ragged(F, (3, 1, 2))
    made.engine = engine

    def run(values: torch.Tensor) -> torch.Tensor:
        return made(Ragged(values, [0, 3, 4, 6]))[0].values

    direction = torch.randn(6, F)
    _, got = torch.func.jvp(run, (x.values,), (direction,))
    jacobian = torch.autograd.functional.jacobian(run, x.values)
    torch.testing.assert_close(got, torch.einsum("abcd,cd->ab", jacobian, direction), rtol=1e-4, atol=1e-5)
    batch = torch.stack([x.values, direction])
    with torch.no_grad():
        expected = torch.stack([run(x.values), run(direction)])
        torch.testing.assert_close(torch.func.vmap(run)(batch), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError):
        torch.func.vmap(lambda v: made.run(v, torch.tensor([0, 7]), [made.initial_state(1)])[0])(batch)


def test_a_batch_of_gradients_is_one_after_the_other() -> None:
    made, x = layer(), ragged(F, (3, 1, 2))

    def check() -> None:
        whole, single = (
            torch.autograd.functional.jacobian(
                lambda v: made(x.with_values(v))[0].values, x.values, vectorize=vectorize
            )
            for vectorize in (True, False)
        )
        assert torch.equal(whole, single)

    in_a_process(check)
