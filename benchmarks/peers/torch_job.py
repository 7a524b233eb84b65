"""Plain PyTorch, as its users write it, in the ways they choose from:

packed    pack_padded_sequence(enforce_sorted=False): right for both directions
padded    each batch padded on the right to its longest text; the forward direction's state is taken at each
          text's own last word, the backward direction starts in the pads
tuned     padded, with batches of similar length, fused Adam, and sparse updates of the embedding
unspool   packed, with `unspool.nn.LSTM` in the place of `torch.nn.LSTM` and nothing else changed
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

from peers.data import MAX_WORDS, Part, SeedData

BATCH_SIZE = 16
BUCKET = 50 * BATCH_SIZE  # texts sorted by length inside a bucket of this many


def lstm_class(variant: str) -> type[nn.Module]:
    if variant != "unspool":
        return nn.LSTM
    import unspool

    return unspool.nn.LSTM


class Model(nn.Module):
    def __init__(self, variant: str) -> None:
        super().__init__()
        self.packed = variant in ("packed", "unspool")
        self.embedding = nn.Embedding(MAX_WORDS, 256, padding_idx=0, sparse=variant == "tuned")
        self.lstm = lstm_class(variant)(256, 256, batch_first=True, bidirectional=True)
        self.dense = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """ids (B, T), lengths (B,) -> (B,)"""
        x = self.embedding(ids)
        if self.packed:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, (h, _) = self.lstm(packed)
            forward, backward = h[0], h[1]
        else:
            output, _ = self.lstm(x)
            forward = output[torch.arange(len(ids)), lengths - 1, :256]
            backward = output[:, 0, 256:]
        return self.dense(torch.cat([forward, backward], dim=1)).squeeze(1)


class Adam:
    """Adam 1e-3; for "tuned", fused, and SparseAdam for the embedding."""

    def __init__(self, model: Model, variant: str) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        if variant == "tuned":
            dense = [p for name, p in model.named_parameters() if not name.startswith("embedding")]
            self.parts.append(torch.optim.Adam(dense, lr=1e-3, fused=True))
            self.parts.append(torch.optim.SparseAdam(model.embedding.parameters(), lr=1e-3))
        else:
            self.parts.append(torch.optim.Adam(model.parameters(), lr=1e-3))

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()


class SimilarLengths:
    """Batches of similar length, as lists of indices: sorted in shuffled buckets, batches then shuffled."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self.lengths)).numpy()
        buckets = [order[i : i + BUCKET] for i in range(0, len(order), BUCKET)]
        order = np.concatenate([b[np.argsort(self.lengths[b], kind="stable")] for b in buckets])
        batches = [order[i : i + BATCH_SIZE].tolist() for i in range(0, len(order), BATCH_SIZE)]
        return iter([batches[i] for i in torch.randperm(len(batches))])

    def __len__(self) -> int:
        return -(-len(self.lengths) // BATCH_SIZE)


def collate(rows: list[tuple[torch.Tensor, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids, y = zip(*rows, strict=True)
    lengths = torch.tensor([len(row) for row in ids])
    return pad_sequence(list(ids), batch_first=True), lengths, torch.tensor(y, dtype=torch.float32)


def loader(data: SeedData, part: Part, variant: str, shuffle: bool) -> DataLoader:
    rows: Any = list(zip(map(torch.from_numpy, part.ids), data.scaled(part), strict=True))
    if shuffle and variant == "tuned":
        similar = SimilarLengths(np.array([len(ids) for ids in part.ids]))
        return DataLoader(rows, batch_sampler=similar, collate_fn=collate)
    return DataLoader(rows, batch_size=BATCH_SIZE, shuffle=shuffle, collate_fn=collate)


def train_epoch(model: Model, adam: Adam, batches: DataLoader) -> float:
    """One pass over `batches`; returns its seconds."""
    start = time.perf_counter()
    model.train()
    for ids, lengths, y in batches:
        loss = nn.functional.mse_loss(model(ids, lengths), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return time.perf_counter() - start


@torch.no_grad()
def predict(model: Model, batches: DataLoader) -> np.ndarray:
    model.eval()
    return torch.cat([model(ids, lengths) for ids, lengths, _ in batches]).numpy()


def quality(data: SeedData, seed: int, max_epochs: int, variant: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = Model(variant)
    adam = Adam(model, variant)
    train = loader(data, data.train, variant, shuffle=True)
    dev = loader(data, data.dev, variant, shuffle=False)
    losses: list[float] = []
    seconds: list[float] = []
    best = model.state_dict()
    for _ in range(max_epochs):
        seconds.append(train_epoch(model, adam, train))
        losses.append(float(np.mean((predict(model, dev) - data.scaled(data.dev)) ** 2)))
        if losses[-1] == min(losses):
            best = copy.deepcopy(model.state_dict())
        if len(losses) - 1 - int(np.argmin(losses)) >= 3:
            break
    model.load_state_dict(best)
    prediction = data.unscaled(predict(model, loader(data, data.test, variant, shuffle=False)))
    return {"prediction": prediction, "validation_loss": losses, "train_seconds": seconds}


def speed(data: SeedData, part: Part, seed: int, variant: str) -> Callable[[], float]:
    """Warm up, by a whole pass because oneDNN builds a kernel for every new number of time steps; the
    function returned trains one pass over `part` and returns its seconds.
    """
    torch.manual_seed(seed)
    model = Model(variant)
    adam = Adam(model, variant)
    batches = loader(data, part, variant, shuffle=variant == "tuned")
    train_epoch(model, adam, batches)
    return lambda: train_epoch(model, adam, batches)
