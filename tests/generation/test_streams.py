"""Chunks: every token is a target once, in order; the state goes on; lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unspool.generation.network import LanguageModel, next_token_loss
from unspool.generation.streams import TextData, text_data

TEXTS = [np.arange(2, 2 + n) for n in (50, 3, 0, 7)]


def followed(data: TextData, batches: list) -> dict[int, tuple[list[int], list[int]]]:
    """row -> (inputs, targets) of a pass, put together."""
    found: dict[int, tuple[list[int], list[int]]] = {i: ([], []) for i in range(len(data))}
    for chunk in batches:
        for row, x, y in zip(chunk.rows.tolist(), chunk.inputs, chunk.following, strict=True):
            found[row][0].extend(x.tolist())
            found[row][1].extend(y.tolist())
    return found


@pytest.mark.parametrize("random_lengths", [False, True])
@pytest.mark.parametrize("pieces", [None, 4])
def test_every_token_is_a_target_once(pieces: int | None, random_lengths: bool) -> None:
    data = text_data(TEXTS, True, pieces, steps_a_chunk=6, random_lengths=random_lengths)
    generator = torch.Generator().manual_seed(0)
    for batches in (list(data.training_batches(3, generator)), list(data.prediction_batches())):
        found = followed(data, batches)
        whole: dict[int, list[int]] = {i: [] for i in range(len(TEXTS))}
        for piece, origin in enumerate(data.origin.tolist()):
            x, y = found[piece]
            assert x[1:] == y[:-1]
            whole[origin] += y
        assert whole == {i: [*text.tolist(), 0] for i, text in enumerate(TEXTS)}
    assert len(data) == (4 if pieces is None else 7)  # of 64 tokens 16 a piece: 51 are four


def test_pieces_of_one_text_start_after_a_mark() -> None:
    data = text_data([np.arange(2, 12)], False, 3, steps_a_chunk=2)
    assert [x.tolist() for x in data.inputs] == [[0, 2, 3], [0, 5, 6], [0, 8, 9, 10]]
    assert [y.tolist() for y in data.following] == [[2, 3, 4], [5, 6, 7], [8, 9, 10, 11]]
    assert data.steps(3) == len(list(data.training_batches(3, torch.Generator()))) == 2


def test_the_pieces_of_texts_with_ends_go_on() -> None:
    data = text_data([np.arange(2, 9)], True, 2)
    assert [x.tolist() for x in data.inputs] == [[0, 2, 3, 4], [5, 6, 7, 8]]
    assert [y.tolist() for y in data.following] == [[2, 3, 4, 5], [6, 7, 8, 0]]


def test_the_state_goes_on_and_gradients_stop() -> None:
    """Chunks give the scores of whole sequences; a chunk's gradient is that of its own steps from a given state."""
    torch.manual_seed(0)
    network = LanguageModel(60, cell="gru", embedding_dim=5, hidden_size=6, num_layers=2, tied=False)
    whole = text_data(TEXTS, True, steps_a_chunk=1000)
    cut = text_data(TEXTS, True, steps_a_chunk=4)
    (one,) = whole.training_batches(4, torch.Generator().manual_seed(1))
    scores = dict(zip(one.rows.tolist(), network(*one.given), strict=True))
    parts: dict[int, list[torch.Tensor]] = {row: [] for row in scores}
    for chunk in cut.training_batches(4, torch.Generator().manual_seed(1)):
        predicted = network(*chunk.given)
        assert not any(leaf.requires_grad for layer in chunk.carried.state for leaf in layer)
        next_token_loss(predicted, chunk.targets).backward()
        for row, part in zip(chunk.rows.tolist(), predicted, strict=True):
            parts[row].append(part.detach())
    for row, expected in scores.items():
        torch.testing.assert_close(torch.cat(parts[row]), expected.detach())


def test_random_lengths() -> None:
    data = text_data([np.arange(9)], False, steps_a_chunk=70, random_lengths=True)
    lengths = data.lengths(torch.Generator().manual_seed(0))
    drawn = np.array([next(lengths) for _ in range(4000)])
    short = drawn < 52
    assert abs(short.mean() - 0.05) < 0.012 and drawn.min() >= 5
    assert abs(drawn[~short].mean() - 69.5) < 0.3 and abs(drawn[~short].std() - 5) < 0.3
    assert abs(drawn[short].mean() - 34.5) < 1.5
    few = text_data([np.arange(9)], False, steps_a_chunk=1, random_lengths=True)
    assert {next(few.lengths(torch.Generator().manual_seed(i))) for i in range(50)} >= {5}


def test_predictions_stay_within_memory() -> None:
    data = text_data([np.arange(2, 5000)], False, vocabulary_size=2**14)
    assert [len(chunk.inputs.values) for chunk in data.prediction_batches()] == [1024] * 4 + [902]
