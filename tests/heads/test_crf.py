"""The random field against enumeration: every path of short sequences, its score, and torch's gradients of that."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from unspool import Ragged
from unspool.errors import DataError, InvalidParameterError
from unspool.heads import CRF
from unspool.heads.crf_sums import log_partition, log_partition_plain
from unspool.heads.steps import TimeMajor

LENGTHS = [4, 1, 0, 5, 3, 2, 5]
K = 3
LEGAL = torch.tensor([[True, True, False], [True, True, True], [True, False, True]])
FIRST, LAST = torch.tensor([True, True, False]), torch.tensor([True, False, True])


def model(constrained: bool) -> CRF:
    torch.manual_seed(0)
    crf = CRF(K, LEGAL, FIRST, LAST) if constrained else CRF(K)
    for parameter in crf.double().parameters():
        torch.nn.init.normal_(parameter)
    return crf


def batch(lengths=LENGTHS, scale=1.5) -> Ragged:
    values = scale * torch.randn(
        sum(lengths), K, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    return Ragged.from_list(list(values.split(lengths))).with_values(values.requires_grad_())


def paths(crf: CRF, e: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Every legal path of one sequence and its score, by the definition."""
    found = {}
    for y in product(range(K), repeat=len(e)):
        moves = list(pairwise(y))
        if y and not (crf.first[y[0]] and crf.final[y[-1]] and all(crf.legal[i, j] for i, j in moves)):
            continue
        score = sum((e[t, k] for t, k in enumerate(y)), torch.zeros((), dtype=torch.float64))
        score = score + sum(crf.transitions[i, j] for i, j in moves)
        if y:
            score = score + crf.start_transitions[y[0]] + crf.end_transitions[y[-1]]
        found[y] = score
    return found


def some_tags(crf: CRF, emissions: Ragged) -> Ragged:
    """A legal path of each sequence, not the best one."""
    chosen = []
    for e in emissions:
        every = list(paths(crf, e.detach()))
        chosen.append(torch.tensor(every[len(every) // 2], dtype=torch.int64))
    return Ragged.from_list(chosen)


def enumerated(crf: CRF, emissions: Ragged, tags: Ragged) -> torch.Tensor:
    rows = []
    for e, y in zip(emissions, tags):
        scores = paths(crf, e)
        agree = [s for p, s in scores.items() if all(k in (-1, own) for k, own in zip(y.tolist(), p))]
        rows.append(torch.stack(agree).logsumexp(0) - torch.stack(list(scores.values())).logsumexp(0))
    return torch.stack(rows)


@pytest.mark.parametrize("constrained", [False, True])
def test_likelihood_and_gradients(constrained):
    crf, emissions = model(constrained), batch()
    tags = some_tags(crf, emissions)
    weight = torch.randn(len(LENGTHS), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaves = [emissions.values, *crf.parameters()]
    own = crf(emissions, tags, "none")
    expected = enumerated(crf, emissions, tags)
    torch.testing.assert_close(own, expected, atol=1e-10, rtol=1e-10)
    found = torch.autograd.grad((own * weight).sum(), leaves)
    wanted = torch.autograd.grad((expected * weight).sum(), leaves)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_reductions():
    crf, emissions = model(True), batch()
    tags = some_tags(crf, emissions)
    rows = crf(emissions, tags, "none")
    assert rows.shape == (7,) and rows[2] == 0
    torch.testing.assert_close(crf(emissions, tags), rows.sum())
    torch.testing.assert_close(crf(emissions, tags, reduction="mean"), rows.mean())
    torch.testing.assert_close(crf(emissions, tags, reduction="token_mean"), rows.sum() / sum(LENGTHS))


@pytest.mark.parametrize("constrained", [False, True])
def test_decode(constrained):
    crf, emissions = model(constrained), batch()
    for e, y in zip(emissions, crf.decode(emissions)):
        scores = paths(crf, e)
        assert tuple(y.tolist()) == max(scores, key=lambda p: scores[p].item())


@pytest.mark.parametrize("constrained", [False, True])
def test_marginals(constrained):
    crf, emissions = model(constrained).requires_grad_(False), batch()
    emissions = emissions.with_values(emissions.values.detach())
    with torch.inference_mode():
        found = crf.marginals(emissions)
    for e, own in zip(emissions, found):
        scores = paths(crf, e)
        p = torch.stack(list(scores.values())).softmax(0)
        for t in range(len(e)):
            expected = [sum(w for y, w in zip(scores, p) if y[t] == k) for k in range(K)]
            torch.testing.assert_close(own[t], torch.tensor(expected, dtype=torch.float64))


def test_tags_that_are_not_known():
    crf, emissions = model(True), batch()
    tags = some_tags(crf, emissions)
    values = tags.values.clone()
    values[[0, 2, 5, 6, 7, 8, 9, 14]] = -1
    partly = tags.with_values(values)
    own, expected = crf(emissions, partly, "none"), enumerated(crf, emissions, partly)
    torch.testing.assert_close(own, expected, atol=1e-10, rtol=1e-10)
    leaves = [emissions.values, *crf.parameters()]
    for a, b in zip(torch.autograd.grad(own.sum(), leaves), torch.autograd.grad(expected.sum(), leaves)):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    nothing = tags.with_values(torch.full_like(values, -1))
    torch.testing.assert_close(crf(emissions, nothing, "none"), torch.zeros(7, dtype=torch.float64))


def test_beyond_the_range_of_probabilities():
    """Emissions so far apart that the fast sums vanish: the plain ones, to the last digit."""
    crf, emissions = model(True), batch(scale=2000.0)
    steps = TimeMajor(emissions)
    e = emissions.values[steps.index]
    own = log_partition(e, *crf._weights(), steps)
    expected = torch.stack(
        [torch.stack(list(paths(crf, emissions[int(i)]).values())).logsumexp(0) for i in steps.sequences]
    )
    torch.testing.assert_close(own, expected)
    (found,) = torch.autograd.grad(own.sum(), emissions.values)
    assert found.isfinite().all()
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), emissions.values)[0])


def test_the_fast_sums_are_the_plain_ones():
    crf, emissions = model(True), batch([300, 7, 1, 256])
    steps = TimeMajor(emissions)
    e = emissions.values[steps.index]
    leaves = [emissions.values, *crf.parameters()]
    both = [f(e, *crf._weights(), steps) for f in (log_partition, log_partition_plain)]
    assert both[0].grad_fn.name() == "_SumBackward"
    torch.testing.assert_close(*both)
    grads = [torch.autograd.grad(x.sum(), leaves, retain_graph=True) for x in both]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


def test_long_sequences_and_company_change_nothing():
    crf, emissions = model(True).float(), batch([300, 7, 0, 256])
    emissions = emissions.with_values(emissions.values.detach().float())
    decoded, marginals = crf.decode(emissions), crf.marginals(emissions)
    assert len(crf.illegal(decoded)) == 0
    for i in range(4):
        alone = emissions[[i]]
        assert torch.equal(crf.decode(alone).values, decoded[i])
        torch.testing.assert_close(crf.marginals(alone).values, marginals[i])
    assert torch.isfinite(crf(emissions, decoded, "none")).all()


def test_no_sequences_and_empty_ones():
    crf = model(False)
    for lengths in ([], [0, 0]):
        emissions = Ragged(torch.zeros(0, K), [0] * (len(lengths) + 1))
        tags = Ragged(torch.zeros(0, dtype=torch.int64), [0] * (len(lengths) + 1))
        assert crf(emissions, tags, "none").tolist() == [0.0] * len(lengths)
        crf(emissions, tags).backward()
        assert len(crf.decode(emissions).values) == 0 and crf.marginals(emissions).values.shape == (0, K)


def test_steps_in_the_order_of_time():
    x = Ragged(torch.arange(6), [0, 2, 2, 5, 6])  # lengths 2, 0, 3, 1
    steps = TimeMajor(x)
    assert x.values[steps.index].tolist() == [2, 0, 5, 3, 1, 4]
    assert steps.sizes == [3, 2, 1] and steps.sequences.tolist() == [2, 0, 3]
    assert steps.owner.tolist() == [0, 1, 2, 0, 1, 0] and steps.last.tolist() == [5, 4, 2]
    assert steps.previous.tolist() == [0, 1, 3]


def test_refused():
    crf, emissions = model(True), batch()
    tags = some_tags(crf, emissions)
    values = tags.values.clone()
    values[0] = 2
    with pytest.raises(DataError, match="sequence 0 of the batch have a transition that is not legal"):
        crf(emissions, tags.with_values(values))
    with pytest.raises(DataError, match="in \\[0, 3\\), or -1"):
        crf(emissions, tags.with_values(values + 1))
    with pytest.raises(DataError, match="lengths of the emissions"):
        crf(emissions, Ragged(tags.values, [0, 20]))
    with pytest.raises(DataError, match="Ragged of floats \\(N, 3\\)"):
        crf.decode(torch.zeros(2, 3, 3))
    with pytest.raises(InvalidParameterError, match="reduction"):
        crf(emissions, tags, reduction="max")
    with pytest.raises(InvalidParameterError, match="'first'"):
        CRF(2, first=[True, False], last=[False, True])
    with pytest.raises(InvalidParameterError, match="bools of shape"):
        CRF(2, legal=torch.ones(3, 3, dtype=torch.bool))
