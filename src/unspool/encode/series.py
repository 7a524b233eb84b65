"""Series of numbers, standardised; missing ones told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.encode.base import Input, row_of
from unspool.encode.reading import Raw
from unspool.errors import DataError, ModelFileError, warn_caller
from unspool.ragged import Ragged
from unspool.saved.fields import Fields

READ_BY_CELL = ("gru_d",)  # cells that take NaN for a missing value themselves

TOO_LARGE = "a number too large for float32, once it is scaled as those of the training part are."


class SeriesInput(Input):
    """Series of (T, F) numbers, each feature brought to mean 0 and variance 1 over the training steps.

    A NaN is a missing value: it becomes 0, the mean, and each feature that has some in the training part gets a
    number beside it, after all features, 1 where it is missing and otherwise 0. kept: they stay NaN, for a cell that
    reads them itself. told: the features, by number, that have such a number.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        mean: Sequence[float] = (),
        scale: Sequence[float] = (),
        told: Sequence[int] = (),
        kept: bool = False,
    ) -> None:
        self.mean, self.scale, self.told, self.kept = list(mean), list(scale), list(told), kept

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> SeriesInput:
        cell = settings.get("cell")
        return cls(kept=isinstance(cell, str) and cell in READ_BY_CELL)

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """Numbers a step that the network has: F, and one for each feature in `told`."""
        return len(self.mean) + len(self.told)

    @property
    def n_given(self) -> int:
        """F, numbers a step of X."""
        return len(self.mean)

    def fit(self, raw: Raw) -> SeriesInput:
        values = _numbers(raw.data).double()
        if len(values) == 0:
            raise DataError("Every training sequence is empty. Give at least one with a step in it.")
        missing = values.isnan()
        if missing.any():
            count = (~missing).sum(0)
            if not bool(count.all()):
                raise DataError(
                    f"Feature {int(count.argmin())} has no number in the training part, NaN alone."
                )
            mean = values.nanmean(0)
            scale = (values - mean).square().nanmean(0).sqrt()
            largest = values.abs().nan_to_num(0.0).amax(0)
            if not self.kept:
                self.told = missing.any(0).nonzero()[:, 0].tolist()
            share = f"{int(missing.sum()):,} of {missing.numel():,} numbers"
            how = (
                "the cell reads them itself"
                if self.kept
                else f"they count as the mean, and a number beside each of {len(self.told)} features tells them apart"
            )
            warn_caller(f"{share} of the training part are missing (NaN): {how}.")
        else:
            mean, scale, largest = values.mean(0), values.std(0, correction=0), values.abs().amax(0)
        # A constant feature: its deviation is rounding of its own size.
        constant = scale <= 1e-12 * largest
        scale = torch.where(constant, torch.ones_like(scale), scale)
        held = mean.float().isfinite() & scale.float().isfinite() & (scale.float() > 0)
        if not bool(held.all()):
            feature = int(held.int().argmin())
            raise DataError(
                f"Feature {feature} holds numbers up to {float(largest[feature]):g}, whose mean or deviation float32 "
                "cannot hold. Give it in another unit."
            )
        self.mean, self.scale = mean.tolist(), scale.tolist()
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        values = _numbers(raw.data)
        if len(values) and values.shape[1] != self.n_given:
            raise DataError(
                f"X has {values.shape[1]} features a step, but the model was fitted with {self.n_given}."
            )
        mean, scale = self._scaling()
        scaled = ((values.double() - mean) / scale).float()
        beyond = torch.isinf(scaled)
        if bool(beyond.any()):
            raise DataError(f"Sequence {row_of(raw.data, beyond.any(1))} holds {TOO_LARGE}")
        if self.kept:
            return raw.data.with_values(scaled)
        missing = scaled.isnan()
        strange = [i for i in missing.any(0).nonzero()[:, 0].tolist() if i not in self.told] if warn else []
        if strange:
            warn_caller(
                f"{int(missing[:, strange].sum())} numbers are missing (NaN), as of feature {strange[0]}, where none "
                "was in training; they count as the mean."
            )
        scaled = scaled.masked_fill(missing, 0.0)
        return raw.data.with_values(
            torch.cat([scaled, missing[:, self.told].float()], 1) if self.told else scaled
        )

    def decode(self, batch: Ragged) -> list[np.ndarray]:
        """The series (T, F) in their own scale, float64; NaN where a value was missing."""
        mean, scale = self._scaling()
        values = batch.values[:, : self.n_given].double() * scale + mean
        for place, feature in enumerate(self.told, self.n_given):
            values[:, feature] = values[:, feature].masked_fill(batch.values[:, place] > 0, float("nan"))
        return [row.numpy() for row in batch.with_values(values)]

    def _scaling(self) -> list[Tensor]:
        """(mean, scale), each (F,) float64 of float32 precision, as the first models had them."""
        both = (self.mean, self.scale)
        return [torch.tensor(v, dtype=torch.float32, device="cpu").double() for v in both]

    def describe(self) -> str:
        count, missing = self.n_given, ""
        if self.told:
            missing = f", missing values of {len(self.told)} told apart"
        elif self.kept:
            missing = ", missing values read by the cell"
        return f"series of {count} feature{'s' * (count > 1)} a step{missing}"

    def to_dict(self) -> dict[str, Any]:
        missing = {"told": self.told, "kept": self.kept} if self.told or self.kept else {}
        return {"kind": self.kind, "mean": self.mean, "scale": self.scale, **missing}

    @classmethod
    def from_fields(cls, fields: Fields) -> SeriesInput:
        mean = fields.items("mean", float)
        scale = fields.items("scale", float, len(mean))
        if not mean or min(scale) <= 0:
            raise ModelFileError("the scaling of the features is empty or not positive.")
        told = fields.items("told", int) if "told" in fields.data else []
        if told != sorted(set(told)) or (told and not 0 <= told[0] <= told[-1] < len(mean)):
            raise ModelFileError(f"the features with missing values must be some of the {len(mean)}, sorted.")
        return cls(mean, scale, told, fields.get("kept", bool) if "kept" in fields.data else False)


def _numbers(series: Ragged) -> Tensor:
    """The values, finite or NaN."""
    bad = torch.isinf(series.values)
    if bool(bad.any()):
        row = row_of(series, bad.any(1))
        raise DataError(f"Sequence {row} holds infinity. Numbers must be finite, or NaN where missing.")
    return series.values
