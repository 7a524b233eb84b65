"""Sequences to numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from torch import Tensor

from unspool.errors import DataError, ModelFileError
from unspool.estimators.base import SequenceEstimator
from unspool.saved import Fields


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """One or several numbers for each sequence, by least squares on the standardised target.

    Parameters, attributes and kinds of X: see `SequenceEstimator`.
    `predict(X)` gives float64 (n,), or (n, K) where y had K columns; `score(X, y)` is R2.
    """

    def predict(self, X: Any) -> np.ndarray:
        """float64 (n,), or (n, K) after a fit on y (n, K); warns of texts without any known word."""
        outputs = self._outputs(X) * self.target_scale_ + self.target_mean_
        return outputs[:, 0] if self.target_ndim_ == 1 else outputs

    def _read_target(self, y: np.ndarray, learn: bool) -> np.ndarray:
        try:
            numbers = y.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DataError(f"y must be numbers. Got {y.dtype}: {error}.") from error
        bad = ~np.isfinite(numbers)
        if y.dtype.kind == "c" or bad.any():
            row = int(np.argwhere(bad)[0, 0]) if bad.any() else 0
            raise DataError(f"y must be finite real numbers. Got {y[row].tolist()!r} in row {row}.")
        return numbers

    def _fit_target(self, y: np.ndarray) -> None:
        self.target_ndim_ = y.ndim
        columns = y.reshape(len(y), -1)
        self.target_mean_ = columns.mean(0)
        scale = columns.std(0)
        # A constant target: its deviation is rounding of its own size.
        self.target_scale_ = np.where(scale <= 1e-12 * np.abs(columns).max(0), 1.0, scale)

    def _encode_target(self, y: np.ndarray) -> Tensor:
        if y.ndim != self.target_ndim_ or y.reshape(len(y), -1).shape[1] != len(self.target_mean_):
            raise DataError(
                f"y must have {len(self.target_mean_)} columns as in training. Got shape {y.shape}."
            )
        scaled = (y.reshape(len(y), -1) - self.target_mean_) / self.target_scale_
        return torch.from_numpy(scaled.astype(np.float32))

    def _output_size(self) -> int:
        return len(self.target_mean_)

    def _target_to_dict(self) -> dict[str, Any]:
        mean, scale = self.target_mean_.tolist(), self.target_scale_.tolist()
        return {"ndim": self.target_ndim_, "mean": mean, "scale": scale}

    def _target_from_fields(self, fields: Fields) -> None:
        self.target_ndim_ = fields.get("ndim", int)
        self.target_mean_ = np.array(fields.items("mean", float))
        self.target_scale_ = np.array(fields.items("scale", float, len(self.target_mean_)))
        size = len(self.target_mean_)
        if size == 0 or self.target_ndim_ not in (1, 2) or (self.target_ndim_ == 1 and size > 1):
            raise ModelFileError(f"a target of {self.target_ndim_} axes cannot have {size} columns.")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
