"""Weights that are moved, replaced, shared, parametrized, hooked: torch.nn's numbers, or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from unspool import cells
from unspool import nn as unn
from unspool.errors import EngineError

from .given import torch_name
from .pairs import MAKE, F, H, Making, Pair, close


def test_a_default_device_without_numbers(pair: Pair) -> None:
    torch.set_default_device("meta")
    try:
        got = pair.ours(pair.x)
    finally:
        torch.set_default_device(None)
    close(got, pair.torchs(pair.x))
    pair.check()


def test_to_empty_then_assigned(pair: Pair) -> None:
    weights = pair.layer.state_dict()
    with torch.device("meta"):
        pair.layer = MAKE[pair.kind][0]()
    pair.layer.to_empty(device="cpu")
    for factor in (1.0, 0.5):
        pair.layer.load_state_dict({name: w * factor for name, w in weights.items()}, assign=True)
        pair.check_after()


def test_swapped_tensors(pair: Pair) -> None:
    """torch swaps a weight that nothing else refers to: no graph of the trace, no weak reference."""
    pair.check()
    for weight in list(pair.layer.parameters()):
        torch.utils.swap_tensors(weight, nn.Parameter(weight.detach() * 0.5))
    pair.check_after()


def test_a_trace_lets_go_of_the_weights() -> None:
    class Fresh(Making):
        pass

    layer = unn.Recurrent(Fresh())
    used = layer.cell.weight._use_count()
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: t * 0, lambda t: t):
        layer(torch.randn(3, 6, F))
        assert torch._C._autograd._top_saved_tensors_default_hooks(True)[0](torch.ones(1)) == 0
    assert layer.explain_path(torch.randn(3, 6, F)) == "native"
    assert layer.cell.weight._use_count() == used


def test_one_flat_buffer(pair: Pair) -> None:
    pair.check()
    flat, at = torch.cat([w.detach().flatten() for w in pair.layer.parameters()]) * 0.5, 0
    for weight in pair.layer.parameters():
        weight.data = flat[at : at + weight.numel()].view(weight.shape)
        at += weight.numel()
    pair.check_after()
    flat.mul_(0.5)
    pair.check_after()


def replica(module: nn.Module) -> Any:
    """As torch.nn.parallel.replicate makes one: its weights are tensors that were computed, no parameters."""
    found = module._replicate_for_data_parallel()
    for name, part in module._modules.items():
        setattr(found, name, None if part is None else replica(part))
    for name, weight in module._parameters.items():
        setattr(found, name, None if weight is None else weight * 1)
    return found


def test_replicas(pair: Pair) -> None:
    for factor in (1.0, 0.5):
        with torch.no_grad():
            for weight in pair.layer.parameters():
                weight.mul_(factor)
        pair.peer = pair.peer_of(pair.layer)
        got, wanted = pair.ours(pair.x, replica(pair.layer)), pair.torchs(pair.x)
        close(got, wanted)
        ours, torchs = pair.weights()
        close(torch.autograd.grad(got.sum(), ours), torch.autograd.grad(wanted.sum(), torchs))


def test_requires_grad_switched(pair: Pair) -> None:
    pair.check()
    pair.layer.requires_grad_(False)
    assert not pair.ours(pair.x).requires_grad
    first, *others = pair.layer.parameters()
    pair.layer.requires_grad_(True)
    first.requires_grad_(False)
    pair.ours(pair.x).sum().backward()
    assert first.grad is None and all(w.grad is not None for w in others)
    first.requires_grad_(True)
    pair.check()


def test_memory_replaced_before_backward(pair: Pair) -> None:
    """As an average of weights is swapped in; torch's GRU has the old numbers then, its LSTM the new ones."""
    x = pair.x.clone()
    got = pair.ours(x).sum()
    for tensor in pair.layer.parameters():
        before = tensor.data
        tensor.data = before * 0.5
        with pytest.raises(EngineError, match=r"memory was replaced \(\.data = \.\.\.\) after the forward"):
            got.backward(retain_graph=True)
        tensor.data = before
        pair.layer.zero_grad()
    got.backward()
    ours, torchs = pair.weights()
    close([w.grad for w in ours], list(torch.autograd.grad(pair.torchs(x).sum(), torchs)))


def test_a_cell_of_two_layers() -> None:
    cell, peer, x = cells.GRUCell(H, H), nn.GRU(H, H, batch_first=True), torch.randn(3, 6, H)
    peer.load_state_dict({f"{name}_l0": weight for name, weight in cell.state_dict().items()})
    first, second = unn.Recurrent(cell), unn.Recurrent(cell)
    got, wanted = second(first(x)[0])[0], peer(peer(x)[0])[0]
    close(got, wanted)
    named = dict(peer.named_parameters())
    torchs = [named[f"{name}_l0"] for name, _ in cell.named_parameters()]
    close(torch.autograd.grad(got.sum(), list(cell.parameters())), torch.autograd.grad(wanted.sum(), torchs))


PARAMETRIZATIONS: dict[str, Callable[[nn.Module, str], Any]] = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "prune": lambda module, name: prune.l1_unstructured(module, name, 0.4),
    "weight norm by a hook": nn.utils.weight_norm,
}


@pytest.mark.filterwarnings(
    "ignore:.*weight_norm.* is deprecated", "ignore:.*plain loop", "ignore::FutureWarning"
)
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_parametrizations(pair: Pair, name: str) -> None:
    before = {torch_name(key): weight for key, weight in pair.layer.state_dict().items()}
    pair.ours(pair.x)
    module, weight = pair.of_weights()
    PARAMETRIZATIONS[name](module, weight)
    pair.layer.eval()
    for _ in range(2):  # the second time with other originals
        got = pair.ours(pair.x)
        made = getattr(module, weight)  # by torch
        pair.peer.load_state_dict(before)
        wanted = torch.func.functional_call(pair.peer, {"weight_hh_l0": made}, (pair.x,))[0]
        close(got, wanted)
        known = [module._parameters.get(key) for key in ("weight_hh", *before)]
        originals = [
            p for key, p in module.named_parameters() if "weight_hh" in key and not any(p is k for k in known)
        ]
        assert originals
        close(
            torch.autograd.grad(got.sum(), originals, retain_graph=True),
            torch.autograd.grad(wanted.sum(), originals),
        )
        with torch.no_grad():
            for original in originals:
                original.add_(0.1 * torch.randn_like(original))
    if name.startswith(("prune", "weight norm by")):
        with pytest.raises(EngineError, match=r"computed by a hook.*prune\.remove"):
            pair.layer.freeze()
    else:
        with torch.no_grad():
            close(pair.ours(pair.x, pair.layer.freeze()), pair.ours(pair.x))


def test_hooks(pair: Pair) -> None:
    if pair.kind == "step":
        pytest.skip("a step is no call of the module")
    seen: list[str] = []

    def backward(module: Any, grad_inputs: Any, grad_outputs: Any) -> Any:
        seen.append("backward")
        return tuple(grad * 3 for grad in grad_inputs)

    pair.layer.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    pair.layer.register_forward_hook(lambda module, given, results: (results[0] * 2, results[1]))
    pair.layer.register_full_backward_hook(backward)
    x = pair.x.requires_grad_()
    got, wanted = pair.ours(x), pair.torchs(x * 2) * 2
    close(got, wanted)
    close(torch.autograd.grad(got.sum(), x)[0], 3 * torch.autograd.grad(wanted.sum(), x)[0])
    assert seen == ["backward"]
