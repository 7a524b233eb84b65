"""The door: nothing that is not a program's own is read or written, and nothing that is not asked for is taken."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import unspool
from unspool import Ragged, _native, cells
from unspool.engine import memory, native, programs
from unspool.errors import DataError, EngineError
from unspool.nn import Recurrent

F, H = 19, 37
LENGTHS = (9, 3, 0, 14, 1)


def in_a_process(check: Callable[[], None]) -> None:
    """Run `check` in a process of its own, which may crash; here an error, there or a signal, fails the test."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            check()
            status = 0
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}"[:4000].encode())
        os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        message = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    assert status == 0, message or f"the process ended with status {status}"


def ragged(features: int = F, lengths: tuple[int, ...] = LENGTHS) -> Ragged:
    torch.manual_seed(0)
    return Ragged.from_list([torch.randn(n, features) for n in lengths])


def layer(cell: type = cells.LSTMCell, **options: Any) -> Recurrent:
    torch.manual_seed(1)
    return Recurrent(cell(F, H), engine="native", **options)


def everything(made: Recurrent, x: Ragged) -> list[torch.Tensor]:
    """Output, final state and gradients."""
    values = x.values.detach().clone().requires_grad_()
    made.zero_grad()
    output, final = made(x.with_values(values))
    (output.values.square().sum() + sum(part.sum() for part in flat(final))).backward()
    return [
        output.values.detach(),
        *(p.detach() for p in flat(final)),
        values.grad,
        *(p.grad for p in made.parameters()),
    ]


def flat(state: Any) -> list[torch.Tensor]:
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in flat(part)]


# --- what the surroundings say


class _Default:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_: Any) -> None:
        torch.set_default_dtype(self.before)


class _Device:
    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> None:
        torch.set_default_device(self.device)

    def __exit__(self, *_: Any) -> None:
        torch.set_default_device(None)


SURROUNDINGS = {
    "float64": lambda: _Default(torch.float64),
    "float16": lambda: _Default(torch.float16),
    "bfloat16": lambda: _Default(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "default meta": lambda: _Device("meta"),
    "function mode": lambda: torch.overrides.BaseTorchFunctionMode(),
}


@pytest.mark.parametrize(
    "cell", [cells.LSTMCell, cells.GRUCell, cells.LayerNormLSTMCell], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "first call"])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_the_engine(name: str, warm: bool, cell: type) -> None:
    made, x = layer(cell, bidirectional=True), ragged()
    expected = everything(layer(cell, bidirectional=True), x)

    def check() -> None:
        if not warm:
            programs._shared.clear()
            for each in made.cells():
                programs.Memory.of(each).forget()
        with SURROUNDINGS[name]():
            got = everything(made, x)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype is torch.float32 and a.device.type == "cpu"
            assert torch.equal(a, b)

    in_a_process(check)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_a_step_or_a_frozen_layer(name: str) -> None:
    made = layer()
    x = torch.randn(3, F)
    state = tuple(torch.randn(3, H) for _ in range(2))
    batch = ragged()
    with torch.no_grad():
        frozen = made.freeze()
        expected = [*made.step(x, state), *frozen.step(x, state), frozen(batch)[0].values]

    def check() -> None:
        with torch.no_grad(), SURROUNDINGS[name]():
            got = [*made.step(x, state), *frozen.step(x, state), frozen(batch)[0].values]
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))

    in_a_process(check)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_reach_a_ragged(name: str) -> None:
    def all_of_it() -> list[torch.Tensor]:
        x = ragged(3, (4, 1, 2))
        y = Ragged(torch.ones(7, 3, dtype=torch.float32, device="cpu"), [0, 4, 5, 7])
        block = y.to_padded()
        out = [y.offsets, y.lengths, block, y.mask(), y.mask(side="left"), y.reverse().values, y[1:].values]
        out += [
            y[[2, 0]].values,
            y.first(),
            y.last(),
            y.to_packed().data,
            Ragged.from_packed(y.to_packed()).values,
        ]
        out += [Ragged.from_padded(block, y.lengths).values, Ragged.from_padded(block).values, x.offsets]
        return out

    def check() -> None:
        expected = all_of_it()
        with SURROUNDINGS[name]():
            got = all_of_it()
        for a, b in zip(got, expected, strict=True):
            assert a.dtype is b.dtype and torch.equal(a, b)

    def only_offsets() -> None:  # random numbers follow torch's defaults, as torch's own do
        check()

    torch.manual_seed(0)
    values = torch.randn(7, 3)
    globals()["ragged"], before = lambda *_: Ragged(values, [0, 4, 5, 7]), ragged
    try:
        in_a_process(only_offsets)
    finally:
        globals()["ragged"] = before


def test_fake_tensors_end_in_an_error_or_in_the_plain_loop() -> None:
    made, x = layer(), ragged()
    call, tensors = _call(made), _tensors(made, len(x))

    def check() -> None:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(x.values)
            with pytest.raises((EngineError, RuntimeError)):
                native.run(call, fake, x.offsets, None, tensors)
        assert everything(made, x)  # and nothing of it stays

    in_a_process(check)


def test_the_engine_can_be_used_first_under_a_fake_mode() -> None:
    def check() -> None:
        assert type(memory.empty(2, 3)) is torch.Tensor
        assert memory._FLOATS.dtype is torch.float32

    in_a_process(check)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_transforms_of_torch_func_have_their_numbers(engine: str) -> None:
    made, x = layer(), ragged(F, (3, 1, 2))
    made.engine = engine

    def run(values: torch.Tensor) -> torch.Tensor:
        return made(Ragged(values, [0, 3, 4, 6]))[0].values

    direction = torch.randn(6, F)
    _, got = torch.func.jvp(run, (x.values,), (direction,))
    jacobian = torch.autograd.functional.jacobian(run, x.values)
    torch.testing.assert_close(got, torch.einsum("abcd,cd->ab", jacobian, direction), rtol=1e-4, atol=1e-5)
    batch = torch.stack([x.values, direction])
    with torch.no_grad():
        expected = torch.stack([run(x.values), run(direction)])
        torch.testing.assert_close(torch.func.vmap(run)(batch), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError):
        torch.func.vmap(lambda v: made.run(v, torch.tensor([0, 7]), [made.initial_state(1)])[0])(batch)


def test_a_batch_of_gradients_is_one_after_the_other() -> None:
    made, x = layer(), ragged(F, (3, 1, 2))

    def check() -> None:
        whole, single = (
            torch.autograd.functional.jacobian(
                lambda v: made(x.with_values(v))[0].values, x.values, vectorize=vectorize
            )
            for vectorize in (True, False)
        )
        assert torch.equal(whole, single)

    in_a_process(check)


# --- what enters


def _call(made: Recurrent, training: bool = False) -> native.Call:
    program = programs.program_of(made.cell, F, made.initial_state(1))
    assert not isinstance(program, str)
    return native.Call([native.Stream(program, False, list(dispatch_sources(program)))], training, training)


def dispatch_sources(program: Any) -> list[int]:
    from unspool.program import sources

    return sources.used(program)


def _tensors(made: Recurrent, batch: int) -> list[torch.Tensor]:
    from unspool.program import sources

    program = programs.program_of(made.cell, F, made.initial_state(1))
    weights = sources.resolve(program, sources.used(program), made.directions()[0].weight)  # type: ignore[arg-type]
    return [*flat(made.initial_state(batch)), *weights]


def _run(made: Recurrent, values: Any, offsets: Any, index: Any = None, tensors: Any = None) -> torch.Tensor:
    batch = max(len(offsets) - 1, 0) if isinstance(offsets, torch.Tensor) and offsets.dim() else 1
    tensors = _tensors(made, batch) if tensors is None else tensors
    with torch.no_grad():
        return native.run(_call(made), values, offsets, index, tensors)[0]


def _resized(tensor: torch.Tensor, numbers: int) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(4 * numbers)
    return tensor


ENDS = torch.tensor([0, 9, 12, 12, 26, 27])
X = torch.randn(27, F, generator=torch.Generator().manual_seed(2))

BAD_VALUES = {
    "float64": (X.double(), "must be torch.float32 on the CPU. Got torch.float64"),
    "half": (X.half(), "Got torch.float16"),
    "bfloat16": (X.bfloat16(), "Got torch.bfloat16"),
    "int64": (X.long(), "Got torch.int64"),
    "complex": (X + 0j, "Got torch.complex64"),
    "meta": (X.to("meta"), "on meta"),
    "sparse": (X.to_sparse(), "sparse"),
    "csr": (X.to_sparse_csr(), "sparse|memory|torch.float32"),
    "mkldnn": (X.to_mkldnn(), "_mkldnn"),
    "quantized": (torch.quantize_per_tensor(X, 0.1, 0, torch.quint8), "quint8"),
    "negative view": (torch._neg_view(X), "sign"),
    "wide": (torch.randn(27, F + 1), r"must have shape \(N, 19\)"),
    "narrow": (X[:, 1:], r"must have shape \(N, 19\)"),
    "one axis": (X[:, 0], "must have shape"),
    "four axes": (X[None, None], "must have shape"),
    "resized to nothing": (_resized(X, 0), "storage"),
    "resized": (_resized(X, 26 * F), "storage"),
    "list": ([[0.0] * F] * 27, "must be a tensor. Got list"),
    "numpy": (X.numpy(), "must be a tensor. Got numpy.ndarray"),
    "none": (None, "incompatible function arguments"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_values_that_are_not_what_the_program_reads(name: str) -> None:
    made = layer()
    values, message = BAD_VALUES[name]
    call = _call(made).native

    def check() -> None:
        with pytest.raises((EngineError, TypeError), match=message):
            call.forward(values, ENDS, None, _tensors(made, 5), True, 1)

    in_a_process(check)


BAD_OFFSETS = {
    "beyond the end": (torch.tensor([0, 9, 28]), DataError),
    "far beyond": (torch.tensor([0, 2**62, 27]), DataError),
    "short of it": (torch.tensor([0, 9, 26]), DataError),
    "negative": (torch.tensor([0, -1, 27]), DataError),
    "not from 0": (torch.tensor([1, 9, 27]), DataError),
    "down": (torch.tensor([0, 20, 10, 27]), DataError),
    "int32": (ENDS.int(), EngineError),
    "float": (ENDS.float(), EngineError),
    "bool": (ENDS.bool(), EngineError),
    "empty": (torch.empty(0, dtype=torch.int64), DataError),
    "two axes": (ENDS[None], DataError),
    "meta": (ENDS.to("meta"), EngineError),
    "list": (ENDS.tolist(), TypeError),
}


@pytest.mark.parametrize("name", BAD_OFFSETS)
@pytest.mark.parametrize("engine", ["native", "eager"])
def test_offsets_that_do_not_fit(name: str, engine: str) -> None:
    made = layer()
    made.engine = engine
    offsets, error = BAD_OFFSETS[name]

    def check() -> None:
        size = max(len(offsets) - 1, 0)
        states = [made.initial_state(size)]
        with pytest.raises(error), torch.no_grad():
            made.run(X, offsets, states)

    in_a_process(check)


BAD_INDEX = {
    "beyond the end": (torch.full((27,), 27), IndexError),
    "far": (torch.full((27,), 2**62), IndexError),
    "negative": (torch.arange(27) - 1, IndexError),
    "int32": (torch.arange(27).int(), EngineError),
    "float": (torch.arange(27.0), EngineError),
    "two axes": (torch.arange(27)[None], DataError),
    "short": (torch.arange(26), DataError),
    "list": (list(range(27)), TypeError),
}


@pytest.mark.parametrize("name", BAD_INDEX)
@pytest.mark.parametrize("engine", ["native", "eager"])
def test_an_index_that_does_not_fit(name: str, engine: str) -> None:
    made = layer()
    made.engine = engine
    index, error = BAD_INDEX[name]

    def check() -> None:
        with pytest.raises(error), torch.no_grad():
            made.run(X, ENDS, [made.initial_state(5)], index)

    in_a_process(check)


def test_strided_offsets_and_index_are_read_as_they_are() -> None:
    made = layer()
    index = torch.randint(27, (27,))
    table = torch.stack([ENDS, ENDS * 100], dim=1)
    indices = torch.stack([index, index + 1000], dim=1)
    with torch.no_grad():
        expected = made.run(X, ENDS, [made.initial_state(5)], index)[0]
        got = made.run(X, table[:, 0], [made.initial_state(5)], indices[:, 0])[0]
    assert torch.equal(got, expected)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1],
        lambda s: torch.cat([s, s]),
        lambda s: s[:1],
        lambda s: s[:, 1:],
        lambda s: s.double(),
        lambda s: s.half(),
        lambda s: s[None],
        lambda s: s.to("meta"),
        lambda s: _resized(s, 3),
    ],
)
def test_a_state_of_another_size_or_type(change: Callable[..., Any], part: int) -> None:
    made, x = layer(), torch.randn(4, F)
    states = [torch.randn(5, H), torch.randn(5, H)]
    steps = [torch.randn(4, H), torch.randn(4, H)]
    with torch.no_grad():
        made.step(x, tuple(steps))
    states[part], steps[part] = change(states[part]), change(steps[part])

    def check() -> None:
        with torch.no_grad(), pytest.raises((EngineError, DataError, RuntimeError)):
            made.run(X, ENDS, [tuple(states)])
        with torch.no_grad(), pytest.raises((EngineError, DataError, RuntimeError)):
            made.step(x, tuple(steps))

    in_a_process(check)


WEIGHTS = {
    "half": lambda p: p.half(),
    "double": lambda p: p.double(),
    "bfloat16": lambda p: p.bfloat16(),
    "fewer rows": lambda p: p[:-1],
    "more rows": lambda p: torch.cat([p, p]),
    "one row": lambda p: p[:1],
    "flat": lambda p: p.flatten(),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("weight", ["weight_ih", "weight_hh", "bias_ih"])
def test_a_weight_whose_data_was_replaced(name: str, weight: str) -> None:
    """Before the first call, after one, and between a forward and its backward."""
    made, x = layer(), ragged()
    if name == "flat" and weight == "bias_ih":
        pytest.skip("a bias is flat")
    change, parameter = WEIGHTS[name], getattr(made.cell, weight)

    def check() -> None:
        made(x)
        with torch.no_grad():
            made.step(torch.randn(2, F), made.initial_state(2))
        loss = made(x)[0].values.sum()
        parameter.data = change(parameter.data)
        with pytest.raises(RuntimeError, match=f"(?s){weight}|dtype|size|shape"):
            loss.backward()
        with pytest.raises(RuntimeError):
            made(x)
        with torch.no_grad(), pytest.raises(RuntimeError):
            made.step(torch.randn(2, F), made.initial_state(2))
        if (name, weight) != ("one row", "bias_ih"):  # which torch, traced anew, spreads
            with pytest.raises((EngineError, RuntimeError)):
                made.freeze()(x)

    in_a_process(check)


@pytest.mark.parametrize("resize", [0, 5])
def test_a_weight_whose_storage_was_resized(resize: int) -> None:
    made, x = layer(), ragged()

    def check() -> None:
        loss = made(x)[0].values.sum()
        with torch.no_grad():
            made.step(torch.randn(2, F), made.initial_state(2))
        made.cell.weight_hh.data.untyped_storage().resize_(4 * resize)
        with pytest.raises(EngineError, match=r"weight_hh.*storage"):
            loss.backward()
        with pytest.raises(EngineError, match=r"weight_hh.*storage"):
            made(x)
        with torch.no_grad(), pytest.raises(EngineError, match=r"weight_hh.*storage"):
            made.step(torch.randn(2, F), made.initial_state(2))

    in_a_process(check)


def test_a_weight_replaced_by_numbers_of_the_same_kind_counts() -> None:
    """As in torch, where the backward reads the parameter that is there then."""
    ours, theirs = unspool.nn.RNN(F, H, batch_first=True), nn.RNN(F, H, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x, new = torch.randn(2, 5, F), torch.randn(H, H)
    grads = []
    for module in (ours, theirs):
        module(x)
        module.weight_hh_l0.data = new.clone().t()
        module(x)[0].sum().backward()
        grads.append(module.weight_hh_l0.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


def test_a_weight_changed_in_place_before_the_backward_raises_as_in_torch() -> None:
    made, x = layer(), ragged()
    output = made(x)[0].values
    with torch.no_grad():
        made.cell.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("convert", ["half", "double", "bfloat16"])
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_layers_of_other_types_end_in_an_error_or_in_torchs_numbers(make: Any, convert: str) -> None:
    def check() -> None:
        torch.manual_seed(0)
        theirs = make(F, H, batch_first=True)
        ours = getattr(unspool.nn, make.__name__)(F, H, batch_first=True)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 5, F)
        for module in (theirs, ours):
            module(x)
            getattr(module, convert)()
        with torch.no_grad():
            with pytest.raises((RuntimeError, ValueError)):  # float32 input
                ours(x)
            expected = theirs(getattr(x, convert)())[0]
            got = ours(getattr(x, convert)())[0]
        assert got.dtype is expected.dtype
        tolerance = 1e-10 if convert == "double" else 0.05
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)

    in_a_process(check)


# --- Ragged


def test_a_ragged_keeps_offsets_of_its_own() -> None:
    given = [np.array([0, 2, 5]), torch.tensor([0, 2, 5]), torch.tensor([[0, 9], [2, 9], [5, 9]])[:, 0]]
    for offsets in given:
        x = Ragged(torch.randn(5, F), offsets)
        offsets[1] = 1000
        handed = x.offsets
        handed.fill_(77)
        x.lengths.fill_(77)
        assert x.offsets.tolist() == [0, 2, 5] and x.lengths.tolist() == [2, 3] and x.offsets.is_contiguous()
        assert layer()(x)[0].values.shape == (5, H)


def test_a_ragged_whose_values_were_resized() -> None:
    def check() -> None:
        for numbers in (0, 4 * F):
            x = ragged()
            x.values.untyped_storage().resize_(4 * numbers)
            with pytest.raises(EngineError, match="storage"):
                layer()(x)
        x = ragged()
        x.values.resize_(3, F)
        with pytest.raises((DataError, EngineError)):
            layer()(x)

    in_a_process(check)


# --- memory that a backward needs


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


# --- the module's own surface


def _program(**changes: Any) -> Any:
    """state = state + x W, written by hand, with `changes`."""
    ops, at = _native.OPS, _native.BUFFERS
    none = [-1, 0, 0]
    prologue = [ops["matmul"], 4, 3, 0, at["pro"], 0, 0, at["x"], 0, 0, *none, *none]
    loop = [ops["add"], 4, 0, -1, at["state_out"], 0, 0, at["state_in"], 0, 0, at["pro"], 0, 0, *none]
    args: dict[str, Any] = {
        "state_widths": [4],
        "widths": {
            "input": 3,
            "pro": 16,
            "pstash": 0,
            "lstash": 0,
            "bstash": 0,
            "pgrad": 0,
            "pbstash": 0,
            "vectors": 0,
        },
        "sources": [("weight", [3, 4])],
        "tapes": {
            "prologue": ([prologue], 0),
            "loop": ([loop], 0),
            "loop_back": ([], 0),
            "prologue_back": ([], 0),
        },
        "matrices": [[0, 0, 0, 3, 4, 0]],
        "vectors": [],
        "constants": [],
        "outers": [],
        "sums": [],
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        target = args
        for step in way:
            target = target[step]
        target[last] = value
    return _native.Program(**args)


def _loop(*changes: tuple[int, int]) -> dict[str, Any]:
    ops, at = _native.OPS, _native.BUFFERS
    row = [ops["add"], 4, 0, -1, at["state_out"], 0, 0, at["state_in"], 0, 0, at["pro"], 0, 0, -1, 0, 0]
    for place, value in changes:
        row[place] = value
    return {"tapes__loop": ([row], 0)}


def test_a_program_written_by_hand_runs() -> None:
    call = _native.Call([(_program(), False, [0])], False)
    x, weight, start = torch.randn(5, 3), torch.randn(3, 4), torch.randn(2, 4)
    results = call.forward(x, torch.tensor([0, 3, 5]), None, [start, weight], True, 1)
    steps = x @ weight
    torch.testing.assert_close(
        results[1], torch.stack([start[0] + steps[:3].sum(0), start[1] + steps[3:].sum(0)])
    )


MALFORMED = {
    "op": _loop((0, 999)),
    "negative op": _loop((0, -1)),
    "width": _loop((1, 5)),
    "negative width": _loop((1, -4)),
    "huge width": _loop((1, 2**31 - 1)),
    "out buffer": _loop((4, 10_000)),
    "no out": _loop((4, -1)),
    "another's state": _loop((4, _native.BUFFERS["state_out"] + 1)),
    "writes its input": _loop((4, _native.BUFFERS["x"])),
    "writes vectors": _loop((4, _native.BUFFERS["vec"])),
    "writes the state before": _loop((4, _native.BUFFERS["state_in"])),
    "offset": _loop((5, 1)),
    "negative offset": _loop((5, -1)),
    "a buffer": _loop((7, 10_000)),
    "no a": _loop((7, -1)),
    "a offset": _loop((8, 2**31 - 1)),
    "b beyond": _loop((11, 13)),
    "reads the output's gradient": _loop((10, _native.BUFFERS["dy"])),
    "reads scratch that is not there": _loop((10, _native.BUFFERS["scratch"])),
    "a product without a matrix": _loop((0, _native.OPS["matmul"]), (3, -1)),
    "a matrix that is not there": _loop((0, _native.OPS["matmul"]), (3, 1)),
    "a product of another size": _loop((0, _native.OPS["matmul"]), (2, 9), (3, 0)),
    "short row": {"tapes__loop": ([[2, 4, 0]], 0)},
    "long row": {"tapes__loop": ([[0] * 17], 0)},
    "negative scratch": {"tapes__loop": ([], -1)},
    "huge scratch": {"tapes__loop": ([], 2**62)},
    "no states": {"state_widths": []},
    "too many states": {"state_widths": [4] * 9},
    "negative state": {"state_widths": [-4]},
    "wider state": {"state_widths": [2]},
    "negative input": {"widths__input": -3},
    "narrow input": {"widths__input": 2},
    "narrow prologue": {"widths__pro": 3},
    "no width": {"widths": {}},
    "no tape": {"tapes": {}},
    "matrix beyond its source": {"matrices": [[0, 1, 0, 3, 4, 0]]},
    "matrix of no source": {"matrices": [[1, 0, 0, 3, 4, 0]]},
    "matrix of a negative place": {"matrices": [[0, 0, -1, 3, 4, 0]]},
    "matrix of a vector": {"sources": [("weight", [12])]},
    "transposed": {"matrices": [[0, 0, 0, 3, 4, 1]]},
    "short matrix": {"matrices": [[0, 0]]},
    "vector outside": {"vectors": [[0, 0, 0, 4]]},
    "constant outside": {"constants": [(0, 1.0)]},
    "negative constant": {"constants": [(-1, 1.0)]},
    "outer of no matrix": {"outers": [[1, 2, 0, 0, 7, 0, 5]]},
    "outer of nothing": {"outers": [[1, 2, 0, 1, 7, 0, 0]]},
    "sum of nothing": {"sums": [[0, 7, 0, 4, 0, 0, 0, -1, 0]]},
    "kept without a backward": {"widths__lstash": 16},
    "source of a negative size": {"sources": [("weight", [-3, 4])]},
    "not a list": {"state_widths": 4},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_program_is_refused(name: str) -> None:
    def check() -> None:
        with pytest.raises((ValueError, TypeError, KeyError)):
            _program(**MALFORMED[name])

    in_a_process(check)


def _calls() -> dict[str, Callable[[], Any]]:
    program = _program()
    x, weight, start, ends = torch.randn(5, 3), torch.randn(3, 4), torch.randn(2, 4), torch.tensor([0, 3, 5])

    def forward(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "values": x,
            "offsets": ends,
            "index": None,
            "tensors": [start, weight],
            "lend": True,
            "threads": 1,
        }
        return lambda: _native.Call([(program, False, [0])], False).forward(**{**args, **changes})

    table = torch.randn(6, 4)

    def adam(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "table": table,
            "mean": torch.zeros(6, 4),
            "square": torch.zeros(6, 4),
            "rows": torch.tensor([0, 5]),
            "gradient": torch.zeros(2, 4),
            "decays": torch.zeros(2, 2, dtype=torch.float64),
            **dict.fromkeys(["beta1", "beta2", "eps", "rate", "kept"], 0.5),
        }
        return lambda: _native.adam_step(**{**args, **changes})

    def catch_up(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "table": table,
            "mean": torch.zeros(6, 4),
            "square": torch.zeros(6, 4),
            "rows": torch.tensor([0, 5]),
            "coefficients": torch.zeros(4, 2, dtype=torch.float64),
            "last": torch.zeros(6, dtype=torch.int64),
            "step": 1,
            "rate": 0.5,
        }
        return lambda: _native.adam_catch_up(**{**args, **changes})

    forward()(), adam()(), catch_up()()
    plain = _native.Call([(program, False, [0])], False)
    frozen = _native.Frozen(plain, [weight], 0, 1)
    step = _native.Step(plain)
    return {
        "no direction": lambda: _native.Call([], False),
        "not a program": lambda: _native.Call([(object(), False, [0])], False),
        "no sources": lambda: _native.Call([(program, False, [])], False),
        "a source beyond": lambda: _native.Call([(program, False, [0, 1])], False),
        "a negative source": lambda: _native.Call([(program, False, [-1])], False),
        "training without a backward": lambda: _native.Call([(program, False, [0])], True),
        "a backward without training": lambda: plain.backward(
            x, ends, None, x, x, [start, weight], None, [None], [False] * 3, True, 1
        ),
        "no threads": forward(threads=0),
        "negative threads": forward(threads=-3),
        "few tensors": forward(tensors=[start]),
        "many tensors": forward(tensors=[start, weight, weight]),
        "an address": forward(values=x.data_ptr()),
        "tensors that are not a list": forward(tensors=start),
        "no offsets for rows": forward(offsets=None),
        "no offsets, but an index": forward(
            values=x[None], offsets=None, index=torch.zeros(5, dtype=torch.int64)
        ),
        "a state of other rows": forward(tensors=[start[:1], weight]),
        "a state of three axes": forward(tensors=[start[None], weight]),
        "no weight": forward(tensors=[start, None]),
        "another weight": forward(tensors=[start, torch.randn(4, 3)]),
        "frozen: a form that is not there": lambda: _native.Frozen(plain, [weight], 3, 1),
        "frozen: a negative form": lambda: _native.Frozen(plain, [weight], -1, 1),
        "frozen: no threads": lambda: _native.Frozen(plain, [weight], 0, 0),
        "frozen: no weights": lambda: _native.Frozen(plain, [], 0, 1),
        "frozen: half": lambda: _native.Frozen(plain, [weight.half()], 0, 1),
        "frozen: projected, but nothing is": lambda: frozen.forward(
            x,
            ends,
            torch.zeros(5, dtype=torch.int64),
            [start],
            True,
            1,
        ),
        "frozen: step without threads": lambda: frozen.step((x[:2], start, start.clone()), 0),
        "step: no threads": lambda: step.run((x[:2], start, start.clone()), [weight], 0),
        **_chain_calls(frozen),
        "peak of no threads": lambda: _native.peak_flops(0.001, 0),
        "too many threads": forward(threads=2**31 - 1),
        "peak of no time": lambda: _native.peak_flops(float("nan"), 1),
        "peak of negative threads": lambda: _native.peak_flops(0.001, -1),
        "adam: rows beyond": adam(rows=torch.tensor([0, 6])),
        "adam: negative rows": adam(rows=torch.tensor([-1, 0])),
        "adam: int32 rows": adam(rows=torch.tensor([0, 5]).int()),
        "adam: a half table": adam(table=table.half()),
        "adam: a strided table": adam(table=torch.randn(4, 6).t()),
        "adam: moments of another type": adam(mean=torch.zeros(6, 4).double()),
        "adam: moments of another size": adam(square=torch.zeros(5, 4)),
        "adam: a short gradient": adam(gradient=torch.zeros(1, 4)),
        "adam: decays of another type": adam(decays=torch.zeros(2, 2)),
        "adam: an address": adam(table=table.data_ptr()),
        "catch up: rows beyond": catch_up(rows=torch.tensor([0, 6])),
        "catch up: few coefficients": catch_up(coefficients=torch.zeros(3, 2, dtype=torch.float64)),
        "catch up: a short last": catch_up(last=torch.zeros(5, dtype=torch.int64)),
    }


def _chain_calls(frozen: Any) -> dict[str, Callable[[], Any]]:
    """Of a chain with one link, x (3) -> its state (4), which is the output."""

    def chain(**changes: Any) -> Any:
        link: dict[str, Any] = {
            "of": frozen,
            "x": (0, 0),
            "before": [(1, 0)],
            "after": [(2, 0)],
            "ends": False,
        }
        sizes: dict[str, Any] = {
            "input": 3,
            "width": 4,
            "beside": 1,
            "output": (2, 0),
            "output_width": 4,
            "every": True,
        }
        link.update({name: value for name, value in changes.items() if name in link})
        sizes.update({name: value for name, value in changes.items() if name in sizes})
        return _native.Chain([tuple(link.values())], **sizes)

    made = chain()

    def run(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "rows": torch.zeros(6, 4),
            "steps": torch.zeros(6, dtype=torch.int64),
            "slots": torch.tensor([5, 0]),
            "offsets": torch.tensor([0, 1, 3]),
            "x": torch.randn(3, 3),
            "index": None,
            "out": torch.zeros(3, 4),
            "threads": 1,
        }
        return lambda: made.run(**{**args, **changes})

    run()()
    run(index=torch.tensor([2, 0, 2]))()
    return {
        "chain: no frozen": lambda: chain(of=object()),
        "chain: an input beyond": lambda: chain(x=(0, 1)),
        "chain: a negative spot": lambda: chain(before=[(1, -1)]),
        "chain: a part that is not there": lambda: chain(x=(4, 0)),
        "chain: a state beyond": lambda: chain(after=[(2, 1)]),
        "chain: over the input": lambda: chain(after=[(0, 0)]),
        "chain: over the state before": lambda: chain(after=[(1, 0)]),
        "chain: over the count": lambda: chain(beside=5, after=[(3, 0)]),
        "chain: the input as a state": lambda: chain(before=[(0, 0)]),
        "chain: the input at an end": lambda: chain(ends=True),
        "chain: parts missing": lambda: chain(before=[], after=[]),
        "chain: an output beyond": lambda: chain(output=(2, 1)),
        "chain: no width": lambda: chain(width=-1),
        "chain: too wide": lambda: chain(beside=2**31 - 1),
        "chain: rows of another width": run(rows=torch.zeros(6, 5)),
        "chain: rows of another number": run(rows=torch.zeros(5, 4)),
        "chain: strided rows": run(rows=torch.zeros(4, 6).t()),
        "chain: half rows": run(rows=torch.zeros(6, 4).half()),
        "chain: int32 steps": run(steps=torch.zeros(6, dtype=torch.int32)),
        "chain: a slot beyond": run(slots=torch.tensor([6, 0])),
        "chain: a negative slot": run(slots=torch.tensor([-1, 0])),
        "chain: a slot twice": run(slots=torch.tensor([1, 1])),
        "chain: few offsets": run(offsets=torch.tensor([0, 3])),
        "chain: offsets beyond": run(offsets=torch.tensor([0, 1, 4])),
        "chain: offsets that go down": run(offsets=torch.tensor([0, 4, 3])),
        "chain: another input": run(x=torch.randn(3, 4)),
        "chain: an index beyond": run(index=torch.tensor([0, 1, 3])),
        "chain: few outputs": run(out=torch.zeros(2, 4)),
        "chain: no threads": run(threads=0),
        "chain: an address": run(rows=torch.zeros(6, 4).data_ptr()),
    }


@pytest.mark.parametrize("name", _calls())
def test_malformed_arguments_are_refused(name: str) -> None:
    call = _calls()[name]

    def check() -> None:
        with pytest.raises((ValueError, TypeError, EngineError, IndexError)):
            call()

    in_a_process(check)


def test_a_step_of_other_tensors_does_not_run() -> None:
    plain = _native.Call([(_program(), False, [0])], False)
    x, weight, start = torch.randn(2, 3), torch.randn(3, 4), torch.randn(2, 4)
    new = torch.full((2, 4), 7.0)
    for step in (lambda *given: _native.Step(plain).run(given, [weight], 1), _frozen_step(plain, weight)):
        assert step(x, start, new) is True
        torch.testing.assert_close(new, start + x @ weight)
        for given in [
            (x, start),
            (x, start[:1], new),
            (x[:, :2], start, new),
            (x.double(), start, new),
            (x, start, new[:1]),
        ]:
            before = new.clone()
            assert step(*given) is False
            assert torch.equal(new, before)


def _frozen_step(plain: Any, weight: torch.Tensor) -> Callable[..., Any]:
    frozen = _native.Frozen(plain, [weight], 0, 1)
    return lambda *given: frozen.step(given, 1)


def test_addresses_are_made_at_the_door_alone() -> None:
    """No Python code of ours asks a tensor for its address."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(unspool.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"data_ptr\(|ctypes\.data|__array_interface__", line)
    ]
    assert found == []
