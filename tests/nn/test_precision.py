"""Products of bfloat16 in training, against a plain loop whose every product rounds what it multiplies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine.narrow import RoundedGRU, RoundedLSTM
from torch import Tensor, nn

from unspool import Ragged, SequenceRegressor
from unspool.cells import GRUCell, LSTMCell
from unspool.errors import EngineError, InvalidParameterError
from unspool.nn import Recurrent, Stack


def everything(layer: Recurrent, values: Tensor, offsets: Tensor) -> dict[str, Tensor]:
    layer.zero_grad()
    x = values.clone().requires_grad_()
    output, _ = layer(Ragged(x, offsets))
    (
        output.values * torch.cos(torch.arange(output.values.numel()).reshape(output.values.shape))
    ).sum().backward()
    found = {"output": output.values.detach(), "d input": x.grad}
    return found | {f"d {name}": p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sizes", [(5, 7), (16, 32), (33, 17), (3, 48)])
@pytest.mark.parametrize(("cell", "rounded_cell"), [(LSTMCell, RoundedLSTM), (GRUCell, RoundedGRU)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_multiplied_is_rounded_and_sums_are_not(
    sizes: tuple[int, int], cell: Any, rounded_cell: Any, bidirectional: bool
) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([3, 1, 7, 0, 4, 9, 2, 14, 5, 1])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    values = torch.randn(int(offsets[-1]), sizes[0])
    fast = Recurrent(cell(*sizes), bidirectional=bidirectional, precision="bfloat16")
    plain = Recurrent(rounded_cell(*sizes), bidirectional=bidirectional, engine="eager")
    full = Recurrent(cell(*sizes), bidirectional=bidirectional)
    plain.load_state_dict(fast.state_dict())
    full.load_state_dict(fast.state_dict())
    got, expected, unrounded = (everything(layer, values, offsets) for layer in (fast, plain, full))
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        # A number next to a tie may be rounded the other way: far less than rounding itself moves the result.
        off, moved = (got[name] - value).norm(), (unrounded[name] - value).norm()
        assert off <= 0.2 * moved, f"{name}: off by {off:.2e}; rounding moves it by {moved:.2e}"
        assert moved > 1e-5 * value.norm() or "bias" in name


def test_prediction_is_of_float32_and_threads_do_not_change_bits() -> None:
    torch.manual_seed(1)
    layer = Recurrent(LSTMCell(20, 24), bidirectional=True, precision="bfloat16")
    full = Recurrent(LSTMCell(20, 24), bidirectional=True)
    full.load_state_dict(layer.state_dict())
    x = Ragged(torch.randn(60, 20), torch.tensor([0, 7, 30, 60]))
    with torch.no_grad():
        assert torch.equal(layer(x)[0].values, full(x)[0].values)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(everything(layer, x.values, x.offsets))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["output"], full(x)[0].values)


class Sorted(LSTMCell):
    """A step that no engine but the plain loop runs."""

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = super().forward(x, state)
        return h.cummax(dim=-1).values, c


def test_what_cannot_be_done_is_an_error() -> None:
    with pytest.raises(InvalidParameterError, match=r"'precision' parameter of Recurrent .*Got 'float16'"):
        Recurrent(LSTMCell(3, 4), precision="float16")
    with pytest.raises(InvalidParameterError, match=r"'float32' with engine='eager'"):
        Recurrent(LSTMCell(3, 4), precision="bfloat16", engine="eager")
    with pytest.raises(EngineError, match=r"products of bfloat16.*precision='float32'"):
        Recurrent(Sorted(3, 4), precision="bfloat16")(torch.randn(2, 5, 3))


def test_stacks_compiled_layers_and_estimators_have_it() -> None:
    torch.manual_seed(0)
    stack = Stack("gru", 6, 8, 2, bidirectional=True, precision="bfloat16")
    assert all(layer.precision == "bfloat16" for layer in stack.layers)
    layer = Recurrent(LSTMCell(6, 8), precision="bfloat16")
    x = torch.randn(3, 5, 6)
    compiled = torch.compile(layer)(x)[0]
    assert torch.equal(compiled, layer(x)[0])
    data = [torch.randn(n, 2).numpy() for n in (4, 6, 5, 7) * 8]
    model = SequenceRegressor(precision="bfloat16", hidden_size=8, epochs=1, verbose=0, random_state=0)
    model.fit(data, [float(d.sum()) for d in data])
    assert all(layer.precision == "bfloat16" for layer in model.network_.stack.layers)
    assert isinstance(model.network_, nn.Module)
