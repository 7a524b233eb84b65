"""y and sample weights as users have them, to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.arrays import as_they_are, unwrapped
from unspool.errors import DataError, described
from unspool.ragged import Ragged


def read_labels(y: Any, count: int) -> np.ndarray:
    """y as an array of `count` rows, (count,) or (count, K)."""
    if y is None:
        raise DataError(
            "y is required to fit, one target a sequence: requires y to be passed, but the target y is None."
        )
    ordered = any(hasattr(y, name) for name in ("__len__", "__array__", "__arrow_c_stream__"))
    if hasattr(y, "toarray") or not ordered or isinstance(y, (str, bytes, Mapping, Set)):
        advice = "Pass y.toarray()." if hasattr(y, "toarray") else "Pass a list, in the order of X."
        raise DataError(f"y must be a list or an array of {count} targets. Got {described(y)}. {advice}")
    y = unwrapped(y)
    try:
        array = as_they_are(y)
        if (
            array.dtype.kind == "f"
            and array.ndim == 1
            and isinstance(y, (list, tuple))
            and any(type(v) is int and abs(v) > 2**53 for v in y)
        ):
            array = np.array([*y, None], dtype=object)[:-1]  # whole numbers that float64 would merge
    except ValueError as error:
        raise DataError(
            f"y must be a list or array of one shape, one target a sequence (no lists of labels). {error}"
        ) from error
    if array.ndim not in (1, 2) or len(array) != count:
        raise DataError(
            f"y must have one row for each of the {count} sequences of X. Got shape {array.shape}."
        )
    return array


def read_steps(y: Any, count: int) -> Ragged:
    """y as a Ragged (N,) or (N, K) of float64, `count` sequences of one target a step: a Ragged, or a list of
    arrays (T,) or (T, K)."""
    if y is None:
        raise DataError(
            "y is required to fit, one target a step: requires y to be passed, but the target y is None."
        )
    try:
        given = y if isinstance(y, Ragged) else Ragged.from_list([np.asarray(row, np.float64) for row in y])
    except (ValueError, TypeError) as error:
        raise DataError(
            f"y must be a Ragged, or a list of arrays (T,) or (T, K) of numbers. {error}"
        ) from error
    if len(given) != count or given.values.dim() > 2:
        raise DataError(
            f"y must have one sequence of targets (T,) or (T, K) for each of the {count} sequences of X. "
            f"Got {len(given)} of shape {tuple(given.values.shape)}."
        )
    return given.to(torch.float64)


def parts_of(validation_data: Any, count: int = 2, expected: str = "(X, y)") -> tuple[Any, ...]:
    """`validation_data`, a tuple or list of `count`; `DataError` that names what is `expected` for anything else."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != count:
        raise DataError(f"validation_data must be {expected}. Got {described(validation_data)}.")
    return tuple(validation_data)


def check_lengths(target: Ragged, inputs: Ragged, rows: np.ndarray) -> None:
    """`DataError` unless there is one target for each step of the inputs. rows (B,): for the message."""
    different = (target.lengths != inputs.lengths).nonzero()[:, 0].tolist()
    if different:
        i = different[0]
        raise DataError(
            f"y must have one target for each step of X. Row {int(rows[i])} has {int(inputs.lengths[i])} steps and "
            f"{int(target.lengths[i])} targets ({len(different)} rows in all)."
        )


def read_weights(sample_weight: Any, count: int, per_step: bool = False) -> np.ndarray | Ragged | None:
    """Sample weights as (count,) float64, 0 or more and not all 0; None stays None.

    per_step: a list of arrays (T,), or a Ragged (N,), is taken too, and comes back as a Ragged.
    """
    if sample_weight is None:
        return None
    if per_step and (isinstance(sample_weight, Ragged) or np.ndim(sample_weight[0]) == 1):
        steps = read_steps(sample_weight, count)
        if steps.values.dim() != 1:
            raise DataError(f"sample_weight must have one number a step. Got {tuple(steps.values.shape)}.")
        _check_weights(steps.values.numpy())
        return steps
    try:
        weights = np.asarray(unwrapped(sample_weight), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("sample_weight must be numbers, one for each row of X.") from None
    if weights.shape != (count,):
        raise DataError(f"sample_weight must have shape ({count},), as X has rows. Got {weights.shape}.")
    _check_weights(weights)
    return weights


def _check_weights(weights: np.ndarray) -> None:
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.max() == 0:
        raise DataError("sample_weight must be finite, zero or more, and not all zero.")


def scale_weights(weights: np.ndarray | Ragged, targets: Tensor | Ragged) -> Tensor | Ragged:
    """float32 weights of mean 1 for the targets of a part: (n,), or for a target a step a Ragged (N,).

    A weight (n,) of a sequence with a target a step is that of each of its steps.
    """
    part = weights.values if isinstance(weights, Ragged) else torch.from_numpy(weights)
    if isinstance(targets, Ragged) and not isinstance(weights, Ragged):
        part = torch.repeat_interleave(part, targets.lengths)
    if not part.sum() > 0:
        raise DataError("All sequences of a part have sample_weight 0. Leave those rows out instead.")
    scaled = (part / part.mean()).float()
    return Ragged(scaled, targets.offsets) if isinstance(targets, Ragged) else scaled
