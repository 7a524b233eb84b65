"""Sequences to classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.estimators.base import SequenceEstimator
from unspool.saved import Fields

_SAVED_KINDS = {"U": str, "i": int, "u": int, "f": float, "b": bool, "O": str}


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """One of two or more classes for each sequence, by cross-entropy; labels of any one type.

    Parameters, attributes and kinds of X: see `SequenceEstimator`; also `classes_`, the labels, sorted.
    `predict(X)` gives labels (n,), `predict_proba(X)` float64 (n, classes) in the order of `classes_`;
    `score(X, y)` is the accuracy.
    """

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each sequence, (n,); warns of texts without any known word."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """float64 (n, classes), rows adding up to 1, columns in the order of `classes_`."""
        return softmax(self._outputs(X), axis=1)

    def _read_target(self, y: np.ndarray, learn: bool) -> np.ndarray:
        """Class numbers (n,) int64."""
        labels = _labels(y)
        if learn:
            classes = np.unique(labels)
            if len(classes) < 2:
                raise DataError(f"y must have two classes or more. Got 1 class: {classes.tolist()[0]!r}.")
            self.classes_ = classes
        numbers = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        strange = self.classes_[numbers] != labels
        if strange.any():
            raise DataError(
                f"The validation y has a class that the training y has not: {labels[strange].tolist()[0]!r}."
            )
        return numbers.astype(np.int64)

    def _fit_target(self, y: np.ndarray) -> None:
        """`classes_` is all there is to know."""

    def _encode_target(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(y)

    def _output_size(self) -> int:
        return len(self.classes_)

    def _target_to_dict(self) -> dict[str, Any]:
        kind = self.classes_.dtype.kind
        values = self.classes_.tolist()
        if kind not in _SAVED_KINDS or not all(type(v) is _SAVED_KINDS[kind] for v in values):
            bad_parameter(
                type(self).__name__,
                "y",
                "str, int, float or bool to be saved",
                values[0],
                "Convert the labels.",
            )
        dtype = "object" if kind == "O" else "str" if kind == "U" else self.classes_.dtype.name
        return {"dtype": dtype, "classes": values}

    def _target_from_fields(self, fields: Fields) -> None:
        names = ["object", "str", "bool", "float16", "float32", "float64"]
        names += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
        dtype = np.dtype(fields.choice("dtype", names))
        values: list[Any] = fields.items("classes", _SAVED_KINDS[dtype.kind])
        try:
            self.classes_ = np.array(values, dtype=dtype)
        except OverflowError as error:
            raise ModelFileError(f"the classes do not fit their type ({error}).") from error
        if len(values) < 2 or bool((self.classes_[1:] <= self.classes_[:-1]).any()):
            raise ModelFileError("the classes must be two or more, different and sorted.")


def _labels(y: np.ndarray) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.ndim != 1:
        raise DataError(f"y must have one label a sequence, shape (n,). Got shape {y.shape}.")
    missing = [i for i, v in enumerate(y) if v is None or (isinstance(v, (float, np.floating)) and v != v)]
    if missing:
        raise DataError(
            f"y must have a label in every row. Got none in row {missing[0]} ({len(missing)} in all)."
        )
    try:
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError("y must be finite. Got infinity.")
        check_classification_targets(y)
        np.unique(y)
    except (ValueError, TypeError) as error:
        raise DataError(f"y must be labels of one type. {error}") from error
    return y
