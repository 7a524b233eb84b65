"""The second call of a layer takes the short way: the numbers of the first, until anything is not as it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool.engine.ready import Ready
from unspool.errors import DataError, EngineError
from unspool.nn import LSTM, Recurrent, Stack, drop_in, recurrent
from unspool.state import flatten

from .ready_layers import F, H, Own, each_layer, inputs, leaves, made, numbers, ready, same


@each_layer
@pytest.mark.parametrize("kind", inputs())
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_bits_of_the_first_call(name: str, kind: str, batch_first: bool) -> None:
    layer, x = made(name, batch_first=batch_first), inputs()[kind]
    first = numbers(layer, x)
    numbers(layer, x)
    assert ready(layer)
    assert same(numbers(layer, x), first)
    with torch.no_grad():
        assert same(leaves(layer(x)), first[: len(leaves(layer(x)))])


@each_layer
def test_a_state_that_is_given(name: str) -> None:
    layer, x = made(name, batch_first=True), inputs()["padded"]
    state = layer(x)[1]
    strided = [leaf.detach().mT.contiguous().mT for leaf in leaves(state)]
    given = rebuilt(state, [leaf.requires_grad_() for leaf in strided])
    first = numbers(layer, x, given)
    assert same(numbers(layer, x, given), first) and ready(layer)
    cold = made(name, batch_first=True)
    cold.load_state_dict(layer.state_dict())
    assert same(numbers(cold, x, given), first)


def rebuilt(like: Any, found: list[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return found.pop(0)
    return tuple(rebuilt(part, found) for part in like)


@pytest.mark.parametrize(
    "name", ["LSTM", "LSTM, 2 layers, both", "GRU, both", "Recurrent, both", "Recurrent"]
)
@pytest.mark.parametrize("given", [False, True])
def test_gradients_of_gradients(name: str, given: bool) -> None:
    """Of a padded batch, whose sequences are stacked and whose state may be left out: those of the first call."""
    layer = made(name, batch_first=True).requires_grad_()
    x = inputs()["padded"].requires_grad_()
    state = rebuilt(layer(x)[1], [t.detach().clone() for t in leaves(layer(x)[1])]) if given else None

    def penalty(call: Any) -> list[Tensor]:
        output, final = call(x, state)
        total = output.square().sum() + sum(leaf.sum() for leaf in leaves(final))
        (slope,) = torch.autograd.grad(total, x, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), [x, *layer.parameters()]))

    short = penalty(layer)
    assert ready(layer)
    long = penalty(lambda *args: (layer.__dict__.update(_ready=None), layer(*args))[1])
    for a, b in zip(short, long, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert any(bool(g.abs().sum() > 0) for g in short)


@pytest.mark.parametrize("name", ["LSTM", "Recurrent"])
def test_surroundings(name: str) -> None:
    layer, x = made(name, batch_first=True), inputs()["padded"]
    expected, _ = layer(x), layer(x)
    assert ready(layer)
    doubled = torch.func.functional_call(layer, {n: 2 * p for n, p in layer.named_parameters()}, (x,))[0]
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(2)
    torch.testing.assert_close(doubled, twin(x)[0])
    with torch.autocast("cpu"):
        assert torch.equal(layer(x)[0], expected[0])
    with torch.inference_mode():
        assert layer(x)[0].is_inference()
    with torch.device("meta"):
        assert torch.equal(layer(x)[0], expected[0])
    each = torch.func.vmap(lambda one: layer(one[None])[0][0])(x)
    torch.testing.assert_close(each, expected[0])
    assert torch.equal(layer(x)[0], expected[0])


@pytest.mark.parametrize("name", ["LSTM", "Recurrent", "Recurrent, both"])
def test_copies(name: str) -> None:
    layer, x = made(name, batch_first=True), inputs()["padded"]
    expected, _ = numbers(layer, x), numbers(layer, x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not ready(twin) and same(numbers(twin, x), expected) and same(numbers(twin, x), expected)
        assert ready(twin)
        with torch.no_grad():
            next(twin.parameters()).zero_()
        assert not same(numbers(twin, x), expected) and same(numbers(layer, x), expected)
    if name == "Recurrent":
        shallow = copy.copy(layer)
        shallow.reverse = True
        assert torch.equal(shallow(x)[0], Recurrent(layer.cell, reverse=True)(x)[0])
        assert same(numbers(layer, x), expected)


ERRORS: dict[str, Any] = {
    "features": lambda x, state: (x[..., :-1], None),
    "float64": lambda x, state: (x.double(), None),
    "axes": lambda x, state: (x[None], None),
    "rows of the state": lambda x, state: (x, rebuilt(state, [s[..., :1, :] for s in leaves(state)])),
    "width of the state": lambda x, state: (x, rebuilt(state, [s[..., :-1] for s in leaves(state)])),
    "a state that is none": lambda x, state: (x, 3),
    "parts of the state": lambda x, state: (x, (*leaves(state), *leaves(state))),
    "sparse": lambda x, state: (x.to_sparse(), None),
    "text": lambda x, state: ("text", None),
}


@pytest.mark.parametrize("name", ["LSTM", "GRU, both", "Recurrent", "Recurrent, both"])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.filterwarnings("ignore:.*plain loop.*")
def test_errors_are_those_of_the_long_way(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = made(name, batch_first=True), inputs()["padded"]
    state = layer(x)[1]
    layer(x)
    assert ready(layer)

    def said(layer: Any) -> str:
        try:
            layer(*ERRORS[kind](x, state))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    short = said(layer)
    with monkeypatch.context() as long:
        for module in (recurrent, drop_in):
            long.setattr(module, "calls_can_be_ready", lambda: False)
        assert short == said(layer) != "nothing"
    assert torch.equal(layer(x)[0], made(name, batch_first=True)(x)[0])


def test_a_class_with_a_look_of_its_own() -> None:
    class Careful(LSTM):
        looked = 0

        def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
            self.looked += 1
            super().check_input(input, batch_sizes)

    layer, x = Careful(F, H), inputs()["padded"]
    for _ in range(3):
        layer(x)
    assert layer.looked == 3 and not ready(layer)


def test_a_subclass_of_tensor_is_looked_at() -> None:
    class Watched(Tensor):
        pass

    layer, x = made("Recurrent"), inputs()["padded"]
    expected = layer(x)[0]
    assert ready(layer)
    found = layer(x.as_subclass(Watched))[0]
    torch.testing.assert_close(found.as_subclass(Tensor), expected)


def test_a_stack_goes_the_short_way() -> None:
    stack, x = Stack("lstm", F, H, 2, bidirectional=True), inputs()["ragged"]
    first = leaves(stack(x))
    assert all(map(ready, stack.layers))
    assert same(leaves(stack(x)), first)


def test_engine_native_has_first_gradients_only() -> None:
    layer, x = made("Recurrent", engine="native"), inputs()["padded"].requires_grad_()
    for _ in range(2):
        (slope,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        with pytest.raises(EngineError, match="first derivatives"):
            slope.sum().backward()
    assert ready(layer)


def test_a_cell_without_a_program_is_never_ready() -> None:
    direction = Recurrent(Own()).directions()
    direction[0].cell.register_forward_hook(lambda *_: None)
    with pytest.raises(EngineError, match="hooks"):
        Ready(direction, F, [torch.ones(1, H)], None)


def test_offsets_are_compared_at_every_call() -> None:
    layer, x = made("LSTM"), inputs()["ragged"]
    layer(x), layer(x)
    assert ready(layer)
    x._offsets[1] = 100
    with pytest.raises(DataError, match="offsets"):
        layer(x)


def test_flatten_is_what_states_are_counted_by() -> None:
    layer, x = made("Recurrent"), inputs()["padded"]
    h, c = layer(x)[1]
    assert same(leaves(layer(x, [h, c])), leaves(layer(x, (h, c)))) and len(flatten(layer(x, [h, c])[1])) == 2
