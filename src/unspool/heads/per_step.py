"""One module at every step: tagging, forecasting every step, Keras' TimeDistributed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from unspool.errors import DataError
from unspool.nn import draws
from unspool.ragged import Ragged


class PerStep(nn.Module):
    """Apply `module`, which takes a batch (N, ...), to the steps of all sequences as one batch.

    `head(x)`: x a Ragged or PackedSequence, or a padded tensor (B, T, ...) or (T, B, ...), whose pads are steps
    too (a batch norm counts them: give a Ragged instead). The result is of the same kind.
    Raises `DataError` where x is something else, or the module returns another number of rows.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Any) -> Any:
        """x as above -> the same kind, with what `module` gives for each step."""
        if isinstance(x, Ragged):
            with draws.each_step(x):
                return x.with_values(self._rows(x.values))
        if isinstance(x, PackedSequence):
            return x._replace(data=self._rows(x.data))
        if isinstance(x, Tensor) and x.dim() >= 2:
            return self._rows(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        got = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise DataError(
            f"The input of PerStep must be a Ragged, a PackedSequence or a tensor of 2 axes or more. Got {got}."
        )

    def _rows(self, rows: Tensor) -> Tensor:
        result = self.module(rows)
        if not isinstance(result, Tensor) or result.shape[:1] != rows.shape[:1]:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise DataError(f"The module of PerStep must return a tensor of {len(rows)} rows. Got {got}.")
        return result
