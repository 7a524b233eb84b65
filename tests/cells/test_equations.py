"""Every cell against its paper's equations, written here in numpy float64, gate by gate, over several steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unspool import cells
from unspool.engine.cudnn import layer_of
from unspool.state import flatten, unflatten

from .in_numpy import STEPS, Array, B, F, H, Step, T, cfc, gru_d, mlstm, phased_lstm, sigmoid, slstm, sums

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in cells.names()),
    *((name, {"bias": False}) for name in cells.names() if name != "gru"),
    ("peephole_lstm", {"peepholes": "o"}),
    ("peephole_lstm", {"peepholes": "fi"}),
    ("leaky_rnn", {"learn_leak": True, "leak": 0.2}),
]


@pytest.mark.parametrize("name, options", OPTIONS, ids=str)
def test_equations(name: str, options: dict[str, Any]) -> None:
    """Weights all random (zero peepholes and unit gains would hide theirs); n >= 1 for sLSTM, as after a step."""
    torch.manual_seed(0)
    cell: Any = cells.get(name)(F, H, **options).double()
    for p in cell.parameters():
        torch.nn.init.normal_(p, 0.0, 0.6)
    weights = {key: p.detach().numpy() for key, p in cell.named_parameters()}
    rng = np.random.default_rng(0)
    values = rng.normal(size=(T, B, F))
    expected = [rng.normal(size=(B, width)) for width in cell.state_sizes]
    if name == "slstm":
        expected[2] = 1 + np.abs(expected[2])
    state = unflatten(cell.initial_state(B), [torch.tensor(part) for part in expected])
    for x in values:
        expected = STEPS[name](weights, x, *expected)
        state = cell(torch.tensor(x), state)
    for got, part in zip(flatten(state), expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), part, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_heads(heads: int) -> None:
    """mLSTM and sLSTM by heads of 6, 3, 2 and 1 units, over several steps from the start."""
    torch.manual_seed(0)
    for name in ("mlstm", "slstm"):
        cell: Any = cells.get(name)(F, 6, heads=heads).double()
        w = {key: p.detach().numpy() for key, p in cell.named_parameters()}
        state = cell.initial_state(B)
        expected = [part.numpy() for part in state]
        for x in np.random.default_rng(0).normal(size=(T, B, F)):
            expected = (mlstm if name == "mlstm" else slstm)(w, x, *expected)
            state = cell(torch.tensor(x), state)
        for got, part in zip(state, expected, strict=True):
            np.testing.assert_allclose(got.detach().numpy(), part, rtol=1e-9, atol=1e-12)


def test_time_gone_and_what_is_missing() -> None:
    """The last feature as the time since the step before; NaN for what GRU-D did not see, also in its gradients."""
    torch.manual_seed(0)
    steps: dict[str, Step] = {"cfc": cfc, "gru_d": gru_d, "phased_lstm": phased_lstm}
    rng = np.random.default_rng(0)
    for name, step in steps.items():
        cell: Any = cells.get(name)(F + 1, H, elapsed=True).double()
        for p in cell.parameters():
            torch.nn.init.normal_(p, 0.0, 0.6)
        w = {key: p.detach().numpy() for key, p in cell.named_parameters()}
        state = cell.initial_state(B)
        expected = [part.numpy() for part in flatten(state)]
        for k in range(T):
            x, t = rng.normal(size=(B, F)), rng.uniform(0.1, 3.0, size=(B, 1))
            if name == "gru_d":
                x[k % B, k % F] = x[0, 0] = np.nan
            expected = step(w, x, *expected, t)
            state = cell(torch.tensor(np.concatenate([x, t], axis=1)), state)
        for got, part in zip(flatten(state), expected, strict=True):
            np.testing.assert_allclose(got.detach().numpy(), part, rtol=1e-9, atol=1e-12)
        sum(part.sum() for part in flatten(state)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exp"])
def test_slstm_without_its_stabiliser(forget_gate: str) -> None:
    """c = f c + i z, n = f n + i, h = o c / n with plain exponentials, from zeros; states are those times exp(-m)."""
    torch.manual_seed(0)
    cell: Any = cells.SLSTMCell(F, H, forget_gate=forget_gate).double()
    weights = {key: p.detach().numpy() for key, p in cell.named_parameters()}
    h, c, n = np.zeros((3, B, H))
    state = cell.initial_state(B)
    for x in np.random.default_rng(1).normal(size=(T, B, F)):
        a = sums(weights, "ifgo", x, h)
        i, f = np.exp(a["i"]), (sigmoid if forget_gate == "sigmoid" else np.exp)(a["f"])
        c, n = f * c + i * np.tanh(a["g"]), f * n + i
        h = sigmoid(a["o"]) * c / n
        state = cell(torch.tensor(x), state)
        got = [part.detach().numpy() for part in state]
        scale = np.exp(got[3])
        for mine, plain in zip([got[0], got[1] * scale, got[2] * scale], [h, c, n]):
            np.testing.assert_allclose(mine, plain, rtol=1e-10)
        assert (got[2] >= 1).all()


def test_slstm_forgets_nothing_into_an_empty_cell() -> None:
    """First step with i so small that exp(i) is 0 in float32: h is still σ(o) z, since c / n = z."""
    cell: Any = cells.SLSTMCell(1, 1)
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        cell.bias.copy_(torch.tensor([-300.0, 0.0, 1.0, 0.0]))
    h, *_ = cell(torch.zeros(1, 1), cell.initial_state(1))
    assert h.item() == pytest.approx(0.5 * np.tanh(1.0), rel=1e-6)


def test_min_lstm_with_both_gates_shut() -> None:
    """σ(-200) / (σ(-200) + σ(-201)) = 1 / (1 + e⁻¹), though σ(-200) is 0 in float32."""
    cell: Any = cells.MinLSTMCell(1, 1)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.bias.copy_(torch.tensor([-201.0, -200.0, 0.0]))
    assert cell(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-6)


# Keras 3's definitions; gelu is the exact one.
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda a: np.maximum(a, 0),
    "hard_sigmoid": lambda a: np.clip(a / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda a: np.clip(a * 0.2 + 0.5, 0, 1),
    "elu": lambda a: np.where(a > 0, a, np.exp(a) - 1),
    "gelu": lambda a: a * (1 + np.vectorize(math.erf)(a / math.sqrt(2))) / 2,
    "silu": lambda a: a * sigmoid(a),
    "softplus": lambda a: np.log(1 + np.exp(a)),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "linear": lambda a: a,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_activations(name: str) -> None:
    """LSTM and GRU with φ by name and hard_sigmoid gates; RNN; the same step as above with φ and σ in their place."""
    assert set(FUNCTIONS) == set(cells.ACTIVATIONS)
    phi, gate = FUNCTIONS[name], FUNCTIONS["hard_sigmoid"]
    torch.manual_seed(0)
    options: dict[str, Any] = {"activation": name, "recurrent_activation": "hard_sigmoid"}
    rng = np.random.default_rng(0)
    x, h, c = rng.normal(size=(B, F)), *rng.normal(size=(2, B, H))
    tensors = [torch.tensor(a) for a in (x, h, c)]

    cell: Any = cells.LSTMCell(F, H, **options).double()
    a = sums({k: p.detach().numpy() for k, p in cell.named_parameters()}, "ifgo", x, h)
    new = gate(a["f"]) * c + gate(a["i"]) * phi(a["g"])
    got = cell(tensors[0], (tensors[1], tensors[2]))
    np.testing.assert_allclose(got[1].detach(), new, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got[0].detach(), gate(a["o"]) * phi(new), rtol=1e-10, atol=1e-12)

    cell = cells.GRUCell(F, H, bias=False, reset_after=False, **options).double()
    w = {k: p.detach().numpy() for k, p in cell.named_parameters()}
    a = sums(w, "rzn", x, h)
    r, z = gate(a["r"]), gate(a["z"])
    n = phi(sums(w, "rzn", x, r * h)["n"])
    np.testing.assert_allclose(cell(*tensors[:2]).detach(), (1 - z) * n + z * h, rtol=1e-10, atol=1e-12)

    cell = cells.RNNCell(F, H, nonlinearity=name).double()
    a = sums({k: p.detach().numpy() for k, p in cell.named_parameters()}, "h", x, h)
    np.testing.assert_allclose(cell(*tensors[:2]).detach(), phi(a["h"]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}], ids=str
)
def test_on_a_gpu_other_functions_are_not_torchs_layers(options: dict[str, Any]) -> None:
    makes: dict[str, Any] = {"lstm": cells.LSTMCell, "gru": cells.GRUCell}
    for name, make in makes.items():
        assert layer_of(make(F, H)) == name
        assert layer_of(make(F, H, **options)) is None
    assert layer_of(cells.RNNCell(F, H, nonlinearity="relu")) == "rnn_relu"
    assert layer_of(cells.RNNCell(F, H, nonlinearity="elu")) is None
    assert layer_of(cells.PeepholeLSTMCell(F, H)) is None
