"""Cases of a target, one after the other, each with bounds of time and memory, and nothing run."""

from __future__ import annotations

import contextlib
import io
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unspool.tables.apart import CHILD

from .targets import TARGETS

SECONDS = 10  # of the processor, for a case; six times as many may pass where the machine is busy
GROWTH = 2**30  # bytes that the process may grow by
#: Events of Python that a file which is read must not cause.
RUNS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
WATCH: list[str] = []
_watching = False


class TooLong(BaseException):
    """A case that took longer than its bound."""


@dataclass
class Outcome:
    """Of the cases of a target. faults: (number of the case, what happened)."""

    target: str
    cases: int = 0
    right: int = 0
    refused: int = 0
    slowest: float = 0.0
    grown: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)


def _audit(event: str, arguments: Any) -> None:
    reads = event == "subprocess.Popen" and str(CHILD) in (
        arguments[1] or ()
    )  # tables, in a process of their own
    if _watching and event in RUNS and not reads:
        WATCH.append(f"{event} {arguments!r:.100}")


sys.addaudithook(_audit)


def _too_long(*_: Any) -> None:
    raise TooLong


@contextlib.contextmanager
def bounds() -> Iterator[None]:
    """Watched, quiet, and ended after `SECONDS`."""
    global _watching
    WATCH.clear()
    before = [signal.signal(one, _too_long) for one in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    _watching = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        _watching = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for one, handler in zip((signal.SIGALRM, signal.SIGPROF), before):
            signal.signal(one, handler)


def peak() -> int:
    """The most memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(target: str, first: int, cases: int, until: float | None = None, started: Any = None) -> Outcome:
    """Cases `first`, `first` + 1, ... of a target. until: of `time.monotonic`. started(number): called before each."""
    make, refusals = TARGETS[target]
    outcome = Outcome(target)
    with tempfile.TemporaryDirectory() as name:
        case = make(Path(name))
        base = peak()
        for number in range(first, first + cases):
            if until is not None and time.monotonic() > until:
                break
            if started is not None:
                started(number)
            began = time.monotonic()
            try:
                with bounds():
                    case(random.Random(f"{target} {number}"))
                outcome.right += 1
            except refusals:
                outcome.refused += 1
            except TooLong:
                outcome.faults.append((number, f"took more than {SECONDS} s"))
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                at = traceback.extract_tb(error.__traceback__)
                ours = [f"{Path(f.filename).name}:{f.lineno}" for f in at if "/unspool/" in f.filename][-2:]
                outcome.faults.append((number, f"{type(error).__name__} at {' '.join(ours)}: {error!s:.150}"))
            if WATCH:
                outcome.faults.append((number, f"ran {WATCH[0]}"))
            outcome.cases += 1
            outcome.slowest = max(outcome.slowest, time.monotonic() - began)
            if peak() - base > GROWTH:
                outcome.faults.append((number, f"grew by {(peak() - base) / 2**20:,.0f} MiB"))
                base = peak()
            outcome.grown = max(outcome.grown, peak() - base)
        getattr(case, "close", lambda: None)()
    return outcome
