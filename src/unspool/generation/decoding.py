"""Going on from prompts: sampling, row by row of a batch that shrinks as texts end, and beam search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unspool.generation.choosing import Choice, finite
from unspool.generation.stepping import OneRow, Stepper, select
from unspool.generation.vocabulary import END_ID, Vocabulary
from unspool.generation.writing import Writer


def sample(
    stepper: Stepper,
    vocabulary: Vocabulary,
    prompts: Sequence[np.ndarray],
    choice: Choice,
    uniform: np.ndarray,
    stops: Sequence[str] = (),
) -> Iterator[tuple[int, str]]:
    """(row, text) for each piece of text, step after step; an empty piece is not given.

    uniform: (B, tokens at most) numbers in [0, 1), a row for each prompt.
    """
    if len(prompts) == 1:
        for piece in _sample_one(stepper, vocabulary, prompts[0], choice, uniform[0].tolist(), stops):
            yield 0, piece
        return
    writers = [Writer(vocabulary, stops) for _ in prompts]
    rows = np.arange(len(prompts))
    seen = _seen(prompts, len(vocabulary)) if choice.repetition_penalty != 1 else None
    state = stepper.start(prompts)
    limit = uniform.shape[1]
    for step in range(limit):
        ids = choice.draw(choice.penalised(state[0].numpy(), seen), uniform[rows, step])
        ended = 0
        for row, token in zip(rows.tolist(), ids.tolist()):
            writer = writers[row]
            piece = writer.push(token)
            ended += writer.done
            if piece:
                yield row, piece
        if ended == len(rows) or step + 1 == limit:
            break
        if seen is not None:
            seen[np.arange(len(rows)), ids] = True
        if ended:
            going = np.array(
                [i for i, row in enumerate(rows.tolist()) if not writers[row].done], dtype=np.int64
            )
            rows, ids, state = rows[going], ids[going], select(state, going)
            seen = None if seen is None else seen[going]
        state = stepper.step(ids, state)
    for row, writer in enumerate(writers):
        piece = writer.finish()
        if piece:
            yield row, piece


def _sample_one(
    stepper: Stepper,
    vocabulary: Vocabulary,
    prompt: np.ndarray,
    choice: Choice,
    uniform: list[float],
    stops: Sequence[str],
) -> Iterator[str]:
    """As `sample`, of one prompt, with nothing done for a token that one row does not need."""
    writer = Writer(vocabulary, stops)
    going = OneRow(stepper, prompt)
    seen = _seen([prompt], len(vocabulary)) if choice.repetition_penalty != 1 else None
    for left, number in zip(range(len(uniform) - 1, -1, -1), uniform):
        scores = going.scores if seen is None else choice.penalised(going.scores, seen)
        token = choice.draw_one(scores[0], number)
        piece = writer.push(token)
        if piece:
            yield piece
        if writer.done or not left:
            break
        if seen is not None:
            seen[0, token] = True
        going.step(token)
    piece = writer.finish()
    if piece:
        yield piece


@dataclass
class Hypothesis:
    """A continuation: its tokens, the sum of their log-probabilities, and its text so far."""

    ids: tuple[int, ...]
    score: float

    def text(self, vocabulary: Vocabulary, stops: Sequence[str]) -> tuple[str, bool]:
        """(text, whether it has come to its end)."""
        writer = Writer(vocabulary, stops)
        for token in self.ids:
            writer.push(token)
            if writer.done:
                return writer.text, True
        writer.finish()
        return writer.text, False


def beam_search(
    stepper: Stepper,
    vocabulary: Vocabulary,
    prompt: np.ndarray,
    choice: Choice,
    beams: int,
    limit: int,
    wanted: int,
    stops: Sequence[str] = (),
) -> list[Hypothesis]:
    """The `wanted` best continuations of one prompt found with `beams`, best first, by total log-probability.

    A continuation that ends leaves the beams. As a log-probability only falls, the search is over when no beam
    can come before the wanted ones.
    """
    if limit == 0:
        return [Hypothesis((), 0.0)]
    state = stepper.start([prompt])
    seen = _seen([prompt], len(vocabulary)) if choice.repetition_penalty != 1 else None
    alive, finished = [Hypothesis((), 0.0)], []
    for step in range(limit):
        scores = _log_softmax(choice.penalised(state[0].numpy(), seen))
        totals = scores + np.array([beam.score for beam in alive])[:, None]
        # An ended one takes no place of a beam: so many candidates that `beams` go on.
        order = np.argsort(-totals, axis=None, kind="stable")
        parents: list[int] = []
        fresh: list[Hypothesis] = []
        for place in order.tolist():
            parent, token = divmod(place, totals.shape[1])
            if not np.isfinite(totals[parent, token]) or len(fresh) == beams:
                break
            grown = Hypothesis((*alive[parent].ids, token), float(totals[parent, token]))
            ended = token == END_ID or (stops and grown.text(vocabulary, stops)[1])
            if ended:
                finished.append(grown)
            else:
                fresh.append(grown)
                parents.append(parent)
        finished = sorted(finished, key=lambda h: -h.score)[:wanted]
        if step + 1 == limit:
            finished += fresh
        enough = len(finished) >= wanted and (not fresh or finished[wanted - 1].score >= fresh[0].score)
        if enough or not fresh or step + 1 == limit:
            break
        index = np.array(parents, dtype=np.int64)
        last = np.array([beam.ids[-1] for beam in fresh], dtype=np.int64)
        if seen is not None:
            seen = seen[index]
            seen[np.arange(len(fresh)), last] = True
        alive, state = fresh, stepper.step(last, select(state, index))
    return sorted(finished, key=lambda h: -h.score)[:wanted]


def _seen(prompts: Sequence[np.ndarray], size: int) -> np.ndarray:
    """(B, V) bool: the tokens of each prompt; the mark is none."""
    seen = np.zeros((len(prompts), size), dtype=bool)
    for row, prompt in enumerate(prompts):
        seen[row, prompt] = True
    seen[:, END_ID] = False
    return seen


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    below = (scores - finite(scores.max(1, keepdims=True))).astype(np.float64)
    with np.errstate(divide="ignore"):
        return below - np.log(np.exp(below).sum(1, keepdims=True))
