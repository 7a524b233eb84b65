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

F, H, B, T = 4, 5, 3, 6
Array = np.ndarray
Weights = dict[str, Array]


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def blocks(letters: str, array: Array) -> dict[str, Array]:
    """The rows of each gate."""
    return dict(zip(letters, np.split(array, len(letters)), strict=True))


def sums(w: Weights, letters: str, x: Array, h: Array) -> dict[str, Array]:
    """W x + U h + b of each gate."""
    bias = sum(w[name] for name in ("bias", "bias_ih", "bias_hh") if name in w)
    b = blocks(letters, bias) if isinstance(bias, Array) else dict.fromkeys(letters, 0.0)
    W, U = blocks(letters, w["weight_ih"]), blocks(letters, w["weight_hh"])
    return {
        k: np.stack([W[k] @ row for row in x]) + np.stack([U[k] @ row for row in h]) + b[k] for k in letters
    }


def normalise(a: Array, eps: float = 1e-5) -> Array:
    return np.stack([(row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).mean() + eps) for row in a])


def rnn(w: Weights, x: Array, h: Array) -> list[Array]:
    return [np.tanh(sums(w, "h", x, h)["h"])]


def lstm(w: Weights, x: Array, h: Array, c: Array) -> list[Array]:
    a = sums(w, "ifgo", x, h)
    c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
    return [sigmoid(a["o"]) * np.tanh(c), c]


def gru(w: Weights, x: Array, h: Array) -> list[Array]:
    """The torch form: reset after the product."""
    (W, U), (b, v) = (
        [blocks("rzn", w[f"{kind}_{end}"]) for end in ("ih", "hh")] for kind in ("weight", "bias")
    )
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + v["r"])
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + v["z"])
    n = np.tanh(x @ W["n"].T + b["n"] + r * (h @ U["n"].T + v["n"]))
    return [(1 - z) * n + z * h]


def peephole_lstm(w: Weights, x: Array, h: Array, c: Array) -> list[Array]:
    a = sums(w, "ifgo", x, h)
    none = np.zeros(H)
    i = sigmoid(a["i"] + w.get("peephole_i", none) * c)
    f = sigmoid(a["f"] + w.get("peephole_f", none) * c)
    new = f * c + i * np.tanh(a["g"])
    o = sigmoid(a["o"] + w.get("peephole_o", none) * new)
    return [o * np.tanh(new), new]


def coupled_lstm(w: Weights, x: Array, h: Array, c: Array) -> list[Array]:
    a = sums(w, "fgo", x, h)
    i = 1 - sigmoid(a["f"])
    c = sigmoid(a["f"]) * c + i * np.tanh(a["g"])
    return [sigmoid(a["o"]) * np.tanh(c), c]


def layer_norm_rnn(w: Weights, x: Array, h: Array) -> list[Array]:
    return [np.tanh(w["gain"] * normalise(x @ w["weight_ih"].T + h @ w["weight_hh"].T) + w.get("bias", 0.0))]


def layer_norm_gru(w: Weights, x: Array, h: Array) -> list[Array]:
    def normal(values: Array, end: str) -> list[Array]:
        product = values @ w[f"weight_{end}"].T
        whole = np.concatenate([normalise(product[:, : 2 * H]), normalise(product[:, 2 * H :])], axis=1)
        return np.split(w[f"gain_{end}"] * whole + w.get(f"bias_{end}", 0.0), 3, axis=1)

    (x_r, x_z, x_n), (h_r, h_z, h_n) = normal(x, "ih"), normal(h, "hh")
    new = 1 - sigmoid(x_z + h_z)
    return [(1 - new) * h + new * np.tanh(x_n + sigmoid(x_r + h_r) * h_n)]


def layer_norm_lstm(w: Weights, x: Array, h: Array, c: Array) -> list[Array]:
    a = w["gain_ih"] * normalise(x @ w["weight_ih"].T) + w["gain_hh"] * normalise(h @ w["weight_hh"].T)
    i, f, g, o = np.split(a + w.get("bias", 0.0), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(w["gain_c"] * normalise(c) + w.get("bias_c", 0.0)), c]


def mgu(w: Weights, x: Array, h: Array) -> list[Array]:
    f = sigmoid(sums(w, "fn", x, h)["f"])
    return [(1 - f) * h + f * np.tanh(sums(w, "fn", x, f * h)["n"])]


def min_gru(w: Weights, x: Array, h: Array) -> list[Array]:
    a = sums({**w, "weight_hh": np.zeros((2 * H, H))}, "zn", x, h)
    z = sigmoid(a["z"])
    return [(1 - z) * h + z * a["n"]]


def min_lstm(w: Weights, x: Array, h: Array) -> list[Array]:
    a = sums({**w, "weight_hh": np.zeros((3 * H, H))}, "ifg", x, h)
    i, f = sigmoid(a["i"]), sigmoid(a["f"])
    return [f / (f + i) * h + i / (f + i) * a["g"]]


def ind_rnn(w: Weights, x: Array, h: Array) -> list[Array]:
    return [np.maximum(x @ w["weight_ih"].T + w["weight_hh"] * h + w.get("bias", 0.0), 0.0)]


def leaky_rnn(w: Weights, x: Array, h: Array) -> list[Array]:
    leak = sigmoid(w["leak_logit"]) if "leak_logit" in w else 0.5
    return [h + leak * (np.tanh(sums(w, "h", x, h)["h"]) - h)]


def head_products(w: Weights, letters: str, x: Array, h: Array) -> dict[str, Array]:
    """As `sums`, where each head's units see that head alone."""
    a = sums({**w, "weight_hh": np.zeros((len(w["weight_hh"]), h.shape[1]))}, letters, x, h)
    d = w["weight_hh"].shape[1]
    size = len(w["weight_hh"]) // len(letters)
    for k, U in blocks(letters, w["weight_hh"]).items():
        for j in range(size // d):
            own = slice(j * d, (j + 1) * d)
            a[k][:, own] += h[:, own] @ U[own].T
    return a


def slstm(w: Weights, x: Array, h: Array, c: Array, n: Array, m: Array) -> list[Array]:
    """The paper's form with its stabiliser."""
    a = head_products(w, "ifgo", x, h)
    log_f = np.log(sigmoid(a["f"]))
    new_m = np.maximum(log_f + m, a["i"])
    i, f = np.exp(a["i"] - new_m), np.exp(log_f + m - new_m)
    c, n = f * c + i * np.tanh(a["g"]), f * n + i
    return [sigmoid(a["o"]) * c / n, c, n, new_m]


def mogrifier_lstm(w: Weights, x: Array, h: Array, c: Array) -> list[Array]:
    for k in range(1, 6):
        if k % 2:
            x = 2 * sigmoid(h @ w[f"weight_{k}"].T) * x
        else:
            h = 2 * sigmoid(x @ w[f"weight_{k}"].T) * h
    return lstm(w, x, h, c)


def mlstm(w: Weights, x: Array, h: Array, c: Array, n: Array, m: Array) -> list[Array]:
    """Head by head, sequence by sequence."""
    heads = m.shape[1]
    d = h.shape[1] // heads
    size = len(w["weight_ih"]) // 4
    a = blocks("qkvo", (x @ w["weight_ih"].T + w.get("bias", 0.0)).T)
    gates = x @ w["weight_ih_if"].T + w.get("bias_if", 0.0)
    out: list[Array] = [np.zeros((len(x), k)) for k in (size, size * d, size, heads)]
    for b in range(len(x)):
        for j in range(size // d):
            own = slice(j * d, (j + 1) * d)
            q, k, v = a["q"][own, b], a["k"][own, b] / math.sqrt(d), a["v"][own, b]
            raw_i, log_f = gates[b, j], np.log(sigmoid(gates[b, heads + j]))
            new_m = max(log_f + m[b, j], raw_i)
            i, f = np.exp(raw_i - new_m), np.exp(log_f + m[b, j] - new_m)
            C = f * c[b].reshape(heads, d, d)[j] + i * np.outer(v, k)
            new_n = f * n[b, own] + i * k
            low = max(abs(new_n @ q), np.exp(-new_m))
            out[0][b, own] = sigmoid(a["o"][own, b]) * (C @ q) / low
            out[1][b].reshape(heads, d, d)[j] = C
            out[2][b, own], out[3][b, j] = new_n, new_m
    return out


def cfc(w: Weights, x: Array, h: Array, t: Array | float = 1.0) -> list[Array]:
    u = 1.7159 * np.tanh(0.666 * sums(w, "u", x, h)["u"])
    g, s, a, d = np.split(u @ w["weight_out"].T + w.get("bias_out", 0.0), 4, axis=1)
    open_ = sigmoid(-(a * t + d))
    return [open_ * np.tanh(g) + (1 - open_) * np.tanh(s)]


def gru_d(w: Weights, x: Array, h: Array, last: Array, seen: Array, t: Array | float = 1.0) -> list[Array]:
    k, delta = 1.0 - np.isnan(x), seen + t
    x = np.nan_to_num(x)
    new_last = k * x + (1 - k) * last
    fade = np.exp(-np.maximum(w["decay"] * delta + w.get("bias_decay", 0.0), 0))
    full = k * x + (1 - k) * fade * last
    h = h * np.exp(-np.maximum(delta @ w["weight_ih_decay"].T + w.get("bias_hidden", 0.0), 0))
    V = blocks("rzn", w["weight_ih_mask"])
    r = sigmoid(sums(w, "rzn", full, h)["r"] + k @ V["r"].T)
    z = sigmoid(sums(w, "rzn", full, h)["z"] + k @ V["z"].T)
    n = np.tanh(sums(w, "rzn", full, r * h)["n"] + k @ V["n"].T)
    return [(1 - z) * h + z * n, new_last, (1 - k) * delta]


def phased_lstm(
    w: Weights, x: Array, h: Array, c: Array, t: Array, passed: Array | float = 1.0
) -> list[Array]:
    new_h, new_c = lstm(w, x, h, c)
    t = t + passed
    period = np.exp(w["log_period"])
    phase = np.mod(t - w["shift"], period) / period
    k = np.where(phase < 0.025, phase / 0.025, np.where(phase < 0.05, 2 - phase / 0.025, 0.001 * phase))
    return [k * new_h + (1 - k) * h, k * new_c + (1 - k) * c, t]


Step = Callable[..., list[Array]]
STEPS: dict[str, Step] = {
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "peephole_lstm": peephole_lstm,
    "coupled_lstm": coupled_lstm,
    "layer_norm_rnn": layer_norm_rnn,
    "layer_norm_gru": layer_norm_gru,
    "layer_norm_lstm": layer_norm_lstm,
    "mgu": mgu,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "ind_rnn": ind_rnn,
    "leaky_rnn": leaky_rnn,
    "slstm": slstm,
    "mlstm": mlstm,
    "mogrifier_lstm": mogrifier_lstm,
    "cfc": cfc,
    "gru_d": gru_d,
    "phased_lstm": phased_lstm,
}
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
