# ruff: noqa: RUF001 (the equations' own σ)
"""Equations as text: by hand for the three classic cells, and for every cell carried out as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool import cells
from unspool.state import flatten
from unspool.study import equations

from .test_step import MAKERS, make, state_of

BATCH = 11  # rows that no weight has: a value is known from a matrix by them

LSTM = """\
i  = σ(W_i x + U_i h + b_i)
f  = σ(W_f x + U_f h + b_f)
g  = tanh(W_g x + U_g h + b_g)
o  = σ(W_o x + U_o h + b_o)
c' = f ⊙ c + i ⊙ g
h' = o ⊙ tanh(c')

W_i, W_f, W_g, W_o = weight_ih[0:4], [4:8], [8:12], [12:16]
U_i, U_f, U_g, U_o = weight_hh[0:4], [4:8], [8:12], [12:16]
b_i, b_f, b_g, b_o = (bias_ih + bias_hh)[0:4], [4:8], [8:12], [12:16]"""

GRU = """\
r  = σ(W_r x + U_r h + b_r)
z  = σ(W_z x + U_z h + b_z)
n  = tanh(W_n x + r ⊙ (U_n h + b_n2) + b_n)
h' = (1 - z) ⊙ n + z ⊙ h

W_r, W_z, W_n = weight_ih[0:4], [4:8], [8:12]
U_r, U_z, U_n = weight_hh[0:4], [4:8], [8:12]
b_r, b_z = (bias_ih + bias_hh)[0:4], [4:8]
b_n = bias_ih[8:12]
b_n2 = bias_hh[8:12]"""

RNN = """\
h' = tanh(W x + U h + b)

W = weight_ih
U = weight_hh
b = bias_ih + bias_hh"""

LATEX = r"""% W = weight_ih
% U = weight_hh
% b = bias_ih + bias_hh
\begin{aligned}
  h_t &= \tanh\left(W x_t + U h_{t-1} + b\right)
\end{aligned}"""


@pytest.mark.parametrize(("name", "expected"), [("rnn", RNN), ("gru", GRU), ("lstm", LSTM)])
def test_the_classic_cells(name: str, expected: str) -> None:
    assert equations(cells.get(name)(5, 4)) == expected


def test_latex() -> None:
    assert equations(cells.RNNCell(5, 4), latex=True) == LATEX
    lines = equations(cells.LSTMCell(5, 4), latex=True).splitlines()
    assert (
        r"  c_t &= f \odot c_{t-1} + i \odot g \\" in lines
        and r"  h_t &= o \odot \tanh\left(c_t\right)" in lines
    )
    for name in cells.names():
        text = equations(cells.get(name)(5, 4), latex=True)
        assert text.count("{") == text.count("}") and text.count(r"\left(") == text.count(r"\right)")


class Calculator:
    """Carries out equations as a reader would: `M v` is a product, `⊙` each unit by itself, names are looked up."""

    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {
        "σ": torch.sigmoid,
        "logσ": F.logsigmoid,
        "tanh": torch.tanh,
        "exp": torch.exp,
        "relu": torch.relu,
        "norm": lambda a: F.layer_norm(a, a.shape[1:]),
        "max": torch.maximum,
        "where": torch.where,
    }

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def line(self, text: str) -> Tensor:
        pattern = r"\s*(\d+\.?\d*(?:e-?\d+)?|[A-Za-z]\w*(?:\.\d+)?[~']?|σ|\[\d+:\d+\]|\[|[-+⊙/()<>;,²\]])"
        self.tokens = re.findall(pattern, text.replace("log σ", "logσ").replace("logσ", "logsigma"))
        value = self.sum()
        assert not self.tokens, self.tokens
        return value

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def sum(self) -> Any:
        value = -self.product() if self.take("-") else self.product()
        while self.peek() in ("+", "-", "<", ">") and self.peek():
            sign, right = self.tokens.pop(0), None
            right = self.product() if sign in "+-" else self.sum()
            value = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "<": torch.lt, ">": torch.gt}[sign](
                value, right
            )
        return value

    def product(self) -> Any:
        value = self.factor()
        while self.peek() in ("⊙", "/") and self.peek():
            value = value * self.factor() if self.tokens.pop(0) == "⊙" else value / self.factor()
        return value

    def factor(self) -> Any:
        """A matrix or a number in front of something multiplies it."""
        value = self.atom()
        while self.peek() and re.match(r"[\w(σ]", self.peek()):
            right = self.atom()
            matrix = isinstance(value, Tensor) and value.dim() == 2 and value.shape[0] != BATCH
            value = right @ value.T if matrix else value * right
        return value

    def atom(self) -> Any:
        token = self.tokens.pop(0)
        if token == "(":
            value = self.sum()
            assert self.take(")")
        elif token == "[":
            parts = [self.sum()]
            while self.take(";"):
                parts.append(self.sum())
            assert self.take("]")
            value = torch.cat(parts, dim=1)
        elif token[0].isdigit():
            value = torch.tensor(float(token), dtype=torch.float64)
        elif (name := token.replace("logsigma", "logσ")) in self.FUNCTIONS and self.take("("):
            args = [self.sum()]
            while self.take(","):
                args.append(self.sum())
            assert self.take(")")
            value = self.FUNCTIONS[name](*args)
        else:
            value = self.known[token]
        while (part := re.fullmatch(r"\[(\d+):(\d+)\]", self.peek())) or self.peek() == "²":
            self.tokens.pop(0)
            value = value[:, int(part[1]) : int(part[2])] if part else value * value
        return value

    def take(self, token: str) -> bool:
        if self.peek() == token:
            self.tokens.pop(0)
            return True
        return False


def weights(legend: str, cell: Any) -> dict[str, Tensor]:
    """Every symbol's tensor, looked up among the cell's parameters by what the legend says."""
    parameters = dict(cell.named_parameters())
    found = {}
    for line in legend.splitlines():
        symbols, meaning = line.split(" = ")
        parts = re.findall(r"\[[^\]]*\]", meaning) if "," in symbols else [""]
        base = meaning.split("[")[0] if "," in symbols else meaning
        for symbol, part in zip(symbols.split(", "), parts, strict=True):
            code = re.sub(r"[A-Za-z][\w.]*", lambda name: f"parameters[{name[0]!r}]", base) + part
            found[symbol] = eval(code, {"parameters": parameters})
    return found


class Brackets(nn.Module):
    """Every place where brackets decide."""

    input_size = 5

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 6, dtype=self.weight.dtype)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        a = x @ self.weight.T
        b = (a - (h - 2.0)) * (1.0 - (h + 0.5)) - a / (h / (1.5 + a.square()))
        return -(b + h) + (a + b) ** 2 / (2.0 - (-h))


def test_brackets() -> None:
    torch.manual_seed(0)
    cell = Brackets().double()
    x, h = torch.randn(BATCH, 5, dtype=torch.float64), torch.randn(BATCH, 6, dtype=torch.float64)
    body, _, legend = equations(cell).partition("\n\n")
    known: dict[str, Any] = {"x": x, "h": h, **weights(legend, cell)}
    for line in body.splitlines():
        left, right = line.split(" = ")
        known[left.strip()] = Calculator(known).line(right.strip())
    torch.testing.assert_close(known["h'"], cell(x, h), rtol=1e-9, atol=1e-9)


class Functions(nn.Module):
    """A step of functions that have no sign of their own."""

    input_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(4, 6), nn.Linear(6, 6)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 6)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        z = self.x(x) + self.h(h)
        turned = torch.sin(z) + torch.remainder(h, 0.7).detach()
        return torch.lerp(h, turned.clamp(min=-0.5), 0.3) * torch.sigmoid(z) ** 1.5


def test_functions() -> None:
    lines = equations(Functions()).splitlines()
    assert lines[:2] == ["a  = W x + U h + b", "s1 = σ(a)"]
    assert lines[2] == "h' = (h + 0.3 (max(sin(a) + stop(remainder(h, 0.7)), -0.5) - h)) ⊙ s1^1.5"
    latex = equations(Functions(), latex=True)
    assert r"\sin\left(a\right)" in latex and "s_{1}^{1.5}" in latex


class Turned(nn.Module):
    """One weight stored (4H, F) and turned, one stored (H, 4H)."""

    input_size, gates = 5, ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(24, 5)), nn.Parameter(torch.randn(6, 24))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 6)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        a, b, c, d = (x @ self.w.T + h @ self.u).chunk(4, dim=1)
        return a.sigmoid() * b.sigmoid() + c.sigmoid() * d.tanh()


def test_transposes_in_the_list_of_weights() -> None:
    """A weight of (H, 4H) is used as its transpose: U_a = u[:, 0:6]ᵀ."""
    lines = equations(Turned()).splitlines()
    assert lines[0] == "a  = σ(W_a x + U_a h)" and lines[4] == "h' = a ⊙ b + c ⊙ d"
    assert "W_a, W_b, W_c, W_d = w[0:6], [6:12], [12:18], [18:24]" in lines
    assert all(f"U_{gate} = u[:, {6 * k}:{6 * k + 6}]ᵀ" in lines for k, gate in enumerate("abcd"))


ODD = [
    "Softmax",
    "Prelude",
    "Tied",
    "Constants",
    "Forgetful",
    "LayerNormLSTM",
    "Leaky",
    "mlstm",
    "gru_d",
    "phased_lstm",
]  # more than this grammar


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ODD])
def test_the_equations_compute_what_the_cell_computes(name: str) -> None:
    """The gates, names and weights too: what is read must be right for this to come out."""
    cell = make(name, 5, 6 if "proj_size" not in name else 7)
    if "proj_size" in name:
        cell = MAKERS["lstm"](5, 7, proj_size=4).double()
    state, x = state_of(cell, BATCH), torch.randn(BATCH, 5, dtype=torch.float64)
    text = equations(cell, 5)
    body, _, legend = text.replace("log i", "log_i").replace("log f", "log_f").partition("\n\n")
    lines = [line.split(" = ") for line in body.splitlines()]
    names = [left.strip().rstrip("'") for left, _ in lines if left.strip().endswith("'")]
    declared = getattr(cell, "state_names", ("h", "c", "p3", "p4"))
    known: dict[str, Any] = {"x": x, **dict(zip(declared, flatten(state))), **weights(legend, cell)}
    with torch.no_grad():
        for left, right in lines:
            known[left.strip()] = Calculator(known).line(right.strip())
        expected = flatten(cell(x, state))
    assert sorted(names) == sorted(declared[: len(expected)])
    for part, wanted in zip(declared, expected):
        torch.testing.assert_close(known[f"{part}'"].expand_as(wanted), wanted, rtol=1e-4, atol=1e-4)
