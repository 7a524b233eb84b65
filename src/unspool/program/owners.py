"""Whose code it is: a step's own, the standard library's, or what is taken to compute and do no more."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

import numpy as np
import torch

#: Owners of code. OWN is followed like the step. STANDARD, the standard library's, acts for who calls it. TRUSTED reads
#: nothing that changes: torch, numpy, unspool (but its cells).
OWN, STANDARD, TRUSTED = "own", "standard", "trusted"

HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: of a class made by Python code
_UNSPOOL = os.path.dirname(os.path.dirname(__file__)) + os.sep
_CELLS = os.path.join(_UNSPOOL, "cells") + os.sep
_TRUSTED = tuple({os.path.dirname(module.__file__) + os.sep for module in (torch, np) if module.__file__})
_STANDARD = (sysconfig.get_path("stdlib") + os.sep, "<frozen")
_PACKAGES = frozenset(["site-packages", "dist-packages"])


def owner_of_file(file: str) -> str:
    """Whose the code of a file is. An installed package's is as the step's own."""
    if file.startswith(_UNSPOOL):
        return OWN if file.startswith(_CELLS) else TRUSTED
    if file.startswith((*_TRUSTED, "<frozen importlib")):
        return TRUSTED
    if file.startswith(_STANDARD) and _PACKAGES.isdisjoint(file.split(os.sep)):
        return STANDARD
    return OWN


def owner_of_frame(frame: types.FrameType) -> str:
    """Code made of text counts to its module."""
    name = frame.f_code.co_filename
    if name.startswith("<") and "frozen" not in name:
        name = str(frame.f_globals.get("__file__") or name)
    return owner_of_file(name)


def is_packages_cache(value: object) -> bool:
    """Whether a function with `lru_cache` is an installed package's.

    What it keeps depends on every call in the process, and what it answers is taken not to change.
    """
    wrapped = getattr(value, "__wrapped__", None) if isinstance(value, functools._lru_cache_wrapper) else None
    return isinstance(wrapped, types.FunctionType) and not _PACKAGES.isdisjoint(
        wrapped.__code__.co_filename.split(os.sep)
    )


def is_own_class(kind: type) -> bool:
    """Whether a class is written in Python by neither torch, numpy, nor the standard library."""
    if kind.__module__ in sys.builtin_module_names or not kind.__flags__ & HEAP:
        return False
    module = sys.modules.get(kind.__module__)
    return owner_of_file(getattr(module, "__file__", None) or "") == OWN


def own_kinds(value: object) -> list[type]:
    """The own classes of an object."""
    return [kind for kind in type(value).__mro__[:-1] if is_own_class(kind)]


# Modules whose functions answer anew at each call, or act on the world.
_WORLD = frozenset(
    "time _time random _random secrets os posix nt io _io datetime _datetime uuid socket _socket subprocess "
    "tempfile shutil pathlib logging threading _thread numpy.random select signal _signal warnings _warnings "
    "contextvars _contextvars queue _queue multiprocessing asyncio _asyncio sqlite3 mmap fcntl resource".split()
)
_WORLDLY = frozenset(["print", "open", "input", "globals"])
_LOCKS = frozenset(
    ["acquire", "release", "__enter__", "__exit__", "fspath"]
)  # that the standard library itself uses
# What asks Python, numpy or torch how they are set, or what goes on in the process: a trace has answers of its own.
_ASKING = ("is_", "are_", "get", "_is_", "_are_", "_get", "initial_seed")
_ASKED = ("torch", "numpy", "decimal", "_decimal")
_OF_PROCESS = frozenset(
    "sys gc inspect traceback tracemalloc faulthandler locale _locale weakref _weakref".split()
)
#: Of these what has one answer in every call that a program runs, or none that a step could tell.
_CONSTANT = frozenset(
    "is_tensor is_storage is_floating_point is_complex is_tensor_like is_available is_built is_scripting is_tracing "
    "is_compiling is_dynamo_compiling is_exporting is_parametrized get_default_dtype _get_default_dtype "
    "getdefaultencoding getfilesystemencoding intern isclass ismethod isfunction isbuiltin isroutine ismodule "
    "signature unwrap getmembers getattr_static getmro getfullargspec ref proxy finalize".split()
)
# Torch's layers are the step's own settings, which are compared; tensors have watchers of their own.
_WATCHED = ("torch.nn", "torch._tensor", "torch._C._TensorBase")


def of_world(module: str, name: str, direct: bool = True) -> str | None:
    """The name, in quotes, of a function of a module that acts on the world or answers anew each time; else None.

    direct: whether it is no code of the standard library's that calls it.
    """
    if module == "builtins":
        return f"'{name}'" if name in _WORLDLY else None
    first = module.split(".")[0]
    if module in _WORLD or first in _WORLD or module.startswith("numpy.random"):
        return f"'{module}.{name}'" if direct or name not in _LOCKS else None
    if name in _CONSTANT or module.startswith(_WATCHED):
        return None
    asks = (first in _ASKED and name.startswith(_ASKING)) or module.startswith("torch.backends")
    if asks or (first in _OF_PROCESS and direct):
        return f"'{'torch' if first == 'torch' and hasattr(torch, name) else module}.{name}'"
    return None


def module_of(function: Any) -> str:
    """The module of a function in compiled code."""
    module, owner = getattr(function, "__module__", None), getattr(function, "__self__", None)
    if isinstance(module, str):
        return module
    return (owner if isinstance(owner, type) else type(owner)).__module__
