"""Rows moved natively against torch's indexing: every layout, both ways, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_sequence, pad_sequence

from unspool import Ragged, _native, rows
from unspool.errors import DataError, EngineError
from unspool.rows import Places, put, take

LENGTHS = [3, 0, 17, 1, 16, 5]
TRAILING = [(), (1,), (5,), (16,), (17,), (2, 3)]
STEPS, SIZE = 19, len(LENGTHS)


def ints(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def layouts():
    """Places in a block of SIZE * STEPS rows, or of as many as there are steps."""
    lengths = ints(*LENGTHS)
    offsets = torch.cat([ints(0), lengths.cumsum(0)])
    total, each, steps = int(offsets[-1]), torch.arange(SIZE), torch.arange(STEPS)
    return {
        "batch first": (Places(offsets, each * STEPS, steps, total), SIZE * STEPS),
        "left": (Places(offsets, each * STEPS + STEPS - lengths, steps, total), SIZE * STEPS),
        "time first": (Places(offsets, each, steps * SIZE, total), SIZE * STEPS),
        "reversed": (Places(offsets, offsets[1:] - 1, -torch.arange(STEPS), total), total),
        "one by one": (Places(ints(0, 7), ints(0), torch.randperm(9)[:7], 7), 9),
        "none": (Places(ints(0), ints(), ints(), 0), 4),
    }


@pytest.fixture
def twin(monkeypatch):
    """Calls a function with torch's indexing."""

    def call(function, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr(rows, "_natively", lambda _: False)
            return function(*arguments)

    return call


@pytest.mark.parametrize("trailing", TRAILING, ids=str)
@pytest.mark.parametrize("layout", layouts())
def test_values_and_gradients_are_those_of_torchs_indexing(layout, trailing, twin):
    places, count = layouts()[layout]
    block = torch.randn(count, *trailing, dtype=torch.float64, requires_grad=True)
    values = torch.randn(places.total, *trailing, dtype=torch.float64, requires_grad=True)
    for function, given in (
        (lambda x: take(x, places), block),
        (lambda x: put(x, places, count, -2.5), values),
    ):
        got, expected = function(given), twin(function, given)
        assert torch.equal(got, expected)
        direction = torch.randn_like(got)
        (ours,) = torch.autograd.grad(got, given, direction)
        assert torch.equal(ours, torch.autograd.grad(expected, given, direction)[0])
        with torch.no_grad():
            assert torch.equal(function(given), expected)


@pytest.mark.parametrize("dtype", sorted(rows._MOVED, key=str), ids=str)
def test_every_dtype(dtype, twin):
    for places, count in layouts().values():
        block = torch.randint(0, 2, (count, 3)).to(dtype)
        values = take(block, places)
        assert values.dtype == dtype and torch.equal(values, twin(take, block, places))
        assert torch.equal(put(values, places, count, 1.0), twin(put, values, places, count, 1.0))


def test_rows_that_lie_apart_or_on_each_other(twin):
    places, count = layouts()["time first"]
    wide = torch.randn(count, 12)
    for block in (
        wide[:, 2:7],
        wide[:, ::3],
        wide.flip(0)[:, :4],
        wide[:1].expand(count, -1),
        wide.T.contiguous().T,
    ):
        assert torch.equal(take(block, places), twin(take, block, places))
    few = torch.randn(places.total, 1).expand(-1, 6)
    assert torch.equal(put(few, places, count), twin(put, few, places, count))


def test_gradients_of_sums_of_gradients_and_of_gradients():
    places, count = layouts()["left"]
    x = torch.randn(places.total, 4, dtype=torch.float64, requires_grad=True)
    put(x, places, count).sum().backward()  # an expanded gradient
    assert torch.equal(x.grad, torch.ones_like(x))
    assert torch.autograd.gradcheck(lambda v: put(v, places, count), x)
    assert torch.autograd.gradgradcheck(lambda v: take(put(v, places, count) ** 3, places), x)
    y = put(x, places, count)
    (many,) = torch.autograd.grad(y, x, torch.randn(3, *y.shape, dtype=y.dtype), is_grads_batched=True)
    assert many.shape == (3, *x.shape)


def test_large_batches_by_threads(twin):
    """More than a thread's share of bytes."""
    lengths = torch.randperm(200)[:64]
    sequences = [torch.randn(int(n), 65) for n in lengths]
    padded = pad_sequence(sequences, batch_first=True, padding_value=7.0)
    ragged = Ragged.from_padded(padded, lengths)
    assert torch.equal(ragged.values, torch.cat(sequences))
    assert torch.equal(ragged.to_padded(7.0), padded)
    turned = Ragged.from_padded(padded.transpose(0, 1).contiguous(), lengths, batch_first=False)
    assert torch.equal(turned.values, ragged.values)
    kept = [s for s in sequences if len(s)]
    packed = pack_sequence(kept, enforce_sorted=False)
    assert torch.equal(Ragged.from_list(kept).to_packed().data, packed.data)
    assert torch.equal(Ragged.from_packed(packed).values, torch.cat(kept))


def test_what_looks_over_the_call_gets_torchs_operations():
    places, count = layouts()["batch first"]
    x = torch.randn(places.total, 4)
    with forward_ad.dual_level():
        tangent = torch.randn_like(x)
        got = forward_ad.unpack_dual(put(forward_ad.make_dual(x, tangent), places, count))
        assert torch.equal(got.tangent, put(tangent, places, count))
    _, pushed = torch.func.jvp(lambda v: put(v, places, count), (x,), (tangent,))
    assert torch.equal(pushed, put(tangent, places, count))
    many = torch.func.vmap(lambda v: take(put(v, places, count), places))(torch.stack([x, 2 * x]))
    assert torch.equal(many[1], 2 * x)
    gradient = torch.func.grad(lambda v: put(v, places, count).pow(2).sum())(x)
    assert torch.equal(gradient, 2 * x)
    z = torch.complex(x, x).conj()
    assert torch.equal(put(z, places, count)[places.index()], z.resolve_conj())
    assert put(x.to("meta"), places, count).shape == (count, 4)


def test_a_sequence_chosen_twice_adds_its_gradients():
    ragged = Ragged.from_list([torch.ones(2, 3), torch.ones(4, 3)])
    values = ragged.values.requires_grad_()
    ragged.with_values(values)[[1, 0, 1]].values.sum().backward()
    assert values.grad[:, 0].tolist() == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"offsets": ints(0, 2, 4)}, DataError, "offsets must go from 0"),
        ({"offsets": ints(0, 4, 3)}, DataError, "never down"),
        ({"starts": ints(0)}, DataError, "starts must be 2"),
        ({"starts": ints(0, 5)}, IndexError, r"Step 1 of sequence 1 must be in \[0, 6\)"),
        ({"starts": ints(0, -1)}, IndexError, "Step 0 of sequence 1"),
        ({"starts": ints(0, 2**63 - 1)}, IndexError, "sequence 1"),
        ({"starts": ints(1, 0)}, DataError, "Row 1 of the block must be one step's"),
        ({"at": ints(0)}, DataError, "has 2 steps. Got places of 1"),
        ({"at": torch.arange(4)[::2]}, DataError, "contiguous"),
        ({"values": torch.ones(3, 4, dtype=torch.float64)}, EngineError, "one dtype"),
        ({"values": torch.ones(3, 5)}, EngineError, "rows of one width"),
        ({"values": torch.ones(4, 3).T}, EngineError, "side by side"),
        ({"values": torch.ones(3, 4, device="meta")}, EngineError, "on the CPU"),
        ({"values": torch.ones(3, 4).to_sparse()}, EngineError, "memory of its own"),
        ({"block": torch.ones(1, 4).expand(6, -1)}, EngineError, "apart from each other"),
        ({"fill": torch.ones(2)}, EngineError, "one number"),
        ({"fill": torch.ones(1, dtype=torch.int32)}, EngineError, "one number"),
        ({"threads": 0}, ValueError, "threads must be"),
        ({"values": [1.0]}, TypeError, "must be a tensor"),
    ],
)
def test_the_door_refuses(change, error, words):
    given = {
        **{
            "values": torch.ones(3, 4),
            "block": torch.ones(6, 4),
            "offsets": ints(0, 1, 3),
            "starts": ints(0, 3),
        },
        **{"at": ints(0, 1), "fill": torch.zeros(1), "threads": 2},
    }
    _native.move_rows(**given)
    with pytest.raises(error, match=words):
        _native.move_rows(**{**given, **change})


def test_a_storage_cut_after_the_tensor_was_made():
    values = torch.ones(3, 4)
    values.untyped_storage().resize_(8)
    with pytest.raises(EngineError, match="within its storage"):
        _native.move_rows(values, torch.ones(6, 4), ints(0, 1, 3), ints(0, 3), ints(0, 1), None, 1)
