"""Freezing layers: what a copy keeps, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import unspool
from unspool import Ragged, cells
from unspool.engine.frozen import FORMS
from unspool.errors import DataError, EngineError, InvalidParameterError
from unspool.nn import Recurrent, Stack
from unspool.state import flatten

F, H, LENGTHS = 5, 7, (3, 0, 6, 1)


def batch(width: int = F) -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(length, width) for length in LENGTHS])


def lstm(**options: Any) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(cells.LSTMCell(F, H), **options)


def values_of(layer: Any, *args: Any) -> list[torch.Tensor]:
    """All numbers that a call gives, without gradients."""
    with torch.no_grad():
        output, state = layer(*args)
    outputs = output if isinstance(output, tuple) else (output,)
    return [*(o.values if isinstance(o, Ragged) else o for o in outputs), *flatten(state)]


def check_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert len(a) == len(b) and all(map(torch.equal, a, b))


class Plain(nn.Module):
    """A user's cell: its input size is not known before a call."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> torch.Tensor:
        return torch.zeros(batch_size, self.h.out_features)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.x(x) + self.h(h))


class Sorted(Plain):
    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return super().forward(x, h).cummax(dim=1).values


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [cells.LSTMCell, Plain])
def test_later_changes_are_not_seen(make: Callable[[int, int], nn.Module], form: str) -> None:
    layer = Recurrent(make(F, H))
    frozen, x = layer.freeze(form), batch()
    first = values_of(frozen, x)
    before, stepped = values_of(layer, x), frozen.step(x.values)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.3)
    check_equal(values_of(frozen, x), first)
    check_equal(flatten(frozen.step(x.values)), flatten(stepped))
    assert not torch.equal(values_of(layer, x)[0], before[0])
    check_equal(values_of(layer.freeze("float32"), x), values_of(layer, x))


def test_no_gradients() -> None:
    layer = lstm(bidirectional=True, initial_state="learned")
    frozen, x = layer.freeze(), batch()
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert all(weight.requires_grad for weight in layer.parameters()) and layer.training
    assert not frozen.training and not frozen(x)[0].values.requires_grad
    wanted = x.with_values(x.values.clone().requires_grad_())
    with pytest.raises(
        EngineError, match=r"no gradients.*Use the layer itself, or call it under torch\.no_grad"
    ):
        frozen(wanted)
    state = (torch.zeros(4, H), torch.zeros(4, H, requires_grad=True))
    with pytest.raises(EngineError, match="no gradients"):
        lstm().freeze()(x, state)
    with pytest.raises(EngineError, match="no gradients"):
        lstm().freeze().step(wanted.values)
    with torch.no_grad():
        assert torch.equal(frozen(wanted)[0].values, frozen(x)[0].values)
        lstm().freeze().step(wanted.values)


WRONG: dict[str, tuple[Callable[[Recurrent], Any], type[Exception], str]] = {
    "float64": (
        lambda f: f(torch.randn(2, 3, F).double()),
        EngineError,
        r"float32.*Got torch\.float64 on cpu",
    ),
    "float64 step": (lambda f: f.step(torch.randn(2, F).double()), EngineError, r"Got torch\.float64"),
    "width": (lambda f: f(torch.randn(2, 3, 6)), DataError, r"5 features, \(N, 5\). Got \(N, 6\)"),
    "width of a step": (lambda f: f.step(torch.randn(2, 6)), DataError, r"\(rows, 5\). Got \(2, 6\)"),
    "a step of one axis": (
        lambda f: f.step(torch.randn(F)),
        DataError,
        r"\(B, F\). Got a Tensor of shape \(5,\)",
    ),
    "state": (
        lambda f: f(torch.randn(2, 3, F), (zeros(2, H), zeros(2, 8))),
        DataError,
        r"\(2, 7\), \(2, 8\)",
    ),
    "parts": (lambda f: f(torch.randn(2, 3, F), zeros(2, H)), DataError, r"Got \[\(2, 7\)\]"),
    "state of a step": (lambda f: f.step(zeros(2, F), (zeros(2, H), zeros(2, 8))), EngineError, r"\(2, 8\)"),
    "rows of a step": (
        lambda f: f.step(zeros(2, F), (zeros(3, H), zeros(3, H))),
        EngineError,
        r"Got \[\(3, 7\)",
    ),
    "parts of a step": (lambda f: f.step(zeros(2, F), zeros(2, H)), EngineError, r"Got \[\(2, 7\)\]"),
}


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_what_it_refuses(name: str, gradients: bool) -> None:
    call, error, message = WRONG[name]
    frozen = lstm().freeze()
    with torch.set_grad_enabled(gradients), pytest.raises(error, match=message):
        call(frozen)
    check_equal(values_of(frozen, batch()), values_of(lstm(), batch()))


def test_what_cannot_be_frozen() -> None:
    with pytest.raises(
        InvalidParameterError, match=r"'weights' parameter of Recurrent.*Got 'int4'.*Did you mean"
    ):
        lstm().freeze("int4")
    with pytest.raises(InvalidParameterError, match="weights"):
        Stack("lstm", F, H).freeze("half")
    hooked = lstm()
    hooked.cell.register_forward_hook(lambda *_: None)
    for layer, reason in ((hooked, "has hooks"), (lstm().double(), "float64"), (lstm().to("meta"), "meta")):
        with pytest.raises(EngineError, match=reason):
            layer.freeze()
    unknown = Recurrent(Sorted(F, H)).freeze()
    for call in (lambda: unknown(batch()), lambda: unknown.step(zeros(2, F))):
        with pytest.raises(EngineError, match=r"Only what the native engine runs.*Sorted uses.*aten\.cummax"):
            call()
    known = Sorted(F, H)
    known.input_size = F
    with pytest.raises(EngineError, match=r"aten\.cummax"):
        Recurrent(known).freeze()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": 0.3, "bidirectional": True},
        {"zoneout": (0.05, 0.5), "recurrent_dropout": 0.5, "input_dropout": 0.5, "weight_dropout": 0.5},
        {"initial_state": "learned", "bidirectional": True},
        {"initial_state": lambda n: (torch.full((n, H), 0.3), torch.full((n, H), -0.4))},
        *({"bidirectional": True, "merge": merge} for merge in ("sum", "mean", "product", None)),
        {"bidirectional": True, "reverse_cell": cells.GRUCell(F, 3)},
        {"batch_first": False},
    ],
    ids=lambda options: ", ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in options.items()),
)
def test_options(options: dict[str, Any], form: str) -> None:
    """As in evaluation, to the bit in float32, also after `train()`; the layer goes on training."""
    layer = lstm(**options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    frozen, x = layer.freeze(form).train(), batch()
    assert layer.training
    tolerance = 0.0 if form == "float32" else 0.05
    for given in (x, torch.randn(4, 3, F)):
        for a, b in zip(values_of(frozen, given), values_of(layer.eval(), given), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
    if not layer.bidirectional:
        with torch.no_grad():
            expected = flatten(layer.step(x.values))
        for a, b in zip(flatten(frozen.step(x.values)), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=max(tolerance, 1e-6))


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "frozen again": lambda layer: layer.freeze(layer.frozen.weights),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("make", [cells.LSTMCell, Plain])
def test_copies(make: Callable[[int, int], nn.Module], how: str, form: str) -> None:
    layer = Recurrent(make(F, H), zoneout=0.2, bidirectional=True)
    frozen, x = layer.freeze(form), batch()
    twin = COPIES[how](frozen)
    assert twin.explain_path(x) == f"native: frozen, {form} weights"
    check_equal(values_of(twin, x), values_of(frozen, x))
    with torch.no_grad():
        for weight in frozen.parameters():
            weight.zero_()
    check_equal(values_of(twin, x), values_of(frozen, x))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}),
        ("LSTM", {"proj_size": 3, "num_layers": 2}),
        ("GRU", {"bias": False, "bidirectional": True}),
        ("RNN", {"nonlinearity": "relu"}),
    ],
    ids=str,
)
def test_the_layers_of_torch(name: str, options: dict[str, Any], form: str) -> None:
    """To the bit of the drop-in in float32, and near torch's own; copies too."""
    torch.manual_seed(0)
    oracle = getattr(nn, name)(F, H, **options).eval()
    layer = getattr(unspool.nn, name)(F, H, **options)
    layer.load_state_dict(oracle.state_dict())
    frozen, x = layer.freeze(form), torch.randn(4, 4, F)
    state = layer.initial_state(4)
    initial = tuple(map(torch.rand_like, state)) if isinstance(state, tuple) else torch.rand_like(state)
    assert layer.training and not frozen.training and not any(w.requires_grad for w in frozen.parameters())
    assert frozen.explain_path(x) == f"native: frozen, {form} weights"
    layer.eval()
    tolerance = 2e-6 if form == "float32" else 0.05
    for args in ((x,), (x, initial)):
        got = values_of(frozen, *args)
        for a, b in zip(got, values_of(oracle, *args), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
        if form == "float32":
            check_equal(got, values_of(layer, *args))
        for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen)), frozen.freeze(form)):
            check_equal(values_of(twin, *args), got)
    got, given = values_of(frozen, batch()), values_of(layer, batch())
    torch.testing.assert_close(got, given, rtol=0, atol=0.0 if form == "float32" else 0.05)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(1.0)
    check_equal(values_of(frozen, batch()), got)
    with pytest.raises(EngineError, match="no gradients"):
        frozen(x.requires_grad_())
    with pytest.raises(EngineError, match=r"Got torch\.float64"):
        frozen(x.detach().double())
    with pytest.raises(InvalidParameterError, match=f"'weights' parameter of {name}"):
        layer.freeze("int4")


def test_a_cell_of_unknown_input_size_takes_the_size_of_a_call() -> None:
    class Mean(Plain):
        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x.mean(1, keepdim=True) + self.h(h))

    layer = Recurrent(Mean(F, H))
    frozen = layer.freeze()
    for width in (5, 9, 5):
        x = batch(width)
        check_equal(values_of(frozen, x), values_of(layer, x))
        with torch.no_grad():
            torch.testing.assert_close(frozen.step(x.values), layer.step(x.values), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_inside_torch_compile(form: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    embedding, stack = nn.Embedding(9, F), Stack("gru", F, H, 2, bidirectional=True)
    ids = Ragged(torch.randint(0, 9, (10,)), [0, 4, 4, 10])

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack, self.layer = stack.freeze(form, embedding), lstm().freeze(form)

        def forward(self, values: torch.Tensor, x: torch.Tensor) -> Any:
            output, _ = self.stack.embedded(ids.with_values(values), embedding)
            inner, state = self.layer(2 * x)
            return output.values + 1, (inner * 2, *self.layer.step(x[:, 0], state))

    model, x = Model(), torch.randn(2, 3, F)
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        check_equal(values_of(compiled, ids.values, x), values_of(model, ids.values, x))
