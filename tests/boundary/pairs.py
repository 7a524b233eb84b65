"""One of our layers and torch's with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unspool import cells
from unspool import nn as unn

from .given import torch_name

F, H = 4, 5
MAKE: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module]]] = {
    "lstm": (
        lambda: unn.LSTM(F, H, 2, batch_first=True, bidirectional=True),
        lambda: nn.LSTM(F, H, 2, batch_first=True, bidirectional=True),
    ),
    "recurrent": (lambda: unn.Recurrent(cells.GRUCell(F, H)), lambda: nn.GRU(F, H, batch_first=True)),
    "stack": (
        lambda: unn.Stack("gru", F, H, 2, True),
        lambda: nn.GRU(F, H, 2, batch_first=True, bidirectional=True),
    ),
    "step": (lambda: unn.Recurrent(cells.GRUCell(F, H)), lambda: nn.GRU(F, H, batch_first=True)),
}


class Pair:
    """One of our layers, torch's with the same weights, and an input (3, 6, F)."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(3)
        self.kind = kind
        self.layer: Any = MAKE[kind][0]()
        self.peer = self.peer_of(self.layer)
        self.x = torch.randn(3, 6, F)

    def peer_of(self, layer: Any) -> Any:
        peer = MAKE[self.kind][1]()
        peer.load_state_dict({torch_name(name): weight for name, weight in layer.state_dict().items()})
        return peer

    def ours(self, x: Any, layer: Any = None) -> Tensor:
        """The output (B, T, ·)."""
        layer = self.layer if layer is None else layer
        if self.kind != "step":
            return layer(x)[0]
        state, outputs = None, []
        for t in range(x.shape[1]):
            state = layer.step(x[:, t], state)
            outputs.append(state)
        return torch.stack(outputs, 1)

    def torchs(self, x: Tensor) -> Tensor:
        return self.peer(x)[0]

    def weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """Ours and torch's, in one order."""
        named, own = dict(self.peer.named_parameters()), dict(self.layer.named_parameters())
        return list(own.values()), [named[torch_name(name)] for name in own]

    def check(self, x: Tensor | None = None) -> None:
        """Output and the gradients of all weights are torch's."""
        x = self.x if x is None else x
        got, wanted = self.ours(x), self.torchs(x)
        close(got, wanted)
        factors = torch.arange(got.numel()).cos().reshape(got.shape)
        ours, torchs = self.weights()
        close(
            torch.autograd.grad((got * factors).sum(), ours),
            torch.autograd.grad((wanted * factors).sum(), torchs),
        )

    def check_after(self) -> None:
        """As `check`, once the layer's weights are others."""
        self.peer = self.peer_of(self.layer)
        self.check()

    def of_weights(self) -> tuple[nn.Module, str]:
        """The module that has the first recurrent weight, and its name there."""
        if self.kind == "lstm":
            return self.layer, "weight_hh_l0"
        return next((m, "weight_hh") for m in self.layer.modules() if "weight_hh" in m._parameters)


def close(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)


class Making(nn.Module):
    """Its step makes a tensor without a dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(H, F))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.weight.new_zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        scale = torch.full((H,), 0.3)
        more = 1e6 * torch.finfo(scale.dtype).eps  # 0.12 in float32, next to nothing in float64
        return torch.tanh(x @ self.weight.t() + h * scale + more)
