"""Who runs a case in this process: our layer, torch's, the plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from unspool import cells
from unspool.bench.case import Case
from unspool.bench.timing import Runner, runner
from unspool.nn import Recurrent
from unspool.ragged import Ragged

TORCH: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def competitors(case: Case, plain_loop: bool = True, engine: str = "native") -> dict[str, Runner]:
    """Name -> runner: "unspool" first, then "torch padded" and "torch packed" where torch has the cell.

    engine: ours; with "native" the runners raise `EngineError` where it cannot run the cell, "auto" falls back.
    """
    make = cells.get(case.cell)
    both, lengths, padded = case.directions == 2, case.lengths(), case.padded()
    ragged = Ragged.from_padded(padded, lengths)

    def layer(engine: str) -> Recurrent:
        return Recurrent(make(case.features, case.hidden), bidirectional=both, engine=engine)

    calls = {"unspool": work(case.work, layer(engine), ragged)}
    if case.cell in TORCH:
        peer = TORCH[case.cell](case.features, case.hidden, batch_first=True, bidirectional=both)
        calls["torch padded"] = work(case.work, peer, padded)
        if case.shape == "ragged":
            packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
            calls["torch packed"] = work(case.work, peer, packed)
    if plain_loop:
        calls["plain loop"] = work(case.work, layer("eager"), ragged)
    return {name: runner(call) for name, call in calls.items()}


def work(kind: str, layer: nn.Module, x: Any) -> Callable[[], None]:
    """One forward pass of `layer(x)` without gradients, or one forward and backward."""

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def training() -> None:
        layer.zero_grad(set_to_none=True)
        output = layer(x)[0]
        if not isinstance(output, Tensor):
            output = output.values if isinstance(output, Ragged) else output.data
        output.backward(torch.ones_like(output))

    return forward if kind == "forward" else training


def flops(case: Case, cell: nn.Module) -> float:
    """FLOP of the products of one run: 2 a token and weight; training also dh, and the gradient of each weight.

    Matrices named weight_ih* meet the input, whose gradient is not asked for.
    """
    matrices = [(name, p.numel()) for name, p in cell.named_parameters() if p.dim() == 2]
    every = sum(size for _, size in matrices)
    recurrent = sum(size for name, size in matrices if not name.startswith("weight_ih"))
    a_token = every if case.work == "forward" else 2 * every + recurrent
    return 2.0 * int(case.lengths().sum()) * case.directions * a_token
