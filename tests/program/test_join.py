"""Wide operations from narrow ones: what programs become, and that their gradients stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.engine.programs import program_of
from unspool.nn import Recurrent
from unspool.program.ir import Program
from unspool.program.join import join
from unspool.program.simplify import reachable

F, H = 3, 5


def ops(cell: nn.Module) -> list[tuple[str, int]]:
    """(operation, width) of the joined program's nodes."""
    program = program_of(cell, F, cell.initial_state(2))
    assert isinstance(program, Program), program
    joined = join(program)
    nodes = [joined.graph.nodes[i] for i in reachable(joined.graph, joined.outputs)]
    return [(node.op, node.width) for node in nodes if node.op not in ("slice", "vector", "cat", "const")]


def test_a_gru_has_one_product_of_the_input_and_one_of_its_gates() -> None:
    found = ops(cells.GRUCell(F, H))
    assert sorted(width for op, width in found if op == "matmul") == [H, 2 * H, 3 * H]
    assert [width for op, width in found if op == "sigmoid"] == [2 * H]


@pytest.mark.parametrize(("name", "products"), [("min_gru", [2]), ("min_lstm", [3]), ("mgu", [1, 1, 2])])
def test_products_of_the_input(name: str, products: list[int]) -> None:
    found = ops(cells.get(name)(F, H))
    assert sorted(width // H for op, width in found if op == "matmul") == products


class Norm(nn.Module):
    """A layer norm by hand; `form` says how it is written."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.gain = form, nn.Parameter(torch.randn(H))
        self.x, self.h = nn.Linear(F, H), nn.Linear(H, H)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.gain.new_zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        z = self.x(x) + self.h(h)
        if self.form == "layer_norm":
            return torch.nn.functional.layer_norm(z, (H,), self.gain)
        d = z - z.mean(1, keepdim=True)
        if self.form == "rsqrt":
            return self.gain * (d * torch.rsqrt((d * d).mean(1, keepdim=True) + 1e-5))
        if self.form == "sqrt":
            return self.gain * (d / torch.sqrt(z.var(1, keepdim=True, unbiased=False) + 1e-5))
        return self.gain * (d / torch.sqrt(z.var(1, keepdim=True) + 1e-5))  # "unbiased": no layer norm


@pytest.mark.parametrize(("form", "norms"), [("layer_norm", 1), ("rsqrt", 1), ("sqrt", 1), ("unbiased", 0)])
def test_a_layer_norm_is_known_however_it_is_written(form: str, norms: int) -> None:
    torch.manual_seed(0)
    cell: Any = Norm(form)
    assert [op for op, _ in ops(cell)].count("norm") == norms
    x = Ragged.from_list([torch.randn(t, F) for t in (4, 1, 7)])
    results = []
    for engine in ("native", "eager"):
        layer, values = Recurrent(cell, engine=engine), x.values.detach().clone()
        if engine == "eager":
            layer, values = layer.double(), values.double()
        values.requires_grad_()
        output = layer(x.with_values(values))[0].values
        weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        results.append([output, *torch.autograd.grad((output * weight).sum(), [values, *layer.parameters()])])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
