"""What surrounds a call does not reach the engine: the numbers are torch's, and the native path is not lost."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool import nn as unn
from unspool.engine import dispatch
from unspool.errors import DataError, EngineError, SlowPathWarning
from unspool.program import lowering, simplify, surroundings, trace

from .user_cells import UserCell

F_IN, H = 4, 5


def fresh_cell() -> Any:
    """Of a class of its own, which nothing is known of; its step makes tensors without a word."""

    class Fresh(UserCell):
        def __init__(self) -> None:
            super().__init__()
            self.sizes = H
            self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)

        def initial_state(self, batch_size: int) -> Tensor:
            return self.a.weight.new_zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            scale = torch.linspace(0.5, 1, H, dtype=x.dtype, device=x.device)
            return torch.tanh(self.a(x) + h @ self.b.weight.tril().t()) * scale

    torch.manual_seed(0)
    return Fresh()


class Drawing(UserCell):
    """Its step draws from Python's generator and from numpy's."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(F_IN, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        scale = random.random() + np.random.rand()
        return torch.tanh(self.a(x) + h) * scale


def batch() -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(n, F_IN) for n in (3, 1, 0, 6)])


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


AROUND: dict[str, Callable[[], Any]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda t: t * 0, lambda t: t),
    "anomaly": torch.autograd.detect_anomaly,
}


@pytest.mark.filterwarnings("ignore:Anomaly")
@pytest.mark.parametrize("name", AROUND)
def test_a_trace_is_as_anywhere(name: str) -> None:
    cell = fresh_cell()
    like = cell.initial_state(2)
    expected = trace.trace(cell, F_IN, like)
    with AROUND[name](), surroundings.own():
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        assert torch.zeros(1).dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        assert trace.trace(cell, F_IN, like).listing() == expected.listing()


@pytest.mark.parametrize("around", [lambda: torch.device("meta"), lambda: default_device("meta")])
def test_a_trace_on_another_default_device(around: Callable[[], Any]) -> None:
    cell = fresh_cell()
    like = cell.initial_state(2)
    expected = trace.trace(cell, F_IN, like)
    with around():
        assert trace.trace(cell, F_IN, like).listing() == expected.listing()
        assert torch.zeros(1).is_meta


def test_a_trace_leaves_everything_as_it_was() -> None:
    cell = fresh_cell()
    states = surroundings.generators()
    with torch.inference_mode(), default_dtype(torch.float64), torch.device("meta"):
        with pytest.raises(lowering.Unsupported, match="random"):
            trace.trace(Drawing(), F_IN, cell.initial_state(2))
        assert torch.is_inference_mode_enabled() and torch.get_default_dtype() is torch.float64
        assert torch.empty(0).is_meta
    assert surroundings.generators() == states
    assert cell.a.weight.grad is None


@pytest.mark.parametrize("name", ["inference_mode", "no_grad", "autocast"])
def test_a_first_call_anywhere_is_native_and_stays_so(name: str) -> None:
    layer, x = unn.Recurrent(fresh_cell()), batch()
    with warnings.catch_warnings(), AROUND[name]():
        warnings.simplefilter("error")
        output, _ = layer(x)
    assert layer.explain_path(x) == "native"
    torch.testing.assert_close(output.values, unn.Recurrent(layer.cell, engine="eager")(x)[0].values)
    layer(x)[0].values.sum().backward()
    assert layer.cell.a.weight.grad is not None


def test_autocast_computes_in_float32_and_says_so() -> None:
    layer, x = unn.Recurrent(fresh_cell()), batch()
    expected = layer(x)[0].values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x)[0].values, expected)
        assert layer.explain_path(x) == "native: in torch.float32, as autocast does not reach it"
        narrow = x.with_values(nn.Linear(F_IN, F_IN)(x.values))
        assert narrow.values.dtype == torch.bfloat16
        output = layer(narrow)[0].values
    assert output.dtype == torch.float32
    assert torch.equal(output, layer(narrow.with_values(narrow.values.float()))[0].values)


def test_weights_of_inference_mode() -> None:
    with torch.inference_mode():
        cell = fresh_cell().requires_grad_(False)
    layer, x = unn.Recurrent(cell), batch()
    assert layer.explain_path(x) == "native"
    with torch.no_grad():
        expected = unn.Recurrent(cell, engine="eager")(x)[0].values
        torch.testing.assert_close(layer(x)[0].values, expected)


def per_sequence(layer: Any, x: Tensor) -> Tensor:
    return torch.vmap(lambda row: layer(row[None])[0][0])(x)


@pytest.mark.parametrize(
    "make", [lambda: unn.Recurrent(fresh_cell()), lambda: unn.GRU(F_IN, H, batch_first=True)]
)
class TestTransforms:
    def test_vmap_and_grad(self, make: Callable[[], Any]) -> None:
        layer, x = make(), torch.randn(3, 6, F_IN)
        torch.testing.assert_close(per_sequence(layer, x), layer(x)[0])
        got = torch.func.grad(lambda v: layer(v)[0].square().sum())(x)
        given = x.clone().requires_grad_()
        expected = torch.autograd.grad(layer(given)[0].square().sum(), given)[0]
        torch.testing.assert_close(got, expected)
        assert layer.explain_path(x) == "native"

    def test_forward_mode(self, make: Callable[[], Any]) -> None:
        layer, x, direction = make(), torch.randn(3, 6, F_IN), torch.randn(3, 6, F_IN)
        _, expected = torch.func.jvp(lambda v: layer(v)[0], (x,), (direction,))
        with forward_ad.dual_level():
            output = layer(forward_ad.make_dual(x, direction))[0]
            got = forward_ad.unpack_dual(output).tangent
        torch.testing.assert_close(got, expected)
        given = x.double().requires_grad_()
        wide = make().double()
        wide.load_state_dict(layer.state_dict())
        small = 1e-6 * direction.double()
        difference = (wide(given + small)[0] - wide(given - small)[0]) / 2e-6
        torch.testing.assert_close(expected, difference.float(), rtol=1e-3, atol=1e-4)

    def test_script_is_refused_in_words(self, make: Callable[[], Any]) -> None:
        for script in (lambda m: torch.jit.script(m), lambda m: torch.jit.trace(m, torch.randn(2, 3, F_IN))):
            with pytest.raises(EngineError, match=r"torch\.export"):
                script(make())


class TestTypes:
    def layer(self) -> Any:
        return unn.Recurrent(fresh_cell())

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    def test_one_other_type_is_torchs(self, dtype: torch.dtype) -> None:
        layer, x = unn.GRU(F_IN, H, batch_first=True), torch.randn(2, 3, F_IN)
        layer(x)
        peer = nn.GRU(F_IN, H, batch_first=True)
        peer.load_state_dict(layer.state_dict())
        got, expected = layer.to(dtype)(x.to(dtype))[0], peer.to(dtype)(x.to(dtype))[0]
        assert got.dtype == dtype
        torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)

    @pytest.mark.parametrize("of", ["input", "state", "weights"])
    def test_mixed_types_are_named(self, of: str) -> None:
        layer, x = self.layer(), batch()
        layer(x)
        state = torch.zeros(4, H)
        if of == "input":
            x = x.with_values(x.values.double())
        elif of == "state":
            state = state.double()
        else:
            layer.double()
        with pytest.raises(DataError, match=r"must have one dtype.*torch\.float64") as caught:
            layer(x, state)
        assert "torch.float32" in str(caught.value)

    def test_weights_changed_in_place(self) -> None:
        """`half()` keeps the parameters and changes what they hold."""
        layer, x = self.layer(), batch()
        assert layer.explain_path(x) == "native"
        layer.cell.b.weight.data = layer.cell.b.weight.data.double()
        assert "'b.weight' is torch.float64" in layer.explain_path(x)
        layer.cell.b.weight.data = layer.cell.b.weight.data.float()
        assert layer.explain_path(x) == "native"

    def test_subclasses_take_the_plain_loop(self) -> None:
        class Mine(Tensor):
            pass

        layer, x = self.layer(), batch()
        mine = x.with_values(x.values.as_subclass(Mine))
        assert "plain tensors, and the input is a Mine" in layer.explain_path(mine)
        torch.testing.assert_close(layer(mine)[0].values.as_subclass(Tensor), layer(x)[0].values)

    def test_meta(self) -> None:
        layer = self.layer().to("meta")
        assert layer(torch.empty(2, 3, F_IN, device="meta"))[0].shape == (2, 3, H)
        for made, x in ((layer, batch()), (unn.GRU(F_IN, H, device="meta"), torch.randn(2, 3, F_IN))):
            with pytest.raises(EngineError, match="weights with numbers"):
                made(x)


class TestWarnings:
    def slow(self) -> Any:
        class Slow(UserCell):
            def __init__(self) -> None:
                super().__init__()
                self.sizes = H
                self.a = nn.Linear(F_IN + H, H)

            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                new = torch.tanh(self.a(torch.cat([x, h], 1)))
                return new.cummax(1).values  # the line that is named

        return Slow

    def test_one_for_each_class_with_the_operation_and_the_line(self) -> None:
        make = self.slow()
        with pytest.warns(SlowPathWarning) as caught:
            unn.Recurrent(make())(batch())
            unn.Recurrent(make())(batch())
            unn.Recurrent(make())(batch())
        assert len(caught) == 1
        message, line = str(caught[0].message), 0
        with open(__file__) as file:
            line = next(n for n, text in enumerate(file, 1) if "the line that is named" in text)
        assert "Slow" in message and "aten.cummax" in message and f"{__file__}, line {line}" in message
        assert "engine='eager'" in message
        assert caught[0].filename == __file__

    def test_a_step_warns_too(self) -> None:
        layer = unn.Recurrent(self.slow()())
        with pytest.warns(SlowPathWarning, match="aten.cummax"), torch.no_grad():
            layer.step(torch.randn(2, F_IN))

    @pytest.mark.filterwarnings("error")
    def test_none_where_it_is_asked_for_or_not_the_cells_doing(self) -> None:
        unn.Recurrent(self.slow()(), engine="eager")(batch())
        unn.Recurrent(self.slow()()).explain_path(batch())
        x = batch()
        unn.Recurrent(fresh_cell()).double()(x.with_values(x.values.double()))
        torch.func.grad(lambda v: unn.Recurrent(fresh_cell())(x.with_values(v))[0].values.sum())(x.values)


class TestFailures:
    """An error of ours is seen; one of the step's is the step's."""

    @pytest.mark.parametrize("engine", ["auto", "native"])
    def test_of_a_lowering(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> Any:
            raise KeyError("lost")

        monkeypatch.setitem(lowering.LOWERINGS, "tanh", broken)
        with pytest.raises(
            EngineError, match=r"failed at tracing 'aten\.tanh.*KeyError.*fault of unspool"
        ) as caught:
            unn.Recurrent(fresh_cell(), engine=engine)(batch())
        assert isinstance(caught.value.__cause__, KeyError)

    def test_of_the_simplifier(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trace, "simplify", lambda program: [][1])
        with pytest.raises(EngineError, match="failed at simplifying a step of Fresh: IndexError"):
            unn.Recurrent(fresh_cell())(batch())
        monkeypatch.setattr(trace, "simplify", simplify.simplify)
        layer = unn.Recurrent(fresh_cell())
        assert layer.explain_path(batch()) == "native"

    def test_one_that_the_step_would_swallow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Careful(UserCell):
            def __init__(self) -> None:
                super().__init__()
                self.sizes = H
                self.a = nn.Linear(F_IN, H)

            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                try:
                    return (self.a(x) + h).cummax(1).values
                except Exception:
                    return torch.tanh(self.a(x))

        layer = unn.Recurrent(Careful())
        assert "aten.cummax" in layer.explain_path(batch())

    def test_of_the_step(self) -> None:
        class Wrong(UserCell):
            def __init__(self) -> None:
                super().__init__()
                self.sizes = H
                self.a = nn.Linear(F_IN, H)

            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                return self.a(h)

        with pytest.raises(RuntimeError, match="mat1 and mat2") as caught, pytest.warns(SlowPathWarning):
            unn.Recurrent(Wrong())(batch())
        assert not isinstance(caught.value, EngineError)


def test_the_warning_is_public() -> None:
    assert issubclass(SlowPathWarning, UserWarning)
    assert dispatch.ENGINES == ("auto", "native", "triton", "eager")


def test_cells_of_the_registry_never_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in cells.registry.values():
            unn.Recurrent(make(F_IN, H))(batch())
