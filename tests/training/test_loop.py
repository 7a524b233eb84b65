"""The loop by what callbacks see, and checkpoints: an interrupted fit goes on with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimators import golden

from unspool import Ragged, SequenceClassifier, SequenceRegressor
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.training import Callback, SequenceData, Settings, Trainer, train

SETTINGS = {**golden.SETTINGS, "epochs": 5}


class Record(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def note(self, event: str, trainer: Trainer) -> None:
        self.seen.append((event, trainer.epoch, len(trainer.history)))

    def on_train_begin(self, trainer: Trainer) -> None:
        self.note("begin", trainer)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self.note("epoch", trainer)

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        assert len(batch.rows) <= 8 and trainer.network.training
        self.note("batch", trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        assert trainer.history[-1]["epoch"] == trainer.epoch
        self.note("done", trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        self.note("end", trainer)


class Until(Callback):
    """Stops after an epoch, or interrupts in the middle of the next."""

    def __init__(self, epoch: int, interrupt: bool = False) -> None:
        self.epoch, self.interrupt, self.batches = epoch, interrupt, 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.stop = trainer.stop or (trainer.epoch == self.epoch and not self.interrupt)

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        if self.interrupt and trainer.epoch == self.epoch + 1:
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt


def test_the_order_of_the_calls() -> None:
    X, y, _ = golden.texts(24)
    record = Record()
    SequenceRegressor(**{**SETTINGS, "epochs": 2}, early_stopping=False).fit(X, y, callbacks=[record])
    epoch = [*[("batch", 0)] * 3, ("done", 1)]
    expected = [("begin", 0, 0)]
    for k in (1, 2):
        expected += [("epoch", k, k - 1), *((event, k, k - 1 + done) for event, done in epoch)]
    assert record.seen == [*expected, ("end", 2, 2)]


def test_a_callback_stops_the_training_and_the_best_weights_are_kept() -> None:
    X, y, _ = golden.texts()
    stopped = SequenceRegressor(**SETTINGS).fit(X, y, callbacks=[Until(2)])
    short = SequenceRegressor(**{**SETTINGS, "epochs": 2}).fit(X, y)
    assert len(stopped.history_) == 2 and not stopped.interrupted_
    assert np.array_equal(stopped.predict(X), short.predict(X))


def test_a_callback_sets_the_learning_rate() -> None:
    class Halve(Callback):
        def on_epoch_begin(self, trainer: Trainer) -> None:
            trainer.learning_rate = 0.02 / trainer.epoch

    X, y, _ = golden.texts()
    model = SequenceRegressor(**{**SETTINGS, "epochs": 3}).fit(X, y, callbacks=[Halve()])
    assert [e["learning_rate"] for e in model.history_] == [0.02, 0.01, 0.02 / 3]
    plain = SequenceRegressor(**{**SETTINGS, "epochs": 3}).fit(X, y)
    assert model.history_[0]["train_loss"] == plain.history_[0]["train_loss"]
    assert model.history_[1]["train_loss"] != plain.history_[1]["train_loss"]


@pytest.mark.parametrize("callbacks", [[Record], ["print"], Record()])
def test_callbacks_that_are_none(callbacks: Any) -> None:
    with pytest.raises(
        InvalidParameterError, match=r"'callbacks' parameter of SequenceRegressor must be a list"
    ):
        SequenceRegressor(**SETTINGS).fit(["a", "b"], [1.0, 2.0], callbacks=callbacks)


CASES: dict[str, Any] = {
    "dropout": (SequenceRegressor, {"dropout": 0.3, "zoneout": 0.1, "num_layers": 2}),
    "classes": (SequenceClassifier, {"cell": "gru", "weight_decay": 0.01}),
    "sparse": (SequenceRegressor, {"embedding_update": "sparse"}),
    "no validation": (SequenceRegressor, {"early_stopping": False}),
    "by rows": (SequenceRegressor, {"embedding_dim": 128, "early_stopping": False, "weight_decay": 0.01}),
}


def fit(case: str, **options: Any) -> tuple[Any, Any]:
    kind, settings = CASES[case]
    if case == "by rows":
        X, y = golden.ids(9000, 60)
    else:
        X, y, labels = golden.texts()
        y = labels if case == "classes" else y
    return kind(**{**SETTINGS, **settings}).fit(X, y, **options), X


def same(one: Any, other: Any, X: Any) -> None:
    times = ("train_seconds", "seconds")
    histories = [[{k: v for k, v in e.items() if k not in times} for e in m.history_] for m in (one, other)]
    assert histories[0] == histories[1] and one.best_epoch_ == other.best_epoch_
    for name, weight in one.network_.state_dict().items():
        assert torch.equal(weight, other.network_.state_dict()[name]), name
    assert np.array_equal(one.predict(X), other.predict(X))


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_fit_goes_on_bit_by_bit(case: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    cut, X = fit(case, checkpoint=path, callbacks=[Until(2, interrupt=True)])
    assert cut.interrupted_ and len(cut.history_) == 2 and path.exists()
    torch.rand(7)  # another state of the global generator
    again, _ = fit(case, checkpoint=path, callbacks=[Until(99, interrupt=True)])
    whole, _ = fit(case)
    assert len(again.history_) == len(whole.history_) > 2
    same(again, whole, X)
    done, _ = fit(case, checkpoint=path, callbacks=[Until(99)])  # nothing is left to do
    same(done, whole, X)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state", "state.previous"]


def test_a_finished_fit_goes_on_for_more_epochs(tmp_path: Path) -> None:
    X, y, _ = golden.texts()
    path = tmp_path / "state"
    SequenceRegressor(**{**SETTINGS, "epochs": 2}).fit(X, y, checkpoint=path)
    longer = SequenceRegressor(**SETTINGS).fit(X, y, checkpoint=path)
    same(longer, SequenceRegressor(**SETTINGS).fit(X, y), X)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    X, y, _ = golden.texts()
    path = tmp_path / "state"
    SequenceRegressor(**{**SETTINGS, "epochs": 1}).fit(X, y, checkpoint=path)
    kept = path.read_bytes()
    for what, settings, target in (
        ("batch_size, there 8, here 9", {"batch_size": 9}, y),
        (r"random_state, there seed \d+, here seed \d+", {"random_state": 4}, y),
        ("hidden_size, there 7, here 8; the network", {"hidden_size": 8}, y),
        ("epochs, there none, here 5; schedule, there None, here 'cosine'", {"schedule": "cosine"}, y),
        ("the training rows; the validation rows", {}, y + np.arange(70)),
    ):
        with pytest.raises(ModelFileError, match=f"of another training. What differs: {what}"):
            SequenceRegressor(**{**SETTINGS, **settings}).fit(X, target, checkpoint=path)
        assert path.read_bytes() == kept
    for bad in (kept[:-700], b"", b"something else"):
        path.write_bytes(bad)
        with pytest.raises(ModelFileError, match="Cannot read the checkpoint"):
            SequenceRegressor(**SETTINGS).fit(X, y, checkpoint=path)


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _ = golden.texts()
    path = tmp_path / "state"
    SequenceRegressor(**{**SETTINGS, "epochs": 1}).fit(X, y, checkpoint=path)
    kept = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        SequenceRegressor(**SETTINGS).fit(X, y, checkpoint=path)
    assert path.read_bytes() == kept and [p.name for p in tmp_path.iterdir()] == ["state"]


class OneNumber(torch.nn.Module):
    """Predicts its one weight, whatever the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Ragged) -> torch.Tensor:
        return self.weight.expand(len(x))


def test_with_a_score_the_epoch_of_the_best_one_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """The loss falls in every epoch; the score is best in the second, and two worse ones end the training."""
    x = Ragged.from_list([torch.zeros(1, 1)] * 4)
    data, network, weights = SequenceData(x, torch.ones(4)), OneNumber(), []
    scores = iter([0.5, 0.75, 0.75, 0.25, 1.0])

    def score() -> float:
        assert not network.training
        weights.append(network.weight.item())
        return next(scores)

    settings = Settings(9, 2, 0.01, 0.0, None, None, patience=2, verbose=1, average=0.5)
    outcome = train(network, lambda p, t, w: (p - t).square().mean(), data, data, settings, 0, score=score)
    assert [row["validation_score"] for row in outcome.history] == [0.5, 0.75, 0.75, 0.25]
    losses = [row["validation_loss"] for row in outcome.history]
    assert losses == sorted(losses, reverse=True)
    assert outcome.best_epoch == 2 and network.weight.item() == weights[1] != weights[3]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["*" in line for line in lines] == [True, True, False, False] and "score 0.7500" in lines[1]
