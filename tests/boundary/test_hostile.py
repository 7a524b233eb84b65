"""Hostile ways to call a layer: torch.nn's numbers with the same weights, or one clear error."""

from __future__ import annotations

import copy
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.nn.utils import parametrizations, prune

from unspool import Ragged, cells
from unspool import nn as unn
from unspool.engine import dispatch
from unspool.errors import DataError, EngineError, InputError

from .given import torch_name
from .surroundings import setting

F, H = 4, 5
MAKE: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module]]] = {
    "lstm": (
        lambda: unn.LSTM(F, H, 2, batch_first=True, bidirectional=True),
        lambda: nn.LSTM(F, H, 2, batch_first=True, bidirectional=True),
    ),
    "recurrent": (lambda: unn.Recurrent(cells.GRUCell(F, H)), lambda: nn.GRU(F, H, batch_first=True)),
    "stack": (
        lambda: unn.Stack("gru", F, H, 2, True),
        lambda: nn.GRU(F, H, 2, batch_first=True, bidirectional=True),
    ),
    "step": (lambda: unn.Recurrent(cells.GRUCell(F, H)), lambda: nn.GRU(F, H, batch_first=True)),
}


class Pair:
    """One of our layers, torch's with the same weights, and an input (3, 6, F)."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(3)
        self.kind = kind
        self.layer: Any = MAKE[kind][0]()
        self.peer = self.peer_of(self.layer)
        self.x = torch.randn(3, 6, F)

    def peer_of(self, layer: Any) -> Any:
        peer = MAKE[self.kind][1]()
        peer.load_state_dict({torch_name(name): weight for name, weight in layer.state_dict().items()})
        return peer

    def ours(self, x: Any, layer: Any = None) -> Tensor:
        """The output (B, T, ·)."""
        layer = self.layer if layer is None else layer
        if self.kind != "step":
            return layer(x)[0]
        state, outputs = None, []
        for t in range(x.shape[1]):
            state = layer.step(x[:, t], state)
            outputs.append(state)
        return torch.stack(outputs, 1)

    def torchs(self, x: Tensor) -> Tensor:
        return self.peer(x)[0]

    def weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """Ours and torch's, in one order."""
        named, own = dict(self.peer.named_parameters()), dict(self.layer.named_parameters())
        return list(own.values()), [named[torch_name(name)] for name in own]

    def check(self, x: Tensor | None = None) -> None:
        """Output and the gradients of all weights are torch's."""
        x = self.x if x is None else x
        got, wanted = self.ours(x), self.torchs(x)
        close(got, wanted)
        factors = torch.arange(got.numel()).cos().reshape(got.shape)
        ours, torchs = self.weights()
        close(
            torch.autograd.grad((got * factors).sum(), ours),
            torch.autograd.grad((wanted * factors).sum(), torchs),
        )

    def check_after(self) -> None:
        """As `check`, once the layer's weights are others."""
        self.peer = self.peer_of(self.layer)
        self.check()

    def of_weights(self) -> tuple[nn.Module, str]:
        """The module that has the first recurrent weight, and its name there."""
        if self.kind == "lstm":
            return self.layer, "weight_hh_l0"
        return next((m, "weight_hh") for m in self.layer.modules() if "weight_hh" in m._parameters)


def close(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.fixture(params=MAKE)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


@pytest.fixture(autouse=True)
def _warnings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests look for the one warning that a class of cells gives."""
    monkeypatch.setattr(dispatch, "_warned", weakref.WeakSet())


# --- autocast and inference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_leaves_float32(pair: Pair, dtype: torch.dtype) -> None:
    x = pair.x.to(dtype)
    expected = pair.torchs(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = pair.ours(x)
    assert got.dtype == torch.float32
    close(got, expected)
    ours, torchs = pair.weights()
    close(torch.autograd.grad(got.sum(), ours), torch.autograd.grad(expected.sum(), torchs))


@pytest.mark.parametrize("kind", ["recurrent", "step"])
def test_autocast_around_what_is_compiled(kind: str) -> None:
    pair = Pair(kind)
    compiled = torch.compile(lambda x: pair.ours(x), backend="eager")
    for dtype in (torch.float32, torch.bfloat16):
        x = pair.x.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = compiled(x)
        assert got.dtype == torch.float32
        close(got, pair.torchs(x.float()))


def test_views_of_inference_tensors(pair: Pair) -> None:
    with torch.inference_mode():
        x = pair.x.clone()
    with torch.no_grad():
        close(pair.ours(x[:, 1:]), pair.torchs(x[:, 1:]))
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        pair.ours(x[:])
    pair.check()


def copied_by_pickle(layer: Any) -> Any:
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copied_by_pickle])
@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu"),
        lambda: torch.device("meta"),
        lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    ],
    ids=["no_grad", "inference mode", "autocast", "meta", "float64"],
)
def test_copies_made_anywhere(pair: Pair, around: Any, duplicate: Callable[[Any], Any]) -> None:
    wanted = pair.torchs(pair.x)
    pair.ours(pair.x)
    with around():
        twin, frozen = duplicate(pair.layer), duplicate(pair.layer.freeze())
        close(pair.ours(pair.x, twin), wanted)
    with torch.no_grad():
        close(pair.ours(pair.x, twin), wanted)
        close(pair.ours(pair.x, frozen), wanted)


class Making(nn.Module):
    """Its step makes a tensor without a dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(H, F))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.weight.new_zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        scale = torch.full((H,), 0.3)
        more = 1e6 * torch.finfo(scale.dtype).eps  # 0.12 in float32, next to nothing in float64
        return torch.tanh(x @ self.weight.t() + h * scale + more)


def test_a_default_dtype_reaches_the_plain_loop_alone() -> None:
    layer, calm, x = unn.Recurrent(Making()), unn.Recurrent(Making()), torch.randn(3, 6, F)
    calm.load_state_dict(layer.state_dict())
    plain = unn.Recurrent(layer.cell, engine="eager")
    expected = plain(x)[0]
    torch.set_default_dtype(torch.float64)
    try:
        got, stepped, wide = layer(x)[0], layer.step(x[:, 0]), plain(x[:, :1])[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert layer.explain_path(x) == "native"
    assert (got.dtype, stepped.dtype, wide.dtype) == (torch.float32, torch.float32, torch.float64)
    close(got, expected)
    close(stepped, expected[:, 0])
    assert torch.equal(got, calm(x)[0])


# --- weights that are moved, replaced and shared


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


# --- hooks


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


# --- inputs


def test_memory_of_inputs(pair: Pair) -> None:
    array = np.random.default_rng(0).standard_normal((3, 6, F)).astype(np.float32)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of memory that is not to be written
        unwritable = torch.from_numpy(array)
    for x in (
        torch.randn(1, 1, F).expand(3, 6, F),
        torch.randn(40).as_strided((3, 6, F), (5, 2, 1)),
        torch.randn(F, 6, 3).permute(2, 1, 0),
        torch.from_numpy(array[:, ::-1].copy()),
        unwritable,
    ):
        pair.check(x)
    with pytest.raises(DataError, match="ndarray"):
        pair.ours(array[:, ::-1])
    base = torch.randn(1, 1, F, requires_grad=True)
    got, wanted = (call(base.expand(3, 6, F)).sum() for call in (pair.ours, pair.torchs))
    close(torch.autograd.grad(got, base), torch.autograd.grad(wanted, base))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_sequence(pair: Pair, bad: float) -> None:
    x = pair.x.clone()
    x[1, 3, 2] = bad
    got = pair.ours(x)
    close(got, pair.torchs(x))
    assert torch.equal(got[::2], pair.ours(pair.x)[::2])
    if pair.kind != "step":
        batch = Ragged.from_list([x[0, :2], x[1], x[2, :5]])
        with torch.no_grad():
            for layer in (pair.layer, pair.layer.freeze()):
                first, _, last = layer(batch)[0].to_list()
                close(first, pair.torchs(x[:1, :2])[0])
                close(last, pair.torchs(x[2:, :5])[0])


def test_nothing_at_all(pair: Pair) -> None:
    assert pair.ours(torch.zeros(0, 6, F)).shape == pair.torchs(torch.zeros(0, 6, F)).shape
    with pytest.raises((DataError, InputError), match=r"feature|input_size|multiply"):
        pair.ours(torch.zeros(3, 6, 0))
    if pair.kind == "lstm":
        with pytest.raises(InputError, match=r"larger than 0.*Give a Ragged"):
            pair.ours(torch.zeros(3, 0, F))
    if pair.kind != "step":
        output, _ = pair.layer(Ragged(torch.zeros(0, F), [0, 0, 0]))
        assert len(output.values) == 0
        output.values.sum().backward()


# --- transforms and derivatives


def test_gradients_add_up(pair: Pair) -> None:
    for call in (pair.ours, pair.torchs):
        for factor in (1, 2):
            call(factor * pair.x).sum().backward()
    result = pair.ours(pair.x).sum()
    result.backward(retain_graph=True)
    result.backward()
    for _ in range(2):
        pair.torchs(pair.x).sum().backward()
    ours, torchs = pair.weights()
    close([w.grad for w in ours], [w.grad for w in torchs])
    with pytest.raises(RuntimeError, match="a second time"):
        result.backward()


def test_many_gradients_at_once(pair: Pair) -> None:
    x = pair.x.requires_grad_()
    got, wanted = pair.ours(x), pair.torchs(x)
    many = torch.randn(3, *got.shape)
    ours, torchs = pair.weights()
    batched = torch.autograd.grad(got, [x, *ours], many, retain_graph=True, is_grads_batched=True)
    mapped = torch.vmap(lambda v: torch.autograd.grad(got, [x, *ours], v, retain_graph=True))(many)
    each = [torch.autograd.grad(wanted, [x, *torchs], v, retain_graph=True) for v in many]
    expected = tuple(torch.stack(grads) for grads in zip(*each))
    close(batched, expected)
    close(tuple(mapped), expected)


@pytest.mark.parametrize("vectorize", [False, True])
def test_jacobian_and_hessian(pair: Pair, vectorize: bool) -> None:
    x = pair.x[:1, :3]
    close(jacobian(pair.ours, x, vectorize=vectorize), jacobian(pair.torchs, x))
    got = hessian(lambda v: pair.ours(v).square().sum(), x, vectorize=vectorize)
    close(got, hessian(lambda v: pair.torchs(v).square().sum(), x))


def test_second_derivatives_compiled() -> None:
    pair = Pair("recurrent")
    x = pair.x[:1, :3].requires_grad_()
    compiled = torch.compile(lambda x: pair.ours(x), backend="aot_eager")
    (grad,) = torch.autograd.grad(compiled(x).square().sum(), x, create_graph=True)
    close(grad, torch.autograd.grad(pair.torchs(x).square().sum(), x)[0])
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        torch.autograd.grad(grad.sum(), x)


class Called(nn.Module):
    def __init__(self, pair: Pair, layer: Any) -> None:
        super().__init__()
        self.pair, self.layer = pair, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.pair.ours(x, self.layer)


@pytest.mark.filterwarnings("ignore:.*stateless:FutureWarning")
def test_weights_given_with_the_call(pair: Pair) -> None:
    given = {f"layer.{k}": (w.detach() * 0.5).requires_grad_() for k, w in pair.layer.named_parameters()}
    torchs = {torch_name(k.removeprefix("layer.")): w for k, w in given.items()}
    wanted, _ = torch.func.functional_call(pair.peer, torchs, (pair.x,))
    for call in (torch.func.functional_call, nn.utils.stateless.functional_call):
        got = call(Called(pair, pair.layer), given, (pair.x,))
        close(got, wanted)
        leaves = list(given.values())
        close(
            torch.autograd.grad(got.sum(), leaves),
            torch.autograd.grad(wanted.sum(), leaves, retain_graph=True),
        )
    pair.check()


def test_an_ensemble(pair: Pair) -> None:
    layers = [MAKE[pair.kind][0]() for _ in range(3)]
    weights, _ = torch.func.stack_module_state(layers)
    base = Called(pair, pair.layer)

    def call(own: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(base, {f"layer.{k}": w for k, w in own.items()}, (x,))

    got = torch.vmap(call, in_dims=(0, None))(weights, pair.x)
    close(got, torch.stack([pair.peer_of(layer)(pair.x)[0] for layer in layers]))


def test_offsets_that_are_mapped(pair: Pair) -> None:
    if pair.kind == "step":
        pytest.skip("a step has no offsets")
    values, offsets = torch.randn(5, F), torch.tensor([0, 2, 5])

    def call(offsets: Tensor) -> Tensor:
        return pair.layer(Ragged(values, offsets))[0].values

    with pytest.raises(DataError, match=r"offsets must be the same wherever torch\.vmap maps"):
        torch.vmap(call)(torch.stack([offsets, offsets]))
    close(torch.func.functionalize(call)(offsets), call(offsets))
    layer = (
        next(m for m in pair.layer.modules() if isinstance(m, unn.Recurrent)) if pair.kind != "lstm" else None
    )
    if layer is not None:
        state = layer._states(2, None, True)
        with pytest.raises(DataError, match=r"offsets must be the same wherever torch\.vmap maps"):
            torch.vmap(lambda o: layer.run(values, o, state)[0])(torch.stack([offsets, offsets]))
