"""`Ragged` against torch's own padding, packing and nesting, and against plain Python lists."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
)

from unspool import Ragged
from unspool.errors import DataError, InvalidParameterError

lengths_lists = st.lists(st.integers(0, 6), max_size=6)
trailing_shapes = st.sampled_from([(), (1,), (3,), (2, 2)])


def make(lengths, trailing=(3,), dtype=torch.float32):
    """Sequences whose steps are all different: 1, 2, 3, ..."""
    total = sum(lengths)
    size = int(np.prod(trailing))
    values = (1 + torch.arange(total * size)).reshape(total, *trailing).to(dtype)
    return list(values.split(lengths)) if lengths else []


def same(ragged, sequences):
    assert len(ragged) == len(sequences)
    assert ragged.lengths.tolist() == [len(s) for s in sequences]
    for got, expected in zip(ragged.to_list(), sequences, strict=True):
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected)


# --- construction


def test_from_list_of_python_numbers_by_hand():
    ids = Ragged.from_list([[1, 2, 3], [], [4]])
    assert ids.values.tolist() == [1, 2, 3, 4]
    assert ids.values.dtype == torch.int64
    assert ids.offsets.tolist() == [0, 3, 3, 4]
    assert ids.lengths.tolist() == [3, 0, 1]
    assert Ragged.from_list([[0.5], [1, 2]]).values.dtype == torch.float32
    assert Ragged.from_list([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]).values.shape == (3, 2)


def test_from_list_of_arrays_keeps_their_dtype():
    arrays = [np.ones((2, 3)), np.zeros((0, 3)), np.full((1, 3), 7.0)]
    ragged = Ragged.from_list(arrays)
    same(ragged, [torch.from_numpy(a) for a in arrays])
    assert ragged.values.dtype == torch.float64


def test_an_empty_list_takes_shape_and_dtype_from_the_others():
    ragged = Ragged.from_list([torch.ones(2, 3, dtype=torch.float64), [], np.array([])])
    assert ragged.values.dtype == torch.float64
    assert ragged[1].shape == (0, 3)
    assert len(ragged[2]) == 0


def test_from_list_reads_views_that_are_not_contiguous():
    base = np.arange(12).reshape(4, 3)
    same(
        Ragged.from_list([base[::-1], base[:, :].T[:, :3].T]),
        [torch.tensor(base[::-1].copy()), torch.tensor(base[:3])],
    )


@pytest.mark.parametrize(
    ("sequences", "words"),
    [
        (["some text"], "Sequence 0 is text"),
        ([[1, 2], ["a"]], "sequences of numbers"),
        ([torch.ones(2, 3), torch.ones(2, 4)], "trailing shapes"),
        ([[[1.0, 2.0]], [[3.0]]], "equally many"),
        ([torch.tensor(1.0)], "single number"),
        ([[None]], "sequences of numbers"),
    ],
)
def test_from_list_errors(sequences, words):
    with pytest.raises(DataError, match=words):
        Ragged.from_list(sequences)


@pytest.mark.parametrize("offsets", [[1, 4], [0, 3], [0, 3, 2, 4], [], [[0, 4]], [0, 5]])
def test_offsets_that_do_not_fit_the_values(offsets):
    with pytest.raises(DataError, match="offsets must"):
        Ragged(torch.ones(4), torch.tensor(offsets, dtype=torch.int64))


NO_INTS = {
    "None": None,
    "text": "abc",
    "list of text": ["a"],
    "objects": np.array([0, 4], dtype=object),
    "other byte order": np.array([0, 4], dtype=np.dtype(np.int64).newbyteorder()),
    "sparse": torch.tensor([0, 4]).to_sparse(),
    "complex": [0j, 4j],
    "not a number": [0, float("nan"), 4],
    "uneven": [[0], [1, 2]],
}


@pytest.mark.parametrize("name", NO_INTS)
def test_offsets_and_lengths_that_are_no_ints(name):
    with pytest.raises(DataError, match="offsets must be ints"):
        Ragged(torch.ones(4), NO_INTS[name])
    with pytest.raises(DataError, match="ints"):
        Ragged.from_padded(torch.ones(1, 4), NO_INTS[name] if name != "None" else [None])


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


# --- sequences


@settings(max_examples=80, deadline=None)
@given(lengths_lists, trailing_shapes, st.data())
def test_indexing_is_list_indexing(lengths, trailing, data):
    sequences = make(lengths, trailing)
    ragged = Ragged.from_list(sequences) if sequences else Ragged(torch.zeros(0, *trailing), [0])
    bounds = st.none() | st.integers(-8, 8)
    key = slice(data.draw(bounds), data.draw(bounds), data.draw(st.none() | st.sampled_from([-3, -1, 1, 2])))
    same(ragged[key], sequences[key])
    chosen = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    same(
        ragged[torch.tensor(chosen, dtype=torch.bool)],
        [s for s, c in zip(sequences, chosen, strict=True) if c],
    )
    if lengths:
        picks = data.draw(st.lists(st.integers(-len(lengths), len(lengths) - 1), max_size=5))
        same(ragged[picks], [sequences[i] for i in picks])
        same(ragged[np.array(picks, dtype=np.int64)], [sequences[i] for i in picks])
        assert all(torch.equal(ragged[i], sequences[i]) for i in picks)


def test_index_errors():
    ragged = Ragged.from_list([[1, 2], [3]])
    for key in (2, -3, [0, 2], 0.5, [0.5], [True], torch.zeros(1, 1, dtype=torch.int64)):
        with pytest.raises(IndexError):
            ragged[key]


@settings(max_examples=50, deadline=None)
@given(lengths_lists, trailing_shapes)
def test_reverse_first_last_iteration_and_cat(lengths, trailing):
    sequences = make(lengths, trailing)
    ragged = Ragged.from_list(sequences) if sequences else Ragged(torch.zeros(0, *trailing), [0])
    same(ragged.reverse(), [s.flip(0) for s in sequences])
    assert all(torch.equal(a, b) for a, b in zip(ragged, sequences, strict=True))
    pad = torch.full(trailing, -1.0)
    assert torch.equal(
        ragged.last(default=-1.0), torch.stack([*(s[-1] if len(s) else pad for s in sequences), pad])[:-1]
    )
    assert torch.equal(
        ragged.first(default=pad), torch.stack([*(s[0] if len(s) else pad for s in sequences), pad])[:-1]
    )
    same(Ragged.cat([ragged, ragged[::-1], ragged[:0]]), sequences + sequences[::-1])


def test_first_and_last_of_an_empty_sequence():
    ragged = Ragged.from_list([[1, 2], [], [3]])
    with pytest.raises(DataError, match=r"Sequences \[1\] are empty"):
        ragged.last()
    assert ragged.last(default=torch.tensor([7, 8, 9])).tolist() == [2, 8, 3]
    assert ragged[[0, 2]].last().tolist() == [2, 3]
    assert ragged[[0, 2]].first().tolist() == [1, 3]


def test_with_values_and_to():
    ragged = Ragged.from_list([[1, 2], [3]])
    doubled = ragged.with_values(ragged.values * 2.0).to(torch.float64)
    same(doubled, [torch.tensor([2.0, 4.0]).double(), torch.tensor([6.0]).double()])
    assert ragged.to("meta").offsets.device.type == "cpu"
    with pytest.raises(DataError, match="offsets must go from 0 to the number of steps, 2"):
        ragged.with_values(torch.ones(2))
    with pytest.raises(DataError, match="at least one"):
        Ragged.cat([])


def test_repr_copy_and_pickle():
    ragged = Ragged.from_list([[1, 2], [], [3]])
    assert repr(ragged) == "Ragged(3 sequences, lengths 0 to 2, values (3,), int64, cpu)"
    assert repr(ragged[:0]) == "Ragged(0 sequences, lengths none, values (0,), int64, cpu)"
    for other in (copy.deepcopy(ragged), pickle.loads(pickle.dumps(ragged))):
        same(other, ragged.to_list())


# --- autograd and compilation


@pytest.mark.parametrize(
    "function",
    [
        lambda r: r.to_padded(2.0),
        lambda r: r.to_padded(side="left", length=6),
        lambda r: r.reverse().values,
        lambda r: r.last(default=0.0),
        lambda r: r[[3, 0, 0]].values,
        lambda r: r[[0, 2, 3]].to_packed().data,
        lambda r: Ragged.cat([r, r.reverse()]).values,
        lambda r: Ragged.from_padded(r.to_padded(), r.lengths).values,
        lambda r: Ragged.from_padded(r.to_padded(side="left"), mask=r.mask(side="left")).values,
        lambda r: Ragged.from_packed(r[[0, 2, 3]].to_packed()).values,
        lambda r: Ragged.from_nested(r.to_nested()).values,
        lambda r: Ragged.from_list(r.to_list()).values,
    ],
)
def test_gradients_flow_through_every_layout(function):
    values = torch.randn(
        7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: function(Ragged(v, [0, 2, 2, 6, 7])), (values,))


def test_compiles_without_a_graph_break():
    def function(ragged):
        doubled = ragged.with_values(ragged.reverse().values * 2)
        return doubled.last(), doubled.to_padded(length=5), doubled.mask(length=5)

    ragged = Ragged.from_list(make([2, 5, 1]))
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    for got, expected in zip(compiled(ragged), function(ragged), strict=True):
        assert torch.equal(got, expected)
