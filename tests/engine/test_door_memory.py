"""The door: memory that a backward needs is seen by autograd, and goes when the backward has run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from unspool import cells
from unspool.errors import DataError, EngineError
from unspool.nn import Recurrent

from .door import F, H, everything, in_a_process, layer, ragged


def _kept_bytes(run: Callable[[], Any]) -> tuple[int, Any]:
    """What saved-tensor hooks see while `run` goes forward."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = run()
    return sum(seen.values()), result


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="this system does not tell what a process holds"
)
def test_losses_that_are_kept_after_their_backward_cost_nothing() -> None:
    made, x = Recurrent(cells.LSTMCell(F, 64), engine="native"), ragged(F, (150,) * 16)

    def held() -> float:
        """MiB of this process alone."""
        _, all_of_it, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return (all_of_it - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def check() -> None:
        losses, at = [], []
        for _ in range(60):
            losses.append(made(x)[0].values.square().sum())
            losses[-1].backward()
            at.append(held())
        one, _ = _kept_bytes(lambda: made(x))
        assert one > 3 * 2**20
        assert at[-1] - at[9] < 10 * one / 2**20  # not 50 times

    in_a_process(check)


def test_the_backward_frees_what_the_forward_kept() -> None:
    loss = layer()(ragged())[0].values.sum()
    node = loss.grad_fn.next_functions[0][0]
    while "_Run" not in node.name():
        node = node.next_functions[0][0]
    loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        _ = node.saved_tensors
    assert not [value for value in vars(node).values() if isinstance(value, (torch.Tensor, list))]


def test_saved_tensor_hooks_see_what_is_kept() -> None:
    made, x = layer(), ragged(F, (60, 30))
    expected = everything(made, x)
    size, _ = _kept_bytes(lambda: made(x))
    assert size > 4 * 90 * 5 * H  # four gates and the cell state, at least
    with torch.autograd.graph.save_on_cpu():
        got = everything(made, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        got = everything(made, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_hooks_that_give_back_something_else_end_in_an_error() -> None:
    made, x = layer(), ragged()

    def check() -> None:
        for change in (lambda t: t.half(), lambda t: t[:1], lambda t: t.flatten()[:3]):
            hooks = torch.autograd.graph.saved_tensors_hooks(
                lambda t, change=change: change(t) if t.is_floating_point() else t, lambda t: t
            )
            with hooks:
                loss = made(x)[0].values.sum()
            with pytest.raises((EngineError, DataError)):
                loss.backward()

    in_a_process(check)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_keeps_the_inputs_alone(reentrant: bool) -> None:
    made, x = layer(), ragged(F, (60, 30))
    values = x.values.requires_grad_()

    def run(values: torch.Tensor) -> torch.Tensor:
        return made(x.with_values(values))[0].values

    plain, output = _kept_bytes(lambda: run(values))
    expected = torch.autograd.grad(output.square().sum(), values)[0]
    if not reentrant:  # the other runs its own forward without gradients
        size, _ = _kept_bytes(lambda: checkpoint(run, values, use_reentrant=False))
        assert size < plain / 4
    output = checkpoint(run, values, use_reentrant=reentrant)
    values.grad = None
    output.square().sum().backward()
    assert torch.equal(values.grad, expected)


def test_a_graph_that_is_retained_gives_the_same_gradient_again() -> None:
    made, x = layer(bidirectional=True), ragged()
    values = x.values.requires_grad_()
    loss = made(x)[0].values.square().sum()
    first = torch.autograd.grad(loss, [values, *made.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [values, *made.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, values)


def test_a_second_derivative_says_what_to_do() -> None:
    made, x = layer(), ragged()
    values = x.values.requires_grad_()
    (gradient,) = torch.autograd.grad(made(x)[0].values.square().sum(), values, create_graph=True)
    with pytest.raises(EngineError, match=r"first derivatives only.*engine='auto'"):
        gradient.square().sum().backward()
