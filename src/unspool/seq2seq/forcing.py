"""Teacher forcing with a schedule: which tokens the decoder is given in training, the target's or its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.nn import draws
from unspool.ragged import Ragged
from unspool.seq2seq.network import EncoderDecoder
from unspool.training import Callback
from unspool.training.schedules import SCHEDULES


def share(schedule: str, end: float, epoch: int, epochs: int) -> float:
    """The target's share of the tokens that the decoder is given in an epoch, from 1 to `epochs`; schedule: one of
    `FORCING_SCHEDULES`."""
    if schedule == "constant":
        return end
    return end + (1 - end) * SCHEDULES[schedule]((epoch - 1) / max(1, epochs - 1))


class ScheduledSampling(Callback):
    """Sets the share of `Forced` at the beginning of each epoch (Bengio et al. 2015, arXiv:1506.03099, section 2.4)."""

    def __init__(self, schedule: str, end: float) -> None:
        self.schedule, self.end = schedule, end
        self.depends_on_epochs = schedule != "constant"

    def on_epoch_begin(self, trainer: Any) -> None:
        trainer.network.share = share(self.schedule, self.end, trainer.epoch, trainer.settings.epochs)


class Forced(nn.Module):
    """An `EncoderDecoder` in training. share: the probability that a step is given the target's token; otherwise it is
    given one that the decoder drew at the step before, after the target's tokens.

    So drawn, all steps at once, a target takes two passes of the decoder, not one for each step (Duckworth et al. 2019,
    arXiv:1906.04331, one pass of parallel scheduled sampling).
    """

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network
        self.embedding = network.embedding  # what the training loop may update by rows
        self.share = 1.0

    def forward(self, source: Ragged, tokens: Ragged) -> Ragged:
        """As `EncoderDecoder`."""
        memory, state = self.network.encode(source)
        if self.training and self.share < 1:
            with torch.no_grad():
                scores = self.network.decode(tokens, memory, state).values
            tokens = tokens.with_values(mixed(tokens, scores, self.share))
        return self.network.decode(tokens, memory, state)


def mixed(tokens: Ragged, scores: Tensor, share: float) -> Tensor:
    """(M,): each of the tokens with probability `share`, otherwise one drawn from the scores (M, V) of the step before.

    The first of a sequence, the mark, stays.
    """
    drawn = draws.apart(lambda: torch.multinomial(scores.softmax(1), 1)).squeeze(1).roll(1)
    device = scores.device
    kept = draws.steps(lambda n: torch.rand(n, device=device), tokens.offsets) < share
    firsts = tokens.offsets[:-1]
    kept[firsts[tokens.lengths > 0].to(device)] = True
    return torch.where(kept, tokens.values, drawn)


class TokenLoss:
    """The mean of -log p(token) over all steps, in nats; while `network` trains, with the share `smoothing` of each
    target spread over all tokens."""

    def __init__(self, network: nn.Module, smoothing: float = 0.0) -> None:
        self.network, self.smoothing = network, smoothing

    def __call__(self, scores: Any, targets: Any, weights: Any = None) -> Tensor:
        """scores (M, V) and targets (M,) of B pairs; weights (B,): of the pairs, None: 1."""
        smoothing = self.smoothing if self.network.training else 0.0
        if weights is None:
            return F.cross_entropy(scores.values, targets.values, label_smoothing=smoothing)
        each = F.cross_entropy(scores.values, targets.values, label_smoothing=smoothing, reduction="none")
        return (each * weights[targets.owners()]).mean()
