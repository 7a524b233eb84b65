"""Layers of imported networks that change the shape of sequences: their steps, their features, or both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unspool.errors import DataError, ModelFileError
from unspool.importing.signal import Signal
from unspool.importing.windows import MAX_WINDOW, Window, span, stretched
from unspool.saved import Fields

MOST = 2**27  # numbers that one sequence may become


def _check_size(layer: str, steps: int, width: int) -> None:
    if steps * width > MOST:
        raise DataError(
            f"{layer} makes {steps:,} steps of {width:,} numbers; {MOST:,} numbers at most are supported."
        )


class Repeat(nn.Module):
    """Rows (B, F) -> sequences of `count` equal steps."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @classmethod
    def from_fields(cls, fields: Fields) -> Repeat:
        """The layer that a saved model describes."""
        return cls(span(fields, "count"))

    def forward(self, x: Signal) -> Signal:
        """(B, F) -> (B * count, F)."""
        if x.offsets is not None:
            raise DataError("RepeatVector takes one row for each sequence. Got steps.")
        _check_size("RepeatVector", self.count, x.values.shape[-1])
        offsets = torch.arange(len(x.values) + 1, dtype=torch.int64) * self.count
        return Signal(x.values.repeat_interleave(self.count, 0), offsets)


class Pad(Window):
    """So many steps of zeros before and after each sequence; a negative number takes steps away."""

    size = stride = 1

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    @classmethod
    def from_fields(cls, fields: Fields) -> Pad:
        """The layer that a saved model describes."""
        found = [fields.get(name, int) for name in ("before", "after")]
        if any(abs(steps) > MAX_WINDOW for steps in found):
            raise ModelFileError(
                f"{fields.where} must add or take {MAX_WINDOW:,} steps at most. Got {found}."
            )
        return cls(*found)

    def needed(self, steps: int) -> int:
        return max(steps - self.before - self.after, 1)

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (N', F). The mask ends here, as in Keras."""
        offsets = x.steps("Padding or cropping over time")
        least = int(offsets.diff().min()) if x.batch_size else 1
        if least + min(self.before, 0) + min(self.after, 0) < 1:
            cut = -min(self.before, 0) - min(self.after, 0)
            raise DataError(f"Cropping {cut} steps needs sequences of {cut + 1} at least. Got {least}.")
        longest = int(offsets.diff().max()) if x.batch_size else 1
        _check_size("Padding", longest + self.before + self.after, x.looked_up().shape[-1])
        before, after = (torch.full_like(offsets[1:], steps) for steps in (self.before, self.after))
        return stretched(x.looked_up(), offsets, before, after)


class Upsample(Window):
    """Each step `count` times."""

    size = stride = 1

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @classmethod
    def from_fields(cls, fields: Fields) -> Upsample:
        """The layer that a saved model describes."""
        return cls(span(fields, "count"))

    def needed(self, steps: int) -> int:
        return -(-steps // self.count)

    def forward(self, x: Signal) -> Signal:
        """(N, F) -> (N * count, F). The mask ends here, as in Keras."""
        offsets, values = x.steps("Upsampling over time"), x.looked_up()
        longest = int(offsets.diff().max()) if x.batch_size else 1
        _check_size("Upsampling", longest * self.count, values.shape[-1])
        return Signal(values.repeat_interleave(self.count, 0), offsets * self.count)


class Reshape(nn.Module):
    """The numbers of each sequence or row in their order: (features,) makes a row, (steps, features) steps.

    One of them may be -1: as many as there are numbers for.
    """

    def __init__(self, target: list[int]) -> None:
        super().__init__()
        self.target = tuple(target)

    @classmethod
    def from_fields(cls, fields: Fields) -> Reshape:
        """The layer that a saved model describes."""
        target = fields.items("target", int)
        if (
            len(target) not in (1, 2)
            or not all(n == -1 or 1 <= n < 2**31 for n in target)
            or target == [-1, -1]
        ):
            fields._bad("target", "(features,) or (steps, features), at most one of them -1", target)
        return cls(target)

    def forward(self, x: Signal) -> Signal:
        """(N, F) or (B, F) -> what `target` says. The mask ends here, as in Keras."""
        values = x.looked_up()
        width = values.shape[-1]
        lengths = torch.ones(x.batch_size, dtype=torch.int64) if x.offsets is None else x.offsets.diff()
        numbers = lengths * width  # of each sequence
        steps, features = self.target if len(self.target) == 2 else (1, self.target[0])
        if features == -1:
            total = _only(numbers, self.target)
            features, rest = divmod(total, steps) if total else (width, 0)
            if rest:
                raise _does_not_fit(total, self.target)
        wanted = numbers // features if steps == -1 else torch.full_like(numbers, steps)
        wrong = numbers[wanted * features != numbers]
        if len(wrong):
            raise _does_not_fit(int(wrong[0]), self.target)
        made = values.reshape(-1, features)
        if len(self.target) == 1:
            return Signal(made)
        return Signal(made, torch.cat([wanted.new_zeros(1), wanted.cumsum(0)]))


def _only(numbers: Tensor, target: tuple[int, ...]) -> int:
    if len(numbers) and int(numbers.min()) != int(numbers.max()):
        raise DataError(
            f"Reshape to {target} needs sequences of one length. Import the network with the maxlen that it was "
            "trained with."
        )
    return int(numbers[0]) if len(numbers) else 0


def _does_not_fit(numbers: int, target: tuple[int, ...]) -> DataError:
    return DataError(
        f"Reshape to {target} does not fit sequences of {numbers} numbers. They must have the length that the network "
        "was built for: give maxlen."
    )


class Permute(nn.Module):
    """Steps become features, and features steps."""

    one_length = True

    @classmethod
    def from_fields(cls, fields: Fields) -> Permute:
        """The layer that a saved model describes."""
        return cls()

    def forward(self, x: Signal) -> Signal:
        """(B * T, F) -> (B * F, T). The mask ends here, as in Keras."""
        return _as_signal(_dense(x, "Permute").transpose(1, 2))


class Dot(nn.Module):
    """Σ a b over an axis of the one and an axis of the other input: 1, the steps, or the features of rows; 2 or -1, the
    features. normalize: each is first divided by its length along that axis.

    Of two sequences come steps, as many as the first has of what is left, with as many features as the second; of a
    sequence and rows come rows, of rows alone rows of one number.
    """

    one_length = True

    def __init__(self, axes: list[int], normalize: bool) -> None:
        super().__init__()
        self.axes, self.normalize = tuple(axes), normalize

    @classmethod
    def from_fields(cls, fields: Fields) -> Dot:
        """The layer that a saved model describes."""
        axes = fields.items("axes", int, 2)
        if not set(axes) <= {1, 2, -1}:
            fields._bad("axes", "each 1, 2 or -1", axes)
        return cls(axes, fields.get("normalize", bool))

    def forward(self, one: Signal, other: Signal) -> Signal:
        """No step of the result is skipped, as in Keras."""
        if one.batch_size != other.batch_size:
            raise DataError(
                f"Dot needs as many sequences of both. Got {one.batch_size} and {other.batch_size}."
            )
        parts = []
        for x, axis in zip((one, other), self.axes):
            rows = x.offsets is None
            values = x.looked_up() if rows else _dense(x, "Dot")
            if axis == 2 and rows:
                raise DataError("Dot over axis 2 needs sequences. Got one row for each sequence.")
            values = values[:, None] if rows else values.transpose(1, 2) if axis == 1 else values
            parts.append(_unit(values) if self.normalize else values)  # (B, what is left, what is summed)
        if parts[0].shape[-1] != parts[1].shape[-1]:
            raise DataError(
                f"Dot over axes {self.axes} needs as many numbers of both. Got {parts[0].shape[-1]} and "
                f"{parts[1].shape[-1]}."
            )
        _check_size("Dot", parts[0].shape[1], parts[1].shape[1])
        found = parts[0] @ parts[1].transpose(1, 2)
        if one.offsets is not None and other.offsets is not None:
            return _as_signal(found)
        return Signal(found.flatten(1))


def _unit(x: Tensor) -> Tensor:
    """Each row over its length, as Keras 3 does: x / sqrt(max(Σ x², 1e-14))."""
    return x * x.square().sum(-1, keepdim=True).clamp(min=1e-14).rsqrt()


def _dense(x: Signal, layer: str) -> Tensor:
    """(B, T, F) of sequences of one length."""
    lengths = x.steps(layer).diff()
    if len(lengths) and int(lengths.min()) != int(lengths.max()):
        raise DataError(
            f"{layer} needs sequences of one length. Got {int(lengths.min())} to {int(lengths.max())} steps."
        )
    values = x.looked_up()
    return values.reshape(len(lengths), int(lengths[0]) if len(lengths) else 1, values.shape[-1])


def _as_signal(values: Tensor) -> Signal:
    """Steps (B, T, F)."""
    batch, steps = values.shape[:2]
    return Signal(values.flatten(0, 1), torch.arange(batch + 1, dtype=torch.int64) * steps)


class StepSoftmax(nn.Module):
    """exp(x_t) / Σ_s exp(x_s) over the steps of each sequence, feature by feature; over the features of rows."""

    @classmethod
    def from_fields(cls, fields: Fields) -> StepSoftmax:
        """The layer that a saved model describes."""
        return cls()

    def forward(self, x: Signal) -> Signal:
        """The same shape. Raises `DataError` for masked steps, which Keras does not take here, either."""
        if x.offsets is None:
            return x.with_values(x.looked_up().softmax(-1))
        offsets, values = x.offsets, x.looked_up()
        if x.kept() is not None:
            raise DataError("Softmax over time cannot skip steps.")
        counts = offsets.diff()
        if bool((counts == 0).any()):
            raise DataError("Softmax over time needs one step at least. Got an empty sequence.")
        most = torch.segment_reduce(values, "max", offsets=offsets).repeat_interleave(counts, 0)
        raised = (values - most).exp()
        total = torch.segment_reduce(raised, "sum", offsets=offsets).repeat_interleave(counts, 0)
        return x.with_values(raised / total)


class Unmask(nn.Module):
    """Later layers skip nothing: what Keras' operations between layers make has no mask."""

    @classmethod
    def from_fields(cls, fields: Fields) -> Unmask:
        """The layer that a saved model describes."""
        return cls()

    def forward(self, x: Signal) -> Signal:
        """The same values."""
        return Signal(x.values, x.offsets, None, x.table)
