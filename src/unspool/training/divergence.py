"""Where the first number that is not finite came from, when a training goes wrong."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import UnspoolError
from unspool.training.batches import Batch, SequenceData
from unspool.training.settings import Loss


class DivergenceError(UnspoolError, ArithmeticError):
    """The loss or a gradient became NaN or infinite."""


@torch.no_grad()
def first_bad_value(
    network: nn.Module, loss: Loss, batch: Batch, data: SequenceData, prediction: Any, value: float
) -> str:
    """A sentence that names the first bad value in the order of the computation.

    Weights, inputs, targets, outputs of the recurrent layers, predictions, errors, then gradients from the loss
    backwards. Rows are those of the X that was given, from 0.
    """
    for name, weight in network.named_parameters():
        if not _finite(weight):
            return f"The first bad value is in the weight '{name}': {_count(weight)}."
    rows = batch.rows if data.origin is None else data.origin[batch.rows]
    for i, row in enumerate(rows.tolist()):
        values = batch.inputs[i]
        if values.is_floating_point() and not _finite(values):
            return f"The first bad value is in the input of row {row}: {_at_step(values)}."
        if batch.targets is not None and not _finite(batch.targets[i]):
            return f"The first bad value is the target of row {row}: {_shown(batch.targets[i])}."
    bad = [i for i in range(len(rows)) if not _finite(prediction[i])]
    if bad:
        outputs = _recurrent_outputs(network, batch, bad[0])
        place = f"the prediction for row {int(rows[bad[0]])}: {_shown(prediction[bad[0]])}"
        if outputs is not None and not _finite(outputs):
            place = f"the output of the recurrent layers for row {int(rows[bad[0]])}: {_at_step(outputs)}"
        return f"The first bad value is {place}.{_others(len(bad), len(rows))}"
    targets = batch.targets
    if targets is not None:
        filled = [i for i in range(len(rows)) if targets[i].numel()]
        bad = [i for i in filled if not _finite(loss(prediction[[i]], targets[[i]], None))]
        if bad:
            first, target = prediction[bad[0]], targets[bad[0]]
            return (
                f"The first bad value is the error of row {int(rows[bad[0]])}: its prediction is {_shown(first)}, its "
                f"target {_shown(target)}.{_others(len(bad), len(rows))}"
            )
    if not math.isfinite(value):
        return "Every error is finite, but not their mean."
    gradients = [(name, _dense(p.grad)) for name, p in network.named_parameters() if p.grad is not None]
    for name, gradient in reversed(gradients):
        if not _finite(gradient):
            return f"The first bad value is in the gradient of '{name}': {_count(gradient)}."
    name, gradient = max(gradients, key=lambda item: float(item[1].abs().max()))
    return f"Every gradient is finite, but not their norm; the largest is that of '{name}', {gradient.abs().max():.3g}."


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce()._values() if gradient.is_sparse else gradient


def _bad_rows(values: Tensor) -> Tensor:
    return (~torch.isfinite(values).reshape(len(values), -1).all(1)).nonzero()[:, 0]


def _recurrent_outputs(network: Any, batch: Batch, i: int) -> Tensor | None:
    """(T, size) of one sequence, without dropout; None for a network without a `stack`."""
    if getattr(network, "stack", None) is None:
        return None
    x = batch.inputs[[i]]
    training = network.training
    network.eval()
    values = x.values if network.embedding is None else network.embedding(x.values)
    output, _ = network.stack(x.with_values(values))
    network.train(training)
    return output.values


def _at_step(values: Tensor) -> str:
    """values (T, F)."""
    step = int(_bad_rows(values)[0])
    return f"{_shown(values[step])} at step {step + 1} of {len(values)}"


def _count(values: Tensor) -> str:
    bad = values[~torch.isfinite(values)]
    return f"{bad[0].item()}, and {len(bad)} of its {values.numel()} numbers are not finite"


def _shown(values: Tensor) -> str:
    """The first bad number, or the largest."""
    flat = values.reshape(-1)
    bad = flat[~torch.isfinite(flat)] if flat.is_floating_point() else flat[:0]
    return f"{(bad[0] if len(bad) else flat[flat.abs().argmax()]).item():.4g}"


def _others(bad: int, rows: int) -> str:
    return f" So it is for {bad} of the {rows} rows of the batch." if bad > 1 else ""
