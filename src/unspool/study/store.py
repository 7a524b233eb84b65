"""The folder of a study: `study.json` says which study it is, `runs/` has a small file for each finished run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import unspool
from unspool.errors import ModelFileError
from unspool.files import alone, write_text
from unspool.study.jobs import Job, Run

FORMAT = "unspool study"


class Store:
    """Finished runs, kept in memory and, with a folder, on disk; a run of the same task is then never repeated.

    Raises `ModelFileError` where the folder holds another study, or anything else.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, facts: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self.runs: dict[str, list[Run]] = {}
        self.facts = {"format": FORMAT, "unspool": unspool.__version__, **facts}
        if self.folder is not None:
            self._open(self.folder)

    def key(self, task: Job) -> str:
        """A file name: readable, and with a digest different for every task."""
        what = [task.name, task.hidden_size, task.repeat, task.fold]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:8]
        return re.sub(r"[^\w.+-]+", "-", "_".join(map(str, what))) + f"_{digest}"

    def get(self, task: Job) -> list[Run] | None:
        """The finished runs of a task; None while there are none."""
        return self.runs.get(self.key(task))

    def add(self, task: Job, runs: list[Run]) -> None:
        """Keep the runs of a task; on disk written beside and renamed, so that no file is ever half written."""
        self.runs[self.key(task)] = runs
        if self.folder is not None:
            path = self.folder / "runs" / f"{self.key(task)}.json"
            write_text(path, json.dumps([asdict(run) for run in runs], allow_nan=False))

    def alone(self) -> AbstractContextManager[None]:
        """A block in which no other process goes on with the study in this folder; `ModelFileError` where one does."""
        if self.folder is None:
            return nullcontext()
        told = f"Another process goes on with the study in {str(self.folder)!r}."
        return alone(self.folder / "study", f"{told} Wait for it, end it, or choose another folder.")

    def _open(self, folder: Path) -> None:
        head = folder / "study.json"
        if not head.is_file():
            if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
                raise ModelFileError(
                    f"{str(folder)!r} exists and is not a study. Choose another folder, or remove it."
                )
            write_text(
                head, json.dumps(self.facts, indent=1)
            )  # before any other, which without it were no study
            (folder / "runs").mkdir(exist_ok=True)
            return
        found = _read(head)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ModelFileError(f"{head} is not the head of a study. Choose another folder, or remove it.")
        for name in {**self.facts, **found}:
            if found.get(name) != self.facts.get(name):
                raise ModelFileError(
                    f"{str(folder)!r} holds another study: its {name!r} is {_short(found.get(name))}, and "
                    f"this one's is {_short(self.facts.get(name))}. Choose another folder, or remove it."
                )
        for path in sorted((folder / "runs").glob("*.json")):
            try:
                self.runs[path.stem] = [Run.read(run) for run in _read(path)]
            except (TypeError, ValueError) as error:
                raise ModelFileError(f"{path} is not a run of a study ({error}). Remove it.") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(f"{path} is not readable JSON ({error}). Remove it.") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:20]}...{text[-1]}"
