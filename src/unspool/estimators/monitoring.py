"""What the network of an estimator gives for encoded sequences, and how good that is on held-back rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.errors import bad_parameter
from unspool.ragged import Ragged
from unspool.training import PredictionBatches, SequenceData
from unspool.training.device import CPU, device_of

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator
    from unspool.tasks import Target


def outputs_of(network: nn.Module, inputs: Ragged, columns: Tensor | None = None) -> Any:
    """float64, a row a sequence (n, outputs), or a Ragged with one a step; on the device that the network is on."""
    rows, parts = [], []
    device = device_of(network)
    with torch.inference_mode():
        for batch in PredictionBatches(SequenceData(inputs, columns=columns)):
            rows.append(batch.rows)
            parts.append(network(*(batch if device.type == "cpu" else batch.to(device)).given).to(CPU))
    back = torch.cat(rows).argsort()
    if isinstance(parts[0], Ragged):
        return Ragged.cat(parts)[back].to(torch.float64)
    return torch.cat(parts)[back].numpy().astype(np.float64)


def score_of(
    model: SequenceEstimator, held: SequenceData | None, target: Target | None
) -> Callable[[nn.Module], float] | None:
    """What `monitor` tells of a network on the held-back rows, the larger the better; None: their loss does."""
    if model.monitor == "loss":
        return None
    owner, task = type(model).__name__, model.task_
    if held is None:
        bad_parameter(owner, "monitor", "'loss' where no rows are held back", model.monitor)
    if not task.metrics:
        expected = f"'loss' for the task {task.name!r}, which has no measures"
        bad_parameter(owner, "monitor", expected, model.monitor)
    return lambda network: task.score(outputs_of(network, held.inputs, held.columns), target)
