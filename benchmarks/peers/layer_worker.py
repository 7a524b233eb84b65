"""A tool of `layers.py` in a process of its own: `python -m peers.layer_worker TOOL THREADS`.

Called by `remote.py`. Reads lines of JSON: {"case": {...}} builds, compiles and warms up, {"times": n} runs it
n times and answers with the seconds of one. Whatever the tool prints goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from peers.layers import TOOLS, Unable


def timed(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")

    tool = TOOLS[name]
    module, function = tool.build.split(":")
    build = getattr(importlib.import_module(module), function)
    answer(versions={package: metadata.version(package) for package in tool.packages})
    call: Callable[[], object] | None = None
    for line in sys.stdin:
        question = json.loads(line)
        if "times" in question:
            if call is None:
                raise RuntimeError("asked to run before a case was prepared")
            answer(seconds=timed(call, question["times"]))
            continue
        try:
            call = build(question["case"], threads)
            timed(call, 2)
        except Unable as reason:
            answer(unavailable=str(reason))
        else:
            answer(ready=True)


if __name__ == "__main__":
    main()
