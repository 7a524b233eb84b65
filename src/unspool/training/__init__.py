"""The training loop: batches of uneven sequences, optimisers, callbacks, early stopping, checkpoints."""

from __future__ import annotations

from unspool.training.batches import Batch, PredictionBatches, SequenceData, TrainingBatches
from unspool.training.callbacks import Callback, KeepBest
from unspool.training.checkpoint import Checkpoint
from unspool.training.divergence import DivergenceError
from unspool.training.loop import Trainer, train
from unspool.training.settings import Outcome, Settings

__all__ = [
    "Batch",
    "Callback",
    "Checkpoint",
    "DivergenceError",
    "KeepBest",
    "Outcome",
    "PredictionBatches",
    "SequenceData",
    "Settings",
    "Trainer",
    "TrainingBatches",
    "train",
]
