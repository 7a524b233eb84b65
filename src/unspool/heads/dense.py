"""Hidden layers and the output layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unspool.errors import check_float, check_int
from unspool.nn.draws import Dropout
from unspool.nn.rows import OfRows, row_by_row


class DenseHead(nn.Module):
    """(B, input_size) -> (B, output_size): a relu layer for each width in `hidden`, then a linear one.

    Weights start uniform (Glorot & Bengio 2010), biases at 0.
    dropout: probability of zeroing an input of each of these layers while training.
    beside: numbers that the first of these layers has beside its input, without dropout.
    """

    cell: Applied

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        beside: int = 0,
    ) -> None:
        super().__init__()
        check_float("DenseHead", "dropout", dropout, 0.0, 1.0)
        widths = [
            check_int("DenseHead", "input_size", input_size) + check_int("DenseHead", "beside", beside, 0)
        ]
        widths += [check_int("DenseHead", "hidden", width) for width in hidden]
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [Dropout(dropout), nn.Linear(before, after), nn.ReLU()]
        output = nn.Linear(widths[-1], check_int("DenseHead", "output_size", output_size))
        self.layers = nn.Sequential(*steps, Dropout(dropout), output)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

        self.__dict__["cell"] = Applied(self.layers)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """x (B, input_size), beside (B, beside) -> (B, output_size); in evaluation a row has the same in any batch."""
        if not self.training:
            whole = x if beside is None else torch.cat([x, beside], 1)
            return row_by_row(self, self.cell, self.output_size, whole)
        if beside is None:
            return self.layers(x)
        return self.layers[1:](torch.cat([self.layers[0](x), beside], 1))

    @property
    def output_size(self) -> int:
        """Numbers of an output."""
        return int(self.layers[-1].out_features)  # type: ignore[arg-type]


class Applied(OfRows):
    """The layers of a head, without dropout."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def of(self, x: Tensor, *others: Tensor) -> Tensor:
        for layer in self.layers:
            x = x if isinstance(layer, nn.Dropout) else layer(x)
        return x
