"""The targets that a fitted model writes for sources: options checked, sources read, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.errors import (
    RowsWarning,
    bad_parameter,
    check_choice,
    check_fitted,
    check_float,
    check_int,
    warn_caller,
)
from unspool.program import surroundings
from unspool.ragged import Ragged
from unspool.seq2seq.beams import EARLY_STOPPING, Beams, beam_search
from unspool.seq2seq.decoding import Found, greedy
from unspool.seq2seq.pairs import ragged
from unspool.seq2seq.reading import OWNER, read_list
from unspool.training import PredictionBatches, SequenceData
from unspool.training.device import asking

if TYPE_CHECKING:
    from unspool.seq2seq.estimator import Seq2Seq

ROWS = 1024  # that decode side by side, beams counted


@surroundings.defaults()
def best_targets(
    model: Seq2Seq,
    X: Any,
    num_beams: int,
    length_penalty: float,
    early_stopping: bool | str,
    max_new_tokens: int | None,
    num_return_sequences: int = 1,
) -> list[list[Found]]:
    """The best targets of each source, in the order of X; see `Seq2Seq.predict`, which says what is raised."""
    check_fitted(model)
    K, wanted = (
        check_int(OWNER, "num_beams", num_beams),
        check_int(OWNER, "num_return_sequences", num_return_sequences),
    )
    limit = (
        2 * model.longest_ if max_new_tokens is None else check_int(OWNER, "max_new_tokens", max_new_tokens)
    )
    check_float(OWNER, "length_penalty", length_penalty, -np.inf, np.inf, "neither")
    check_choice(OWNER, "early_stopping", early_stopping, EARLY_STOPPING)
    if wanted > K:
        bad_parameter(OWNER, "num_return_sequences", f"at most num_beams, {K}", wanted)
    for name, value, off in (
        ("length_penalty", length_penalty, 1.0),
        ("early_stopping", early_stopping, False),
    ):
        if K == 1 and value != off:
            bad_parameter(OWNER, name, f"left at {off} with num_beams=1: it ranks beams", value)
    sources = _encode(model, X)
    if not len(sources):
        return []
    beams = Beams(K, limit, length_penalty, early_stopping, wanted)
    found: list[list[Found]] = [[] for _ in range(len(sources))]
    size = max(1, ROWS // K)
    with asking(model) as network, torch.inference_mode():
        for batch in PredictionBatches(SequenceData(sources)):
            for start in range(0, len(batch.rows), size):
                part = slice(start, start + size)
                if K == 1:
                    best = [[one] for one in greedy(network, batch.inputs[part], limit)]
                else:
                    best = beam_search(network, batch.inputs[part], beams)
                for row, targets in zip(batch.rows[part].tolist(), best):
                    found[row] = targets
    cut = sum(not row[0].ended for row in found)
    if cut:
        what = f"predictions did not come to an end within {limit} tokens and are cut there."
        warn_caller(RowsWarning(cut, len(found), what))
    return found


def _encode(model: Seq2Seq, X: Any) -> Ragged:
    ids = [model.source_.encode(text) for text in read_list(X, "X")]
    unknown = sum(model.source_.unknown(row) > 0 for row in ids)
    if unknown:
        what = (
            "sources hold a token that the training part had not, or rarely; it is read as the unknown token."
        )
        warn_caller(RowsWarning(unknown, len(ids), what))
    return ragged(ids)
