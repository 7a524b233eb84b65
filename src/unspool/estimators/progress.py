"""One line an epoch, and on a terminal a bar within it."""

from __future__ import annotations

import sys
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from skorch.callbacks import Callback


class Progress(Callback):
    """verbose 0: silent; 1: a line an epoch to stdout, "*" marking the best validation loss so far."""

    def __init__(self, verbose: int = 1, batches: int = 1) -> None:
        self.verbose, self.batches = verbose, batches

    def on_train_begin(self, net: Any, **_: Any) -> None:
        self.best_ = float("inf")
        self.bar_: Bar | None = None
        if self.verbose and sys.stdout.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self.bar_ = Bar(*columns, transient=True)
            self.task_ = self.bar_.add_task("epoch 1", total=self.batches)
            self.bar_.start()

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **_: Any
    ) -> None:
        if self.bar_ is not None:
            self.bar_.reset(self.task_, total=self.batches, description=f"epoch {len(net.history)}")
        elif self.verbose and len(net.history) == 1:
            valid = "" if dataset_valid is None else f", {len(dataset_valid):,} to validate"
            print(f"{len(dataset_train):,} sequences to train{valid}", flush=True)

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        if training and self.bar_ is not None:
            self.bar_.advance(self.task_)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        if not self.verbose:
            return
        row = net.history[-1]
        line = f"epoch {row['epoch']:3d}   train loss {row['train_loss']:.4f}"
        if "valid_loss" in row:
            better = row["valid_loss"] < self.best_
            self.best_ = min(self.best_, row["valid_loss"])
            line += f"   validation loss {row['valid_loss']:.4f}{' *' if better else '  '}"
        line += f"   {row['train_seconds']:.1f} s"
        (self.bar_.print if self.bar_ is not None else print)(line)

    def close(self) -> None:
        """Take the bar off the screen, whatever ended the training."""
        if getattr(self, "bar_", None) is not None:
            self.bar_.stop()  # type: ignore[union-attr]
