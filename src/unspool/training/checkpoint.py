"""The state of a training after an epoch, on disk, from which another process goes on with the same numbers."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.files import replacing
from unspool.ragged import Ragged
from unspool.training.callbacks import Callback

if TYPE_CHECKING:
    from unspool.training.batches import SequenceData
    from unspool.training.loop import Trainer

FORMAT = "unspool checkpoint 1"
FREE = ("epochs", "verbose")  # settings that may change from one call to the next


class Checkpoint(Callback):
    """Writes weights, optimisers, random generators, history and callbacks to `path` after each epoch.

    Where `path` exists when a training begins, it goes on after that epoch, and ends with the very numbers of one
    that was never interrupted. Data, seed, network and settings must be the same; only epochs may differ.
    The last of the callbacks. A checksum, then tensors and plain values only: nothing in the file is run.

    Raises `ModelFileError` where the file is damaged or of another training, `OSError` where it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_train_begin(self, trainer: Trainer) -> None:
        self.about = _about(trainer)
        if self.path.exists():
            _restore(trainer, self._read())

    def on_epoch_end(self, trainer: Trainer) -> None:
        payload = io.BytesIO()
        torch.save({"format": FORMAT, "about": self.about, **_state(trainer)}, payload)
        data = payload.getvalue()
        with replacing(self.path) as file:
            file.write(hashlib.sha256(data).digest() + data)

    def _read(self) -> dict[str, Any]:
        whole = self.path.read_bytes()
        checksum, data = whole[:32], whole[32:]
        if hashlib.sha256(data).digest() != checksum:
            raise ModelFileError(
                f"Cannot read the checkpoint {str(self.path)!r}: it is damaged, or none. "
                "Remove it, and the training starts anew."
            )
        state = torch.load(io.BytesIO(data), weights_only=True)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ModelFileError(
                f"{str(self.path)!r} is not a checkpoint of this version. Choose another file."
            )
        for name, value in self.about.items():
            if state["about"].get(name) != value:
                raise ModelFileError(
                    f"The checkpoint {str(self.path)!r} is of another training: its {name} are not those of this one. "
                    "Use the same data, settings and random_state (an int), or another file."
                )
        return state


def _about(trainer: Trainer) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    settings = {name: value for name, value in asdict(trainer.settings).items() if name not in FREE}
    return {
        "settings": {
            **settings,
            "seed": trainer.seed,
            "callbacks": [type(c).__name__ for c in trainer.callbacks],
        },
        "network": hashlib.sha256(str(trainer.network).encode()).hexdigest(),
        "training rows": _digest(trainer.training),
        "validation rows": None if trainer.validation is None else _digest(trainer.validation),
    }


def _digest(data: SequenceData) -> str:
    """SHA-256 of inputs, targets, weights, and columns where there are any."""
    total = hashlib.sha256()
    beside = [] if data.columns is None else [data.columns]
    for part in (data.inputs, data.targets, data.weights, *beside):
        for t in _tensors(part):
            total.update(b"none" if t is None else f"{t.dtype}{tuple(t.shape)}".encode() + _bytes(t))
    return total.hexdigest()


def _tensors(part: Any) -> list[Any]:
    """Of a Ragged, a tensor or None, or of what has several of them as `parts`."""
    if isinstance(part, Ragged):
        return [part.values, part.offsets]
    if hasattr(part, "parts"):
        return [t for one in part.parts for t in _tensors(one)]
    return [part]


def _bytes(t: Tensor) -> bytes:
    return t.detach().contiguous().numpy().tobytes()


def _state(trainer: Trainer) -> dict[str, Any]:
    return {
        "network": trainer.network.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "generators": [trainer.generator.get_state(), torch.get_rng_state()],
        "average": None if trainer.average is None else trainer.average.state_dict(),
        "steps": trainer.steps,
        "history": trainer.history,
        "stop": trainer.stop,
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
    }


def _restore(trainer: Trainer, state: dict[str, Any]) -> None:
    trainer.network.load_state_dict(state["network"])
    for optimizer, kept in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    trainer.generator.set_state(state["generators"][0])
    torch.set_rng_state(state["generators"][1])
    if trainer.average is not None:
        trainer.average.load_state_dict(state["average"])
    trainer.steps = state["steps"]
    trainer.history.extend(state["history"])
    trainer.epoch, trainer.stop = len(trainer.history), state["stop"]
    for callback, kept in zip(trainer.callbacks, state["callbacks"], strict=True):
        callback.load_state_dict(kept)
