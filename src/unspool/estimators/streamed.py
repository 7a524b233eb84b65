"""`fit_stream`: a fit on a table that is larger than memory.

Three passes: targets are read and checked, so that rows for validation can be drawn; texts of a sample are gathered,
from which the vocabulary, word vectors, columns and the linear part are learnt; all texts are encoded into a file. The
training then reads its batches from that file. With a sample as large as the training part, the result is that of
`fit` on the same rows. Several ranks each make all of this for themselves, and share the batches as those of `fit` do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unspool.encode import Raw, new_input
from unspool.encode.stored import Stored, StoredWriter
from unspool.errors import DataError, bad_parameter, check_int
from unspool.estimators import blending, building
from unspool.estimators.by_kind import training_of
from unspool.estimators.monitoring import score_of
from unspool.estimators.splitting import split_rows
from unspool.parameters import check_parameters
from unspool.tables.stream import Labels, Piece, TableStream
from unspool.tasks import MultiLabel, Task
from unspool.tasks.reading import read_weights, scale_weights
from unspool.training import Callback, SequenceData
from unspool.training.callbacks import check_callbacks
from unspool.training.device import seeded
from unspool.training.parallel import find, same_random

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator

SAMPLE = 50_000  # rows


@dataclass
class StreamedData(SequenceData):
    """Sequences in a file. batches: at most so many a pass, drawn anew each time; None: all."""

    batches: int | None = None

    def training_batches(self, size: int, generator: torch.Generator) -> Iterable[Any]:
        """One pass, or the part of it that there is time for."""
        if self.batches is None or self.batches * size >= len(self):
            return super().training_batches(size, generator)
        some = torch.randperm(len(self), generator=generator, device="cpu")[: self.batches * size]
        return self.part(some.numpy()).training_batches(size, generator)

    def steps(self, size: int) -> int:
        """The batches of a pass."""
        every = super().steps(size)
        return every if self.batches is None else min(every, self.batches)

    def part(self, rows: np.ndarray) -> StreamedData:
        """Some rows, in that order, whose sequences stay in the file."""
        index = torch.from_numpy(rows)
        stored: Any = self.inputs
        targets, weights, columns, origin = (
            None if x is None else x[index] for x in (self.targets, self.weights, self.columns, self.origin)
        )
        return StreamedData(stored.only(rows), targets, weights, origin, columns)


@dataclass(frozen=True)
class Read:
    """What the first pass gives. target: as `Task.read` does. weights (n,) or None."""

    target: np.ndarray
    weights: np.ndarray | None

    def __len__(self) -> int:
        return len(self.target)


def fit_stream(
    model: SequenceEstimator,
    stream: TableStream,
    rows: np.ndarray | None,
    sample: int,
    batches: int | None,
    cache: str | Path | None,
    callbacks: Sequence[Callback],
) -> None:
    """See `SequenceEstimator.fit_stream`."""
    settings = model.get_params(deep=False)
    owner = type(model).__name__
    check_parameters(owner, settings)
    check_callbacks(owner, callbacks)
    check_int("fit_stream", "sample", sample, 2)
    if batches is not None:
        check_int("fit_stream", "batches_per_epoch", batches)
    if model.warm_start:
        bad_parameter(owner, "warm_start", "False: fit_stream starts anew", True)
    beside = (tuple(stream.numeric), tuple(stream.categorical))
    if beside != (tuple(model.numeric), tuple(model.categorical)):
        raise DataError(
            "numeric and categorical must be the same of the estimator and of the stream. Got "
            f"{(model.numeric, model.categorical)} and {beside}."
        )
    device = model._device(model.verbose)
    building.check_kind(model, "text")
    kind = MultiLabel if len(stream.targets) > 1 and model.task.has_classes else model.kind_of(None)
    model.task_ = kind.new(settings)
    read = _targets(model, stream)
    everything = np.arange(len(read)) if rows is None else np.sort(np.asarray(rows))
    if len(everything) < 2:
        raise DataError(f"At least two sequences are needed to fit. Got {len(everything)}.")
    random = same_random(model.random_state)
    chosen = training_of(model, "text", len(everything), model.task_.has_classes)
    fraction = model.validation_fraction if chosen.early_stopping else 0.0
    training_rows, held_rows = split_rows(
        len(everything), fraction, model.task_.strata(read.target[everything]), random
    )
    learn, held = everything[training_rows], everything[held_rows]
    some, some_held = _sampled(learn, sample), _sampled(held, sample)
    raw, raw_held = _gathered(model, stream, kind, some), _gathered(model, stream, kind, some_held)
    _tell(model, f"{len(learn):,} training and {len(held):,} validation rows; vocabulary from {len(some):,}.")
    for name in ("frozen_", "feature_names_in_"):
        model.__dict__.pop(name, None)
    model.input_ = new_input("text", settings).fit(raw)
    model.columns_ = model._new_columns(raw)
    model.task_.fit(read.target[learn])
    with tempfile.TemporaryDirectory(prefix="unspool-", dir=cache) as folder:
        stored, columns = _encoded(model, stream, kind, len(read), Path(folder) / "ids")
        try:
            training = _data(model, read, stored, columns, learn, batches)
            validation = _data(model, read, stored, columns, held) if len(held) else None
            sampled = len(some) < len(learn) or len(some_held) < len(held)
            blends = blending.wanted(model, "text", len(learn), len(held)) and (
                bool(model.blend) or not sampled
            )
            seed = int(random.randint(2**31 - 1))
            part_held = read_held = None
            if validation is not None:
                part_held = validation.part(np.searchsorted(held, some_held))
                read_held = read.target[some_held]
            score = score_of(model, part_held, read_held)
            chosen_settings = building.settings(model, chosen)
            with seeded(seed, device):
                model.ensemble_ = model.ensemble
                model.network_ = model._build_network()
                model._train(training, validation, seed, list(callbacks), chosen_settings, device, score)
            model.linear_ = model.blend_ = None
            if part_held is not None:
                part = training.part(np.searchsorted(learn, some))
                if blends and not model.interrupted_:
                    model.linear_, model.blend_, outputs = blending.fit_blend(
                        model, raw.data, part, raw_held.data, part_held, seed, [*raw.data, *raw_held.data]
                    )
                else:
                    outputs = model._network_outputs(part_held.inputs, part_held.columns)
                model.task_.tune(outputs, read_held)
        finally:
            stored.close()
    model._finish()


def _tell(model: SequenceEstimator, what: str) -> None:
    if model.verbose and find().first:
        print(what, flush=True)


def _sampled(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `rows`, in order, always the same."""
    if len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, count, replace=False))


def _targets(model: SequenceEstimator, stream: TableStream) -> Read:
    """The first pass."""
    task: Task = model.task_
    labels = Labels() if task.has_classes else None
    numbers: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    orders: dict[str, list[str]] = {}
    for piece in stream.pieces(task.name):
        orders = dict(piece.table.orders)
        if labels is not None:
            labels.add(piece.table, stream.targets[0])
        else:
            numbers.append(type(task).read_columns(piece.table, stream.targets))
        found = stream.weights(piece)
        if found is not None:
            weights.append(found)
    if labels is not None:
        different, places = labels.found()
        if orders.get(stream.targets[0]) and getattr(task, "order", None) == "auto":
            task.order = orders[stream.targets[0]]  # type: ignore[attr-defined]
        target = task.read(different, len(different), learn=True)[places]
    else:
        y = np.concatenate(numbers)
        target = task.read(type(task).named(y, stream.targets), len(y), learn=True)
    assert isinstance(target, np.ndarray)
    weight = read_weights(np.concatenate(weights), len(target)) if weights else None
    assert not hasattr(weight, "offsets")
    return Read(target, weight)


def _raw(piece: Piece) -> Raw:
    return Raw("text", piece.texts, piece.beside)


def _gathered(model: SequenceEstimator, stream: TableStream, kind: type[Task], rows: np.ndarray) -> Raw:
    """The second pass: the texts, and the columns beside them, of `rows`, which rise."""
    texts: list[str] = []
    beside: dict[str, list[Any]] = {name: [] for name in (*stream.numeric, *stream.categorical)}
    if not len(rows):
        return Raw("text", texts, beside)
    for piece in stream.pieces(kind.name):
        low, high = np.searchsorted(rows, [piece.start, piece.start + len(piece)])
        part = _raw(piece).take(rows[low:high] - piece.start)
        texts += part.data
        for name, values in part.columns.items():
            beside[name] += values
        if high == len(rows):
            break
    return Raw("text", texts, beside)


def _encoded(
    model: SequenceEstimator, stream: TableStream, kind: type[Task], count: int, path: Path
) -> tuple[Stored, Tensor | None]:
    """The third pass: (every row's ids in a file, the columns beside them (n, C) or None)."""
    writer, columns, done = StoredWriter(path), [], 0
    for piece in stream.pieces(kind.name):
        raw = _raw(piece)
        writer.add(model.input_.encode(raw))
        if model.columns_ is not None:
            columns.append(model.columns_.encode(raw))
        before, done = done, done + len(piece)
        if 10 * before // count < 10 * done // count:
            _tell(model, f"Encoded {done:,} of {count:,} rows.")
    if done != count:
        raise DataError(
            f"{str(stream.path)!r} had {count:,} rows at first and {done:,} later. Was it changed?"
        )
    return writer.done(), torch.cat(columns) if columns else None


def _data(
    model: SequenceEstimator,
    read: Read,
    stored: Stored,
    columns: Tensor | None,
    rows: np.ndarray,
    batches: int | None = None,
) -> StreamedData:
    targets: Any = model.task_.encode(read.target[rows])
    weights = None if read.weights is None else scale_weights(read.weights[rows], targets)
    index = torch.from_numpy(rows)
    inputs: Any = stored.only(rows)
    beside = None if columns is None else columns[index]
    return StreamedData(inputs, targets, weights, index, beside, batches)
