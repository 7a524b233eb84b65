"""What a step reads beside tensors, and what it changes: seen by running it under Python's profiler hook."""

from __future__ import annotations

import dis
import gc
import random
import sys
import types
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from unspool.program import failures, surroundings
from unspool.program.keep import Keep
from unspool.program.layout import Unsupported
from unspool.program.owners import OWN, STANDARD, TRUSTED, is_own_class, module_of, of_world, owner_of_frame

_HOOKS = frozenset(["register_hook", "register_prehook"])
_BY_NAME = frozenset(["modules", "import_module", "__import__"])  # how modules are reached by their names
_UNSEEN = frozenset(["_use_count", "__sizeof__"])  # what a tensor answers without `__torch_function__`


class Impure(Unsupported):
    """A step that does more than compute; the message says what, as of the step."""


class Watch:
    """`with Watch(cell) as seen: cell(x, state)`: what the step's own code read, and what it changed.

    Code of torch and numpy is taken to be pure; all other Python code that the step calls is followed like its own. The
    standard library's acts for who calls it: what it calls of the world, and the objects of others that it changes.
    A handler of a signal that comes meanwhile is no part of the step.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.cell = cell
        self.names: set[str] = {"forward", "__call__", "__getattr__", "__getattribute__", "training"}
        self.globals: dict[tuple[int, str], tuple[dict[str, Any], str]] = {}
        # calls that close over variables of others, and the names of these
        self.closing: list[tuple[types.FrameType, list[str]]] = []
        self.closures: list[tuple[str, types.CellType]] = []
        self.world: str | None = None  # what it does that a program would not, and the file and line
        self.where: tuple[str, int] | None = None
        self.random = False  # whether it drew Python's random numbers
        self.sizes = False  # whether it asked a tensor for its shape or type
        self.changed: str | None = None
        self.drawn: tuple[bool, ...] = ()
        self.handlers = failures.handlers()
        self.handling: types.FrameType | None = None  # the call of a signal's handler that runs
        self.keep = Keep()
        self._owners: dict[types.CodeType, str] = {}

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
        self.look()
        return self

    def look(self) -> None:
        """Follow what this thread calls from here on."""
        sys.setprofile(self._event)

    def look_away(self) -> None:
        """Until `look`."""
        sys.setprofile(None)

    def __exit__(self, *_: Any) -> None:
        self.look_away()
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
        self._find_closures()
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
            impure = Impure(self.world)
            impure.where = self.where
            raise impure
        if any(self.drawn):
            raise Impure("draws random numbers")
        if self.changed is not None:
            raise Impure(f"changes {self.changed} as it runs")

    def _find_closures(self) -> None:
        """The names and cells of the variables that the step's functions close over.

        A frame that has ended and is still held refers to its variables, those that it closes over last.
        """
        for frame, names in self.closing:
            closed = frame.f_code.co_freevars
            cells = [c for c in gc.get_referents(frame) if isinstance(c, types.CellType)][-len(closed) :]
            if len(cells) < len(closed):  # of a generator that has not ended
                self.say(f"closes over '{names[0]}' in a function that has not ended")
            self.closures += [pair for pair in zip(closed, cells) if pair[0] in names]
        self.closing.clear()

    def _event(self, frame: types.FrameType, event: str, arg: Any) -> None:
        if self.handling is not None:
            if event == "return" and frame is self.handling:
                self.handling = None
        elif event == "call" and id(frame.f_code) in self.handlers:
            self.handling = frame
        elif event == "call":
            code = frame.f_code
            # `gauss` may answer with the half that it kept of its last pair, without a call of compiled code
            if code.co_filename == random.__file__ and not self._is_of_import(frame):
                self.random = True
            owner = self._owners.get(code)
            if owner is None:
                owner = owner_of_frame(frame)
                if owner == OWN and self._is_of_import(frame):
                    owner = TRUSTED
                else:
                    self._owners[code] = owner
                if owner == OWN:
                    self._read(frame)
                elif frame.f_globals.get("F") is functional:  # a layer of torch's
                    self._functions(code.co_names)
            if owner == OWN and code.co_freevars:
                self._closes(frame)
            if code.co_name == "import_module" and owner == STANDARD:
                self._modules([str(frame.f_locals.get("name"))])
            if owner != OWN and self.follows(frame.f_back):
                self._calls(str(frame.f_globals.get("__name__", "")), code.co_name, frame.f_back)
        elif event == "c_call" and isinstance(getattr(arg, "__self__", None), random.Random):
            self.random = self.random or not self._is_of_import(frame)
        elif event == "c_call" and self.follows(frame):
            of = getattr(arg, "__self__", None)
            if arg.__name__ in _HOOKS and hasattr(of, "next_functions"):
                self.say(f"hooks on a gradient with '{arg.__name__}'")
            elif not isinstance(of, Tensor):
                self._calls(module_of(arg), arg.__name__, frame)
            elif arg.__name__ in _UNSEEN:
                self.say(f"reads '{arg.__name__}' of a tensor, which a program would read once")

    def say(self, what: str) -> None:
        """The step does what a program would not, or only once."""
        if self.world is None:
            self.world, self.where = what, failures.line_of_step()

    def refuse(self, what: str) -> None:
        """As `say`, before it is done. What runs between two operations of the step may do it."""
        if self.handling is None and not self._is_of_import(sys._getframe(2)):
            self.say(what)
            raise Impure(what)

    def _is_of_import(self, frame: types.FrameType | None) -> bool:
        """Whether a module is being imported, which happens once and is no part of the step."""
        while frame is not None and frame is not self.outside:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def follows(self, frame: types.FrameType | None) -> bool:
        """Whether a frame is the step's own, or the standard library's that acts for it."""
        while frame is not None and frame is not self.outside:
            owner = self._owners.get(frame.f_code, TRUSTED)
            if owner != STANDARD:
                return owner == OWN
            frame = frame.f_back
        return False

    def _calls(self, module: str, name: str, caller: types.FrameType | None) -> None:
        direct = caller is not None and self._owners.get(caller.f_code) == OWN
        found = of_world(module, name, direct)
        if found:
            self.say(f"calls {found}, which a program would call once")

    def _read(self, frame: types.FrameType) -> None:
        code = frame.f_code
        self.names.update(code.co_names)
        self.names.update(text for text in _texts(code.co_consts) if text.isidentifier())
        for name in code.co_names:
            self._entry(frame.f_globals, name, f"the global '{name}'")
            if name in frame.f_builtins and name not in frame.f_globals:
                self._entry(frame.f_builtins, name, f"the builtin '{name}'")
            elif name in sys.modules and name not in frame.f_globals and _imports(code):
                self._entry(sys.modules, name, f"the module '{name}'")
        if not _BY_NAME.isdisjoint(code.co_names):
            self._modules(_texts(code.co_consts))
        self.keep.entries_of_modules(self.names)
        if "environ" in code.co_names:
            self.say("calls 'os.environ', which a program would call once")
        self._use_up(code.co_names)

    def _functions(self, names: Iterable[str]) -> None:
        """What a layer of torch's calls, which somebody may replace."""
        for name in names:
            if name in vars(functional):
                self._entry(vars(functional), name, f"'torch.nn.functional.{name}'")

    def _modules(self, names: Iterable[str]) -> None:
        """Modules that are reached by their names."""
        for name in names:
            if name in sys.modules:
                self._entry(sys.modules, name, f"the module '{name}'")

    def _closes(self, frame: types.FrameType) -> None:
        own = self._made_by_the_step(frame)
        free = [name for name in frame.f_code.co_freevars if name != "__class__" and name not in own]
        if not free:
            return
        self.closing.append((frame, free))
        values = frame.f_locals
        for name in free:
            if name in values:
                self.keep(values[name], f"the closed-over '{name}'")
        self._use_up(free)

    def _use_up(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.keep.streams:
                self.say(f"reads {self.keep.streams[name]}")
                raise Impure(self.world)

    def _entry(self, place: dict[str, Any], name: str, where: str) -> None:
        self.globals[id(place), name] = (place, name)
        if name in place:
            self.keep.entry(place, name, where)

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


def _imports(code: types.CodeType) -> bool:
    """Whether a function imports something where it runs."""
    return dis.opmap["IMPORT_NAME"] in code.co_code[::2]


def own_classes(cell: nn.Module) -> list[type]:
    """The classes of a cell and its parts that are no library's."""
    kinds = (kind for module in cell.modules() for kind in type(module).__mro__)
    return list(dict.fromkeys(kind for kind in kinds if is_own_class(kind)))
