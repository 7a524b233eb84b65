"""How likely texts are to a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from unspool.errors import DataError, check_fitted
from unspool.generation.vocabulary import UNKNOWN_ID, read_texts
from unspool.program import surroundings
from unspool.training.device import CPU, asking, device_of

if TYPE_CHECKING:
    from unspool.generation.estimator import SequenceGenerator


@surroundings.defaults()
def log_probabilities(model: SequenceGenerator, X: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """(log p of each text, its tokens, unknown tokens in all)."""
    check_fitted(model)
    texts = read_texts(type(model).__name__, X)
    data = model._data(texts)
    counts = data.inputs.lengths.numpy()
    if not counts.sum():
        raise DataError("The texts hold no token. Give a text, or a list of texts.")
    total = torch.zeros(len(texts), dtype=torch.float64)
    with asking(model) as network, torch.inference_mode():
        device = device_of(network)
        for cut in data.prediction_batches():
            chunk = cut.to(device)
            scores = network(*chunk.given).values
            loss = F.cross_entropy(scores, chunk.following.values, reduction="none")
            total.index_add_(0, chunk.rows[cut.inputs.owners()], -loss.to(CPU).double())
    return total.numpy(), counts, int((data.following.values == UNKNOWN_ID).sum())


def measures(model: SequenceGenerator, X: Any) -> dict[str, float]:
    """See `SequenceGenerator.evaluate`."""
    scores, counts, unknown = log_probabilities(model, X)
    characters = sum(map(len, read_texts(type(model).__name__, X)))
    loss = -float(scores.sum())
    per_token, per_character = loss / int(counts.sum()), loss / max(1, characters)
    return {
        "nats_per_token": per_token,
        "perplexity": float(np.exp(per_token)),
        "nats_per_character": per_character,
        "bits_per_character": per_character / float(np.log(2)),
        "tokens": int(counts.sum()),
        "characters": characters,
        "unknown": unknown / int(counts.sum()),
    }
