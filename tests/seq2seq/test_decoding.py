"""Greedy and beam search against every target there is, by its log-probability from the whole network."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from tests.seq2seq.conftest import network
from torch.nn import functional as F

from unspool import Ragged
from unspool.seq2seq.beams import Beams, beam_search
from unspool.seq2seq.decoding import greedy

SOURCE = Ragged.from_list(
    [torch.tensor(row) for row in ([2, 3, 4], [1], [4, 2, 2, 3, 1], [3, 3], [4], [1, 4, 1])]
)
LIMIT = 4
LETTERS = (2, 3)  # 0 is the end, 1 the unknown token


@pytest.fixture(scope="module", params=[(1, 36), (2, 29)])
def net(request):
    """Of one layer and of two, from seeds whose targets differ, in their lengths too."""
    layers, seed = request.param
    made = network(num_layers=layers)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.9 * torch.randn_like(p))
        targets = {tuple(one.ids) for one in greedy(made, SOURCE, LIMIT)}
    assert len(targets) >= 5 and len({len(target) for target in targets}) >= 3
    return made


def everything(net, source: torch.Tensor) -> dict[tuple[int, ...], float]:
    """log p of every target of up to LIMIT tokens, the end (0) the last; those of LIMIT letters have none."""
    targets = [(*letters, 0) for n in range(LIMIT) for letters in product(LETTERS, repeat=n)]
    targets += list(product(LETTERS, repeat=LIMIT))
    found = {}
    for target in targets:
        tokens = Ragged.from_list([torch.tensor([0, *target[:-1]])])
        with torch.inference_mode():
            scores = net(Ragged.from_list([source]), tokens).values.double()
        found[target] = -F.cross_entropy(scores, torch.tensor(target), reduction="sum").item()
    return found


def search(net, source, **settings):
    with torch.inference_mode():
        return beam_search(net, source, Beams(**{"limit": LIMIT, **settings}))


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("early_stopping", ["never", True])
def test_a_wide_beam_finds_what_enumeration_does(net, length_penalty, early_stopping):
    wanted = 5
    found = search(
        net,
        SOURCE,
        num_beams=40,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        wanted=wanted,
    )
    for source, best in zip(SOURCE, found):
        scores = {t: p / len(t) ** length_penalty for t, p in everything(net, source).items()}
        expected = sorted(scores, key=lambda t: -scores[t])[:wanted]
        assert [(*one.ids, 0) if one.ended else tuple(one.ids) for one in best] == expected
        np.testing.assert_allclose([one.score for one in best], [scores[t] for t in expected], atol=1e-5)


def test_by_probability_the_search_may_end_early_and_loses_nothing(net):
    """log p only falls, so with length_penalty=0 even early_stopping=False is exact."""
    for one, all_of_them in zip(
        search(net, SOURCE, num_beams=40, length_penalty=0.0), (everything(net, s) for s in SOURCE)
    ):
        assert one[0].log_probability == pytest.approx(max(all_of_them.values()), abs=1e-5)


def test_one_beam_is_greedy(net):
    with torch.inference_mode():
        expected = greedy(net, SOURCE, LIMIT)
    for early_stopping, penalty in ((True, 1.0), (False, 0.0)):
        found = search(net, SOURCE, num_beams=1, early_stopping=early_stopping, length_penalty=penalty)
        for (beam,), one in zip(found, expected):
            assert (beam.ids, beam.ended) == (one.ids, one.ended)
            assert beam.log_probability == pytest.approx(one.log_probability, rel=1e-6, abs=1e-6)


def test_greedy_takes_the_likeliest_token_of_each_step(net):
    with torch.inference_mode():
        found = greedy(net, SOURCE, LIMIT)
    for source, one in zip(SOURCE, found):
        known = everything(net, source)
        target = (*one.ids, 0) if one.ended else tuple(one.ids)
        assert one.log_probability == pytest.approx(known[target], abs=1e-5)
        tokens = Ragged.from_list([torch.tensor([0, *target[:-1]])])
        with torch.inference_mode():
            scores = net(Ragged.from_list([source]), tokens).values
            scores[:, 1] = -torch.inf
        assert tuple(scores.argmax(1).tolist()) == target


def test_results_do_not_depend_on_the_batch(net):
    for settings in ({"num_beams": 3}, {"num_beams": 3, "length_penalty": 0.0, "wanted": 3}):
        together = search(net, SOURCE, **settings)
        for i in range(len(SOURCE)):
            (alone,) = search(net, SOURCE[[i]], **settings)
            assert [one.ids for one in alone] == [one.ids for one in together[i]]
            assert [one.score for one in alone] == pytest.approx(
                [one.score for one in together[i]], rel=1e-6, abs=1e-6
            )
    with torch.inference_mode():
        together = greedy(net, SOURCE, 9)
        for i in range(len(SOURCE)):
            (alone,) = greedy(net, SOURCE[[i]], 9)
            assert alone.ids == together[i].ids
            assert alone.log_probability == pytest.approx(together[i].log_probability, rel=1e-6, abs=1e-6)


def test_no_beams_of_no_sources(net):
    none = SOURCE[[]]
    assert search(net, none, num_beams=3) == []
    with torch.inference_mode():
        assert greedy(net, none, 3) == []


def test_early_stopping_ends_once_there_are_as_many_as_beams(net):
    """With True, what is complete first counts; a better, later one may be missed, and never is with "never"."""
    settings = {"num_beams": 2, "length_penalty": 2.0, "limit": 12}
    early, late = (search(net, SOURCE, early_stopping=e, **settings) for e in (True, "never"))
    scores = np.array([[row[0].score for row in found] for found in (early, late)])
    assert (scores[0] <= scores[1] + 1e-9).all()


def test_attainable_by_hand():
    beams = Beams(2, limit=10, length_penalty=1.0)
    assert beams.score(-6.0, 3) == -2.0 and beams.attainable(-6.0, 3) == -2.0
    assert Beams(2, 10, 1.0, "never").attainable(-6.0, 3) == pytest.approx(-0.6)
    assert Beams(2, 10, 0.0, "never").attainable(-6.0, 3) == -6.0
    assert Beams(2, 10, -1.0, "never").attainable(-6.0, 3) == -18.0
