"""What surrounds a call: the engine traces and plans in surroundings of its own, whatever the caller's are."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

PLAIN = (Tensor, nn.Parameter)


@contextlib.contextmanager
def own() -> Iterator[None]:
    """Gradients on, no inference mode, defaults of float32 on the CPU, no autocast, transforms, modes or hooks."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(defaults())
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        if torch._C._are_functorch_transforms_active():
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_unhooked())
        yield


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """Tensors that are made without a word are float32 on the CPU, and operations compute in their operands' type."""
    modes = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]
    try:
        with _DefaultType(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        for mode in reversed(modes):
            torch._C._push_on_torch_function_stack(mode)


class _DefaultType:
    """float32 as torch's default, which all threads share: the first one in sets it, the last one out puts it back."""

    _lock = threading.Lock()
    _inside = 0
    _before = torch.float32

    def __enter__(self) -> None:
        kind = _DefaultType
        with kind._lock:
            if kind._inside == 0:
                kind._before = torch.get_default_dtype()
            kind._inside += 1
            if torch.get_default_dtype() is not torch.float32:
                torch.set_default_dtype(torch.float32)

    def __exit__(self, *_: object) -> None:
        kind = _DefaultType
        with kind._lock:
            kind._inside -= 1
            if kind._inside == 0 and kind._before is not torch.float32:
                torch.set_default_dtype(kind._before)


@contextlib.contextmanager
def training() -> Iterator[None]:
    """As `defaults`, with gradients, which inference mode and no_grad outside are without."""
    with defaults(), torch.inference_mode(False), torch.enable_grad():
        yield


def usual() -> bool:
    """Whether the caller's defaults are the engine's own."""
    return (
        torch.get_default_dtype() is torch.float32
        and not torch._C._len_torch_function_stack()
        and not torch.is_autocast_enabled("cpu")
    )


def generators() -> tuple[Any, ...]:
    """The states of the random generators of Python, numpy and torch."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return (
        random.getstate(),
        (kind, np.asarray(keys).tobytes(), *rest),
        torch.get_rng_state().numpy().tobytes(),
    )


def restore_generators(states: tuple[Any, ...]) -> None:
    """Give those that are not None back to Python's, numpy's and torch's generator."""
    python, numpy, bits = states
    if python is not None:
        random.setstate(python)
    if numpy is not None:
        kind, keys, *rest = numpy
        np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))
    if bits is not None:
        torch.set_rng_state(torch.frombuffer(bytearray(bits), dtype=torch.uint8))


@contextlib.contextmanager
def _unhooked() -> Iterator[None]:
    """No `saved_tensors_hooks`, which may count what is saved.

    Hooks that return what they are given, in their place, would keep each graph, and its weights, for ever: a node
    that saves its own result then refers to itself.
    """
    inside, hooks = torch._C._autograd, []
    while (top := inside._top_saved_tensors_default_hooks(True)) is not None:
        hooks.append(top)
        inside._pop_saved_tensors_default_hooks()
    try:
        yield
    finally:
        for pack, unpack in reversed(hooks):
            inside._push_saved_tensors_default_hooks(pack, unpack)


def watched() -> bool:
    """Whether torch's dispatcher is looked over (fake tensors, `make_fx`, ...): a call must be one operator there."""
    return bool(torch._C._len_torch_dispatch_stack())


def traced() -> bool:
    """Whether the operations are written down, or carried out on shapes alone (`make_fx`, fake tensors)."""
    keys = torch._C._TorchDispatchModeKey
    return any(
        torch._C._get_dispatch_mode(key) is not None for key in (keys.PROXY, keys.FAKE, keys.FUNCTIONAL)
    )


def transformed() -> str | None:
    """The transform that the call is in, which only the plain loop can go through; None: there is none."""
    if torch._C._are_functorch_transforms_active():
        return "the call is inside a torch.func transform"
    if forward_ad._current_level >= 0:
        return "the call is inside forward-mode differentiation"
    return None


def calm() -> bool:
    """Whether nothing surrounds a call that the native engine could not go through, or not unseen."""
    return not watched() and transformed() is None and not scripted()


def quiet() -> bool:
    """Whether nothing at all surrounds a call: `calm`, with no autocast, no `TorchFunctionMode`, and no hooks of what a
    backward needs, which may count it, as activation checkpointing does."""
    return not (
        _dispatch_modes()
        or _function_modes()
        or _transforms()
        or _autocast("cpu")
        or forward_ad._current_level >= 0
        or _tracing() is not None
        or _hooks(True) is not None
    )


_dispatch_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_transforms, _tracing = torch._C._are_functorch_transforms_active, torch._C._get_tracing_state
_autocast, _hooks = torch.is_autocast_enabled, torch._C._autograd._top_saved_tensors_default_hooks


def scripted() -> bool:
    return torch._C._get_tracing_state() is not None


def is_fake(tensor: Tensor) -> bool:
    """Whether `tensor` has a shape alone, of torch's FakeTensorMode."""
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)


def as_fake_as(like: Tensor, tensor: Any) -> Any:
    """`tensor` as a fake one where `like` is, in its mode."""
    if tensor is None or not is_fake(like) or is_fake(tensor) or like.fake_mode.allow_non_fake_inputs:  # type: ignore[attr-defined]
        return tensor
    return like.fake_mode.from_tensor(tensor, static_shapes=True)  # type: ignore[attr-defined]
