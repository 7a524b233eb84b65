"""SIGTERM while a training goes on: what a machine is sent before it is taken away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

EXIT_CODE = 128 + 15  # what a shell says of a process that SIGTERM ended


class Terminated(SystemExit):
    """Ends the process with exit code 143."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


def on_sigterm(act: Callable[[], None]) -> Callable[[], None]:
    """Call `act` at SIGTERM until what is returned is called.

    Only in the main thread, and where the process has no handler of its own; elsewhere SIGTERM does what it did.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return lambda: None

    def handler(number: int, frame: FrameType | None) -> Any:
        act()

    def release() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handler)
    return release
