"""Blocks of gates put into the order of our cells: i, f, g, o and r, z, n, as in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Where each gate of ours stands among the file's: `ours[k] = theirs[ORDER[k]]`.
KERAS_LSTM = (0, 1, 2, 3)  # i f c o
KERAS_GRU = (1, 0, 2)  # z r h
KERAS_1_LSTM = (0, 2, 1, 3)  # i c f o
ONNX_LSTM = (0, 2, 3, 1)  # i o f c
ONNX_GRU = (1, 0, 2)  # z r h
PLAIN = (0,)


def reordered(blocks: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """(G * H, ...) with its G blocks of rows in `order`."""
    parts = np.split(blocks, len(order))
    return np.ascontiguousarray(np.concatenate([parts[i] for i in order]))
