"""Layers of imported networks that slide a window over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unspool.errors import DataError, ModelFileError
from unspool.importing.functions import FUNCTIONS
from unspool.importing.signal import Signal
from unspool.ragged import Ragged
from unspool.saved import Fields

MAX_WINDOW = 100_000  # steps


def _span(fields: Fields, name: str) -> int:
    value = fields.get(name, int)
    if not 1 <= value <= MAX_WINDOW:
        fields._bad(name, f"an int in [1, {MAX_WINDOW:,}]", value)
    return value


class Window(nn.Module):
    """What the layers share: the steps they take away, and sequences that are too short.

    size: steps that a window spans; stride: from one to the next. Steps that earlier layers skip are taken as they are:
    the mask ends here, as in Keras.
    """

    size: int
    stride: int

    def needed(self, steps: int) -> int:
        """Steps of the input for `steps` of the output."""
        return (steps - 1) * self.stride + self.size

    def slid(self, x: Signal, before: int, after: int, over: Any) -> Signal:
        """`over` (B, F, T) -> (B, F', T'), of steps with so many zeros before and after each sequence."""
        offsets = x.steps(f"{type(self).__name__} over time")
        ragged = Ragged(x.looked_up(), offsets)
        lengths = offsets.diff()
        if len(lengths) and int(lengths.min()) + before + after < self.size:
            raise DataError(
                f"{type(self).__name__} over {self.size} steps needs sequences of {self.size - before - after} at "
                f"least. Got {int(lengths.min())}."
            )
        padded = functional.pad(ragged.to_padded().transpose(1, 2), (before, after))
        made: Tensor = over(padded)
        lengths = (lengths + before + after - self.size) // self.stride + 1
        found = Ragged.from_padded(made.transpose(1, 2), lengths)
        return Signal(found.values, found.offsets)


class Convolution(Window):
    """φ(b + Σ_k W_k x_{t·stride + k·dilation}).

    padding: "valid": whole windows only; "same": zeros on both sides, as many steps out as in; "causal": zeros before.
    """

    PADDINGS = ("valid", "same", "causal")

    def __init__(
        self, inputs: int, filters: int, width: int, stride: int, dilation: int, **settings: Any
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(filters, inputs, width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(filters)) if settings["bias"] else None)
        self.stride, self.dilation, self.size = stride, dilation, (width - 1) * dilation + 1
        self.padding, self.activation = settings["padding"], settings["activation"]

    @classmethod
    def from_fields(cls, fields: Fields) -> Convolution:
        """The layer that a saved model describes."""
        spans = [_span(fields, name) for name in ("inputs", "filters", "width", "stride", "dilation")]
        padding = fields.choice("padding", cls.PADDINGS)
        if padding == "same" and spans[3] > 1:
            raise ModelFileError(f"{fields.where} has padding 'same' and a stride, which is not supported.")
        activation = fields.choice("activation", FUNCTIONS)
        return cls(*spans, padding=padding, bias=fields.get("bias", bool), activation=activation)

    def forward(self, x: Signal) -> Signal:
        """(N, inputs) -> (N', filters)."""
        features = x.looked_up().shape[-1]
        if features != self.weight.shape[1]:
            raise DataError(f"A convolution takes {self.weight.shape[1]} features. Got {features}.")
        before = {"valid": 0, "same": (self.size - 1) // 2, "causal": self.size - 1}[self.padding]
        after = self.size - 1 - before if self.padding == "same" else 0
        bias: Any = self.bias

        def over(padded: Tensor) -> Tensor:
            return functional.conv1d(padded, self.weight, bias, self.stride, 0, self.dilation)

        found = self.slid(x, before, after, over)
        return found.with_values(FUNCTIONS[self.activation](found.values))


class WindowPool(Window):
    """The largest, or the mean, of each window of `size` steps."""

    KINDS = ("max", "mean")

    def __init__(self, how: str, size: int, stride: int) -> None:
        super().__init__()
        self.how, self.size, self.stride = how, size, stride

    @classmethod
    def from_fields(cls, fields: Fields) -> WindowPool:
        """The layer that a saved model describes."""
        return cls(fields.choice("how", cls.KINDS), _span(fields, "size"), _span(fields, "stride"))

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (N', F)."""
        pool = functional.max_pool1d if self.how == "max" else functional.avg_pool1d
        return self.slid(x, 0, 0, lambda padded: pool(padded, self.size, self.stride))
