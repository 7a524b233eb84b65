"""SIGTERM and SIGHUP while a command writes: what is half-written goes, as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Ended(SystemExit):
    """Ends the process with the exit code that a shell says of a signal: 143 of SIGTERM, 129 of SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def end_tidily() -> Callable[[], None]:
    """At SIGTERM or SIGHUP raise `Ended`, until what is returned is called; a second one ends the process at once.

    Only in the main thread, and of a signal that nothing else handles or ignores.
    """
    mine: list[signal.Signals] = []

    def handler(number: int, frame: FrameType | None) -> Any:
        signal.signal(number, signal.SIG_DFL)
        raise Ended(number)

    def release() -> None:
        for number in mine:
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in (n for n in signal.Signals if n.name in ("SIGTERM", "SIGHUP")):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, handler)
                mine.append(number)
    return release
