"""The steps of the cells in NumPy, by their equations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

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
