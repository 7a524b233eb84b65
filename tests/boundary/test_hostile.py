"""Hostile ways to call a layer: torch.nn's numbers with the same weights, or one clear error."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from unspool import Ragged, cells
from unspool import nn as unn
from unspool.errors import DataError, EngineError, InputError

from .given import torch_name
from .pairs import MAKE, F, H, Making, Pair, close
from .surroundings import setting

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


def test_gradients_whose_sign_is_not_in_memory(pair: Pair) -> None:
    got, wanted = pair.ours(pair.x), pair.torchs(pair.x)
    ours, torchs = pair.weights()
    for create in (False, True):
        grads = (
            torch.autograd.grad(
                torch.complex(out * 0, out).conj().imag.square().sum(),
                weights,
                create_graph=create,
                retain_graph=True,
            )
            for out, weights in ((got, ours), (wanted, torchs))
        )
        close(*grads)
    with_bit = torch._neg_view(torch.randn(got.shape))
    close(torch.autograd.grad(got, ours, with_bit), torch.autograd.grad(wanted, torchs, with_bit))


def test_masked_tensors(pair: Pair) -> None:
    masked = torch.masked.masked_tensor(pair.x, torch.ones_like(pair.x, dtype=torch.bool))
    with pytest.raises(InputError, match=r"MaskedTensor|Multiple dispatch failed"):
        pair.ours(masked)


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


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("around", ["gradients", "no gradients", "functionalize"])
def test_a_state_of_other_rows_or_parts_is_an_error_on_every_path(engine: str, around: str) -> None:
    layer = unn.Recurrent(cells.LSTMCell(F, H), engine=engine)
    x, offsets = torch.randn(4, F), torch.tensor([0, 1, 4])

    def made(function: Callable[[Tensor], Any]) -> Any:
        return torch.func.functionalize(function)(x) if around == "functionalize" else function(x)

    def parts(rows: int, count: int, width: int = H) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(rows, width) for _ in range(count))

    with torch.set_grad_enabled(around == "gradients"):
        for rows, count, width in ((5, 2, H), (1, 2, H), (4, 3, H), (4, 1, H), (4, 2, H + 1)):
            with pytest.raises(DataError, match="state must have parts"):
                made(lambda x: layer.step(x, parts(rows, count, width)))  # noqa: B023
        for rows in (1, 3):
            with pytest.raises((DataError, EngineError), match=r"[Ss]tate (part 0 )?must have"):
                made(lambda x: layer.run(x, offsets, [parts(rows, 2)]))  # noqa: B023
        for good in (parts(4, 2), list(parts(4, 2))):
            assert len(made(lambda x: layer.step(x, good))) == 2  # noqa: B023


@pytest.mark.parametrize("offsets", [[0, 2, 7], [0, 2**40, 4]])
def test_offsets_that_do_not_fit_are_told_inside_functionalize(offsets: list[int]) -> None:
    layer = unn.Recurrent(cells.GRUCell(F, H))
    with pytest.raises(
        DataError, match=r"offsets must go from 0 to the number of steps, 4.*" + str(offsets[1])
    ):
        torch.func.functionalize(lambda x: layer(Ragged(x, torch.tensor(offsets)))[0].values)(
            torch.randn(4, F)
        )
