"""What a training is at a step: everything its further numbers come from, as plain values and tensors, and put back."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.training.callbacks import KeepBest
from unspool.training.optimizers import RowAdam

if TYPE_CHECKING:
    from unspool.training.loop import Trainer
    from unspool.training.parallel import Alone

WRONG = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError)


@dataclass
class Pass:
    """What a pass over the training part has come to.

    random: the state of the generator of batches before the first. rate: the learning rate then. batches: those done.
    loss, targets: sums over them. norms: of their gradients. memory: of the last batch, see `Batch.memory`.
    """

    random: Tensor
    rate: float
    batches: int = 0
    loss: float = 0.0
    targets: int = 0
    norms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    memory: Any = None


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Of a trainer between two steps, or between two epochs."""
    other = trainer.device.type
    beside = None if other == "cpu" else getattr(torch, other).get_rng_state()
    within = trainer.within
    return {
        "network": dict(trainer.network.state_dict()),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "random": [trainer.generator.get_state(), torch.get_rng_state(), beside],
        "average": None if trainer.average is None else trainer.average.state_dict(),
        "steps": trainer.steps,
        "history": list(trainer.history),
        "stop": trainer.stop,
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
        "within": None if within is None else _kept(within, trainer.parallel),
    }


def _kept(within: Pass, parallel: Alone) -> dict[str, Any]:
    values = {f.name: getattr(within, f.name) for f in fields(Pass)}
    return {**values, "memory": parallel.whole(within.memory)}


def restore(trainer: Trainer, state: Any) -> None:
    """Put a state of `state_of` into a trainer of the same settings, network and data. `ModelFileError` for another."""
    try:
        _check(trainer, state)
        trainer.network.load_state_dict(state["network"])
        for optimizer, kept in zip(trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(kept))
        shuffle, drawn, beside = state["random"]
        trainer.generator.set_state(shuffle)
        torch.set_rng_state(drawn)
        if beside is not None:
            getattr(torch, trainer.device.type).set_rng_state(beside)
        if trainer.average is not None:
            trainer.average.load_state_dict(state["average"])
        trainer.steps, trainer.stop = state["steps"], state["stop"]
        trainer.history[:] = state["history"]
        trainer.epoch = len(trainer.history)
        for callback, kept in zip(trainer.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(kept)
        trainer.within = None if state["within"] is None else Pass(**state["within"])
    except WRONG as error:
        raise ModelFileError(f"it does not fit this training ({type(error).__name__}: {error}).") from error


def _check(trainer: Trainer, state: Any) -> None:
    """ValueError, or what `restore` takes for one, where a value would only fail later, or take memory."""
    _need(type(state["stop"]) is bool, "stop")
    history = state["history"]
    _need(isinstance(history, list), "the history")
    for number, row in enumerate(history, 1):
        good = all(type(k) is str and type(v) in (int, float) for k, v in row.items())
        _need(good and row["epoch"] == number, "the history")
    steps = state["steps"]
    most = 4 * (len(history) + 1) * (trainer.training.steps(trainer.settings.batch_size) + 1000)
    _need(type(steps) is int and 0 <= steps <= most, "steps")
    within = state["within"]
    if within is not None:
        _need(type(within["batches"]) is int and 0 <= within["batches"] <= steps, "batches")
        _need(type(within["targets"]) is int and all(type(n) is float for n in within["norms"]), "sums")
        done = (len(within["norms"]), within["targets"] > 0)
        _need(done == (within["batches"], within["batches"] > 0), "sums")
        _need(all(type(within[name]) is float for name in ("rate", "loss", "seconds")), "sums")
        torch.Generator().set_state(within["random"])
    for optimizer, kept in zip(trainer.optimizers, state["optimizers"], strict=True):
        if isinstance(optimizer, RowAdam):
            _check_rows(optimizer, kept, steps)
        else:
            _check_moments(optimizer, kept)
    own = trainer.network.state_dict()
    for callback, kept in zip(trainer.callbacks, state["callbacks"], strict=True):
        if isinstance(callback, KeepBest) and kept["weights"] is not None:
            _need({n: t.shape for n, t in kept["weights"].items()} == _shapes(own), "the best weights")
    if trainer.average is not None:
        shapes = [t.shape for t in trainer.average.mean]
        _need([t.shape for t in state["average"]["mean"]] == shapes, "the averaged weights")


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: t.shape for name, t in tensors.items()}


def _check_groups(optimizer: torch.optim.Optimizer, groups: Any) -> None:
    """Of the same keys, with values of the same types."""
    for own, kept in zip(optimizer.param_groups, groups, strict=True):
        _need(set(kept) - {"params"} == set(own) - {"params"}, "an optimiser's settings")
        for name in set(own) - {"params"}:
            _need(_alike(own[name], kept[name]), f"an optimiser's {name}")


def _alike(own: Any, kept: Any) -> bool:
    if isinstance(own, dict):
        return set(own) == set(kept) and all(_alike(own[name], kept[name]) for name in own)
    if isinstance(own, (tuple, list)):
        return isinstance(kept, (tuple, list)) and len(own) == len(kept) and all(map(_alike, own, kept))
    if type(own) in (int, float):
        return type(kept) in (int, float) and math.isfinite(kept)
    return type(own) is type(kept)


def _check_moments(optimizer: torch.optim.Optimizer, kept: dict[str, Any]) -> None:
    _check_groups(optimizer, kept["param_groups"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [n for group in kept["param_groups"] for n in group["params"]]
    _need(numbers == list(range(len(parameters))), "an optimiser's parameters")
    for number, moments in kept["state"].items():
        for name, t in moments.items():
            shape = torch.Size([]) if name == "step" else parameters[number].shape
            _need(t.shape == shape and t.dtype.is_floating_point, f"an optimiser's {name}")


def _check_rows(optimizer: RowAdam, kept: dict[str, Any], steps: int) -> None:
    _check_groups(optimizer, kept["param_groups"])
    tables = [table for group in optimizer.param_groups for table in group["params"]]
    for table, state in zip(tables, kept["state"], strict=True):
        if not state:
            continue
        same = all(
            state[n].shape == table.shape and state[n].dtype == table.dtype for n in ("mean", "square")
        )
        _need(same and type(state["step"]) is int and 0 <= state["step"] <= steps, "the moments of rows")
        _need(_alike(optimizer.defaults, state["settings"]), "the settings of rows")
        if optimizer.moving:
            start, step = state["start"], state["step"]
            _need(type(start) is int and 0 <= start <= step, "the start of rows")
            for name in ("seen", "last"):
                t = state[name]
                good = t.dtype == torch.int64 and t.shape == table.shape[:1]
                _need(good and bool(((t >= start) & (t <= step)).all()), f"rows {name}")


def _need(right: bool, what: str) -> None:
    if not right:
        raise ValueError(f"{what} cannot be")


def skip(batches: Any, within: Pass, parallel: Alone) -> None:
    """Go past the batches that are done; what they left for those after them is put back."""
    drawn = torch.get_rng_state()
    last = None
    for _ in range(within.batches):
        last = next(batches, None)
        if last is None:
            raise ModelFileError(
                "The checkpoint is of a training with more batches an epoch. Use the same data."
            )
    torch.set_rng_state(drawn)
    if last is not None:
        last.remember(parallel.part(within.memory, last))
