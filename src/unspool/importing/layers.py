"""The layers of imported networks that have no state. Each says what it does to steps (N, F) and to rows (B, F)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import layer_norm, linear

from unspool.errors import DataError
from unspool.importing.functions import FUNCTIONS
from unspool.importing.signal import Signal
from unspool.saved import Fields


def _size(fields: Fields, name: str) -> int:
    value = fields.get(name, int)
    if not 1 <= value < 2**31:
        fields._bad(name, "an int in [1, 2**31)", value)
    return value


class Embedding(nn.Module):
    """Ids (N,) -> rows of weight (V, size). mask_zero: later layers skip the id 0."""

    def __init__(self, vocabulary: int, size: int, mask_zero: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocabulary, size))
        self.mask_zero = mask_zero

    @classmethod
    def from_fields(cls, fields: Fields) -> Embedding:
        """The layer that a saved model describes."""
        return cls(_size(fields, "vocabulary"), _size(fields, "size"), fields.get("mask_zero", bool))

    def forward(self, x: Signal) -> Signal:
        """The rows are looked up where they are needed: a recurrent layer computes each distinct one once."""
        ids = x.values
        if ids.is_floating_point() or ids.dim() != 1:
            raise DataError(
                f"An embedding takes ids (N,), whole numbers. Got {ids.dtype} {tuple(ids.shape)}."
            )
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.weight):
            raise DataError(
                f"Ids must be in [0, {len(self.weight)}). Got {int(ids.min())} to {int(ids.max())}. "
                "Use the tokenizer, and its num_words, that the network was trained with."
            )
        mask = ids != 0 if self.mask_zero else x.mask
        return Signal(ids, x.offsets, mask, self.weight)


class Masking(nn.Module):
    """Later layers skip the steps all of whose features are `value`; they are set to 0."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    @classmethod
    def from_fields(cls, fields: Fields) -> Masking:
        """The layer that a saved model describes."""
        return cls(fields.get("value", float))

    def forward(self, x: Signal) -> Signal:
        """Steps (N, F) -> the same, with a mask."""
        values = x.looked_up()
        mask = (values != self.value).any(dim=-1)
        return Signal(values * mask[:, None], x.steps("Masking"), mask)


class Dense(nn.Module):
    """φ(W x + b), of each step or row."""

    bias: nn.Parameter | None

    def __init__(self, inputs: int, units: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(units, inputs))
        self.register_parameter("bias", nn.Parameter(torch.zeros(units)) if bias else None)
        self.activation = activation

    @classmethod
    def from_fields(cls, fields: Fields) -> Dense:
        """The layer that a saved model describes."""
        activation = fields.choice("activation", FUNCTIONS)
        return cls(_size(fields, "inputs"), _size(fields, "units"), fields.get("bias", bool), activation)

    def forward(self, x: Signal) -> Signal:
        """(N, inputs) -> (N, units)."""
        values: Tensor = x.looked_up()
        if values.shape[-1] != self.weight.shape[1]:
            raise DataError(
                f"A dense layer takes {self.weight.shape[1]} features. Got {values.shape[-1]}. After a Flatten the "
                "sequences must have the length that the network was built for: give maxlen."
            )
        return x.with_values(FUNCTIONS[self.activation](linear(values, self.weight, self.bias)))


class Activation(nn.Module):
    """A function of each step or row. slope: of leaky_relu, and the scale of scaled_elu below 0."""

    OWN: ClassVar[dict[str, Any]] = {
        "leaky_relu": functional.leaky_relu,
        "scaled_elu": functional.elu,
        "unit": lambda x, slope: functional.normalize(x, eps=1e-6),
    }

    def __init__(self, name: str, slope: float) -> None:
        super().__init__()
        self.name, self.slope = name, slope

    @classmethod
    def from_fields(cls, fields: Fields) -> Activation:
        """The layer that a saved model describes."""
        return cls(fields.choice("name", [*FUNCTIONS, *cls.OWN]), fields.get("slope", float))

    def forward(self, x: Signal) -> Signal:
        """The same shape."""
        values = x.looked_up()
        if self.name in self.OWN:
            return x.with_values(self.OWN[self.name](values, self.slope))
        return x.with_values(FUNCTIONS[self.name](values))


class Rectifier(nn.Module):
    """min(x, top) where x > threshold, and slope (x - threshold) elsewhere, as Keras' ReLU. top: None: no limit."""

    def __init__(self, top: float | None, slope: float, threshold: float) -> None:
        super().__init__()
        self.top, self.slope, self.threshold = top, slope, threshold

    @classmethod
    def from_fields(cls, fields: Fields) -> Rectifier:
        """The layer that a saved model describes."""
        return cls(fields.optional("top", float), fields.get("slope", float), fields.get("threshold", float))

    def forward(self, x: Signal) -> Signal:
        """The same shape."""
        values = x.looked_up()
        above = (values * (values > self.threshold)).clamp(max=self.top, min=0.0)
        return x.with_values(above - self.slope * (self.threshold - values).relu())


class PReLU(nn.Module):
    """x where it is above 0, and slope ⊙ x below, with a slope for each feature (He et al. 2015, arXiv:1502.01852)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(size))

    @classmethod
    def from_fields(cls, fields: Fields) -> PReLU:
        """The layer that a saved model describes."""
        return cls(_size(fields, "size"))

    def forward(self, x: Signal) -> Signal:
        """(N, size) -> (N, size)."""
        values = x.looked_up()
        _check_width("A PReLU", values, self.slope)
        return x.with_values(values.relu() - self.slope * (-values).relu())


class Rescale(nn.Module):
    """scale x + shift, with numbers."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    @classmethod
    def from_fields(cls, fields: Fields) -> Rescale:
        """The layer that a saved model describes."""
        return cls(fields.get("scale", float), fields.get("shift", float))

    def forward(self, x: Signal) -> Signal:
        """The same shape."""
        return x.with_values(x.looked_up() * self.scale + self.shift)


class Pool(nn.Module):
    """Steps -> rows: "mean" of the steps that are not skipped, "max", "sum" of all, "last" or "first" of all."""

    KINDS = ("mean", "max", "sum", "last", "first")

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    @classmethod
    def from_fields(cls, fields: Fields) -> Pool:
        """The layer that a saved model describes."""
        return cls(fields.choice("how", cls.KINDS))

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (B, F). The mean of no step is NaN, as in Keras; the largest of none raises `DataError`."""
        offsets, values = x.steps(f"The {self.how} over time"), x.looked_up()
        lengths = offsets.diff()
        if self.how != "mean" and bool((lengths == 0).any()):
            raise DataError(f"The {self.how} over time needs one step at least. Got an empty sequence.")
        if self.how in ("last", "first"):
            return Signal(values[offsets[1:] - 1 if self.how == "last" else offsets[:-1]])
        if self.how in ("max", "sum"):
            return Signal(torch.segment_reduce(values, self.how, offsets=offsets))
        weights = None if x.mask is None else x.mask.to(values.dtype)[:, None]
        total = torch.segment_reduce(values if weights is None else values * weights, "sum", offsets=offsets)
        counts = lengths if x.mask is None else _count(x.mask, offsets)
        return Signal(total / counts[:, None].to(values.dtype))


def _count(mask: Tensor, offsets: Tensor) -> Tensor:
    summed = torch.cat([mask.new_zeros(1, dtype=torch.int64), mask.to(torch.int64).cumsum(0)])
    return summed[offsets].diff()


class Flatten(nn.Module):
    """Steps (N, F) of sequences of one length T -> rows (B, T * F)."""

    @classmethod
    def from_fields(cls, fields: Fields) -> Flatten:
        """The layer that a saved model describes."""
        return cls()

    def forward(self, x: Signal) -> Signal:
        """Raises `DataError` for sequences of several lengths."""
        if x.offsets is None:
            return x
        lengths = x.offsets.diff()
        if len(lengths) and int(lengths.min()) != int(lengths.max()):
            raise DataError(
                f"Flatten needs sequences of one length. Got {int(lengths.min())} to {int(lengths.max())} steps. "
                "Import the network with the maxlen that it was trained with."
            )
        values = x.looked_up()
        width = int(lengths[0]) * values.shape[-1] if len(lengths) else values.shape[-1]
        return Signal(values.reshape(len(lengths), width))


def _check_width(layer: str, values: Tensor, weight: Tensor) -> None:
    if values.shape[-1] != len(weight):
        raise DataError(f"{layer} takes {len(weight)} features. Got {values.shape[-1]}.")


class Standardize(nn.Module):
    """(x - mean) / deviation, of each feature."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.ones(size))

    @classmethod
    def from_fields(cls, fields: Fields) -> Standardize:
        """The layer that a saved model describes."""
        return cls(_size(fields, "size"))

    def forward(self, x: Signal) -> Signal:
        """(N, size) -> (N, size)."""
        values = x.looked_up()
        _check_width("A normalisation", values, self.mean)
        return x.with_values((values - self.mean) / self.deviation)


class Affine(nn.Module):
    """scale ⊙ x + shift: a batch normalisation as it is in prediction."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    @classmethod
    def from_fields(cls, fields: Fields) -> Affine:
        """The layer that a saved model describes."""
        return cls(_size(fields, "size"))

    def forward(self, x: Signal) -> Signal:
        """(N, size) -> (N, size)."""
        values = x.looked_up()
        _check_width("A normalisation", values, self.scale)
        return x.with_values(values * self.scale + self.shift)


class LayerNorm(nn.Module):
    """Each step or row to mean 0 and variance 1, then scale and shift (Ba, Kiros, Hinton 2016)."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.epsilon = epsilon

    @classmethod
    def from_fields(cls, fields: Fields) -> LayerNorm:
        """The layer that a saved model describes."""
        return cls(_size(fields, "size"), fields.get("epsilon", float))

    def forward(self, x: Signal) -> Signal:
        """(N, size) -> (N, size)."""
        values = x.looked_up()
        _check_width("A normalisation", values, self.scale)
        made = layer_norm(values, [len(self.scale)], self.scale, self.shift, self.epsilon)
        return x.with_values(made)


class Part(nn.Module):
    """Features `start` to `stop`."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    @classmethod
    def from_fields(cls, fields: Fields) -> Part:
        """The layer that a saved model describes."""
        start, stop = fields.get("start", int), fields.get("stop", int)
        if not 0 <= start < stop:
            fields._bad("stop", "larger than start", stop)
        return cls(start, stop)

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (N, stop - start)."""
        values = x.looked_up()
        if values.shape[-1] < self.stop:
            raise DataError(f"Features to {self.stop} are needed. Got {values.shape[-1]}.")
        return x.with_values(values[:, self.start : self.stop])
