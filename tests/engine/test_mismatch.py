"""Tensors that do not go together: one error of ours that names them; what a step raises itself passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from unspool import Ragged, cells
from unspool.errors import DataError, EngineError, InputError
from unspool.nn import GRU, LSTM, Recurrent, Stack

F, H, B = 3, 5, 2


def batch(dtype: torch.dtype = torch.float32) -> Ragged:
    return Ragged(torch.ones(6, F).to(dtype), [0, 4, 6])


def with_weight(change: Callable[[Tensor], Any]) -> Recurrent:
    layer = Recurrent(cells.GRUCell(F, H))
    weight = change(layer.cell.weight_hh.detach())
    layer.cell._parameters["weight_hh"] = weight if weight is None else nn.Parameter(weight, False)
    return layer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("of", ["input", "state", "weight", "step"])
def test_a_mixed_type_is_named(dtype: torch.dtype, of: str) -> None:
    layer = with_weight(lambda w: w.to(dtype if of == "weight" else torch.float32))
    state = torch.zeros(B, H, dtype=dtype if of == "state" else torch.float32)
    with pytest.raises(InputError, match=rf"{'input' if of == 'step' else of}.*: {dtype} on cpu.*Convert"):
        if of == "step":
            layer.step(torch.ones(B, F).to(dtype), state)
        else:
            layer(batch(dtype if of == "input" else torch.float32), state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_layer_of_one_other_type_has_torchs_numbers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, other = LSTM(F, H, batch_first=True), nn.LSTM(F, H, batch_first=True)
    other.load_state_dict(layer.state_dict())
    x, state = torch.randn(B, 7, F), (torch.randn(1, B, H), torch.randn(1, B, H))
    got, _ = layer.to(dtype)(x.to(dtype), tuple(part.to(dtype) for part in state))
    wanted, _ = other.double()(x.double(), tuple(part.double() for part in state))
    assert got.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps if dtype != torch.float64 else 1e-6
    torch.testing.assert_close(got.double(), wanted, rtol=rounding, atol=rounding)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:, 1:], r"weight_hh \(15, 4\)"),
        (lambda w: w[1:], r"weight_hh \(14, 5\)"),
        (lambda w: w.flatten(), r"weight_hh \(75,\)"),
        (lambda w: None, r"weight_hh None"),
        (lambda w: w.to_sparse(), r"torch\.sparse_coo"),
        (lambda w: w.to_mkldnn(), r"torch\._mkldnn"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(change: Any, message: str) -> None:
    for call in (
        lambda layer: layer(batch()),
        lambda layer: layer.step(torch.ones(B, F), torch.zeros(B, H)),
        lambda layer: layer.freeze(),
    ):
        with pytest.raises((InputError, EngineError), match=message):
            call(with_weight(change))


class Raises(cells.RNNCell):
    def forward(self, x: Tensor, state: Any) -> Any:
        raise RuntimeError("what the step itself says")


def test_what_a_step_raises_passes() -> None:
    with pytest.raises(RuntimeError) as caught:
        Recurrent(Raises(F, H), engine="eager")(batch())
    assert type(caught.value) is RuntimeError
    assert str(caught.value) == "what the step itself says"


PAIR = (torch.zeros(1, B, H), torch.zeros(1, B, H))
WRONG: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "int": (lambda: LSTM(F, H), 3, "a pair of tensors.*Got an int"),
    "text": (lambda: LSTM(F, H), "hc", "a pair of tensors.*Got a str"),
    "None inside": (lambda: LSTM(F, H), (PAIR[0], None), r"Got a tuple of 2 \(Tensor, NoneType\)"),
    "lists inside": (lambda: LSTM(F, H), [[0.0], [0.0]], r"Got a list of 2 \(list, list\)"),
    "a pair for a GRU": (lambda: GRU(F, H), PAIR, r"of GRU must be a tensor. Got a tuple of 2"),
    "an array": (lambda: GRU(F, H), PAIR[0].numpy(), r"Got a ndarray of shape \(1, 2, 5\)"),
    "sparse": (lambda: GRU(F, H), PAIR[0].to_sparse(), "layout torch.strided. Got torch.sparse_coo"),
    "frozen": (lambda: LSTM(F, H).freeze(), 3, "a pair of tensors.*Got an int"),
    "int for two": (
        lambda: Recurrent(cells.GRUCell(F, H), bidirectional=True),
        3,
        "a pair of states. Got an int",
    ),
    "int for a stack": (lambda: Stack("gru", F, H, 2), 3, "one entry a layer, 2. Got an int"),
    "tensors of a stack": (
        lambda: Stack("gru", F, H, 2),
        list(PAIR),
        "layer 0 must have one entry.*Got a Tensor",
    ),
    "quantized": (
        lambda: Recurrent(cells.GRUCell(F, H)),
        torch.quantize_per_tensor(torch.zeros(B, H), 0.1, 0, torch.qint8),
        r"must not be quantized. Got torch.qint8",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_state_that_is_none(name: str) -> None:
    make, state, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        make()(batch(), state)


@pytest.mark.parametrize(
    "x", [None, "text", 3, [[1.0]], torch.ones(6, F).to_sparse(), torch.ones(2, 3, F).numpy()]
)
@pytest.mark.parametrize("layer", [LSTM(F, H), Recurrent(cells.GRUCell(F, H)), Stack("gru", F, H, 1)])
def test_an_input_that_is_none(layer: Any, x: Any) -> None:
    with pytest.raises(DataError, match=r"Got|strided"):
        layer(x)


def test_a_missing_weight_of_a_drop_in() -> None:
    layer = LSTM(F, H)
    layer._parameters["weight_hh_l0"] = None
    with pytest.raises(InputError, match=re.escape("'weight_hh_l0' of LSTM must be a tensor. Got None")):
        layer(torch.ones(4, B, F))


class TestFrozen:
    def test_a_tangent_is_not_lost(self) -> None:
        layer = Recurrent(cells.LSTMCell(F, H)).freeze()
        x, state = torch.ones(B, 4, F), (torch.zeros(B, H), torch.zeros(B, H))
        with forward_ad.dual_level(), torch.no_grad():
            layer.step(x[:, 0], state)  # no tangent: as ever
            with pytest.raises(EngineError, match="forward-mode"):
                layer(forward_ad.make_dual(x, torch.ones_like(x)))
            with pytest.raises(EngineError, match="forward-mode"):
                layer.step(forward_ad.make_dual(x[:, 0], torch.ones(B, F)), state)

    @pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.functionalize, torch.func.grad])
    def test_a_transform_is_refused(self, transform: Any) -> None:
        layer = LSTM(F, H).freeze()
        with pytest.raises(EngineError, match=r"torch\.func"):
            batched = (2,) if transform is torch.func.vmap else ()
            transform(lambda x: layer(x)[0].sum())(torch.ones(*batched, 4, B, F))

    def test_what_traces_is_refused(self) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        layer = Recurrent(cells.LSTMCell(F, H)).freeze()
        with pytest.raises(EngineError, match="make_fx"):
            make_fx(lambda x: layer(x)[0])(torch.ones(B, 4, F))
        with pytest.raises(EngineError, match=r"torch\.export"):
            torch.export.export(layer, (torch.ones(B, 4, F),), strict=False)


class TestFake:
    def test_a_ragged_of_real_offsets(self) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        for allowed in (False, True):
            mode = FakeTensorMode(allow_non_fake_inputs=allowed)
            with mode:
                layer = Recurrent(cells.LSTMCell(F, H))
                output, _ = layer(Ragged(torch.ones(6, F), torch.tensor([0, 4, 6])))
            assert output.values.shape == (6, H)
        offsets = torch.tensor([0, 4, 6])
        with FakeTensorMode():
            made = Ragged(torch.ones(6, F), offsets)
        assert made.lengths.tolist() == [4, 2]
        with FakeTensorMode(), pytest.raises(DataError, match="number of steps, 5"):
            Ragged(torch.ones(5, F), offsets)


def test_fake_weights_of_another_shape() -> None:
    layer = GRU(F, H, batch_first=True)
    layer.weight_hh_l0.data = layer.weight_hh_l0.data[:, :0]
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        pytest.raises(EngineError, match=r"shape \(15, 5\)\. Got \(15, 0\)"),
    ):
        layer(torch.ones(B, 4, F))


def test_weights_without_numbers_in_a_transform() -> None:
    layer = with_weight(lambda w: w.to("meta"))
    with pytest.raises(EngineError, match="on the 'meta' device"):
        torch.func.grad(lambda x: layer(Ragged(x, [0, 4, 6]))[0].values.sum())(torch.ones(6, F))
