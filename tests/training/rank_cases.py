"""Small trainings, each run by one process and by several ranks."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist

import unspool
from unspool.cli import main
from unspool.tables import TableStream
from unspool.training import Callback, Trainer
from unspool.training.parallel import Group

WORDS = "a tiny set of words that makes texts of uneven length for all ranks to learn from".split()


def texts(count: int, longest: int = 12) -> list[str]:
    """The same at each call."""
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, random.integers(1, longest))) for _ in range(count)]


def series(count: int) -> list[np.ndarray]:
    """Of 1 to 15 steps."""
    random = np.random.default_rng(4)
    return [random.normal(size=(random.integers(1, 16), 2)).astype(np.float32) for _ in range(count)]


SMALL: dict[str, Any] = {"hidden_size": 6, "batch_size": 8, "epochs": 2, "random_state": 1, "verbose": 0}
ODD = {**SMALL, "batch_size": 7}  # which two ranks cannot share evenly
NOISE = {
    "input_dropout": 0.2,
    "dropout": 0.3,
    "recurrent_dropout": 0.2,
    "zoneout": 0.1,
    "weight_dropout": 0.2,
}


def regressor() -> Any:
    """Texts, every kind of noise, two layers, averaged weights, weighted rows; a last batch of one row."""
    model = unspool.SequenceRegressor(
        num_layers=2, embedding_dim=5, word_dropout=0.1, blend=False, **SMALL, **NOISE
    )
    x = texts(37)
    y = [len(t) / 10 for t in x]
    return model.fit(x[:25], y[:25], np.linspace(0.5, 2, 25), (x[25:], y[25:]))


def classifier() -> Any:
    """Series, varied; batches of an odd number of rows; no early stopping."""
    model = unspool.SequenceClassifier(
        crop=0.3, noise=0.1, time_mask=0.3, dropout=0.2, early_stopping=False, dense=(4,), **ODD
    )
    x = series(30)
    return model.fit(x, ["up" if row.sum() > 0 else "down" for row in x])


def sparse() -> Any:
    """Rows of the embedding alone are touched."""
    model = unspool.SequenceRegressor(
        embedding_update="sparse", embedding_dim=5, early_stopping=False, averaging=0.0, **SMALL
    )
    x = texts(30)
    return model.fit(x, [len(t) / 10 for t in x])


def by_rows() -> Any:
    """An embedding so large that its optimiser brings rows up to date when they are looked up."""
    model = unspool.SequenceRegressor(
        embedding_dim=64, max_words=20000, early_stopping=False, averaging=0.0, schedule="constant", **SMALL
    )
    random = np.random.default_rng(5)
    ids = [random.integers(1, 20000, random.integers(1, 9)).tolist() for _ in range(40)]
    ids[0] = [19999]
    return model.fit(ids, [float(len(row)) for row in ids], callbacks=[At(1, is_by_rows)])


def ensemble() -> Any:
    """Two members and a linear part."""
    model = unspool.SequenceClassifier(
        ensemble=2, embedding_dim=5, blend=True, validation_fraction=0.5, **SMALL
    )
    x = texts(40)
    return model.fit(x, ["long" if len(t) > 25 else "short" for t in x])


def tagger() -> Any:
    """Tags with a CRF, and labels of sentences, whose losses are means over different things; a score."""
    model = unspool.SequenceTagger(crf=True, embedding_dim=5, **SMALL)
    x = [t.split() for t in texts(30)]
    y = [["B-X" if len(w) > 3 else "O" for w in row] for row in x]
    return model.fit(x, y, labels=["long" if len(row) > 5 else "short" for row in x])


def generator(**fit: Any) -> Any:
    """Texts in chunks whose state is carried on; both penalties."""
    model = unspool.SequenceGenerator(
        level="char",
        embedding_dim=5,
        chunk_length=6,
        random_lengths=True,
        activation_penalty=1.0,
        temporal_penalty=1.0,
        dropout=0.2,
        **SMALL,
    )
    return model.fit(texts(20), **fit)


def seq2seq() -> Any:
    """Texts to texts, with label smoothing."""
    model = unspool.Seq2Seq(embedding_dim=5, label_smoothing=0.1, dropout=0.2, input_dropout=0.1, **SMALL)
    x = texts(30)
    return model.fit(x, [" ".join(reversed(t.split())) for t in x])


def forecaster() -> Any:
    """Series with values that are missing, over which the loss takes no mean."""
    random = np.random.default_rng(6)
    y = np.sin(np.arange(120) / 5) + 0.1 * random.normal(size=120)
    y[random.choice(120, 15, replace=False)] = np.nan
    model = unspool.Forecaster(horizon=4, input_size=12, dropout=0.2, **SMALL)
    return model.fit([y])


def streamed() -> Any:
    """A table read in pieces, of which each epoch sees some batches, with a linear part."""
    x = texts(40)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_text("text,y\n" + "".join(f"{text},{len(text) / 10}\n" for text in x))
        stream = TableStream(path, "text", ["y"], rows=11)
        model = unspool.SequenceRegressor(
            embedding_dim=5, word_dropout=0.1, blend=True, validation_fraction=0.5, **ODD
        )
        return model.fit_stream(stream, sample=15, batches_per_epoch=3)


CASES: dict[str, Callable[[], Any]] = {
    f.__name__: f
    for f in (
        regressor,
        classifier,
        sparse,
        by_rows,
        ensemble,
        tagger,
        generator,
        seq2seq,
        forecaster,
        streamed,
    )
}


def found(name: str) -> dict[str, Any]:
    """What a case comes to."""
    return outcome(CASES[name]())


def outcome(model: Any) -> dict[str, Any]:
    """Weights, and the history without times."""
    history = [{k: v for k, v in row.items() if "seconds" not in k} for row in model.history_]
    return {
        "weights": model.network_.state_dict(),
        "history": history,
        "best": model.best_epoch_,
        "interrupted": model.interrupted_,
    }


def is_by_rows(trainer: Trainer) -> None:
    assert trainer.by_rows is not None


class At(Callback):
    """Does something after a step."""

    def __init__(self, step: int, act: Callable[[Trainer], None]) -> None:
        self.step, self.act = step, act

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        if trainer.steps == self.step:
            self.act(trainer)


def kept(path: str, terminate_at: int | None = None) -> dict[str, Any]:
    """The generator with a checkpoint; this process gets SIGTERM after a step, within an epoch and a text."""
    at = At(terminate_at or -1, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    return outcome(generator(checkpoint=path, callbacks=[at]))


def plain(random_state: int | None = 1, count: int = 20, rate: float = 0.01, **fit: Any) -> dict[str, Any]:
    """A regressor of series."""
    settings = {**SMALL, "random_state": random_state, "learning_rate": rate, "early_stopping": False}
    x = series(count)
    return outcome(unspool.SequenceRegressor(**settings).fit(x, [float(row.sum()) for row in x], **fit))


def message(act: Callable[[], Any]) -> str:
    """Of the error that it raises."""
    try:
        act()
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def of_last(step: int, act: Callable[[Trainer], Any]) -> list[Callback]:
    """Callbacks of which only that of the last rank acts."""
    return [At(step, act if rank() else lambda trainer: None)]


def rank() -> int:
    """Of this process."""
    return int(os.environ["RANK"])


def stop(trainer: Trainer) -> None:
    trainer.stop = True


def on_ranks(folder: Path) -> dict[str, Any]:
    """What is tried on two ranks alone."""
    return {
        "unseeded": plain(None)["weights"],
        "resumed": kept(str(folder / "one")),
        "terminated": message(lambda: kept(str(folder / "two"), 7 if rank() else None)),
        "stopped": plain(callbacks=of_last(2, stop)),
        "interrupted": plain(callbacks=of_last(2, lambda _: os.kill(os.getpid(), signal.SIGINT))),
        "other data": message(lambda: plain(count=20 + rank())),
        "diverged": message(lambda: plain(rate=1e30)),
        "refused": message(lambda: run("compare", folder)),
        "fitted": message(lambda: run("fit", folder)),
    }


def run(command: str, folder: Path, to: str = "") -> None:
    """`unspool COMMAND`; what it prints goes to the file `to`, or one of the command's name."""
    options = "--input text --target y --epochs 1 --hidden-size 4 --embedding-dim 4 --seed 1 --out".split()
    sys.argv = ["unspool", command, str(folder / "table.csv"), *options, str(folder / "model")]
    with open(folder / f"{to or command}.{rank()}", "w") as f, redirect_stdout(f), redirect_stderr(f):
        main()


def fault(folder: Path, port: str) -> None:
    """`unspool fit` within a group that the user has started, whose other rank ends in the middle."""
    place = f"tcp://127.0.0.1:{port}"
    dist.init_process_group(
        "gloo", init_method=place, rank=rank(), world_size=2, timeout=timedelta(seconds=60)
    )
    if rank():
        Group.sum_gradients = lambda *_: os._exit(3)  # type: ignore[method-assign]
    run("fit", folder, "fault")


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    torch.save({name: found(name) for name in CASES}, folder / f"cases.{rank()}")
    torch.save(on_ranks(folder), folder / f"more.{rank()}")
    fault(folder, port)
