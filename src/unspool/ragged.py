"""`Ragged`: sequences of uneven length as one block of values and offsets. The only padding code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unspool.arrays import steps_tensor, unlisted
from unspool.errors import DataError, check_choice, described
from unspool.offsets import as_numbers, checked_lengths, count_up, keeping_numbers, offsets_of, own_offsets
from unspool.rows import Places, put, take


class Ragged:
    """A batch of B sequences laid end to end; sequence i is `values[offsets[i]:offsets[i + 1]]`.

    Immutable by convention: every method returns a new object, and gradients flow through `values`. The offsets are
    the batch's own: copied when it is made, and handed out as copies.

    Parameters
    ----------
    values : tensor (N, ...), any dtype and device; N is the total number of steps.
    offsets : ints (B + 1,), from 0 to N, non-decreasing; two equal neighbours are an empty sequence.

    Raises `DataError` where the offsets do not fit the values.
    """

    __slots__ = ("_offsets", "values")

    values: Tensor
    _offsets: Tensor

    def __init__(self, values: Tensor, offsets: Tensor | Sequence[int]) -> None:
        if not isinstance(values, Tensor):
            raise DataError(
                f"The values of a Ragged must be a tensor (N, ...). Got {described(values)}. "
                "Make one with torch.as_tensor, or the whole batch with Ragged.from_list."
            )
        self.values = values
        self._offsets = own_offsets(values, offsets)

    @property
    def offsets(self) -> Tensor:
        """(B + 1,) int64 on the CPU: a copy."""
        with keeping_numbers(self._offsets):
            return self._offsets.clone()

    @classmethod
    def _of(cls, values: Tensor, offsets: Tensor) -> Ragged:
        """Of offsets that are known to fit."""
        made = cls.__new__(cls)
        made.values, made._offsets = values, offsets
        return made

    # --- from other layouts

    @classmethod
    def from_list(cls, sequences: Iterable[Any]) -> Ragged:
        """From tensors, arrays or lists of shapes (T_i, ...) with one common trailing shape.

        Arrays and tensors keep their dtype; Python ints become int64, floats float32. Different dtypes are
        promoted as `torch.cat` does; one of shape (0,) takes dtype and trailing shape from the others.
        No sequences at all give an empty float32 batch. Raises `DataError` for text and whatever is no sequence of
        numbers, and for trailing shapes that differ.
        """
        items = list(sequences)
        for i, item in enumerate(items):
            if isinstance(item, str):
                raise DataError(f"Sequence {i} is text: expected numbers. Encode it first (unspool.text).")
        if all(isinstance(item, (list, tuple, range)) for item in items):
            return cls(
                steps_tensor(list(chain.from_iterable(items))), offsets_of([len(item) for item in items])
            )
        tensors = [steps_tensor(item, f"Sequence {i}") for i, item in enumerate(items)]
        shaped = [t for t in tensors if tuple(t.shape) != (0,)]
        shapes = {tuple(t.shape[1:]) for t in shaped}
        if len(shapes) > 1:
            raise DataError(
                f"Sequences must agree in every axis after time. Got trailing shapes {sorted(shapes)}."
            )
        return cls(torch.cat(shaped or tensors), offsets_of([len(t) for t in tensors]))

    @classmethod
    def from_padded(cls, x: Any, lengths: Any = None, mask: Any = None, batch_first: bool = True) -> Ragged:
        """From a padded block x (B, T, ...), or (T, B, ...) with `batch_first=False`.

        Give at most one of: `lengths` (B,), the pads being on the right; `mask`, bool with the two first
        axes of x, True where a step is real: the others are skipped, wherever they are. With neither, all T
        steps are real. Raises `DataError` for x of one axis, both given, and lengths or a mask that do not fit.
        """
        x = steps_tensor(x)
        if x.dim() < 2:
            raise DataError(f"A padded batch needs a batch axis and a time axis. Got shape {tuple(x.shape)}.")
        if lengths is not None and mask is not None:
            raise DataError("Give either lengths or mask to from_padded, not both.")
        if mask is not None:
            return cls._from_mask(x, torch.as_tensor(mask, device="cpu"), batch_first)
        size, steps = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
        rows = count_up(size)
        if lengths is None:
            flat = (x if batch_first else x.transpose(0, 1)).reshape(size * steps, *x.shape[2:])
            return cls(flat, count_up(size + 1) * steps)
        offsets = offsets_of(checked_lengths(lengths, size, steps))
        starts, at = (rows * steps, count_up(steps)) if batch_first else (rows, count_up(steps) * size)
        return cls._of(take(x.flatten(0, 1), Places(offsets, starts, at, int(offsets[-1]))), offsets)

    @classmethod
    def _from_mask(cls, x: Tensor, mask: Tensor, batch_first: bool) -> Ragged:
        if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            raise DataError(
                f"The mask must be bool of shape {tuple(x.shape[:2])}, True where a step is real. "
                f"Got {mask.dtype} of shape {tuple(mask.shape)}."
            )
        if not batch_first:
            x, mask = x.transpose(0, 1), mask.transpose(0, 1)
        real = mask.flatten().nonzero().flatten()
        places = Places(offsets_of([len(real)]), count_up(1), real, len(real))
        return cls._of(take(x.flatten(0, 1), places), offsets_of(mask.sum(1)))

    @classmethod
    def from_packed(cls, packed: PackedSequence) -> Ragged:
        """From a PackedSequence of data (N, ...), sequences in the order in which they were given to be packed.

        Raises `DataError` for one whose parts do not fit."""
        sizes = packed.batch_sizes.to(torch.int64)
        fit = (
            not packed.batch_sizes.is_floating_point()
            and (sizes.dim() == 1 and len(sizes) > 0 and int(sizes[-1]) > 0)
            and not bool((sizes.diff() > 0).any())
        )
        if not fit or int(sizes.sum()) != len(packed.data):
            raise DataError(
                f"The batch_sizes of a PackedSequence must be ints above 0, never up, of sum {len(packed.data)}, the "
                f"rows of its data. Got {sizes.tolist()[:8]}, of sum {int(sizes.sum())}."
            )
        batch = int(sizes[0])
        lengths = (sizes[:, None] > count_up(batch)).sum(0)
        place = count_up(batch)
        if packed.unsorted_indices is not None:
            place = as_numbers("unsorted_indices", packed.unsorted_indices)
            order = torch.argsort(place)
            back = order if packed.sorted_indices is None else packed.sorted_indices
            back = as_numbers("sorted_indices", back)
            whole = not (place.is_floating_point() or back.is_floating_point())
            place, back = place.to(torch.int64), back.to(torch.int64)
            if not (whole and torch.equal(place[order], count_up(batch)) and torch.equal(order, back)):
                raise DataError(
                    f"The sorted_indices and unsorted_indices of a PackedSequence must be 0 ... {batch - 1} in an "
                    "order, each the inverse of the other. Got others. Use torch.nn.utils.rnn.pack_padded_sequence."
                )
            lengths = lengths[place]
        offsets = offsets_of(lengths)
        places = Places(offsets, place, offsets_of(sizes)[:-1], len(packed.data))
        return cls._of(take(packed.data, places), offsets)

    @classmethod
    def from_nested(cls, nested: Tensor) -> Ragged:
        """From a torch nested tensor (B, j, ...), jagged along axis 1 or strided; `DataError` for any other tensor."""
        if not nested.is_nested:
            raise DataError(f"Expected a nested tensor. Got a dense one of shape {tuple(nested.shape)}.")
        if nested.layout != torch.jagged:
            return cls.from_list(nested.unbind())
        ragged_axis = getattr(nested, "_ragged_idx", 1)
        if ragged_axis != 1:
            raise DataError(
                f"Expected a nested tensor jagged along axis 1. Got one jagged along axis {ragged_axis}."
            )
        starts, lengths = nested.offsets().cpu(), nested.lengths()  # type: ignore[attr-defined]
        if lengths is None:
            return cls(nested.values(), starts)
        offsets = offsets_of(lengths.cpu())
        return cls._of(_select(nested.values(), starts[: len(lengths)], offsets), offsets)

    @classmethod
    def from_arrow(cls, column: Any) -> Ragged:
        """From a column of lists: a polars Series, or anything that exports Arrow data, such as pyarrow.

        Lists of numbers give values (N,), lists of equally long lists (N, F). Raises `DataError` for other columns, and
        for nulls.
        """
        import polars as pl

        series = column if isinstance(column, pl.Series) else pl.Series(column)
        inner, lengths = unlisted(series)
        if lengths is None:
            raise DataError(f"Expected a column of lists of numbers. Got {series.dtype}.")
        inner, widths = unlisted(inner)
        values = steps_tensor(inner.to_numpy())
        if widths is not None:
            if len(set(widths.tolist())) > 1:
                raise DataError(
                    f"The steps of one column must have one width. Got {sorted(set(widths.tolist()))}."
                )
            values = values.reshape(len(widths), -1)
        return cls(values, offsets_of(lengths))

    @classmethod
    def cat(cls, batches: Sequence[Ragged]) -> Ragged:
        """The sequences of several batches, of one trailing shape, in order, as one batch; `DataError` for none."""
        if not batches:
            raise DataError("Ragged.cat needs at least one batch. Got none.")
        return cls(
            torch.cat([b.values for b in batches]), offsets_of(torch.cat([b.lengths for b in batches]))
        )

    # --- to other layouts

    def to_padded(self, value: float = 0.0, side: str = "right", length: int | None = None) -> Tensor:
        """(B, T, ...): T is `length` or the longest; pads of `value` on the `side` "right" or "left".

        Raises `DataError` where a sequence is longer than `length`, or values of ints cannot hold `value`."""
        steps = self._padded_length(length)
        if not self.values.is_floating_point() and not float(value).is_integer():
            raise DataError(f"A pad of {self.values.dtype} values must be a whole number. Got {value}.")
        batch = len(self)
        check_choice("Ragged.to_padded", "side", side, ("right", "left"))
        starts = count_up(batch) * steps
        if side == "left":
            starts = starts + steps - self.lengths
        places = Places(self._offsets, starts, count_up(steps), len(self.values))
        return put(self.values, places, batch * steps, value).unflatten(0, (batch, steps))

    def mask(self, side: str = "right", length: int | None = None) -> Tensor:
        """(B, T) bool on the device of the values: True where `to_padded` puts a real step; raises as it does."""
        steps = self._padded_length(length)
        check_choice("Ragged.mask", "side", side, ("right", "left"))
        step = count_up(steps) if side == "right" else count_up(steps).flip(0)
        return (step < self.lengths[:, None]).to(self.values.device)

    def owners(self) -> Tensor:
        """(N,) int64 on the device of the values: the number of each step's sequence."""
        owner = torch.repeat_interleave(self.lengths, output_size=len(self.values))
        return owner.to(self.values.device)

    def to_list(self) -> list[Tensor]:
        """The B sequences, (T_i, ...) each, as views of the values."""
        return list(self.values.split(self.lengths.tolist())) if len(self) else []

    def to_packed(self, like: PackedSequence | None = None) -> PackedSequence:
        """A PackedSequence of data (N, ...), longest first, in the sorting of `like` where given.

        Raises `DataError` for an empty batch or sequence, and where `like` has other lengths."""
        lengths = self.lengths
        if len(self) == 0 or int(lengths.min()) == 0:
            raise DataError(
                "A PackedSequence needs one sequence or more, and no empty one. Drop them or use Ragged."
            )
        sizes = (lengths > count_up(int(lengths.max()))[:, None]).sum(1)
        sorting: list[Tensor | None]
        if like is None:
            order = torch.argsort(lengths, descending=True, stable=True)
            sorting = [order.to(self.values.device), torch.argsort(order).to(self.values.device)]
        else:
            sorting = [like.sorted_indices, like.unsorted_indices]
            order = count_up(len(self)) if sorting[0] is None else sorting[0].cpu()
            if not torch.equal(sizes, like.batch_sizes) or bool((lengths[order].diff() > 0).any()):
                raise DataError("The PackedSequence given as like= has other lengths than this batch.")
        total = len(self.values)
        places = Places(self._offsets, torch.argsort(order), offsets_of(sizes)[:-1], total)
        return PackedSequence(put(self.values, places, total), sizes, *sorting)

    def to_nested(self) -> Tensor:
        """A torch nested tensor (B, j, ...) of jagged layout, sharing the values."""
        return torch.nested.nested_tensor_from_jagged(self.values, self.offsets.to(self.values.device))

    # --- steps and sequences

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 on the CPU."""
        return self._offsets.diff()

    def first(self, default: Tensor | float | None = None) -> Tensor:
        """(B, ...): the first step of each sequence; `default`, a number or (B, ...), for an empty one."""
        return self._pick(self._offsets[:-1], default)

    def last(self, default: Tensor | float | None = None) -> Tensor:
        """(B, ...): the last step of each sequence; `default`, a number or (B, ...), for an empty one."""
        return self._pick(self._offsets[1:] - 1, default)

    def reverse(self) -> Ragged:
        """Each sequence (T_i, ...) back to front; the order of the sequences stays."""
        total = len(self.values)
        places = Places(self._offsets, self._offsets[1:] - 1, -count_up(total), total)
        return self.with_values(take(self.values, places))

    def with_values(self, values: Tensor) -> Ragged:
        """The same offsets around other values (N, ...)."""
        if values.dim() and values.shape[0] == self.values.shape[0]:
            return Ragged._of(values, self._offsets)
        return Ragged(values, self._offsets)

    def to(self, *args: Any, **kwargs: Any) -> Ragged:
        """The values (N, ...) on another device or in another dtype, as `Tensor.to`; offsets stay on the CPU."""
        return self.with_values(self.values.to(*args, **kwargs))

    @property
    def batch_size(self) -> int:
        """B, as `len()` gives it; inside torch.export it may be any."""
        return self.offsets.shape[0] - 1

    def __len__(self) -> int:
        return self._offsets.shape[0] - 1

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.to_list())

    def __getitem__(self, key: Any) -> Any:
        """`r[i]`: tensor (T_i, ...). `r[slice]`, `r[ints]`, `r[bool mask (B,)]`: a Ragged of those."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                offsets = self._offsets[start : stop + 1]
                return Ragged(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])
            return self._select(count_up(len(self))[list(range(start, stop, step))])
        index = torch.as_tensor(key, device="cpu")
        if index.dim() == 0 and not index.is_floating_point() and index.dtype != torch.bool:
            i = int(index)
            if not -len(self) <= i < len(self):
                raise IndexError(f"Sequence {i} of a batch of {len(self)}.")
            i %= len(self)
            return self.values[int(self._offsets[i]) : int(self._offsets[i + 1])]
        if index.dim() == 1 and index.numel() == 0 and index.dtype != torch.bool:
            index = index.to(torch.int64)
        if (
            index.dim() != 1
            or index.is_floating_point()
            or (index.dtype == torch.bool and len(index) != len(self))
        ):
            raise IndexError(
                f"Index a Ragged by an int, a slice, ints (K,) or a bool mask ({len(self)},). "
                f"Got {index.dtype} of shape {tuple(index.shape)}."
            )
        return self._select(count_up(len(self))[index])

    def __repr__(self) -> str:
        lengths, values = self.lengths, self.values
        span = f"{int(lengths.min())} to {int(lengths.max())}" if len(self) else "none"
        return (
            f"Ragged({len(self)} sequences, lengths {span}, values {tuple(values.shape)}, "
            f"{str(values.dtype).removeprefix('torch.')}, {values.device})"
        )

    # --- helpers

    def _select(self, rows: Tensor) -> Ragged:
        offsets = offsets_of(self.lengths[rows])
        return Ragged._of(_select(self.values, self._offsets[:-1][rows], offsets), offsets)

    def _pick(self, index: Tensor, default: Tensor | float | None) -> Tensor:
        if default is None:
            if not torch.compiler.is_compiling() and bool((self.lengths == 0).any()):
                empty = (self.lengths == 0).nonzero().flatten().tolist()
                raise DataError(
                    f"Sequences {empty[:5]} are empty and have no first or last step. Give default=."
                )
            return _take(self.values, index)
        batch, trailing = len(self), self.values.shape[1:]
        default = torch.as_tensor(default, dtype=self.values.dtype, device=self.values.device)
        if len(self.values) == 0:
            return default.expand(batch, *trailing).clone()
        picked = _take(self.values, index.clamp(0, len(self.values) - 1))
        real = (self.lengths > 0).to(self.values.device).reshape(batch, *(1 for _ in trailing))
        return torch.where(real, picked, default)

    def _padded_length(self, length: int | None) -> int:
        if length is not None and torch.compiler.is_compiling():
            return length
        longest = int(self.lengths.max()) if len(self) else 0
        if length is not None and length < longest:
            raise DataError(f"length must be at least that of the longest sequence, {longest}. Got {length}.")
        return longest if length is None else length


def _select(values: Tensor, starts: Tensor, offsets: Tensor) -> Tensor:
    """(N, ...): the sequences that start at `starts` (B,), some maybe more than once, end to end."""
    total = int(offsets[-1])
    places = Places(offsets, starts.contiguous(), count_up(total), total)
    if values.requires_grad:  # a sequence chosen twice adds its gradients
        return _take(values, places.index())
    return take(values, places)


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.index_select(0, index.to(values.device))
