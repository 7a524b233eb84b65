"""`unspool fit --checkpoint ... --resume`: processes that are killed and terminated, and the model in the end."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import unspool
from unspool.training import Trainer, checkpoint_file

from .conftest import reviews, run

SETTINGS = [
    *(
        "--hidden-size",
        "8",
        "--embedding-dim",
        "8",
        "--epochs",
        "4",
        "--batch-size",
        "16",
        "--dropout",
        "0.3",
    ),
    *("--split-column", "split", "--quiet"),
]


def test_a_killed_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews(300).write_csv(tmp_path / "reviews.csv")
    command = ["fit", tmp_path / "reviews.csv", "--input", "text", "--target", "score", *SETTINGS]
    keeping = ["--checkpoint-every", "1", "--out", tmp_path / "model"]
    path = tmp_path / "model.checkpoint"
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    words = [str(word) for word in [*command, *keeping]]
    with subprocess.Popen(
        [sys.executable, "-m", "unspool", *words],
        stdout=subprocess.DEVNULL,
        env=env,
    ) as process:
        until = time.monotonic() + 100
        while (
            process.poll() is None and time.monotonic() < until and not checkpoint_file.before(path).exists()
        ):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -9 and not (tmp_path / "model").exists()
    own, calls = Trainer.train_step, itertools.count()

    def step(trainer: Trainer, batch: Any) -> Any:
        if next(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return own(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", step)
        ended = run(*command, *keeping, "--resume", code=143)
    assert f"Terminated: the training so far is kept in {path}." in ended.stdout
    refused = run(*command, *keeping, code=2)
    assert "holds the state of a training. Give --resume to go on from it, or remove it" in refused.stderr
    run(*command, *keeping, "--resume")
    run(*command, "--out", tmp_path / "whole")
    one, other = (unspool.load(tmp_path / name) for name in ("model", "whole"))
    for name, weight in one.network_.state_dict().items():
        assert torch.equal(weight, other.network_.state_dict()[name]), name
    assert (one.predict(["good day", "awful"]) == other.predict(["good day", "awful"])).all()


def test_intervals_that_are_none(tmp_path: Path) -> None:
    reviews(30).write_csv(tmp_path / "reviews.csv")
    command = [
        "fit",
        tmp_path / "reviews.csv",
        "--input",
        "text",
        "--target",
        "score",
        "--out",
        tmp_path / "m",
    ]
    refused = run(*command, "--checkpoint-every", "often", code=2)
    assert "must be steps, such as 500, or seconds, such as '60s'" in refused.stderr
