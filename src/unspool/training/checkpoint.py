"""The state of a training on disk, from which another process goes on with the same numbers."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspool.errors import ModelFileError, bad_parameter
from unspool.files import alone
from unspool.training import checkpoint_file
from unspool.training.callbacks import Callback
from unspool.training.depends import compare, dependencies
from unspool.training.state import WRONG, restore, state_of
from unspool.training.termination import on_sigterm

if TYPE_CHECKING:
    from unspool.training.batches import Batch
    from unspool.training.loop import Trainer

Every = int | str | None


class Checkpoint(Callback):
    """Writes the state of the training to `path`: weights, optimisers, random generators, history, callbacks, batches.

    every: steps (an int, or text such as "500"), or seconds ("60s"); None: after each epoch. In any case at the end of
    the training, and at SIGTERM, after the step going on: the process then ends with exit code 143 (in the main thread,
    where SIGTERM has no other handler).

    Where `path` exists when a training begins, it goes on from there, and ends with the very numbers of one that was
    never interrupted, whenever the process was ended, in the middle of an epoch or of a write. Data, seed, network and
    settings must be the same; only epochs may differ, and these only where the learning rate has no schedule. Several
    trainings one after the other, such as those of an ensemble, are kept together. The last of the callbacks.

    Two files are kept: `path`, and `path`.previous, which is taken where the newest is damaged, with a warning. Each
    has a checksum, tensors and plain values only: nothing in it is run. A warning names what differs of the versions,
    the processor's instructions and the threads, since the last bits may then differ.

    parameters: of the estimator; compared too, by name.

    Raises `ModelFileError` where both files are damaged or of another training, or another process trains with them
    (`path`.lock is there meanwhile), `OSError` where they cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: Every = None, parameters: dict[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self.steps, self.seconds = interval("Checkpoint", every)
        self.parameters = parameters or {}
        self.trainings: list[dict[str, Any]] | None = None
        self.number = -1
        self.kept: Any = None
        self.release: Callable[[], None] = lambda: None
        self.lock = ExitStack()

    def on_train_begin(self, trainer: Trainer) -> None:
        self.number += 1
        self.depends = dependencies(trainer, self.parameters)
        told = f"Another process trains with the checkpoint {str(self.path)!r}."
        told += " Wait for it, end it, or choose another file."
        trainer.parallel.once(lambda: self.lock.enter_context(alone(self.path, told)))
        if self.trainings is None:
            self.trainings = trainer.parallel.once(lambda: _trainings(self.path))
        if self.number < len(self.trainings):
            found = self.trainings[self.number]
            compare(self.path, found["depends"], self.depends)
            self.kept = found["state"]
            self._restore(trainer)
        self._saved(trainer)
        self.release = on_sigterm(lambda: setattr(trainer, "terminate", True))

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if self.kept is not None:
            # Once more within an epoch: what callbacks do at its beginning, they had done before the checkpoint.
            if self.kept["within"] is not None:
                self._restore(trainer)
                trainer.epoch = len(trainer.history) + 1
            self.kept = None

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        if (self.steps or self.seconds) and self._due(trainer):
            self._save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.stop = trainer.parallel.sum(trainer.stop, trainer) > 0
        last = trainer.stop or len(trainer.history) >= trainer.settings.epochs
        if last or self._due(trainer):
            self._save(trainer, last)

    def on_terminate(self, trainer: Trainer) -> None:
        self._save(trainer)
        if trainer.parallel.first:
            print(f"Terminated: the training so far is kept in {self.path}.", flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        self.kept = None
        self.release()
        self.lock.close()

    def _due(self, trainer: Trainer) -> bool:
        """After so many steps or seconds since the last one; always, if neither is told."""
        if self.steps:
            return trainer.steps - self.at_step >= self.steps
        return not self.seconds or trainer.parallel.agreed(time.monotonic() - self.at_time >= self.seconds)

    def _save(self, trainer: Trainer, last: bool = False) -> None:
        assert self.trainings is not None
        state = state_of(trainer)
        if last:  # it is written again with the trainings after this one
            state = copy.deepcopy(state)
        # Later ones, if there were any, began where this one then ended.
        self.trainings[self.number :] = [{"depends": self.depends, "state": state}]
        kept = {"trainings": self.trainings}
        trainer.parallel.once(lambda: checkpoint_file.write(self.path, kept))
        self._saved(trainer)

    def _saved(self, trainer: Trainer) -> None:
        self.at_step, self.at_time = trainer.steps, time.monotonic()

    def _restore(self, trainer: Trainer) -> None:
        try:
            restore(trainer, self.kept)
        except ModelFileError as error:
            raise ModelFileError(
                f"Cannot go on from the checkpoint {str(self.path)!r}: {error} Remove it, and the training starts anew."
            ) from error


def interval(owner: str, every: Every) -> tuple[int, float]:
    """(steps, seconds) of `every`, one of them 0; both for None. `InvalidParameterError` for anything else."""
    if every is None:
        return 0, 0.0
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?) *(s|steps)?", str(every))
    if found is not None and not isinstance(every, bool):
        number, unit = found.groups()
        if unit == "s" and float(number) > 0:
            return 0, float(number)
        if unit != "s" and number.isdecimal() and int(number) > 0:
            return int(number), 0.0
    expected = "steps, such as 500, or seconds, such as '60s', or None for each epoch"
    bad_parameter(owner, "checkpoint_every", expected, every)


def checkpoints(model: Any, path: str | os.PathLike[str] | None, every: Every) -> Sequence[Checkpoint]:
    """What an estimator's `fit` adds to its callbacks for `checkpoint` and `checkpoint_every`."""
    owner = type(model).__name__
    interval(owner, every)
    if path is None:
        if every is not None:
            bad_parameter(
                owner, "checkpoint_every", "None without checkpoint", every, "Give checkpoint a file."
            )
        return []
    if os.path.isdir(path):
        bad_parameter(
            owner, "checkpoint", "the name of a file", os.fspath(path), "That is a folder: name a file in it."
        )
    return [Checkpoint(path, every, model.get_params(deep=False))]


def _trainings(path: Path) -> list[dict[str, Any]]:
    found = checkpoint_file.read(path)
    if found is None:
        return []
    try:
        trainings = found["trainings"]
        if isinstance(trainings, list) and all(set(one) == {"depends", "state"} for one in trainings):
            return trainings
    except WRONG:
        pass
    raise ModelFileError(f"{str(path)!r} holds no checkpoint. Choose another file.")
