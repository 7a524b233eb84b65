"""Texts that go on: beams against every continuation, rows on their own, stops, streams."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from unspool import Ragged, SequenceGenerator
from unspool.errors import DataError, InvalidParameterError
from unspool.generation.choosing import Choice
from unspool.generation.decoding import beam_search, sample
from unspool.generation.prompting import ready
from unspool.generation.stepping import Stepper
from unspool.generation.vocabulary import Characters, Subwords
from unspool.generation.writing import Writer


def every(model: SequenceGenerator, prompt: str, length: int, penalty: float = 1) -> list[tuple[float, str]]:
    """(log p, text) of each continuation of up to `length` tokens, ended or cut off; the best first."""
    letters = model.vocabulary_.tokens
    start = model.vocabulary_.encode(prompt)
    found = []
    for n in range(length + 1):
        for ids in itertools.product(range(2, len(letters) + 2), repeat=n):
            whole = [0, *start.tolist(), *ids, 0]
            with torch.inference_mode():
                scores = model.network_(Ragged(torch.tensor(whole[:-1]), [0, len(whole) - 1])).values
            scores = scores.clone()
            for t in range(len(start), len(whole) - 1):
                for seen in set(whole[1 : t + 1]):
                    scores[t, seen] *= penalty if scores[t, seen] < 0 else 1 / penalty
            allowed = torch.arange(len(letters) + 2) != 1  # the unknown token is never generated
            logs = (
                scores.masked_fill(~allowed, -torch.inf)
                .double()
                .log_softmax(1)[range(len(whole) - 1), whole[1:]]
            )
            ended = n < length
            found.append(
                (float(logs[len(start) : None if ended else -1].sum()), "".join(letters[i - 2] for i in ids))
            )
    return sorted(found, reverse=True)


def test_wide_beams_are_an_exhaustive_search(names: SequenceGenerator) -> None:
    expected = every(names, "a", 4)
    assert math.isclose(sum(math.exp(score) for score, _ in expected), 1, rel_tol=1e-4)
    got = names.generate("a", 4, num_beams=3**4, num_return_sequences=8)
    assert got == [text for _, text in expected[:8]]
    allowed = torch.tensor([True, False, True, True, True])
    with torch.inference_mode():
        stepper = Stepper(names.network_, allowed)
        best = beam_search(stepper, names.vocabulary_, np.array([0, 2]), Choice(), 81, 4, 8)
    expected_a = every(names, names.vocabulary_.tokens[0], 4)
    np.testing.assert_allclose([h.score for h in best], [score for score, _ in expected_a[:8]], rtol=1e-4)


def test_beams_have_each_their_own_penalties(names: SequenceGenerator) -> None:
    expected = every(names, "ab", 4, 1.7)
    got = names.generate("ab", 4, num_beams=81, num_return_sequences=8, repetition_penalty=1.7)
    assert got == [text for _, text in expected[:8]] != [text for _, text in every(names, "ab", 4)[:8]]


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_one_beam_is_greedy_is_temperature_zero(model: SequenceGenerator, penalty: float) -> None:
    for prompt in ("", "the", "dog ran"):
        greedy = model.generate(prompt, 30, do_sample=False, repetition_penalty=penalty)
        assert len(greedy) == 30
        cold = {"do_sample": True, "repetition_penalty": penalty}
        assert model.generate(prompt, 30, temperature=0, **cold) == greedy
        assert model.generate(prompt, 30, temperature=0.001, random_state=0, **cold) == greedy
        assert model.generate(prompt, 30, top_k=1, random_state=1, **cold) == greedy
        best = beam_of_one(model, prompt, penalty)
        assert best == greedy


def beam_of_one(model: SequenceGenerator, prompt: str, penalty: float) -> str:
    allowed = torch.ones(len(model.vocabulary_), dtype=torch.bool)
    allowed[:2] = False
    ids = np.concatenate([[0], model.vocabulary_.encode(prompt)])
    with torch.inference_mode():
        (best,) = beam_search(
            Stepper(model.network_, allowed), model.vocabulary_, ids, Choice(penalty), 1, 30, 1
        )
    return best.text(model.vocabulary_, ())[0]


def test_more_beams_find_no_worse(model: SequenceGenerator) -> None:
    def score(text: str) -> float:
        return float(model.score("the " + text)[0])

    greedy = model.generate("the ", 12, do_sample=False)
    wide = model.generate("the ", 12, num_beams=30, num_return_sequences=3)
    assert score(wide[0]) >= score(greedy) - 1e-4
    assert score(wide[0]) >= score(wide[1]) >= score(wide[2]) and len(set(wide)) == 3


def test_rows_are_on_their_own(model: SequenceGenerator) -> None:
    """Prompts of uneven lengths together give what each gives alone with the same draws; so do ended rows."""
    prompts = ["", "the cat sat on", "a", "dog"]
    together = model.generate(prompts, 40, do_sample=False)
    assert together == [model.generate(prompt, 40, do_sample=False) for prompt in prompts]
    drawn = model.generate(prompts, 40, random_state=5, stop="at")
    changed = model.generate([prompts[0], "mat", prompts[2], ". a d"], 40, random_state=5, stop="at")
    assert [drawn[0], drawn[2]] == [changed[0], changed[2]]
    assert model.generate([], 5) == []


def test_rows_that_end_leave_the_others_as_they_are(names: SequenceGenerator) -> None:
    """Each row of a batch that shrinks is what its prompt and its draws give alone."""
    uniform = np.random.RandomState(0).random_sample((60, 12))
    prompts = [np.array([0, *ids]) for ids in ([], [2], [3], [2, 2], [4, 4, 4])] * 12
    choice, stepper = Choice(temperature=1.5, repetition_penalty=1.2), ready(names)

    def texts(rows: slice) -> list[str]:
        found = [""] * len(prompts[rows])
        with torch.inference_mode():
            for row, piece in sample(stepper, names.vocabulary_, prompts[rows], choice, uniform[rows]):
                found[row] += piece
        return found

    together = texts(slice(0, 60))
    assert together == [texts(slice(i, i + 1))[0] for i in range(60)]
    assert {len(text) for text in together} >= {0, 1, 2, 3}


def test_samples(model: SequenceGenerator) -> None:
    several = model.generate("the", 25, num_return_sequences=6, random_state=2)
    assert len(several) == 6 and len(set(several)) > 3 and {len(text) for text in several} == {25}
    assert several == model.generate("the", 25, num_return_sequences=6, random_state=2)
    nested = model.generate(["the", "a"], 25, num_return_sequences=6, random_state=2)
    assert nested[0] == several and len(nested[1]) == 6
    assert model.generate("the", 25) != model.generate("the", 25)
    assert model.generate("the", 0) == "" and model.generate("the", 0, num_beams=2) == ""


def test_samples_have_the_probabilities_of_score(names: SequenceGenerator) -> None:
    """Whole texts from the empty prompt: each as often as exp(score) says."""
    made = names.generate("", 12, num_return_sequences=3000, random_state=0)
    for text in ("a", "bb", "ccc"):
        expected = math.exp(float(names.score([text])[0]))
        share = made.count(text) / 3000
        assert abs(share - expected) < 4 * math.sqrt(expected / 3000) + 0.002
        assert expected > 0.03


def test_texts_end_where_the_model_has_learnt_it(names: SequenceGenerator) -> None:
    for text in names.generate("", 50, num_return_sequences=50, random_state=1):
        assert len(text) < 50
    assert names.ends_


@pytest.mark.parametrize("beams", [1, 3])
def test_stop(model: SequenceGenerator, beams: int) -> None:
    settings: dict[str, Any] = {"num_beams": beams, "do_sample": False}
    whole = model.generate("the cat", 40, **settings)
    for stop in ("sat", "t o", whole[-1], "never there", whole[:3]):
        expected = whole.split(stop)[0]
        got = model.generate("the cat", 40, stop=stop, **settings)
        if beams == 1:
            assert got == expected
        assert stop not in got
    if beams == 1:
        assert model.generate("the cat", 40, stop=["never", "o", "t o"], **settings) == whole.split("t o")[0]


def test_stream_is_generate(model: SequenceGenerator) -> None:
    for settings in ({}, {"stop": ["mat", "ran to"]}, {"temperature": 0.5, "top_k": 3}):
        pieces = list(model.stream("the", 60, random_state=3, **settings))
        assert "".join(pieces) == model.generate("the", 60, random_state=3, **settings)
        assert all(pieces) and (len(pieces) > 10 or "stop" in settings)
    greedy = "".join(model.stream("the", 20, do_sample=False))
    assert greedy == model.generate("the", 20, do_sample=False)


def test_stream_comes_as_it_is_made_and_leaves_torchs_modes_alone(model: SequenceGenerator) -> None:
    source = model.stream("the", 10**6)
    assert len(next(source)) == 1 and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    source.close()


class TestWriter:
    def test_what_may_be_a_stop_waits(self) -> None:
        writer = Writer(Characters.fit(["abcd"], 9), ["abc", "bd"])
        ids = {c: i for i, c in enumerate("abcd", 2)}
        pieces = [writer.push(ids[c]) for c in "aabbab"]
        assert pieces == ["", "a", "", "ab", "b", ""]
        assert writer.push(ids["c"]) == "" and writer.done and writer.text == "aabb" and writer.finish() == ""

    def test_the_first_of_several_stops_counts(self) -> None:
        writer = Writer(Characters.fit(["ab"], 9), ["b", "ab"])
        assert writer.push(2) == writer.push(3) == "" and writer.done and writer.text == ""

    def test_what_waited_comes_at_the_end(self) -> None:
        writer = Writer(Characters.fit(["abcd"], 9), ["abc"])
        assert writer.push(2) == writer.push(3) == "" and writer.finish() == "ab" and writer.text == "ab"

    def test_whole_characters_of_bytes(self) -> None:
        subwords = Subwords.fit(["a"], 256)
        writer = Writer(subwords)
        pieces = [writer.push(int(i)) for i in subwords.encode("é\U0001f600!")]
        assert pieces == ["", "é", "", "", "", "\U0001f600", "!"]
        writer = Writer(subwords)
        assert writer.push(int(subwords.encode("é")[0])) == "" and writer.finish() == "\ufffd"


def test_an_unknown_character_in_the_prompt(model: SequenceGenerator) -> None:
    with pytest.warns(UserWarning, match="2 tokens that the training texts had not, or rarely: 'é', '€'"):
        text = model.generate("the é€é", 300, temperature=3.0, random_state=0)
    assert len(text) == 300 and "<unk>" not in text and set(text) <= set(model.vocabulary_.tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_beams": 2, "do_sample": True},
            "'num_beams' parameter of generate must be 1 with do_sample=True",
        ),
        ({"do_sample": False, "temperature": 0.5}, "'temperature' parameter of generate must be left at 1.0"),
        ({"num_beams": 2, "top_k": 3}, "'top_k' parameter of generate must be left at None"),
        (
            {"num_beams": 2, "num_return_sequences": 3},
            "'num_return_sequences' parameter of generate must be at most",
        ),
        ({"do_sample": False, "num_return_sequences": 2}, "must be at most num_beams, 1"),
        ({"num_beams": 0}, "'num_beams'"),
        ({"max_new_tokens": -1}, "'max_new_tokens'"),
        ({"stop": ""}, "'stop' parameter of generate must be a text that is not empty"),
        ({"stop": 3}, "'stop'"),
    ],
)
def test_wrong_settings(model: SequenceGenerator, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        model.generate("the", **settings)


def test_wrong_prompts(model: SequenceGenerator) -> None:
    with pytest.raises(DataError, match="Text 0 of the prompt must be a str"):
        model.generate([3])
    with pytest.raises(DataError, match="stream goes on from one prompt"):
        model.stream(["a", "b"])
