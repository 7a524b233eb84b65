"""unspool.nn.LSTM, GRU and RNN against torch.nn's: arguments, calls, results, gradients, state_dict."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import unspool
from unspool import Ragged
from unspool.errors import DataError

KINDS = ["LSTM", "GRU", "RNN"]
F, H, B, T = 5, 7, 4, 6


def pair(kind: str, *args: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """(ours, torch's) with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(*args, **options)
    ours = getattr(unspool.nn, kind)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [t for part in result for t in tensors(part)]


def check(ours: nn.Module, theirs: nn.Module, x: Any, state: Any = None) -> None:
    """The same values, and the same gradients of input, state and parameters, where x and state ask for them."""
    found = []
    leaves = [t for t in tensors((x, () if state is None else state)) if t.requires_grad]
    for layer in (ours, theirs):
        values = tensors(layer(x, state))
        total = sum((v * torch.cos(torch.arange(v.numel())).reshape(v.shape)).sum() for v in values)
        wanted = [*leaves, *(dict(layer.named_parameters())[n] for n, _ in theirs.named_parameters())]
        found.append((values, torch.autograd.grad(total, wanted)))
    for got, expected in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for got, expected in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def random_state(kind: str, count: int, batch: int | None = B, width: int = H) -> Any:
    shape = (count, H) if batch is None else (count, batch, H)
    return (random(*shape[:-1], width), random(*shape)) if kind == "LSTM" else random(*shape)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "bias": False},
    {"batch_first": True, "num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 0.4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_padded(kind: str, options: dict[str, Any]) -> None:
    ours, theirs = pair(kind, F, H, **options)
    ours.eval(), theirs.eval()
    x = random(B, T, F) if options.get("batch_first") else random(T, B, F)
    assert unspool.explain_path(ours, x) == "native"
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    check(ours, theirs, x)
    check(ours, theirs, x, random_state(kind, count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_unbatched(kind: str, batch_first: bool) -> None:
    ours, theirs = pair(kind, F, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    check(ours, theirs, random(T, F))
    check(ours, theirs, random(T, F), random_state(kind, 4, batch=None))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}], ids=str)
def test_projection(options: dict[str, Any]) -> None:
    ours, theirs = pair("LSTM", F, H, proj_size=3, **options)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    check(ours, theirs, random(T, B, F))
    check(ours, theirs, random(T, B, F), random_state("LSTM", count, width=3))


def test_relu() -> None:
    ours, theirs = pair("RNN", F, H, nonlinearity="relu", num_layers=2)
    check(ours, theirs, random(T, B, F))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [(6, 5, 2, 1), (2, 6, 1, 5), (4, 4, 4, 4)], ids=str)
def test_packed(kind: str, lengths: tuple[int, ...]) -> None:
    """Sorted and unsorted: output packed as torch packs it, states in the order of the batch."""
    ours, theirs = pair(kind, F, H, num_layers=2, bidirectional=True)
    x, state = random(T, B, F), random_state(kind, 4)
    packed = pack_padded_sequence(
        x, torch.tensor(lengths), enforce_sorted=list(lengths) == sorted(lengths)[::-1]
    )
    found = []
    for layer in (ours, theirs):
        output, final = layer(packed, state)
        assert isinstance(output, PackedSequence)
        padded, got_lengths = pad_packed_sequence(output)
        assert got_lengths.tolist() == list(lengths)
        total = padded.square().sum() + sum(f.square().sum() for f in tensors(final))
        found.append(
            [padded, *tensors(final), *torch.autograd.grad(total, [x, *tensors(state)], retain_graph=True)]
        )
    assert torch.equal(ours(packed)[0].batch_sizes, packed.batch_sizes)
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_is_packed(kind: str) -> None:
    """A Ragged gives what torch gives for a PackedSequence; an empty sequence keeps its state."""
    ours, theirs = pair(kind, F, H, bidirectional=True)
    x = Ragged.from_list([torch.randn(n, F) for n in (3, 6, 1)])
    output, final = ours(x)
    expected, expected_final = theirs(x.to_packed())
    torch.testing.assert_close(output.values, Ragged.from_packed(expected).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tensors(final), tensors(expected_final), rtol=1e-5, atol=1e-5)
    state = random_state(kind, 2, batch=2)
    _, kept = ours(Ragged.from_list([torch.randn(2, F), torch.zeros(0, F)]), state)
    for got, given in zip(tensors(kept), tensors(state), strict=True):
        assert torch.equal(got[:, 1], given[:, 1])
        assert not torch.equal(got[:, 0], given[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_both_ways(kind: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    ours, theirs = getattr(unspool.nn, kind)(F, H, **options), getattr(nn, kind)(F, H, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    check(ours, theirs, random(T, B, F))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights(kind: str) -> None:
    torch.manual_seed(5)
    ours = getattr(unspool.nn, kind)(F, H, num_layers=2)
    torch.manual_seed(5)
    theirs = getattr(nn, kind)(F, H, num_layers=2)
    for (name, got), (expected_name, expected) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == expected_name
        assert torch.equal(got, expected)
        assert got.abs().max() <= H**-0.5


def test_positional_arguments_are_torchs() -> None:
    """torch.nn.RNN takes its nonlinearity where the others take bias."""
    check(*pair("RNN", F, H, 2, "relu", False, True), random(B, T, F))
    check(*pair("GRU", F, H, 2, False, True), random(B, T, F))
    check(*pair("LSTM", F, H, 1, True, True, 0.0, True, 3), random(B, T, F))
    for kind in KINDS:
        assert "input_size" in inspect.signature(getattr(unspool.nn, kind)).parameters


def test_double_takes_the_plain_loop() -> None:
    ours, theirs = pair("GRU", F, H, bidirectional=True)
    ours.double(), theirs.double()
    x = torch.randn(T, B, F, dtype=torch.float64)
    assert unspool.explain_path(ours, x).startswith("eager: ")
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-12, atol=1e-12)


def test_dropout_between_layers_while_training() -> None:
    """Layer 2 is the identity: relu(1 · dropout(first)). Expected: a share p of zeros, the rest first / (1 - p)."""
    torch.manual_seed(0)
    p, width = 0.3, 40
    layer = unspool.nn.RNN(F, width, num_layers=2, nonlinearity="relu", bias=False, dropout=p)
    with torch.no_grad():
        layer.weight_ih_l1.copy_(torch.eye(width))
        layer.weight_hh_l1.zero_()
        layer.weight_ih_l0.abs_()
        layer.weight_hh_l0.abs_().mul_(0.5)
    x = torch.rand(30, 20, F) + 0.1  # 24,000 draws: the standard deviation of the share is 0.003
    first = layer.eval()(x)[0]
    assert (first > 0).all()
    output = layer.train()(x)[0]
    kept = output > 0
    assert abs(float((~kept).float().mean()) - p) < 0.015
    torch.testing.assert_close(output[kept], first[kept] / (1 - p))
    assert not torch.equal(layer(x)[0], output)
    torch.manual_seed(1)
    again = layer(x)[0]
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape, expected",
    [
        ((T, B, F + 1), "Expected 5, got 6"),
        ((F,), "Expected input to be 2D or 3D, got 1D"),
        ((2, T, B, F), "Expected input to be 2D or 3D, got 4D"),
    ],
)
def test_input_of_another_shape(kind: str, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        getattr(unspool.nn, kind)(F, H)(torch.randn(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_state_of_another_shape(kind: str) -> None:
    wrong: Any = torch.zeros(1, B + 1, H)
    with pytest.raises(DataError, match=r"size \(1, 4, 7\), got \[1, 5, 7\]"):
        getattr(unspool.nn, kind)(F, H)(torch.randn(T, B, F), (wrong, wrong) if kind == "LSTM" else wrong)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="proj_size"):
        unspool.nn.GRU(F, H, proj_size=3)
    with pytest.raises(ValueError, match="proj_size"):
        unspool.nn.LSTM(F, H, proj_size=H)
    with pytest.raises(ValueError, match="dropout"):
        unspool.nn.LSTM(F, H, dropout=1.5)
    with pytest.raises(ValueError, match="hidden_size"):
        unspool.nn.LSTM(F, 0)
    with pytest.raises(ValueError, match="nonlinearity"):
        unspool.nn.RNN(F, H, nonlinearity="sigmoid")


def test_text_is_an_error() -> None:
    with pytest.raises(DataError, match=r"Got a list of 1 \(list\)"):
        unspool.nn.LSTM(F, H)([[1.0, 2.0]])
