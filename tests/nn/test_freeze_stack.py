"""Frozen stacks, and the embedding before them: its vocabulary projected, the numbers those of the stack."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from unspool import Ragged
from unspool.engine.frozen import FORMS
from unspool.errors import DataError, EngineError
from unspool.nn import Stack
from unspool.nn import stack as stacks

from .test_freeze import F, H, batch, check_equal, values_of


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": (7, 4, 9), "bidirectional": True},
        {"hidden_size": 7, "num_layers": 2, "connection": "highway", "zoneout": 0.2, "dropout": 0.5},
        {
            "hidden_size": 7,
            "num_layers": 2,
            "bidirectional": True,
            "merge": "sum",
            "initial_state": "learned",
        },
    ],
    ids=str,
)
def test_a_stack_of_numbers(options: dict[str, Any], form: str) -> None:
    """Ragged and padded, as in evaluation; its last output and its path too."""
    torch.manual_seed(0)
    stack, x = Stack("lstm", F, **options), batch()
    frozen = stack.freeze(form)
    assert stack.training and not frozen.training
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert frozen.explain_path(x) == f"native: frozen, {form} weights"
    stack.eval()
    for given in (x, torch.randn(4, 3, F)):
        for a, b in zip(values_of(frozen, given), values_of(stack, given), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0.0 if form == "float32" else 0.05)
    if form == "float32" and stack.connection is None:
        with torch.no_grad():
            last = stack.final_output(*stack(x))
        assert torch.equal(frozen.final_output(*frozen(x)), last)


class Doubled(nn.Embedding):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(ids)


EMBEDDINGS: dict[str, Callable[[], nn.Embedding]] = {
    "plain": lambda: nn.Embedding(9, F),
    "padding": lambda: nn.Embedding(9, F, padding_idx=0),
    "sparse": lambda: nn.Embedding(9, F, sparse=True),
    "scaled by frequency": lambda: nn.Embedding(9, F, scale_grad_by_freq=True),
    "norm": lambda: nn.Embedding(9, F, max_norm=0.5),
    "a user's": lambda: Doubled(9, F),
}


def tokens(dtype: torch.dtype = torch.int64) -> Ragged:
    torch.manual_seed(2)
    return Ragged(torch.randint(0, 9, (13,), dtype=dtype), [0, 0, 4, 5, 5, 13, 13])


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_the_projected_vocabulary(
    kind: str, bidirectional: bool, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit; with limit 0 nothing is projected, and the embedding looked up at the call."""
    if limit is not None:
        monkeypatch.setattr(stacks, "PROJECTED", limit)
    torch.manual_seed(0)
    embedding, ids = EMBEDDINGS[kind](), tokens()
    before = embedding.weight.detach().clone()
    stack = Stack("lstm", F, H, 2, bidirectional=bidirectional, connection="residual").eval()
    frozen = stack.freeze("float32", embedding)
    assert (frozen.layers[0].frozen.table is None) == (limit is not None)
    assert torch.equal(embedding.weight, before)
    strided = torch.stack([ids.values, -ids.values], 1)[:, 0]
    given = [ids, ids.with_values(ids.values.int()), ids.with_values(strided)]
    given += [
        Ragged.from_list(ids.to_list()[1:3]),
        Ragged(ids.values[:0], [0]),
        Ragged(ids.values[:0], [0, 0]),
    ]
    start = [tuple(tuple(map(torch.rand_like, parts)) for parts in layer) for layer in stack.initial_state(6)]
    for x in given:
        for state in (start, None) if len(x) == 6 else (None,):
            expected = values_of(stack.embedded, x, embedding, state)
            assert not frozen.embedded(x, embedding, state)[0].values.requires_grad
            check_equal(values_of(frozen.embedded, x, embedding, state), expected)
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        check_equal(values_of(twin.embedded, ids, embedding), values_of(stack.embedded, ids, embedding))


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
def test_the_projected_vocabulary_in_narrow_forms(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers that there are without projecting."""
    torch.manual_seed(0)
    embedding, stack = nn.Embedding(9, F), Stack("gru", F, H, 2, bidirectional=True)
    projected = values_of(stack.freeze(form, embedding).embedded, tokens(), embedding)
    monkeypatch.setattr(stacks, "PROJECTED", 0)
    for a, b in zip(
        values_of(stack.freeze(form, embedding).embedded, tokens(), embedding), projected, strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [-1, 9, 2**40, -(2**40)])
def test_ids_out_of_range(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    embedding, ids, stack = nn.Embedding(9, F), tokens(), Stack("gru", F, H)
    ids.values[7] = bad
    with pytest.raises(IndexError, match=rf"must be in \[0, 9\).*{bad}"):
        stack.freeze("float32", embedding).embedded(ids, embedding)
    monkeypatch.setattr(stacks, "PROJECTED", 0)
    with pytest.raises(IndexError):
        stack.freeze("float32", embedding).embedded(ids, embedding)


def test_ids_and_embeddings_of_other_kinds() -> None:
    stack, embedding, ids = Stack("gru", F, H), nn.Embedding(9, F), tokens()
    frozen = stack.freeze("float32", embedding)
    for values in (ids.values.float(), ids.values[:, None]):
        with pytest.raises(DataError, match=r"Ids must be int64 or int32, \(N,\)"):
            frozen.embedded(ids.with_values(values), embedding)
    with pytest.raises(DataError, match=r"must have 5 features.*Got \(N, 6\)"):
        stack.freeze("float32", nn.Embedding(9, 6))
    with pytest.raises(EngineError, match=r"Got torch\.float64"):
        stack.freeze("float32", nn.Embedding(9, F).double())


def test_the_vocabulary_is_that_at_the_time_of_freezing() -> None:
    stack, embedding, ids = Stack("gru", F, H), nn.Embedding(9, F), tokens()
    frozen = stack.freeze("float32", embedding)
    expected = values_of(stack.embedded, ids, embedding)
    with torch.no_grad():
        embedding.weight.add_(1.0)
    check_equal(values_of(frozen.embedded, ids, embedding), expected)
    assert not torch.equal(values_of(stack.embedded, ids, embedding)[0], expected[0])
