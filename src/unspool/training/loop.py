"""The loop: epochs over batches, a step of the optimisers each, validation, callbacks."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from unspool.training.averaging import MovingAverage
from unspool.training.batches import Batch, SequenceData
from unspool.training.by_rows import embedding_by_rows, rows_of_batches
from unspool.training.callbacks import Callback, KeepBest
from unspool.training.device import device_of
from unspool.training.divergence import DivergenceError, first_bad_value
from unspool.training.optimizers import RowAdam, clip_gradients, make_optimizers
from unspool.training.parallel import find
from unspool.training.progress import Progress
from unspool.training.schedules import factor
from unspool.training.settings import Loss, Outcome, Settings
from unspool.training.state import Pass, skip
from unspool.training.termination import Terminated


class Trainer:
    """One training of a network, as callbacks see it.

    network: the module, which takes a Ragged; `network.embedding` is its embedding or None. loss: see `Loss`.
    training, validation (or None): the parts. settings, seed. history: a dict for each complete epoch. epoch: the
    number of the one going on, from 1. steps: batches so far. average: of the weights, or None. stop: True ends the
    training after this epoch. interrupted: by Ctrl-C. failed: by an error. within: the pass going on, or None between
    epochs. terminate: True ends the process after the step going on, with exit code 143, once callbacks know. score: of
    the network as it would be saved, better the larger; computed after each validation, and the best epoch's weights
    are then those of the best score.

    With a tiny model the loop and the making of batches take 0.2 ms a batch, beside forward, backward,
    clipping and optimisers (1,008 batches of 16 texts, one thread).
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        training: SequenceData,
        validation: SequenceData | None,
        settings: Settings,
        seed: int,
        callbacks: Sequence[Callback] = (),
        score: Callable[[], float] | None = None,
    ) -> None:
        self.score = score
        self.network, self.loss, self.settings, self.seed = network, loss, settings, seed
        self.training, self.validation = training, validation
        self.callbacks = list(callbacks)
        self.generator = torch.Generator().manual_seed(seed)
        self.by_rows = embedding_by_rows(network, training, settings)
        self.optimizers = make_optimizers(network, self.by_rows, settings)
        self.device = device_of(network)
        self.trained = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        self.parallel = find()
        self.average = MovingAverage(network, settings.average) if settings.average else None
        self.steps = 0
        self.history: list[dict[str, float]] = []
        self.epoch = 0
        self.stop = self.interrupted = self.failed = self.terminate = False
        self.within: Pass | None = None

    @property
    def learning_rate(self) -> float:
        """Of every optimiser; what is set counts from the next step on."""
        return self.optimizers[0].param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in [group for optimizer in self.optimizers for group in optimizer.param_groups]:
            group["lr"] = value * group.get("share", 1.0)

    def weights(self) -> dict[str, Any]:
        """What the network would be saved with now: the averaged weights, where they are averaged."""
        with self._averaged():
            return copy.deepcopy(self.network.state_dict())

    def _averaged(self) -> AbstractContextManager:
        return nullcontext() if self.average is None else self.average.in_place()

    def _schedule(self) -> None:
        """Set the learning rate of the coming step, where it is not constant."""
        settings, step = self.settings, self.steps
        if settings.schedule != "constant" or 0 < settings.warmup >= step:
            steps = settings.epochs * self.training.steps(settings.batch_size)
            self.learning_rate = settings.learning_rate * factor(
                settings.schedule, step, steps, settings.warmup
            )

    def run(self) -> None:
        """Train until the last epoch, `stop`, or Ctrl-C. Raises `DivergenceError`."""
        try:
            by_rows = self.by_rows
            with self.parallel.training(self):
                self._notify("on_train_begin")
                with nullcontext() if by_rows is None else rows_of_batches(by_rows, self._row_adam()):
                    while len(self.history) < self.settings.epochs and not self.stop:
                        self.run_epoch()
        except KeyboardInterrupt:
            self.interrupted = True
        except BaseException:
            self.failed = True
            raise
        finally:
            self._notify("on_train_end")
            self.network.eval()

    def run_epoch(self) -> None:
        """One pass over the training part, then one over the validation part."""
        self.epoch, self.within = len(self.history) + 1, None
        self._notify("on_epoch_begin")
        if self.within is None:  # a checkpoint may have put a pass there
            self.within = Pass(self.generator.get_state(), self.learning_rate)
        within = self.within
        self.parallel.begin_epoch()
        validation_seconds = 0.0
        try:
            self._train_pass(within)
            row: dict[str, float] = {"epoch": self.epoch, "train_loss": within.loss / within.targets}
            if self.validation is not None:
                started = time.perf_counter()
                with self._averaged():
                    row["validation_loss"] = self._validation_pass(self.validation)
                    validation_seconds = time.perf_counter() - started
                    if self.score is not None:
                        row["validation_score"] = self.parallel.once(self.score)
        except Terminated:
            self._notify("on_terminate")
            raise
        row |= {
            "gradient_norm": sum(within.norms) / len(within.norms),
            "gradient_norm_max": max(within.norms),
            "learning_rate": within.rate,
        }
        row |= {"train_seconds": within.seconds, "seconds": within.seconds + validation_seconds}
        self.history.append(self.parallel.agreed(row))
        self.within = None
        self._notify("on_epoch_end")
        self.stop = self.parallel.sum(self.stop, self) > 0

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """One step of the optimisers, unless the loss or a gradient is not finite."""
        self._schedule()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with self.parallel.drawing():
            prediction = self.network(*batch.given)
        loss = self.parallel.loss(self.loss, prediction, batch)
        loss.backward()
        value = self.parallel.sum_gradients(self, loss)
        norm = clip_gradients(self.trained, self.settings.gradient_clip, self.settings.gradient_clip_value)
        if math.isfinite(value) and math.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            if self.average is not None:
                self.average.update()
        self.steps += 1
        return {"loss": value, "own": loss.item(), "gradient_norm": norm, "prediction": prediction}

    def validation_step(self, batch: Batch) -> dict[str, Any]:
        """The loss of a batch, nothing learnt."""
        with torch.inference_mode():
            prediction = self.network(*batch.given)
            loss = self.parallel.loss(self.loss, prediction, batch).item()
        value = self.parallel.sum(loss, self)
        return {"loss": value, "own": loss, "gradient_norm": 0.0, "prediction": prediction}

    def _train_pass(self, within: Pass) -> None:
        """Steps of the optimisers over the batches that `within` lacks. Raises `DivergenceError`, `Terminated`."""
        self.network.train()
        started = time.perf_counter() - within.seconds
        self.generator.set_state(within.random)
        batches = iter(self.training.training_batches(self.settings.batch_size, self.generator))
        skip(batches, within, self.parallel)
        for cut in batches:
            own = self.parallel.own(cut)
            batch = own if self.device.type == "cpu" else own.to(self.device)
            step = self.train_step(batch)
            self._check(step, batch, within.batches + 1, training=True)
            within.loss += step["loss"] * cut.count
            within.targets += cut.count
            within.norms.append(step["gradient_norm"])
            within.batches += 1
            within.memory = cut.memory
            within.seconds = time.perf_counter() - started
            self._notify("on_batch_end", batch)
            self.parallel.told(self)
        if self.by_rows is not None:
            self._row_adam().catch_up_all()
        within.seconds = time.perf_counter() - started

    def _validation_pass(self, data: SequenceData) -> float:
        """The mean loss over the targets. Raises `DivergenceError`, `Terminated`."""
        self.network.eval()
        total, targets = 0.0, 0
        for number, cut in enumerate(data.prediction_batches(), 1):
            own = self.parallel.own(cut)
            batch = own if self.device.type == "cpu" else own.to(self.device)
            step = self.validation_step(batch)
            self._check(step, batch, number, training=False)
            total += step["loss"] * cut.count
            targets += cut.count
            self.parallel.told(self)
        return total / targets

    def _row_adam(self) -> RowAdam:
        return next(o for o in self.optimizers if isinstance(o, RowAdam))

    def _notify(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)

    def _check(self, step: dict[str, Any], batch: Batch, number: int, training: bool) -> None:
        """`DivergenceError` where the loss or the gradient of a step is not finite."""
        if math.isfinite(step["loss"]) and math.isfinite(step["gradient_norm"]):
            return
        where = f"batch {number}" if training else f"batch {number} of the validation part"
        what, value = ("loss", step["loss"])
        if math.isfinite(value):
            what, value = "norm of the gradients", step["gradient_norm"]
        data = self.training if training or self.validation is None else self.validation
        clip = self.settings.gradient_clip
        found = first_bad_value(self.network, self.loss, batch, data, step["prediction"], step["own"])
        found = self.parallel.first_fault(math.isfinite(step["own"]), found)
        raise DivergenceError(
            f"The {what} became {value} in epoch {self.epoch}, {where}. {found} "
            f"Try a smaller learning_rate (now {self.settings.learning_rate:g}) or gradient_clip (now {clip})."
        )


def train(
    network: nn.Module,
    loss: Loss,
    training: SequenceData,
    validation: SequenceData | None,
    settings: Settings,
    seed: int,
    callbacks: Sequence[Callback] = (),
    score: Callable[[], float] | None = None,
) -> Outcome:
    """Train `network` in place; with a validation part the weights of its best epoch are kept.

    `settings.patience` epochs without a better validation loss, or score where there is one, end the training; None:
    all epochs run. Ctrl-C ends it too. callbacks: called after our own. Where there are several ranks, see
    `unspool.training.parallel`, rank 0 alone prints. Raises `DivergenceError`, `ParallelError`.
    """
    best = None if validation is None else KeepBest(settings.patience)
    first = find().first
    own = [Progress(settings.verbose if first else 0), *([] if best is None else [best])]
    trainer = Trainer(network, loss, training, validation, settings, seed, [*own, *callbacks], score)
    trainer.run()
    if best is None and trainer.average is not None:
        network.load_state_dict(trainer.weights())
    kept = len(trainer.history) if best is None else best.epoch
    if trainer.interrupted and first:
        whose = (
            f"the weights of epoch {kept} are kept" if kept else "no epoch was complete; its weights are kept"
        )
        print(f"Interrupted: {whose}.", flush=True)
    elif first and settings.verbose and len(trainer.history) < settings.epochs:
        print(f"Stopped early: the weights of epoch {kept} are kept.", flush=True)
    return Outcome(trainer.history, kept, trainer.interrupted)
