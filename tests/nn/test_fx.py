"""torch.fx writes down a model that holds our layers, each as one node, as it does with torch.nn's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace

from unspool import cells
from unspool.errors import EngineError
from unspool.nn import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, Stack

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "LSTM": (lambda: LSTM(4, 5), (3, 2, 4)),
    "GRU": (lambda: GRU(4, 5, batch_first=True), (3, 2, 4)),
    "RNN": (lambda: RNN(4, 5, 2), (3, 2, 4)),
    "LSTMCell": (lambda: LSTMCell(4, 5), (3, 4)),
    "GRUCell": (lambda: GRUCell(4, 5), (3, 4)),
    "Recurrent": (lambda: Recurrent(cells.GRUCell(4, 5)), (3, 2, 4)),
    "Stack": (lambda: Stack("gru", 4, 5), (3, 2, 4)),
}


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(4, 4), layer, nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        found = self.layer(torch.relu(self.before(x)))
        return self.after(found if isinstance(self.layer, GRUCell) else found[0])


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_one_node(name: str) -> None:
    make, shape = LAYERS[name]
    model = Model(make())
    traced, x = symbolic_trace(model), torch.randn(shape)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == [
        "before",
        "layer",
        "after",
    ]
    assert torch.equal(traced(x), model(x))
    with pytest.raises(
        EngineError, match=r"torch\.fx cannot see through the engine\. Trace a module that holds the"
    ):
        symbolic_trace(model.layer)
