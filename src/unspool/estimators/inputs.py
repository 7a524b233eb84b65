"""The encoder of each kind of X: fitted on the training part, saved with the model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError
from unspool.estimators.reading import Raw
from unspool.ragged import Ragged
from unspool.saved.document import Fields
from unspool.text import TextEncoder

MAX_ID = 10_000_000


class TextInput:
    """Texts to token ids, by a `TextEncoder`."""

    kind: ClassVar[str] = "text"
    n_features = 1

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def fit(self, raw: Raw) -> TextInput:
        self.encoder.fit(raw.data)
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        """Ragged of (N,) ids; `warn` tells of texts without any known token."""
        ids = self.encoder.encode(raw.data)
        unknown = self.encoder.unknown_texts_
        if warn and unknown:
            level = "word" if self.encoder.level == "word" else "character"
            warnings.warn(
                f"{unknown} of {len(raw)} texts hold no {level} of the training texts: "
                "their predictions say nothing about them.",
                UserWarning,
                stacklevel=4,
            )
        return ids

    @property
    def vocabulary_size(self) -> int:
        return self.encoder.vocabulary_size

    def describe(self) -> str:
        return f"texts by {self.encoder.level}, {self.vocabulary_size:,} tokens known"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "encoder": self.encoder.to_dict()}

    @classmethod
    def from_fields(cls, fields: Fields) -> TextInput:
        return cls(TextEncoder.from_dict(fields.get("encoder", dict)))


class IdInput:
    """Token ids as they come; the vocabulary goes up to the largest id of the training part."""

    kind: ClassVar[str] = "ids"
    n_features = 1

    def __init__(self, vocabulary_size: int = 0) -> None:
        self.vocabulary_size = vocabulary_size

    def fit(self, raw: Raw) -> IdInput:
        ids = raw.data.values
        if ids.numel() == 0:
            raise DataError("Every training sequence is empty. Give at least one with a step in it.")
        self.vocabulary_size = int(ids.max()) + 1
        if self.vocabulary_size > MAX_ID:
            raise DataError(
                f"Integers are read as token ids, which must be below {MAX_ID:,}. Got {int(ids.max()):,}. "
                "For a series of measurements pass floats."
            )
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        ids = raw.data.values
        if ids.numel() and int(ids.min()) < 0:
            raise DataError(
                f"Token ids must be 0 or more. Got {int(ids.min())} in sequence {_row(raw.data, ids < 0)}."
            )
        if ids.numel() and int(ids.max()) >= self.vocabulary_size:
            raise DataError(
                f"Token ids must be below {self.vocabulary_size}, the vocabulary of the training part. Got "
                f"{int(ids.max())} in sequence {_row(raw.data, ids >= self.vocabulary_size)}. Give unknown "
                "tokens an id of their own that also occurs in training."
            )
        return raw.data

    def describe(self) -> str:
        return f"token ids below {self.vocabulary_size:,}"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocabulary_size": self.vocabulary_size}

    @classmethod
    def from_fields(cls, fields: Fields) -> IdInput:
        size = fields.get("vocabulary_size", int)
        if not 0 < size <= MAX_ID:
            raise ModelFileError(f"the vocabulary size must be in [1, {MAX_ID}]. Got {size}.")
        return cls(size)


class SeriesInput:
    """Series of (T, F) numbers, each feature brought to mean 0 and variance 1 over the training steps."""

    kind: ClassVar[str] = "series"
    vocabulary_size = None

    def __init__(self, mean: Sequence[float] = (), scale: Sequence[float] = ()) -> None:
        self.mean, self.scale = list(mean), list(scale)

    @property
    def n_features(self) -> int:
        return len(self.mean)

    def fit(self, raw: Raw) -> SeriesInput:
        values = _finite(raw.data).double()
        if len(values) == 0:
            raise DataError("Every training sequence is empty. Give at least one with a step in it.")
        scale = values.std(0, correction=0)
        # A constant feature: its deviation is rounding of its own size.
        constant = scale <= 1e-12 * values.abs().amax(0)
        self.mean = values.mean(0).tolist()
        self.scale = torch.where(constant, torch.ones_like(scale), scale).tolist()
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        values = _finite(raw.data)
        if len(values) and values.shape[1] != self.n_features:
            raise DataError(
                f"X has {values.shape[1]} features a step, but the model was fitted with {self.n_features}."
            )
        mean, scale = (torch.tensor(v, dtype=torch.float32, device="cpu") for v in (self.mean, self.scale))
        scaled = (values.double() - mean.double()) / scale.double()
        return raw.data.with_values(scaled.float())

    def describe(self) -> str:
        return f"series of {self.n_features} feature{'s' * (self.n_features > 1)} a step"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_fields(cls, fields: Fields) -> SeriesInput:
        mean = fields.items("mean", float)
        scale = fields.items("scale", float, len(mean))
        if not mean or min(scale) <= 0:
            raise ModelFileError("the scaling of the features is empty or not positive.")
        return cls(mean, scale)


Input = TextInput | IdInput | SeriesInput


def new_input(kind: str, max_words: int, level: str) -> Input:
    """An encoder for raw input of this kind, not yet fitted."""
    if kind == "text":
        return TextInput(TextEncoder(max_words, level))
    return IdInput() if kind == "ids" else SeriesInput()


def input_from_fields(fields: Fields) -> Input:
    """The encoder whose `to_dict` was saved."""
    classes: dict[str, Any] = {c.kind: c for c in (TextInput, IdInput, SeriesInput)}
    return classes[fields.choice("kind", classes)].from_fields(fields)


def _finite(series: Ragged) -> Tensor:
    good = torch.isfinite(series.values)
    if not bool(good.all()):
        row = _row(series, ~good.all(1))
        raise DataError(f"Sequence {row} holds NaN or infinity. Fill or drop missing values first.")
    return series.values


def _row(batch: Ragged, bad: Tensor) -> int:
    """The sequence in which the first bad step is; bad (N,) bool."""
    return int(np.searchsorted(batch.offsets.numpy(), int(bad.nonzero()[0]), side="right")) - 1
