"""Given vectors plus a change, against a plain embedding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unspool.nn import Stack
from unspool.nn.given import GivenEmbedding
from unspool.ragged import Ragged

IDS = Ragged.from_list([torch.tensor(t) for t in ([2, 3, 2], [1], [4, 5, 6, 1], [])][:3])


def made(trained: int = 5) -> GivenEmbedding:
    torch.manual_seed(0)
    return GivenEmbedding(torch.randn(9, 4), trained)


def test_at_first_the_lookups_are_those_of_the_given_vectors():
    embedding = made()
    ids = torch.tensor([1, 4, 5, 8, 4])
    assert torch.equal(embedding(ids), embedding.given[ids])


def test_gradients_are_those_of_a_plain_embedding_that_starts_there():
    embedding = made(9)
    plain = nn.Embedding.from_pretrained(embedding.given.clone(), freeze=False)
    stack = Stack("gru", 4, 3)
    results = []
    for one in (embedding, plain):
        output, _ = stack.embedded(IDS, one)
        results.append(torch.autograd.grad(output.values.square().sum(), one.weight)[0])
    torch.testing.assert_close(results[0], results[1])


def test_words_beyond_the_trained_ones_never_change():
    embedding = made(trained=5)
    optimizer = torch.optim.AdamW(embedding.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        embedding(torch.tensor([1, 2, 3, 4])).square().sum().backward()
        optimizer.step()
    beyond = torch.tensor([0, 5, 6, 7, 8])
    assert torch.equal(embedding(beyond), embedding.given[beyond])
    assert (embedding(torch.tensor([1, 2, 3, 4])) != embedding.given[1:5]).all()


def test_weight_decay_draws_towards_the_given_vectors():
    embedding = made()
    with torch.no_grad():
        embedding.weight.fill_(3.0)
    optimizer = torch.optim.AdamW(embedding.parameters(), lr=0.1, weight_decay=1.0)
    for _ in range(100):
        embedding.weight.grad = torch.zeros_like(embedding.weight)
        optimizer.step()
    torch.testing.assert_close(embedding(torch.arange(5)), embedding.given[:5], atol=1e-3, rtol=0)


def test_merged_and_saved_it_is_the_same():
    embedding = made()
    nn.init.normal_(embedding.weight[1:].data)
    with torch.no_grad():
        embedding.weight[0] = 0
    everything = torch.arange(9)
    torch.testing.assert_close(embedding.merged()(everything), embedding(everything))
    again = GivenEmbedding(torch.zeros(9, 4), 5)
    again.load_state_dict(embedding.state_dict())
    assert torch.equal(again(everything), embedding(everything))


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_frozen_stack_takes_the_merged_table(weights):
    embedding = made()
    stack = Stack("lstm", 4, 17).eval()
    plain, _ = stack.embedded(IDS, embedding)
    merged = embedding.merged()
    frozen, _ = stack.freeze(weights, merged).embedded(IDS, merged)
    torch.testing.assert_close(
        frozen.values, plain.values, atol=1e-6 if weights == "float32" else 0.05, rtol=0
    )
