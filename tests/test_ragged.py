"""`Ragged` as a list of sequences: making it, indexing, copies, gradients; against plain Python lists."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import lengths_lists, make, same, trailing_shapes

from unspool import Ragged
from unspool.errors import DataError

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
