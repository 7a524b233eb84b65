"""Texts that go on from prompts: what is asked for, checked, and written by the network as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.arrays import random_of
from unspool.errors import DataError, bad_parameter, check_fitted, check_int, warn_caller
from unspool.generation.choosing import OWNER, Choice, check_greedy
from unspool.generation.decoding import beam_search, sample
from unspool.generation.stepping import Stepper
from unspool.generation.vocabulary import END_ID, UNKNOWN_ID, read_texts
from unspool.generation.writing import read_stops
from unspool.parameters import checks
from unspool.program import surroundings

if TYPE_CHECKING:
    from unspool.generation.estimator import SequenceGenerator


@dataclass(frozen=True)
class Asked:
    """What is asked of each prompt, as `SequenceGenerator.generate` has it.

    Raises `InvalidParameterError`.
    """

    max_new_tokens: int
    do_sample: bool | None = None
    num_beams: int = 1
    num_return_sequences: int = 1
    stop: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.do_sample is not None and not isinstance(self.do_sample, (bool, np.bool_)):
            bad_parameter(OWNER, "do_sample", "True, False or None", self.do_sample)
        check_int(OWNER, "num_return_sequences", self.num_return_sequences)
        beams = check_int(OWNER, "num_beams", self.num_beams)
        if self.do_sample and beams > 1:
            hint = "Beams look for the likeliest text."
            bad_parameter(OWNER, "num_beams", "1 with do_sample=True", beams, hint)
        check_int(OWNER, "max_new_tokens", self.max_new_tokens, 0)
        read_stops(OWNER, self.stop)

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn."""
        return self.num_beams == 1 if self.do_sample is None else bool(self.do_sample)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that a continuation ends before."""
        return read_stops(OWNER, self.stop)

    def chosen(self, choice: Choice) -> Choice:
        """How the tokens are chosen where no beams are; `InvalidParameterError` for a rule of draws without one."""
        if self.drawn:
            return choice
        check_greedy(choice)
        return replace(choice, temperature=0.0)


def texts(model: SequenceGenerator, prompt: Any, choice: Choice, asked: Asked, random_state: Any) -> Any:
    """See `SequenceGenerator.generate`."""
    prompts = read_texts(OWNER, prompt, "prompt")
    chosen, beams, count = asked.chosen(choice), asked.num_beams, asked.num_return_sequences
    if not asked.drawn and count > beams:
        bad_parameter(OWNER, "num_return_sequences", f"at most num_beams, {beams}", count)
    if beams > 1:
        found = _beams(model, prompts, choice, asked)
    else:
        repeated = [p for p in prompts for _ in range(count)]
        written: list[list[str]] = [[] for _ in repeated]
        with torch.inference_mode():
            for row, piece in _sampled(model, repeated, chosen, asked, random_state):
                written[row].append(piece)
        joined = ["".join(row) for row in written]
        found = [joined[i : i + count] for i in range(0, len(joined), count)]
    answers: list[Any] = [row[0] for row in found] if count == 1 else found
    return answers[0] if isinstance(prompt, str) else answers


def pieces(
    model: SequenceGenerator, prompt: Any, choice: Choice, asked: Asked, random_state: Any
) -> Iterator[str]:
    """See `SequenceGenerator.stream`; all is checked before the first piece is asked for."""
    if not isinstance(prompt, str):
        raise DataError(f"stream goes on from one prompt, a str. Got {type(prompt).__name__}: use generate.")
    chosen = asked.chosen(choice)
    prompts = read_texts(OWNER, prompt, "prompt")
    return _one_by_one(_sampled(model, prompts, chosen, asked, random_state))


def _sampled(
    model: SequenceGenerator, prompts: list[str], choice: Choice, asked: Asked, random_state: Any
) -> Iterator[tuple[int, str]]:
    """(row, text) as it comes."""
    checks.random_state(OWNER, "random_state", random_state)
    ids = _read_prompts(model, prompts)
    uniform = random_of(random_state).random_sample((len(prompts), asked.max_new_tokens))
    if not uniform.size:
        return iter(())
    return sample(ready(model), model.vocabulary_, ids, choice, uniform, asked.stops)


def _beams(model: SequenceGenerator, prompts: list[str], choice: Choice, asked: Asked) -> list[list[str]]:
    found, stepper, vocabulary = [], ready(model), model.vocabulary_
    counts = asked.num_beams, asked.max_new_tokens, asked.num_return_sequences
    with torch.inference_mode():
        for ids in _read_prompts(model, prompts):
            best = beam_search(stepper, vocabulary, ids, choice, *counts, asked.stops)
            found.append([h.text(vocabulary, asked.stops)[0] for h in best])
    return found


def _one_by_one(source: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The texts; torch's modes are ours only while one is made."""
    while True:
        with surroundings.defaults(), torch.inference_mode():
            item = next(source, None)
        if item is None:
            return
        yield item[1]


def _read_prompts(model: SequenceGenerator, prompts: Sequence[str]) -> list[np.ndarray]:
    """The mark and the tokens of each."""
    check_fitted(model)
    vocabulary = model.vocabulary_
    unknown = dict.fromkeys(piece for prompt in set(prompts) for piece in vocabulary.unknown(prompt))
    if unknown:
        shown = ", ".join(map(repr, list(unknown)[:5])) + (", ..." if len(unknown) > 5 else "")
        warn_caller(
            f"The prompt has {len(unknown)} token{'s' * (len(unknown) > 1)} that the training texts had not, or "
            f"rarely: {shown}. Each is read as the unknown token."
        )
    return [np.concatenate([[END_ID], vocabulary.encode(prompt)]) for prompt in prompts]


@surroundings.defaults()
def ready(model: SequenceGenerator) -> Stepper:
    """The network as it is now, ready to step; kept with the model."""
    check_fitted(model)
    network = getattr(model, "frozen_", model.network_)
    state = (id(network), *(p._version for p in network.parameters()))
    known = model.__dict__.get("_stepper")
    if known is None or known[0] != state:
        allowed = torch.ones(len(model.vocabulary_), dtype=torch.bool)
        allowed[UNKNOWN_ID] = False
        allowed[END_ID] = model.ends_
        form = "float32" if network is model.network_ else model._form
        with torch.inference_mode(False):
            known = (state, Stepper(network, allowed, form))
        model.__dict__["_stepper"] = known
    return known[1]
