"""Folders of studies and of searches, as an interrupted run left them: their documents changed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unspool.study.jobs import Job, Run
from unspool.study.store import Store
from unspool.tuning.storage import FILE, opened, optuna
from unspool.tuning.trials import Outcome

from .mutations import HUGE, changed_bytes, changed_json

Case = Callable[[random.Random], None]
FACTS = {"rows": 40, "metric": "r2"}
CURVE = [{"epoch": 1, "train_loss": 0.5, "valid_loss": 0.4, "seconds": 0.1}]


def dumped(value: object) -> bytes:
    """As JSON, with numbers that floats have not."""
    return json.dumps(value).replace(f'"{HUGE}"', "1e999").encode()


def compared(folder: Path) -> Case:
    """`study.json` and the files of runs; what is read of them is of the types that the report reckons with."""
    whole, work = folder / "whole", folder / "work"
    store = Store(whole, FACTS)
    good = Run("lstm/last", 0, 0, 7, 4, {"r2": 0.5, "rmse": 1.0}, None, 90, 80, 1.5, 1.0, 0.1, 2, CURVE)
    for number, run in enumerate((good, Run("mean", 0, 0, 7, settings={"C": 1.0}, error="NaN"))):
        store.add(Job(None, 4, number, 0), [run])

    def case(rng: random.Random) -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        path = rng.choice(sorted(work.rglob("*.json")))
        if rng.random() < 0.8:
            path.write_bytes(dumped(changed_json(json.loads(path.read_bytes()), rng)))
        else:
            path.write_bytes(changed_bytes(path.read_bytes(), rng))
        for runs in Store(work, FACTS).runs.values():
            for run in runs:
                numbers = [run.seconds, run.train_seconds, run.predict_seconds]
                for held in (run.validation, run.test or {}, *run.history):
                    numbers += [v for v in held.values() if v is not None]
                assert all(type(v) in (int, float) for v in numbers) and hash(run.name) is not None
                assert all(
                    type(n) is int for n in (*run.place, run.hidden_size, run.parameters, run.best_epoch)
                )

    return case


def searched(folder: Path) -> Case:
    """The journal of a search."""
    whole, work = folder / "whole", folder / "work"
    state: dict[str, Any] = {"metrics": {"r2": 0.5}, "seconds": 1.5, "parameters": 90, "error": None}
    library = optuna()
    with opened(whole, FACTS) as study:
        study.set_user_attr("default", {"state": "complete", "curve": [0.5, 0.4], **state})
        study.set_user_attr("spent", 3.5)
        study.set_user_attr("looked", [0, None])
        for kind in ("complete", "pruned"):
            trial = study.ask({"rate": library.distributions.FloatDistribution(1e-4, 1e-2, log=True)})
            trial.report(0.5, 1)
            own = state if kind == "complete" else {**state, "metrics": {}}
            for name, value in {"state": kind, **own}.items():
                trial.set_user_attr(name, value)
            study.tell(
                trial, 0.5 if kind == "complete" else None, state=None if kind == "complete" else PRUNED
            )

    def case(rng: random.Random) -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        lines = (work / FILE).read_bytes().splitlines(keepends=True)
        kind, at = rng.random(), rng.randrange(len(lines))
        if kind < 0.7:
            lines[at] = dumped(changed_json(json.loads(lines[at]), rng)) + b"\n"
        elif kind < 0.85:
            lines[at] = rng.choice([b"", lines[rng.randrange(len(lines))]])
        data = b"".join(lines)
        (work / FILE).write_bytes(data if kind < 0.85 else changed_bytes(data, rng))
        with opened(work, FACTS) as study:
            for trial in study.get_trials(deepcopy=False):
                if "state" in trial.user_attrs:
                    Outcome.read(trial.user_attrs, list(trial.intermediate_values.values()))
            study.ask()

    return case


PRUNED = optuna().trial.TrialState.PRUNED
