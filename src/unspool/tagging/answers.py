"""What a network answers for encoded sentences: tags and labels by name, and their probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from unspool.ragged import Ragged
from unspool.tagging.network import Outputs
from unspool.tagging.reading import Numbers
from unspool.training import SequenceData
from unspool.training.device import CPU, device_of


@dataclass(frozen=True)
class Answers:
    """In the order of the data. tags: n lists. labels (n,), label_probabilities (n, C): None without labels.
    probabilities: of the tags, a Ragged (N, K) of float64, where they were asked for."""

    tags: list[list[str]]
    labels: np.ndarray | None = None
    label_probabilities: np.ndarray | None = None
    probabilities: Ragged | None = None


def answers(network: nn.Module, data: SequenceData, numbers: Numbers, probabilities: bool = False) -> Answers:
    """Of every sentence, batch by batch, where the network is. probabilities: also those of the tags."""
    rows, tags, labels, marginals = [], [], [], []
    device = device_of(network)
    with torch.no_grad():
        for batch in data.prediction_batches():
            outputs: Outputs = network(batch.inputs if device.type == "cpu" else batch.inputs.to(device))
            rows.append(batch.rows)
            tags.append(outputs.best().to(CPU))
            if outputs.labels is not None:
                labels.append(outputs.labels.to(CPU).double().softmax(1))
            if probabilities:
                marginals.append(outputs.probabilities().to(CPU))
    back = torch.cat(rows).argsort()
    chosen = found = None
    if numbers.labels is not None:
        found = torch.cat(labels)[back].numpy()
        chosen = numbers.labels[found.argmax(1)]
    each = Ragged.cat(marginals)[back] if probabilities else None
    return Answers(numbers.tags_of(Ragged.cat(tags)[back]), chosen, found, each)


def none_at_all(numbers: Numbers) -> Answers:
    """Of no sentences."""
    q = None if numbers.labels is None else np.zeros((0, len(numbers.labels)))
    p = Ragged(torch.zeros(0, len(numbers.tags), dtype=torch.float64), [0])
    return Answers([], None if numbers.labels is None else numbers.labels[:0], q, p)
