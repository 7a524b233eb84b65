"""What is called as a training goes on: the protocol, and the callback that keeps the best weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from unspool.errors import bad_parameter

if TYPE_CHECKING:
    from unspool.training.batches import Batch
    from unspool.training.loop import Trainer


class Callback:
    """Base of all callbacks: each method does nothing, so define the ones that you need.

    `trainer` is the training as it stands (see `Trainer`): `trainer.history` has the complete epochs,
    `trainer.network` the module, `trainer.learning_rate` may be set, and `trainer.stop = True` ends the training
    after this epoch. The order of calls:

        on_train_begin, then for each epoch: on_epoch_begin, on_batch_end (after each step of the optimisers),
        on_epoch_end (`trainer.history[-1]` is this epoch); at last on_train_end, also after Ctrl-C
        (`trainer.interrupted`) and after an error (`trainer.failed`). on_terminate: see there.

    `state_dict` and `load_state_dict` are what a `Checkpoint` keeps: plain numbers, strings, lists, dicts, tensors.
    `depends_on_epochs`: whether what it does before the last epoch depends on how many epochs there are in all.
    """

    depends_on_epochs = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before the first batch of an epoch; `trainer.epoch` is its number, from 1."""

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        """After a training batch; its gradients, clipped, are still there."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After training and validation of an epoch."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last epoch, whatever ended the training."""

    def on_terminate(self, trainer: Trainer) -> None:
        """`trainer.terminate` was set, as SIGTERM does under a `Checkpoint`: after the step going on, all weights the
        trained ones. The process then ends."""

    def state_dict(self) -> dict[str, Any]:
        """What the callback remembers from one step to the next."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what `state_dict` gave."""


def check_callbacks(owner: str, callbacks: Any) -> None:
    """`InvalidParameterError` unless these are `Callback` objects, not their classes."""
    good = isinstance(callbacks, (list, tuple)) and all(isinstance(c, Callback) for c in callbacks)
    if not good:
        bad_parameter(owner, "callbacks", "a list of unspool.training.Callback objects", callbacks)


def shortfall(row: dict[str, float]) -> float:
    """What is least in the best epoch: the validation loss of its row in the history, or minus its score."""
    return -row["validation_score"] if "validation_score" in row else row["validation_loss"]


class KeepBest(Callback):
    """Keeps the weights of the epoch of least validation loss, and puts them back at the end; of the largest
    "validation_score", where the trainer has a score.

    patience: so many epochs in a row without a better one stop the training; None: none do.
    `epoch` is the best one so far, 0 before there is any.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.loss, self.epoch, self.waited = float("inf"), 0, 0
        self.weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, trainer: Trainer) -> None:
        loss = shortfall(trainer.history[-1])
        if loss < self.loss:
            self.loss, self.epoch, self.waited = loss, trainer.epoch, 0
            self.weights = trainer.weights()
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.stop = True

    def on_train_end(self, trainer: Trainer) -> None:
        if self.weights is not None and not trainer.failed:
            trainer.network.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        names = ("loss", "epoch", "waited", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss, self.epoch = float(state["loss"]), int(state["epoch"])
        self.waited, self.weights = int(state["waited"]), state["weights"]
