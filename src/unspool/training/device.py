"""On which device a network is trained and asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from unspool.errors import bad_parameter, check_choice

DEVICES = ("auto", "cpu", "cuda", "mps")
CPU = torch.device("cpu")


def choose(owner: str, asked: str, verbose: int = 0) -> torch.device:
    """The device that `asked` names; "auto": a GPU that torch can use, else the CPU, which is printed if `verbose`.

    `InvalidParameterError` for one that torch cannot use here.
    """
    check_choice(owner, "device", asked, DEVICES)
    able = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        found = next(name for name, there in able.items() if there)
        if verbose:
            print(f"Device: {found}, of those that torch can use here.", flush=True)
        return torch.device(found)
    if not able[asked]:
        usable = [name for name, there in able.items() if there]
        hint = "Install a build of torch for that device, or leave it at 'cpu'."
        bad_parameter(owner, "device", f"one that torch can use here: 'auto' or one of {usable}", asked, hint)
    return torch.device(asked)


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((p.device for p in network.parameters()), CPU)


@contextmanager
def on(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, the network is on `device`, and afterwards on the CPU, where it is kept and saved."""
    if device.type == "cpu":
        yield
        return
    network.to(device)
    try:
        yield
    finally:
        network.to(CPU)


@contextmanager
def asking(model: Any) -> Iterator[Any]:
    """Within, the network of a fitted estimator, on the estimator's device; a frozen one is the native engine's, and
    stays on the CPU."""
    frozen = getattr(model, "frozen_", None)
    if frozen is not None:
        yield frozen
        return
    network = model.network_
    with on(network, choose(type(model).__name__, model.device)):
        yield network


_drawing = threading.RLock()  # torch has one generator, which all threads share


def _unlocked() -> None:
    """In a forked process: the thread that held the lock is not there."""
    global _drawing
    _drawing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, torch draws from `seed` on the CPU and on `device`; afterwards from where it was. One thread at a time:
    the others wait, so that a seed gives the same numbers whatever trains beside it."""
    other = [] if device.type == "cpu" else [torch.device(device.type, 0)]
    with _drawing, torch.random.fork_rng(devices=other, device_type=device.type if other else "cuda"):
        torch.default_generator.manual_seed(seed)
        if other:
            getattr(torch, device.type).manual_seed(seed)
        yield
