"""Trainings that are killed, at any moment, also in the middle of a write, and go on: the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimators import golden
from forecasting.conftest import SMALL as FORECASTER
from forecasting.conftest import waves
from seq2seq.conftest import LETTERS
from tagging.toy import sentences

from unspool import (
    Forecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceGenerator,
    SequenceRegressor,
    SequenceTagger,
)
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.files import alone
from unspool.training import Callback, Trainer, checkpoint_file

SMALL = {**golden.SETTINGS, "epochs": 4}
TEXTS, Y, LABELS = golden.texts(40)
WORDS = "the cat sat on the mat and the dog sat on the cat so the mat was flat ".split()
PROSE = " ".join(WORDS * 12)


class Killed(BaseException):
    """What a kill is in this process: nothing catches it, and nothing is tidied up in files."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Clock:
    """Kills at the n-th moment: before a step, of training or validation, or at one of the stages of a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self.where: list[str] = []
        for owner, name in (
            (Trainer, "train_step"),
            (Trainer, "validation_step"),
            (os, "fsync"),
            (os, "replace"),
            (checkpoint_file, "sync_folder"),
        ):
            monkeypatch.setattr(owner, name, self.before(name, getattr(owner, name)))
        monkeypatch.setattr(checkpoint_file, "write_all", self.write)

    def before(self, name: str, function: Callable) -> Callable:
        def call(*given: Any) -> Any:
            self.tick(name)
            return function(*given)

        return call

    def write(self, file: Any, data: bytes) -> None:
        file.write(data[: len(data) // 2])
        file.flush()
        self.tick("write")
        file.write(data[len(data) // 2 :])

    def tick(self, name: str) -> None:
        self.left -= 1
        if self.left <= 0:
            self.where.append(name)
            raise Killed


def bilingual() -> tuple[list[str], list[str]]:
    return LETTERS * 3, [text[::-1].upper() for text in LETTERS] * 3


def blended() -> Any:
    settings = {**SMALL, "blend": True, "vectors": "texts", "averaging": 0.9, "validation_fraction": 0.5}
    return SequenceRegressor(**settings), (TEXTS, Y)


NOISY = {"dropout": 0.3, "zoneout": 0.1, "num_layers": 2, "averaging": 0.9, "word_dropout": 0.1}
CASES: dict[str, Callable[[], tuple[Any, tuple]]] = {
    "regression, averaged, noisy": lambda: (SequenceRegressor(**{**SMALL, **NOISY}), (TEXTS, Y)),
    "regression, stops early": lambda: (
        SequenceRegressor(**{**SMALL, "epochs": 30, "patience": 3, "learning_rate": 0.1}),
        (TEXTS, Y),
    ),
    "regression, blended": blended,
    "classification, ensemble": lambda: (
        SequenceClassifier(**{**SMALL, "epochs": 2, "ensemble": 3, "dropout": 0.3}),
        (TEXTS, LABELS),
    ),
    "regression, by rows": lambda: (
        SequenceRegressor(**{**SMALL, "embedding_dim": 128, "weight_decay": 0.01, "early_stopping": False}),
        golden.ids(9000, 40),
    ),
    "regression, sparse": lambda: (SequenceRegressor(**{**SMALL, "embedding_update": "sparse"}), (TEXTS, Y)),
    "series": lambda: (SequenceRegressor(**{**SMALL, "noise": 0.2, "epochs": 3}), golden.series()),
    "tagging": lambda: (
        SequenceTagger(
            hidden_size=8, embedding_dim=6, epochs=3, random_state=0, verbose=0, batch_size=8, patience=1
        ),
        sentences(40),
    ),
    "forecasting, refitted": lambda: (
        Forecaster(**{**FORECASTER, "epochs": 2, "batch_size": 64, "refit": True}),
        (waves({"a": 120, "b": 90}),),
    ),
    "generation, random lengths": lambda: (
        SequenceGenerator(
            hidden_size=8,
            embedding_dim=6,
            epochs=3,
            batch_size=4,
            chunk_length=20,
            random_lengths=True,
            weight_dropout=0.1,
            random_state=0,
            verbose=0,
        ),
        (PROSE,),
    ),
    "texts to texts, own tokens": lambda: (
        Seq2Seq(
            hidden_size=8,
            embedding_dim=6,
            epochs=3,
            batch_size=8,
            teacher_forcing=0.5,
            teacher_forcing_schedule="linear",
            random_state=0,
            verbose=0,
        ),
        bilingual(),
    ),
}
LIVES = 5  # of each, at least: 55 in all


def same(one: Any, other: Any) -> None:
    times = ("train_seconds", "seconds")
    first, second = (
        [{k: v for k, v in e.items() if k not in times} for e in m.history_] for m in (one, other)
    )
    assert first == second and one.best_epoch_ == other.best_epoch_
    for name, weight in one.network_.state_dict().items():
        assert torch.equal(weight, other.network_.state_dict()[name]), name


@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = CASES[case]()
    whole = made.fit(*data)
    drawn, clock = random.Random(case), Clock(monkeypatch)
    kills = 0
    while True:
        clock.left = drawn.randint(3, 20)
        model, data = CASES[case]()
        torch.rand(3)  # another state of the global generator
        every = drawn.choice([1, 2, 3, 5, "0.000001s", None])
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*goes on from the checkpoint before it")
                model.fit(*data, checkpoint=tmp_path / "state", checkpoint_every=every)
            break
        except Killed:
            kills += 1
        assert kills < 300
    assert kills >= LIVES, clock.where
    assert "early" not in case or len(whole.history_) < 30
    same(model, whole)
    if hasattr(whole, "blend_") and whole.blend_ is not None:
        np.testing.assert_array_equal(model.predict(data[0]), whole.predict(data[0]))
    clock.left = float("inf")
    done = CASES[case]()[0].fit(*data, checkpoint=tmp_path / "state")
    same(done, whole)


def child(act: Callable[[], None]) -> int:
    """The wait status of a forked process that does `act`, on one thread as this one."""
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        code = 1
        try:
            act()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


class Strike(Callback):
    """Sends this process a signal after so many steps."""

    def __init__(self, number: int, at: int) -> None:
        self.number, self.at = number, at

    def on_batch_end(self, trainer: Any, batch: Any) -> None:
        if trainer.steps == self.at:
            os.kill(os.getpid(), self.number)
            if self.number == signal.SIGKILL:
                time.sleep(10)


def struck(number: int, at: int, path: Path, every: Any = 3) -> Any:
    model = SequenceRegressor(**{**SMALL, **NOISY})
    return model.fit(TEXTS, Y, callbacks=[Strike(number, at)], checkpoint=path, checkpoint_every=every)


def test_kill_9_and_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "state"
    status = child(lambda: struck(signal.SIGKILL, 8, path))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and path.exists()
    status = child(lambda: struck(signal.SIGTERM, 11, path, every=1000))
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 143
    (kept,) = checkpoint_file.read(path)["trainings"]
    assert kept["state"]["steps"] == 11 and kept["state"]["within"]["batches"] == 11 % 5
    again = struck(0, -1, path)
    same(again, SequenceRegressor(**{**SMALL, **NOISY}).fit(TEXTS, Y))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_while_it_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The averaged weights stand in the network then; what is kept are the trained ones."""
    own = Trainer.validation_step
    whole = SequenceRegressor(**{**SMALL, **NOISY}).fit(TEXTS, Y)

    def step(trainer: Trainer, batch: Any) -> Any:
        if trainer.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return own(trainer, batch)

    monkeypatch.setattr(Trainer, "validation_step", step)
    model = SequenceRegressor(**{**SMALL, **NOISY})
    with pytest.raises(SystemExit) as ended:
        model.fit(TEXTS, Y, checkpoint=tmp_path / "state")
    assert ended.value.code == 143
    monkeypatch.setattr(Trainer, "validation_step", own)
    same(SequenceRegressor(**{**SMALL, **NOISY}).fit(TEXTS, Y, checkpoint=tmp_path / "state"), whole)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state"
    with alone(path, "told"), pytest.raises(ModelFileError, match="Another process trains with the"):
        SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=path)
    SequenceRegressor(**{**SMALL, "epochs": 2, "ensemble": 2}).fit(TEXTS, Y, checkpoint=path)
    assert sorted(one.name for one in path.parent.iterdir()) == ["state", "state.previous"]


def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    whole = SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=path)
    good = path.read_bytes()
    for bad in (good[:-9], good[:100] + b"!" + good[101:], b"", None):
        if bad is None:
            path.unlink()
        else:
            path.write_bytes(bad)
        message = "is not there" if bad is None else "is damaged, or no checkpoint"
        with pytest.warns(UserWarning, match=f"{message}.*goes on from the checkpoint before it"):
            again = SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=path)
        same(again, whole)
    for one in (path, checkpoint_file.before(path)):
        one.write_bytes(good[:-9])
    with pytest.raises(ModelFileError, match=r"Cannot read the checkpoint.*checksum.*previous.*Remove it"):
        SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=path)


def test_another_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    SequenceRegressor(**{**SMALL, "epochs": 1}).fit(TEXTS, Y, checkpoint=path)
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match="What differs: threads, there 1, here 2"):
        SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=path)


def test_more_members_and_more_epochs(tmp_path: Path) -> None:
    """Members after one that goes on are trained again, since they start where it now ends."""
    settings = {**SMALL, "ensemble": 2, "dropout": 0.3}
    SequenceRegressor(**{**settings, "epochs": 2}).fit(TEXTS, Y, checkpoint=tmp_path / "state")
    longer = SequenceRegressor(**settings).fit(TEXTS, Y, checkpoint=tmp_path / "state")
    same(longer, SequenceRegressor(**settings).fit(TEXTS, Y))


@pytest.mark.parametrize("every", [0, -1, "soon", "0s", 1.5, True, "5 minutes"])
def test_intervals_that_are_none(every: Any, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidParameterError, match="'checkpoint_every' parameter of SequenceRegressor must be"
    ):
        SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint=tmp_path / "c", checkpoint_every=every)
    with pytest.raises(InvalidParameterError, match="None without checkpoint"):
        SequenceRegressor(**SMALL).fit(TEXTS, Y, checkpoint_every=5)


def _put(state: dict[str, Any], keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        state = state[key]
    state[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("within", "targets"), 0),
        (("within", "norms"), [1.0]),
        (("within", "batches"), 10**9),
        (("within", "memory"), None),
        (("within", "random"), torch.zeros(3)),
        (("steps",), 10**12),
        (("stop",), "no"),
        (("history",), [{"epoch": 7}]),
        (("random",), [torch.zeros(3, dtype=torch.uint8)] * 3),
        (("network",), {}),
        (("average", "mean"), [torch.zeros(1)] * 7),
        (("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(2)),
        (("optimizers", 0, "param_groups", 0, "lr"), "fast"),
        (("callbacks",), [{}]),
    ],
)
def test_a_state_that_does_not_fit(keys: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    """Whole, its checksum too: only what it holds cannot be. `memory` is not looked at where nothing is carried."""
    path = tmp_path / "state"
    model = SequenceRegressor(**{**SMALL, "averaging": 0.9, "epochs": 2})
    model.fit(TEXTS, Y, checkpoint=path, checkpoint_every=1)
    found = checkpoint_file.read(checkpoint_file.before(path))
    assert found["trainings"][0]["state"]["within"]["batches"] == 5
    _put(found["trainings"][0]["state"], keys, value)
    checkpoint_file.write(path, found)
    if keys[-1] == "memory":
        same(model.fit(TEXTS, Y, checkpoint=path), SequenceRegressor(**model.get_params()).fit(TEXTS, Y))
        return
    with pytest.raises(ModelFileError, match=r"Cannot go on from the checkpoint.*does not fit this training"):
        model.fit(TEXTS, Y, checkpoint=path)
