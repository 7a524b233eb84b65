"""What a step reads beside tensors, and what it changes: seen by running it under Python's profiler hook."""

from __future__ import annotations

import gc
import os
import random
import sys
import sysconfig
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.program import surroundings
from unspool.program.keep import Keep
from unspool.program.layout import Unsupported

_UNSPOOL = os.path.dirname(os.path.dirname(__file__)) + os.sep
_CELLS = os.path.join(_UNSPOOL, "cells") + os.sep
_LIBRARIES = tuple(
    {os.path.dirname(module.__file__) + os.sep for module in (torch, np) if module.__file__}
    | {sysconfig.get_path("stdlib") + os.sep, "<frozen"}
)
_PACKAGES = frozenset(["site-packages", "dist-packages"])
# Modules whose functions answer anew at each call, or act on the world.
_WORLD = frozenset(
    "time _time random _random secrets os posix nt io _io datetime _datetime uuid socket _socket subprocess "
    "tempfile shutil pathlib logging threading _thread numpy.random".split()
)
_WORLDLY = frozenset(["print", "open", "input"])
_NUMBERS = frozenset(["tolist", "numpy", "data_ptr"])


class Impure(Unsupported):
    """A step that does more than compute; the message says what, as of the step."""


class Watch:
    """`with Watch(cell) as seen: cell(x, state)`: what the step's own code read, and what it changed.

    Code of torch, numpy, the standard library and installed packages (but the cell's own) is taken to be pure.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.cell = cell
        self.names: set[str] = {"forward", "__call__", "__getattr__", "__getattribute__", "training"}
        self.globals: dict[tuple[int, str], tuple[dict[str, Any], str]] = {}
        self.free: dict[types.CodeType, dict[str, Any]] = {}
        self.world: str | None = None
        self.random = False  # whether it drew Python's random numbers
        self.keep = Keep()
        self._code: dict[types.CodeType, bool] = {}
        self._roots = _own_packages(cell)

    def __enter__(self) -> Watch:
        for kind in own_classes(self.cell):
            self.keep.class_(kind)
        self.keep(self.cell, "self")
        self.alone = _alone()
        self.generators = surroundings.generators()
        self.collects = gc.isenabled()
        gc.disable()  # what it calls back is no part of the step
        self.outside = sys._getframe(1)
        self.profiler: Any = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.setprofile(None)
        if hasattr(self.profiler, "enable"):  # cProfile's, which cannot be set again
            self.profiler.enable()
        elif self.profiler is not None:
            sys.setprofile(self.profiler)
        if self.collects:
            gc.enable()
        self.alone = self.alone and _alone()
        self.changed = self.keep.changed()
        python, numpy, torchs = (a != b for a, b in zip(surroundings.generators(), self.generators))
        # With other threads about, the profiler sees the step's draws from Python's generators, the tracer torch's.
        self.drawn = self.random or (self.alone and python), numpy, self.alone and torchs
        if self.alone:
            self.restore()
        del self.outside

    def by_others(self) -> bool:
        """Whether another thread may have done what the step seems to have: all but what is the cell's own."""
        if self.alone or self.random or self.world is not None:
            return False
        return any(self.drawn) if self.changed is None else not self.changed.startswith("self")

    def restore(self) -> None:
        """Put back what was changed, and the generators that the step drew from."""
        self.keep.restore()
        drawn = zip(self.generators, self.drawn)
        surroundings.restore_generators(tuple(was if its else None for was, its in drawn))

    def impure(self) -> bool:
        """Whether the step does what a program would do once, or not at all."""
        return self.world is not None or any(self.drawn) or self.changed is not None

    def check(self) -> None:
        """Raise `Impure` where the step is."""
        if self.world is not None:
            raise Impure(self.world)
        if any(self.drawn):
            raise Impure("draws random numbers")
        if self.changed is not None:
            raise Impure(f"changes {self.changed} as it runs")

    def closures(self) -> list[tuple[str, Any]]:
        """The names and cells of the variables that the step's functions close over."""
        wanted = {code: values for code, values in self.free.items() if values}
        if not wanted:
            return []
        found: dict[int, tuple[str, Any]] = {}
        for function in gc.get_referrers(*wanted):
            if isinstance(function, types.FunctionType) and function.__code__ in wanted:
                values = wanted[function.__code__]
                pairs = [
                    (n, c)
                    for n, c in zip(function.__code__.co_freevars, function.__closure__ or ())
                    if n in values
                ]
                if all(_holds(cell, values[name]) for name, cell in pairs):
                    found.update((id(cell), (name, cell)) for name, cell in pairs)
        return list(found.values())

    def _event(self, frame: types.FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            # `gauss` may answer with the half that it kept of its last pair, without a call of compiled code
            self.random = self.random or code.co_filename == random.__file__
            own = self._code.get(code)
            if own is None:
                own = self._code[code] = _is_own(_file(frame), self._roots)
                if own:
                    self._read(frame)
            if not own and frame.f_back is not None and self._code.get(frame.f_back.f_code):
                self._calls(str(frame.f_globals.get("__name__", "")), code.co_name)
            if code.co_name == "__array__":
                self.world = self.world or "reads a tensor's numbers as an array"
        elif event == "c_call" and isinstance(getattr(arg, "__self__", None), random.Random):
            self.random = True
        elif event == "c_call" and self._code.get(frame.f_code):
            owner = getattr(arg, "__self__", None)
            module = getattr(arg, "__module__", None)
            if isinstance(owner, Tensor):
                if arg.__name__ in _NUMBERS:
                    self.world = self.world or f"reads a tensor's numbers with '{arg.__name__}'"
            elif module == "builtins" and arg.__name__ in _WORLDLY:
                self._say(f"'{arg.__name__}'")
            else:
                if not isinstance(module, str):
                    module = (owner if isinstance(owner, type) else type(owner)).__module__
                self._calls(module, arg.__name__)

    def _calls(self, module: str, name: str) -> None:
        if module in _WORLD or module.split(".")[0] in _WORLD or module.startswith("numpy.random"):
            self._say(f"'{module}.{name}'")

    def _say(self, name: str) -> None:
        self.world = self.world or f"calls {name}, which a program would call once"

    def _read(self, frame: types.FrameType) -> None:
        code = frame.f_code
        self.names.update(code.co_names)
        self.names.update(text for text in _texts(code.co_consts) if text.isidentifier())
        for name in code.co_names:
            self.globals[id(frame.f_globals), name] = (frame.f_globals, name)
            if name in frame.f_globals:
                self.keep.entry(frame.f_globals, name, f"the global '{name}'")
        own = self._made_by_the_step(frame)
        free = [name for name in code.co_freevars if name != "__class__" and name not in own]
        if free:
            values = frame.f_locals
            self.free[code] = {name: values[name] for name in free if name in values}
            for name, value in self.free[code].items():
                self.keep(value, f"the closed-over '{name}'")
        if "environ" in code.co_names:
            self._say("'os.environ'")
        for name in (*code.co_names, *free):
            if name in self.keep.streams:
                self.world = f"reads {self.keep.streams[name]}, which gives each of its values once"
                raise Impure(self.world)

    def _made_by_the_step(self, frame: types.FrameType) -> set[str]:
        """The variables of the step's own functions that are running, as a comprehension in one closes over them."""
        found: set[str] = set()
        back = frame.f_back
        while back is not None and back is not self.outside:
            found.update(back.f_code.co_cellvars)
            back = back.f_back
        return found


def _alone() -> bool:
    """Whether no other thread runs Python."""
    return len(sys._current_frames()) == 1


def _texts(constants: Any) -> list[str]:
    return [
        t
        for c in constants
        for t in (_texts(c) if isinstance(c, tuple) else [c] if isinstance(c, str) else [])
    ]


def _holds(cell: Any, value: Any) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:
        return False


def own_classes(cell: nn.Module) -> list[type]:
    """The classes of a cell and its parts that are no library's."""
    found: dict[type, None] = {}
    roots = _own_packages(cell)
    for module in cell.modules():
        for kind in type(module).__mro__:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
            if kind is not object and _is_own(file, roots):
                found[kind] = None
    return list(found)


def _file(frame: types.FrameType) -> str:
    """Where the code of a frame is from; code made of text counts to its module."""
    name = frame.f_code.co_filename
    return (
        str(frame.f_globals.get("__file__") or name)
        if name.startswith("<") and "frozen" not in name
        else name
    )


def _is_own(file: str, roots: tuple[str, ...]) -> bool:
    """Whether code of a file is a cell's own, and no library's."""
    if file.startswith(_UNSPOOL):
        return file.startswith(_CELLS)
    if file.startswith(roots):
        return True
    return not file.startswith(_LIBRARIES) and _PACKAGES.isdisjoint(file.split(os.sep))


def _own_packages(cell: nn.Module) -> tuple[str, ...]:
    """Folders of installed packages that the classes of a cell and its parts come from; torch's is none of them."""
    tops = {kind.__module__.partition(".")[0] for module in cell.modules() for kind in type(module).__mro__}
    files = [
        getattr(sys.modules.get(top), "__file__", None) for top in tops - {"torch", "builtins", "unspool"}
    ]
    return tuple(
        os.path.dirname(file) + os.sep for file in files if file and os.path.basename(file) == "__init__.py"
    )
