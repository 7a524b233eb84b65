"""A graph run by ONNX Runtime beside our own model, on batches of several sizes and lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.errors import EngineError
from unspool.exporting.graph import INSTALL

TOLERANCE = 1e-5
SHAPES = ((3, 7), (5, 4), (1, 1))  # sequences and steps of the batches that are tried

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """feeds: inputs by name. expected: our own outputs. units: the size that differences of an output are relative to
    where it is small; 1 where not given."""

    feeds: Arrays
    expected: Arrays
    units: Arrays = field(default_factory=dict)


def session(model: bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU; `EngineError` where it is not installed, or does not take the graph."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"Checking a graph needs onnxruntime, which is not installed. Install it: {INSTALL}."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime does not take the graph: {error}") from error


def difference(model: bytes, cases: Sequence[Case]) -> float:
    """The largest difference between ONNX Runtime's outputs and ours, relative to max(1, |ours|).

    `EngineError` beyond `TOLERANCE`, and where other outputs than numbers are not the same.
    """
    running, largest = session(model), 0.0
    for case in cases:
        try:
            found = running.run(list(case.expected), dict(case.feeds))
        except Exception as error:
            shapes = {name: array.shape for name, array in case.feeds.items()}
            raise EngineError(
                f"ONNX Runtime cannot run the graph on inputs of shapes {shapes}: {error}"
            ) from error
        for (name, ours), theirs in zip(case.expected.items(), found):
            apart = _apart(ours, np.asarray(theirs), case.units.get(name, np.float64(1)))
            if not apart <= TOLERANCE:
                raise EngineError(
                    f"ONNX Runtime's {name!r} differs from ours by {apart:.2g}, more than {TOLERANCE:g}; nothing was "
                    "written. A step that jumps or grows without bound differs so; else please report it."
                )
            largest = max(largest, apart)
    return largest


def _apart(ours: np.ndarray, theirs: np.ndarray, unit: Any) -> float:
    if ours.shape != theirs.shape:
        raise EngineError(f"ONNX Runtime gives shape {theirs.shape} where ours is {ours.shape}.")
    if ours.dtype.kind != "f":
        return 0.0 if np.array_equal(ours, theirs) else np.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if not ours.size or same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(ours - theirs) / np.maximum(unit, np.abs(ours)))
    return float(np.where(np.isnan(apart), np.inf, apart).max())


def lengths_for(batch: int, time: int, random: np.random.RandomState) -> np.ndarray:
    """(batch,) int64 lengths, 0 and `time` among them where there is room."""
    lengths = random.randint(0, time + 1, batch)
    lengths[0] = time
    if batch > 1:
        lengths[-1] = 0
    return lengths.astype(np.int64)
