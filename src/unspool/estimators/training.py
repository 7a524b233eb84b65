"""The training loop, on skorch: its epochs, callbacks, early stopping; own batches, loss and optimisers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.estimators.batching import Batch, PredictionBatches, SequenceData, TrainingBatches
from unspool.estimators.by_rows import choose, rows_of_batches
from unspool.estimators.divergence import DivergenceError, first_bad_value
from unspool.estimators.network import SequenceNetwork
from unspool.estimators.optimizers import RowAdam, clip_gradients
from unspool.estimators.progress import Progress


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know of the estimator's parameters."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float | None
    gradient_clip_value: float | None
    patience: int | None
    verbose: int


@dataclass(frozen=True)
class Outcome:
    """history: one dict an epoch; best_epoch: the one whose weights were kept; interrupted: by Ctrl-C."""

    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool


class SequenceLoss(nn.Module):
    """Mean over the batch of squared errors (float targets (B, K)) or cross-entropies (classes (B,))."""

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        if target.is_floating_point():
            each = F.mse_loss(prediction, target, reduction="mean" if weight is None else "none")
            return each if weight is None else (each.mean(1) * weight).mean()
        each = F.cross_entropy(prediction, target, reduction="mean" if weight is None else "none")
        return each if weight is None else (each * weight).mean()


class Trainer(NeuralNet):
    """skorch's NeuralNet over `SequenceData`, without its records of every batch.

    With a tiny model the loop and the making of batches take 0.2 ms a batch, beside forward, backward,
    clipping and optimisers (1,008 batches of 16 texts, one thread).
    """

    def __init__(
        self, *args: Any, settings: Settings, seed: int, by_rows: nn.Embedding | None = None, **kwargs: Any
    ) -> None:
        """by_rows: the embedding of the module, if it is to be trained within `rows_of_batches`."""
        self.settings = settings
        self.by_rows = by_rows
        self.generator = torch.Generator().manual_seed(seed)
        self.interrupted = False
        super().__init__(*args, **kwargs)

    @property
    def _default_callbacks(self) -> list:
        return []

    def initialize_optimizer(self, triggered_directly: Any = None) -> Trainer:
        """AdamW (fused) for dense gradients, `RowAdam` for an embedding with sparse ones."""
        parameters = {p: None for p in self.module_.parameters() if p.requires_grad}
        sparse = [m.weight for m in self.module_.modules() if isinstance(m, nn.Embedding) and m.sparse]
        moving = [] if self.by_rows is None else [self.by_rows.weight]
        dense = [p for p in parameters if not any(p is s for s in [*sparse, *moving])]
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self.optimizer_ = torch.optim.AdamW(dense, lr=rate, weight_decay=decay, fused=True)
        if sparse:
            self.embedding_optimizer_ = RowAdam(sparse, lr=rate, weight_decay=decay)
        if moving:
            self.row_optimizer_ = RowAdam(moving, lr=rate, weight_decay=decay, untouched="moving")
        self._trained = [*dense, *sparse, *moving]
        return self

    def get_iterator(self, dataset: SequenceData, training: bool = False) -> Iterable[Batch]:
        if training:
            return TrainingBatches(dataset, self.settings.batch_size, self.generator)
        return PredictionBatches(dataset)

    def train_step(self, batch: Batch, **_: Any) -> dict[str, Any]:
        """One step of the optimisers, unless the loss or a gradient is not finite."""
        self._zero_grad_optimizer()
        prediction = self.module_(batch.inputs)
        loss = self.criterion_(prediction, batch.targets, batch.weights)
        loss.backward()
        norm = clip_gradients(self._trained, self.settings.gradient_clip, self.settings.gradient_clip_value)
        value = loss.item()
        if math.isfinite(value) and math.isfinite(norm):
            self._step_optimizer(None)
        return {"loss": value, "gradient_norm": norm, "prediction": prediction}

    def validation_step(self, batch: Batch, **_: Any) -> dict[str, Any]:
        with torch.inference_mode():
            prediction = self.module_(batch.inputs)
            loss = self.criterion_(prediction, batch.targets, batch.weights)
            return {"loss": loss.item(), "gradient_norm": 0.0, "prediction": prediction}

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **_: Any) -> None:
        """Records the mean loss over the rows, the gradients' norms before clipping, and the seconds.

        `DivergenceError` where the loss or a gradient is not finite.
        """
        if iterator is None:
            return
        self.module_.train(training)
        started = time.perf_counter()
        total, rows = 0.0, 0
        norms = []
        for number, batch in enumerate(iterator, 1):
            step = step_fn(batch)
            if not (math.isfinite(step["loss"]) and math.isfinite(step["gradient_norm"])):
                self._diverged(step, batch, iterator.data, number, training)
            total += step["loss"] * len(batch.rows)
            rows += len(batch.rows)
            norms.append(step["gradient_norm"])
            self.notify("on_batch_end", batch=batch, training=training)
        if training and self.by_rows is not None:
            self.row_optimizer_.catch_up_all()
        self.history.record(prefix + "_loss", total / rows)
        self.history.record(prefix + "_gradient_norm", sum(norms) / len(norms))
        self.history.record(prefix + "_gradient_norm_max", max(norms))
        self.history.record(prefix + "_seconds", time.perf_counter() - started)

    def fit_loop(self, *args: Any, **kwargs: Any) -> Trainer:
        by_rows = self.by_rows
        around = nullcontext() if by_rows is None else rows_of_batches(by_rows, self.row_optimizer_)
        try:
            with around:
                return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            stops = [c for _, c in self.callbacks_ if isinstance(c, EarlyStopping)]
            self.interrupted = not any(c.misses_ >= c.patience for c in stops)
            raise

    def _diverged(
        self, step: dict[str, Any], batch: Batch, data: SequenceData, number: int, training: bool
    ) -> None:
        where = f"batch {number}" if training else f"batch {number} of the validation part"
        what, value = ("loss", step["loss"])
        if math.isfinite(value):
            what, value = "norm of the gradients", step["gradient_norm"]
        clip = self.settings.gradient_clip
        raise DivergenceError(
            f"The {what} became {value} in epoch {len(self.history)}, {where}. "
            f"{first_bad_value(self.module_, batch, data, step['prediction'], step['loss'])} "
            f"Try a smaller learning_rate (now {self.settings.learning_rate:g}) or gradient_clip (now {clip})."
        )


def train(
    network: SequenceNetwork,
    training: SequenceData,
    validation: SequenceData | None,
    settings: Settings,
    seed: int,
) -> Outcome:
    """Train `network` in place; with a validation part the weights of its best epoch are kept.

    `settings.patience` epochs without a better validation loss end the training; None: all epochs run.
    Ctrl-C ends it too. Raises `DivergenceError`.
    """
    progress = Progress(settings.verbose, -(-len(training) // settings.batch_size))
    callbacks: list[Any] = [progress]
    if validation is not None:
        never = settings.epochs + 1
        patience = never if settings.patience is None else settings.patience
        stop = EarlyStopping(patience=patience, threshold=0, load_best=True, sink=_quiet)
        callbacks.append(stop)
    trainer = Trainer(
        network,
        SequenceLoss,
        max_epochs=settings.epochs,
        train_split=None if validation is None else predefined_split(validation),
        callbacks=callbacks,
        verbose=0,
        settings=settings,
        seed=seed,
        by_rows=choose(network, training, settings),
    )
    try:
        trainer.fit(training)
    finally:
        progress.close()
    network.eval()
    history = _history(trainer, settings.learning_rate, validation is not None)
    best = stop.best_epoch_ if validation is not None else len(history)
    if trainer.interrupted:
        kept = (
            f"the weights of epoch {best} are kept" if best else "no epoch was complete; its weights are kept"
        )
        print(f"Interrupted: {kept}.", flush=True)
    elif settings.verbose and len(history) < settings.epochs:
        print(f"Stopped early: the weights of epoch {best} are kept.", flush=True)
    return Outcome(history, best, trainer.interrupted)


def _history(trainer: Trainer, learning_rate: float, validated: bool) -> list[dict[str, float]]:
    """The complete epochs."""
    last = "valid_seconds" if validated else "train_seconds"
    epochs = []
    for row in trainer.history:
        if last not in row:
            break
        epoch = {"epoch": row["epoch"], "train_loss": row["train_loss"]}
        if validated:
            epoch["validation_loss"] = row["valid_loss"]
        epoch["gradient_norm"] = row["train_gradient_norm"]
        epoch["gradient_norm_max"] = row["train_gradient_norm_max"]
        epoch["learning_rate"] = learning_rate
        epoch["train_seconds"] = row["train_seconds"]
        epoch["seconds"] = row["train_seconds"] + row.get("valid_seconds", 0.0)
        epochs.append(epoch)
    return epochs


def _quiet(*_: Any) -> None:
    """EarlyStopping's own messages; `train` prints its own."""
