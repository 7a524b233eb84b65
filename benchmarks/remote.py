"""A competitor in a process of its own: a line of JSON asks, a line of JSON answers.

It sleeps while others are measured: its process waits for the next line, and its threads are told not to spin.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peers.layers import TOOLS

from unspool.bench import Case, Runner

PATIENCE = 60.0  # seconds to build and compile a case
SETTLE = 0.02  # seconds for threads that still spin to fall asleep


def wake(seconds: float = 0.01) -> None:
    """Keep torch's threads busy for a while: who comes next would else pay for waking them, 4 ms or nothing."""
    numbers = torch.ones(1 << 18)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        numbers.add_(1)


class Unavailable(Exception):
    """Why a competitor has no figure for a case."""


class Remote:
    """The tool `name` of `peers/layers.py`, started at its first case, and again after one that took too long."""

    def __init__(self, name: str, peers_python: str, threads: int, patience: float = PATIENCE) -> None:
        self.name, self.threads, self.patience = name, threads, patience
        self.python = str(Path(peers_python).absolute()) if TOOLS[name].peers else sys.executable
        if not Path(self.python).exists():
            sys.exit(
                f"{name} needs the peers' environment: no {self.python}. benchmarks/README.md says how to make it."
            )
        self.process: subprocess.Popen[str] | None = None
        self.versions: dict[str, str] = {}

    def start(self) -> None:
        variables = {"OMP_WAIT_POLICY": "passive"} if TOOLS[self.name].peers else {}
        self.process = subprocess.Popen(
            [self.python, "-m", "peers.layer_worker", self.name, str(self.threads)],
            cwd=Path(__file__).resolve().parent,
            env={**os.environ, **variables, **TOOLS[self.name].variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.answers), daemon=True).start()
        self.versions = self._answer(120.0)["versions"]

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        for line in process.stdout or ():
            answers.put(line)
        answers.put("")

    def _answer(self, patience: float) -> dict[str, Any]:
        try:
            line = self.answers.get(timeout=patience)
        except queue.Empty:
            self.close(kill=True)
            raise Unavailable(f"no answer within {patience:g} s") from None
        if not line:
            self.close(kill=True)
            raise Unavailable("the process ended")
        answer = json.loads(line)
        if "unavailable" in answer:
            raise Unavailable(answer["unavailable"])
        return answer

    def _ask(self, question: dict[str, Any], patience: float) -> dict[str, Any]:
        if self.process is None or self.process.stdin is None:
            raise Unavailable("the process ended")
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._answer(patience)

    def prepare(self, case: Case) -> Runner:
        """Build, compile and warm up `case` there; raises `Unavailable` with the reason where it cannot."""
        if self.process is None:
            self.start()
        self._ask({"case": {**asdict(case), "lengths": case.lengths().tolist()}}, self.patience)

        def run(times: int) -> float:
            time.sleep(SETTLE)
            seconds = float(self._ask({"times": times}, 120.0)["seconds"])
            time.sleep(SETTLE)
            wake()
            return seconds

        return run

    def close(self, kill: bool = False) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        elif self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()
        self.process = None
