"""Whose failure it is where a step is traced: the engine has no such operation, the step fails, or we do."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

from unspool.errors import EngineError, torch_folder
from unspool.program.layout import Unsupported

_HERE = os.path.dirname(__file__) + os.sep
_OURS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(__file__)), part) for part in ("engine", "nn", "program")
)


@contextlib.contextmanager
def ours(what: str) -> Iterator[None]:
    """An exception in here is an error of the engine's: `EngineError`, and never a reason for the plain loop."""
    try:
        yield
    except (Unsupported, EngineError):
        raise
    except Exception as error:
        if of_surroundings(error):
            raise
        raise broken(what, error) from error


def broken(what: str, error: BaseException) -> EngineError:
    return EngineError(
        f"The engine failed at {what}: {type(error).__name__}: {error}. "
        "This is a fault of unspool's, not of the cell. engine='eager' computes without it."
    )


def of_surroundings(error: BaseException) -> bool:
    """Whether what surrounds the call failed, which tells nothing of the step: the stack or the memory is used up, or a
    handler of a signal raised."""
    if isinstance(error, (RecursionError, MemoryError)) or "can't allocate memory" in str(error):
        return True
    codes = handlers()
    return any(id(frame.f_code) in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def handlers() -> set[int]:
    """The code, by identity, of what Python calls between two operations of any other code when a signal comes."""
    found = [signal.getsignal(number) for number in signal.valid_signals()]
    return {id(getattr(handler, "__code__", None)) for handler in found if hasattr(handler, "__code__")}


def of_kernel(trace: TracebackType | None) -> bool:
    """Whether an operation of torch complained about what the step gave it; not code of ours on the way."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    between = [
        f
        for f in files
        if f.startswith(_HERE) and os.path.basename(f) not in ("trace.py", "tracer.py", "writes.py")
    ]
    return bool(files) and files[-1].startswith(torch_folder()) and not between


def line_of_step() -> tuple[str, int] | None:
    """The file and the line of the step that is running, seen from an operation that it uses."""
    frame = _frame_of_step()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def place_of_step() -> tuple[int, int] | None:
    """The call and the instruction of the step that is running: two operations of one function of torch have one."""
    frame = _frame_of_step()
    return None if frame is None else (id(frame), frame.f_lasti)


def _frame_of_step() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((torch_folder(), *_OURS)) and not name.startswith("<frozen"):
            return frame
        frame = frame.f_back
    return None


def inside() -> str:
    """What of torch the operation that is being written down is inside of, where a user would not think of it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(torch_folder()):
            if "_functorch" in name:
                return " inside a transform of torch.func"
            if name.endswith("autograd" + os.sep + "__init__.py") and frame.f_code.co_name in (
                "grad",
                "backward",
            ):
                return " in a gradient that the step itself takes"
        frame = frame.f_back
    return ""
