"""Layers of imported networks that slide a window over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unspool.errors import DataError
from unspool.importing.functions import FUNCTIONS
from unspool.importing.signal import Signal
from unspool.ragged import Ragged
from unspool.saved import Fields

MAX_WINDOW = 100_000  # steps


def span(fields: Fields, name: str) -> int:
    """A setting that is a number of steps."""
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

    def slid(self, x: Signal, padding: str, over: Any, fill: float = 0.0) -> Signal:
        """`over` (B, F, T) -> (B, F', T'), of steps that are padded by `fill` as `padding` says.

        "valid": not at all; "causal": before each sequence, so that a window ends at each step; "same": on both sides,
        as many windows as strides fit into the sequence.
        """
        values, offsets = x.looked_up(), x.steps(f"{type(self).__name__} over time")
        if padding != "valid":
            before, after = self._around(offsets.diff(), padding)
            padded = stretched(values, offsets, before, after, fill)
            values, offsets = padded.values, padded.steps("")
        lengths = offsets.diff()
        if len(lengths) and int(lengths.min()) < self.size:
            raise DataError(
                f"{type(self).__name__} over {self.size} steps needs sequences of {self._least(padding)} at least. Got "
                f"{int(x.steps('').diff().min())}."
            )
        made: Tensor = over(Ragged(values, offsets).to_padded().transpose(1, 2))
        found = Ragged.from_padded(made.transpose(1, 2), (lengths - self.size) // self.stride + 1)
        return Signal(found.values, found.offsets)

    def _around(self, lengths: Tensor, padding: str) -> tuple[Tensor, Tensor]:
        """(B,) the steps that are added before and after."""
        if padding == "causal":
            return torch.full_like(lengths, self.size - 1), torch.zeros_like(lengths)
        windows = (lengths + self.stride - 1) // self.stride
        added = ((windows - 1) * self.stride + self.size - lengths).clamp(min=0)
        return added // 2, added - added // 2

    def _least(self, padding: str) -> int:
        return self.size if padding == "valid" else 1


def stretched(values: Tensor, offsets: Tensor, before: Tensor, after: Tensor, fill: float = 0.0) -> Signal:
    """Steps (N, F) of B sequences with so many of `fill` before and after each, (B,); negative: so many fewer."""
    counts = (offsets.diff() + before + after).clamp(min=0)
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    row = torch.repeat_interleave(torch.arange(len(counts)), counts)
    at = torch.arange(len(row)) - (ends[:-1] + before)[row]
    there = (at >= 0) & (at < offsets.diff()[row])
    found = values.new_full((len(row), values.shape[-1]), fill)
    found[there] = values[(offsets[:-1][row] + at)[there]]
    return Signal(found, ends)


class Convolution(Window):
    """φ(b + Σ_k W_k x_{t·stride + k·dilation}).

    padding: "valid": whole windows only; "same": zeros on both sides, a step for each stride; "causal": zeros before.
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
        spans = [span(fields, name) for name in ("inputs", "filters", "width", "stride", "dilation")]
        padding = fields.choice("padding", cls.PADDINGS)
        activation = fields.choice("activation", FUNCTIONS)
        return cls(*spans, padding=padding, bias=fields.get("bias", bool), activation=activation)

    def forward(self, x: Signal) -> Signal:
        """(N, inputs) -> (N', filters)."""
        features = x.looked_up().shape[-1]
        if features != self.weight.shape[1]:
            raise DataError(f"A convolution takes {self.weight.shape[1]} features. Got {features}.")
        bias: Any = self.bias

        def over(padded: Tensor) -> Tensor:
            return functional.conv1d(padded, self.weight, bias, self.stride, 0, self.dilation)

        found = self.slid(x, self.padding, over)
        return found.with_values(FUNCTIONS[self.activation](found.values))


class WindowPool(Window):
    """The largest, or the mean, of each window of `size` steps. padding: "valid", or "same": windows that begin or end
    outside of the sequence count what is within."""

    KINDS = ("max", "mean")
    PADDINGS = ("valid", "same")

    def __init__(self, how: str, size: int, stride: int, padding: str) -> None:
        super().__init__()
        self.how, self.size, self.stride, self.padding = how, size, stride, padding

    @classmethod
    def from_fields(cls, fields: Fields) -> WindowPool:
        """The layer that a saved model describes."""
        padding = fields.choice("padding", cls.PADDINGS) if "padding" in fields.data else "valid"
        return cls(fields.choice("how", cls.KINDS), span(fields, "size"), span(fields, "stride"), padding)

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (N', F)."""
        if self.how == "max":
            return self.slid(
                x, self.padding, lambda padded: self._pooled(functional.max_pool1d, padded), -torch.inf
            )
        if self.padding == "valid":
            return self.slid(x, "valid", lambda padded: self._pooled(functional.avg_pool1d, padded))
        values = x.looked_up()
        beside = x.with_values(torch.cat([values, torch.ones_like(values[:, :1])], -1))
        found = self.slid(beside, "same", lambda padded: self._pooled(functional.avg_pool1d, padded))
        return found.with_values(found.values[:, :-1] / found.values[:, -1:])

    def _pooled(self, pool: Any, padded: Tensor) -> Tensor:
        return pool(padded, self.size, self.stride)
