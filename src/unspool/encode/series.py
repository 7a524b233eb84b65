"""Series of numbers, standardised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.encode.base import Input, row_of
from unspool.encode.reading import Raw
from unspool.errors import DataError, ModelFileError
from unspool.ragged import Ragged
from unspool.saved.fields import Fields


class SeriesInput(Input):
    """Series of (T, F) numbers, each feature brought to mean 0 and variance 1 over the training steps."""

    kind: ClassVar[str] = "series"

    def __init__(self, mean: Sequence[float] = (), scale: Sequence[float] = ()) -> None:
        self.mean, self.scale = list(mean), list(scale)

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """F, numbers a step."""
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
        mean, scale = self._scaling()
        scaled = (values.double() - mean) / scale
        return raw.data.with_values(scaled.float())

    def decode(self, batch: Ragged) -> list[np.ndarray]:
        """The series (T, F) in their own scale, float64."""
        mean, scale = self._scaling()
        return [row.numpy() for row in batch.with_values(batch.values.double() * scale + mean)]

    def _scaling(self) -> list[Tensor]:
        """(mean, scale), each (F,) float64 of float32 precision, as the first models had them."""
        both = (self.mean, self.scale)
        return [torch.tensor(v, dtype=torch.float32, device="cpu").double() for v in both]

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


def _finite(series: Ragged) -> Tensor:
    good = torch.isfinite(series.values)
    if not bool(good.all()):
        row = row_of(series, ~good.all(1))
        raise DataError(f"Sequence {row} holds NaN or infinity. Fill or drop missing values first.")
    return series.values
