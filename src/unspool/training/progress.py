"""One line an epoch, and on a terminal a bar within it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from unspool.training.callbacks import Callback, shortfall

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from unspool.training.batches import Batch
    from unspool.training.loop import Trainer


class Progress(Callback):
    """verbose 0: silent; 1: a line an epoch to stdout, "*" marking the best epoch so far."""

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = verbose
        self.bar: Bar | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        if self.verbose and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Bar(*columns, transient=True)
            self.task = self.bar.add_task("epoch 1", total=1)
            self.bar.start()

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if self.bar is not None:
            batches = trainer.training.steps(trainer.settings.batch_size)
            self.bar.reset(self.task, total=batches, description=f"epoch {trainer.epoch}")
        elif self.verbose and trainer.epoch == 1:
            validation = trainer.validation
            valid = "" if validation is None else f", {len(validation):,} to validate"
            print(f"{len(trainer.training):,} sequences to train{valid}", flush=True)

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        if self.bar is not None:
            self.bar.advance(self.task)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if not self.verbose:
            return
        row = trainer.history[-1]
        line = f"epoch {row['epoch']:3d}   train loss {row['train_loss']:.4f}"
        if "validation_loss" in row:
            better = shortfall(row) < min(map(shortfall, trainer.history[:-1]), default=float("inf"))
            line += f"   validation loss {row['validation_loss']:.4f}"
            if "validation_score" in row:
                line += f"   score {row['validation_score']:.4f}"
            line += " *" if better else "  "
        line += f"   {row['train_seconds']:.1f} s"
        (self.bar.print if self.bar is not None else print)(line)

    def on_train_end(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.stop()
