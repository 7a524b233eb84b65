"""What the numbers of a training depend on, kept with a checkpoint, and what of it differs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unspool import _native
from unspool.errors import ModelFileError, warn_caller
from unspool.ragged import Ragged

if TYPE_CHECKING:
    from unspool.training.batches import SequenceData
    from unspool.training.loop import Trainer

FREE = ("verbose", "random_state")  # that change no number; of random_state the seed is compared
SHOWN = 60  # characters of a value in a message


def dependencies(trainer: Trainer, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> text, or a dict of these; `parameters`: of the estimator."""
    constant = trainer.settings.schedule == "constant"
    free = (
        {*FREE, "epochs"} if constant and not any(c.depends_on_epochs for c in trainer.callbacks) else {*FREE}
    )
    of_loop = {name: value for name, value in asdict(trainer.settings).items() if name not in parameters}
    settings = {**of_loop, **parameters}
    if "epochs" not in free:
        settings["epochs"] = trainer.settings.epochs
    return {
        "settings": {
            **{name: _text(value) for name, value in settings.items() if name not in free},
            "random_state": f"seed {trainer.seed}",
            "device": trainer.device.type,
            "callbacks": ", ".join(type(c).__name__ for c in trainer.callbacks),
        },
        "network": hashlib.sha256(str(trainer.network).encode()).hexdigest(),
        "training rows": _digest(trainer.training),
        "validation rows": "none" if trainer.validation is None else _digest(trainer.validation),
        "machine": {**machine(), "ranks": str(trainer.parallel.ranks)},
    }


def machine() -> dict[str, str]:
    """What the last bits may depend on beside all that."""
    return {
        "unspool": version("unspool"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "processor": platform.machine(),
        "instruction set": _native.isa(),
        "threads": str(torch.get_num_threads()),
    }


def compare(path: Path, then: Any, now: dict[str, Any]) -> None:
    """`ModelFileError` where the training of the checkpoint is another one, a warning where the machine is."""
    if not isinstance(then, dict) or not all(
        isinstance(then.get(n), type(value)) for n, value in now.items()
    ):
        raise ModelFileError(f"{str(path)!r} holds no checkpoint. Choose another file.")
    differ = _differences(then["settings"], now["settings"])
    differ += [
        f"the {name}" for name in ("network", "training rows", "validation rows") if then[name] != now[name]
    ]
    if differ:
        raise ModelFileError(
            f"The checkpoint {str(path)!r} is of another training. What differs: {'; '.join(differ[:4])}. "
            "Use the same data, settings and random_state (an int), or another file."
        )
    differ = _differences(then["machine"], now["machine"])
    if differ:
        warn_caller(
            f"The checkpoint {str(path)!r} was written elsewhere. What differs: {'; '.join(differ)}. The training goes "
            "on, but its last bits may not be those of one that was never interrupted."
        )


def _differences(then: dict[str, Any], now: dict[str, str]) -> list[str]:
    return [
        f"{name}, there {str(then.get(name, 'none'))[:SHOWN]}, here {str(now.get(name, 'none'))[:SHOWN]}"
        for name in dict.fromkeys([*now, *then])
        if then.get(name) != now.get(name)
    ]


def _text(value: Any) -> str:
    """The same for equal values, in every process."""
    if value is None or isinstance(value, (bool, int, float, str, np.generic)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, (np.ndarray, Tensor)):
        array = np.ascontiguousarray(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


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
