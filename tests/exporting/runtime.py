"""ONNX Runtime on an exported file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from unspool.state import flatten


@lru_cache(maxsize=4)
def loaded(path: Path, written: int) -> onnxruntime.InferenceSession:
    """The file as it was at the time `written`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, **feeds: Any) -> dict[str, np.ndarray]:
    """Every output by name."""
    session = loaded(path, path.stat().st_mtime_ns)
    names = [output.name for output in session.get_outputs()]
    given = {name: v.numpy() if isinstance(v, Tensor) else np.asarray(v) for name, v in feeds.items()}
    return dict(zip(names, session.run(names, given)))


def padded(output: Any, time: int) -> np.ndarray:
    """A Ragged (N, H) as (B, time, H), zeros past the end."""
    found = np.zeros((len(output), time, output.values.shape[1]), dtype=np.float32)
    for row, values in zip(found, output):
        row[: len(values)] = values.detach().numpy()
    return found


def close(found: np.ndarray, expected: Any, tolerance: float = 1e-5) -> None:
    """The same to `tolerance` of max(1, |expected|)."""
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def parts(state: Any) -> list[np.ndarray]:
    """The tensors of a state."""
    return [part.detach().numpy() for part in flatten(state)]


LENGTHS = torch.tensor(
    [9, 0, 4, 1, 6]
)  # five sequences of up to nine steps: no batch that export itself tries
