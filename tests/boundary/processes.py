"""A process for each case: forked by one that has imported everything and run nothing.

`python -m tests.boundary.processes` reads a line of JSON for each case, {"module": ..., "function": ..., "name": ...},
and writes {"name": ..., "verdict": ...}.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LIMIT = 120.0  # seconds of a case
ROOT = Path(__file__).parents[2]


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")  # what else is printed must not come between them
    os.dup2(2, 1)
    ready = set()
    for line in sys.stdin:
        task = json.loads(line)
        module = importlib.import_module(task["module"])
        if task["module"] not in ready and hasattr(module, "prepare"):
            module.prepare()
        if task["module"] not in ready:
            gc.collect()
            gc.freeze()  # a child that collects would copy the pages of all that is imported
        ready.add(task["module"])
        function = getattr(module, task["function"])
        answer = {"name": task["name"], "verdict": in_child(function, task["name"])}
        print(json.dumps(answer), file=answers, flush=True)


def in_child(function: Any, name: str) -> str:
    """`function(name)` in a process of its own, or how that process ended."""
    reading, writing = os.pipe()
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(errors.fileno(), 2)
        os.dup2(errors.fileno(), 1)
        faulthandler.dump_traceback_later(LIMIT - 5, file=errors)  # where it hangs
        try:
            verdict = function(name)
        except BaseException:
            verdict = "fault: the test itself: " + traceback.format_exc()[-1500:]
        os.write(writing, verdict.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    verdict = _read(reading, child)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
        errors.seek(0)
        return f"fault: {_ended(status)} {_summary(errors.read().decode(errors='replace'))}"
    return verdict or "fault: ended without a verdict"


def _read(pipe: int, child: int) -> str:
    data, until = b"", time.monotonic() + LIMIT
    with os.fdopen(pipe, "rb", 0) as stream:
        while True:
            if not select.select([stream], [], [], max(until - time.monotonic(), 0))[0]:
                os.kill(child, signal.SIGKILL)
                return ""
            part = stream.read(65_536)
            if not part:
                return data.decode()
            data += part


def _ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"crashed: {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.WEXITSTATUS(status)}"


def _summary(text: str) -> str:
    """What a sanitizer said, or the last lines."""
    found = re.search(r"(==\d+==ERROR: .*|.*runtime error: .*|WARNING: ThreadSanitizer.*)", text)
    return text[found.start() :][:3000] if found else text[-500:]


def run(tasks: Iterable[tuple[str, str, str]], workers: int = 2) -> Iterator[tuple[str, str]]:
    """(name, verdict) of every (module, function, name), as they come."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    count = 0
    for task in tasks:
        waiting.put(task)
        count += 1

    def work() -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.boundary.processes"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin is not None and server.stdout is not None
            while not waiting.empty():
                try:
                    module, function, name = waiting.get_nowait()
                except queue.Empty:
                    break
                print(json.dumps({"module": module, "function": function, "name": name}), file=server.stdin)
                server.stdin.flush()
                answer = server.stdout.readline()
                done.put((name, json.loads(answer)["verdict"] if answer else "fault: the server ended"))
            server.stdin.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        yield done.get(timeout=10 * LIMIT)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve()
