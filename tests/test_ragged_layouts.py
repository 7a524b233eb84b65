"""`Ragged` to and from other layouts: padded, packed, nested, Arrow; against torch's own functions."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import lengths_lists, make, same, trailing_shapes
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
)

from unspool import Ragged
from unspool.errors import DataError, InvalidParameterError

# --- padded


@settings(max_examples=50, deadline=None)
@given(lengths_lists, trailing_shapes, st.sampled_from([0.0, -3.0]), st.integers(0, 3))
def test_to_padded_is_torch_pad_sequence(lengths, trailing, value, extra):
    sequences = make(lengths, trailing)
    ragged = Ragged.from_list(sequences)
    longest = max(lengths, default=0)
    for side in ("right", "left"):
        padded = ragged.to_padded(value, side=side, length=longest + extra)
        mask = ragged.mask(side=side, length=longest + extra)
        assert padded.shape[:2] == (len(lengths), longest + extra)
        if longest:
            expected = pad_sequence(sequences, batch_first=True, padding_value=value, padding_side=side)
            start = extra if side == "left" else 0
            assert torch.equal(padded[:, start : start + longest], expected)
        if lengths and sum(lengths):
            assert bool((padded[~mask] == value).all())
            same(Ragged.from_padded(padded, mask=mask), sequences)
            same(Ragged.from_padded(padded.transpose(0, 1), mask=mask.T, batch_first=False), sequences)
            if side == "right":
                same(Ragged.from_padded(padded, lengths), sequences)
                same(
                    Ragged.from_padded(padded.transpose(0, 1), torch.tensor(lengths), batch_first=False),
                    sequences,
                )


def test_a_mask_may_have_holes():
    x = torch.arange(8).reshape(2, 4)
    mask = torch.tensor([[False, True, False, True], [False, False, False, False]])
    same(Ragged.from_padded(x, mask=mask), [torch.tensor([1, 3]), torch.tensor([], dtype=torch.int64)])


def test_without_lengths_every_step_is_real():
    x = torch.arange(12).reshape(2, 3, 2)
    same(Ragged.from_padded(x), list(x))
    same(Ragged.from_padded(x, batch_first=False), list(x.transpose(0, 1)))


def test_padding_errors():
    x, ragged = torch.ones(2, 3), Ragged.from_list([[1, 2], [3]])
    with pytest.raises(DataError, match="not both"):
        Ragged.from_padded(x, lengths=[1, 2], mask=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(DataError, match=r"in \[0, 3\]. Got 1 to 4"):
        Ragged.from_padded(x, lengths=[1, 4])
    with pytest.raises(DataError, match="2 ints"):
        Ragged.from_padded(x, lengths=[1.0, 2.0])
    with pytest.raises(DataError, match="2 ints"):
        Ragged.from_padded(x, lengths=[1])
    with pytest.raises(DataError, match="must be bool"):
        Ragged.from_padded(x, mask=torch.ones(2, 3))
    with pytest.raises(DataError, match="batch axis"):
        Ragged.from_padded(torch.ones(3))
    with pytest.raises(DataError, match=r"longest sequence, 2\. Got 1"):
        ragged.to_padded(length=1)
    with pytest.raises(DataError, match="whole number"):
        ragged.to_padded(0.5)
    with pytest.raises(InvalidParameterError, match="side"):
        ragged.to_padded(side="both")


# --- packed and nested


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), trailing_shapes)
def test_packed_both_ways_is_torch_packing(lengths, trailing):
    sequences = make(lengths, trailing)
    ragged = Ragged.from_list(sequences)
    packed = pack_sequence(sequences, enforce_sorted=False)
    same(Ragged.from_packed(packed), sequences)
    back, got_lengths = pad_packed_sequence(ragged.to_packed(), batch_first=True)
    assert got_lengths.tolist() == lengths
    assert torch.equal(back, ragged.to_padded())
    again = ragged.to_packed(like=packed)
    for name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(again, name), getattr(packed, name))


def test_packed_without_a_sorting_keeps_having_none():
    packed = pack_padded_sequence(torch.arange(6).reshape(2, 3), [3, 2], batch_first=True)
    ragged = Ragged.from_packed(packed)
    same(ragged, [torch.tensor([0, 1, 2]), torch.tensor([3, 4])])
    again = ragged.to_packed(like=packed)
    assert again.sorted_indices is None
    assert torch.equal(again.data, packed.data)
    with pytest.raises(DataError, match="other lengths"):
        ragged[::-1].to_packed(like=packed)


def test_packed_whose_parts_do_not_fit() -> None:
    good = pack_sequence([torch.randn(n, 2) for n in (2, 5, 1)], enforce_sorted=False)
    data, sizes, order, back = good
    for parts, match in (
        ((data[:-1], sizes, order, back), "batch_sizes .* of sum 7"),
        ((data, sizes - 1, order, back), "batch_sizes"),
        ((data, sizes[:0], None, None), "batch_sizes"),
        ((data, sizes.flip(0), order, back), "batch_sizes"),
        ((data, sizes, order + 1, back), "sorted_indices"),
        ((data, sizes, order, back * 9), "sorted_indices"),
        ((data, sizes, order[:1], back[:1]), "sorted_indices"),
        ((data, sizes, torch.tensor([0, 1, 2]), back), "sorted_indices"),
        ((data, sizes, order.float(), back), "sorted_indices"),
        ((data, sizes, order.to("meta"), back), "sorted_indices"),
        ((data, sizes.float(), order, back), "batch_sizes"),
    ):
        with pytest.raises(DataError, match=match):
            Ragged.from_packed(PackedSequence(*parts))


def test_packing_refuses_empty_sequences():
    with pytest.raises(DataError, match="no empty one"):
        Ragged.from_list([[1], []]).to_packed()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), trailing_shapes)
def test_nested_both_ways(lengths, trailing):
    sequences = make(lengths, trailing)
    same(Ragged.from_nested(torch.nested.nested_tensor(sequences, layout=torch.jagged)), sequences)
    nested = Ragged.from_list(sequences).to_nested()
    assert [len(part) for part in nested.unbind()] == lengths
    same(Ragged.from_nested(nested), sequences)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_strided_narrowed_and_wrong_nested_tensors():
    sequences = make([2, 0, 3])
    same(Ragged.from_nested(torch.nested.nested_tensor(sequences, layout=torch.strided)), sequences)
    block = torch.arange(24).reshape(3, 4, 2)
    starts, lengths = torch.tensor([1, 0, 2]), torch.tensor([2, 3, 1])
    narrowed = torch.nested.narrow(block, 1, starts, lengths, layout=torch.jagged)
    same(Ragged.from_nested(narrowed), [block[0, 1:3], block[1, 0:3], block[2, 2:3]])
    with pytest.raises(DataError, match="dense"):
        Ragged.from_nested(block)
    with pytest.raises(DataError, match="axis 2"):
        Ragged.from_nested(Ragged.from_list(sequences).to_nested().transpose(1, 2))


# --- Arrow


def test_arrow_columns_from_polars():
    same(
        Ragged.from_arrow(pl.Series([[1, 2], [], [3]])),
        [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([3])],
    )
    pairs = pl.Series([[[1.0, 2.0]], [], [[3.0, 4.0], [5.0, 6.0]]])
    expected = [torch.tensor(v, dtype=torch.float64).reshape(-1, 2) for v in pairs.to_list()]
    same(Ragged.from_arrow(pairs), expected)
    same(Ragged.from_arrow(pairs.cast(pl.List(pl.Array(pl.Float64, 2)))), expected)
    same(
        Ragged.from_arrow(pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))),
        list(torch.tensor([[1, 2], [3, 4]])),
    )


def test_arrow_columns_from_pyarrow():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    expected = [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([3])]
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.int64())):
        array = pa.array([[1, 2], [], [3]], type=kind)
        same(Ragged.from_arrow(array), expected)
        same(Ragged.from_arrow(pa.chunked_array([array, array])), expected * 2)
        same(Ragged.from_arrow(array[1:]), expected[1:])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([[1], None], "1 nulls, the first at 1"),
        ([[1, None]], "nulls"),
        ([1, 2], "column of lists"),
        ([["a"]], "sequences of numbers"),
        ([[[1.0], [2.0, 3.0]]], "one width"),
    ],
)
def test_arrow_errors(column, words):
    with pytest.raises(DataError, match=words):
        Ragged.from_arrow(pl.Series(column))
