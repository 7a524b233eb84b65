"""What the sequence estimators share: parameters, fitting, raw outputs, summary."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from unspool.encode import Columns, Raw, new_input
from unspool.errors import DataError, bad_parameter
from unspool.estimators import blending, building, continuing, streamed
from unspool.estimators.by_kind import training_of
from unspool.estimators.fitted import FittedSequences
from unspool.estimators.monitoring import score_of
from unspool.estimators.network import Ensemble, members_of
from unspool.estimators.splitting import split_rows
from unspool.parameters import check_parameters, described
from unspool.program import surroundings
from unspool.ragged import Ragged
from unspool.tables.stream import TableStream
from unspool.tasks import Target, Task
from unspool.tasks.base import take
from unspool.tasks.reading import check_lengths, parts_of, read_weights, scale_weights
from unspool.training import Callback, SequenceData, Settings, train
from unspool.training.callbacks import check_callbacks
from unspool.training.checkpoint import checkpoints
from unspool.training.device import CPU, choose, on, seeded
from unspool.training.parallel import same_random
from unspool.training.whole import all_or_nothing


class SequenceEstimator(BaseEstimator, FittedSequences):
    """Base of `SequenceRegressor` and `SequenceClassifier`.

    X is one of
    - a list, array or Series of str: encoded by a `TextEncoder`;
    - token ids: an integer array (B, T) as `pad_sequences` gives (pads of value 0 at either end are taken
      off), a list of lists of ints, or a `Ragged` of ids;
    - series of numbers: a list of (T, F) or (T,) arrays, a float array (B, T, F) or (B, T), a float `Ragged`;
      each feature is standardised, and NaN is a missing value (`unspool.encode.series`);
    - recordings: a list of `pathlib.Path` or of `unspool.signals.Sound` (`unspool.encode.audio`).
    With `text_column` X is a DataFrame, or a dict of columns, of which that one is one of these, and `numeric` and
    `categorical` name others, which the output layers see beside the sequence, as the blend's linear part does.
    Encoder, feature scaling and target scaling are fitted on the training part only.

    {parameters}

    Attributes
    ----------
    history_ : a dict an epoch: epoch, train_loss, validation_loss (if validated), validation_score (with
        monitor="metric": the metric, the larger the better), gradient_norm and
        gradient_norm_max (joint norm before clipping, mean and largest of the batches), learning_rate,
        train_seconds, seconds (with validation); of an ensemble also member, from 1. Losses of a regressor are in
        units of the target's variance.
    best_epoch_ : the epoch whose weights are kept: of least validation loss, or of the best `validation_score` where
        `monitor` asks for it; without validation the last. Of an ensemble's first member.
    linear_, blend_ : the linear part and its weights, or None. `network_alone()` is the model without them.
    interrupted_ : whether Ctrl-C ended the fit; the best weights so far are kept then.
    network_ : the trained torch module. n_parameters_ : its trainable numbers. input_ : the encoder.
    n_features_in_ : features a step; 1 for texts, ids and recordings. feature_names_in_ : their names, where X was a
        list of tables, `fit` of the command line had them from one, or you set them; saved.
    """

    # --- fitting

    @all_or_nothing
    @surroundings.training()
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
    ) -> Any:
        """Train on X (n sequences) and y (n,) or (n, K), in float32 on the CPU whatever torch's defaults; returns self.

        sample_weight: (n,), the weight of each sequence in the loss, 0 or more.
        validation_data: (X, y) to validate on; otherwise `validation_fraction` of the rows is held back if
        `early_stopping`, for classes stratified where each part can have every class.
        callbacks: `unspool.training.Callback` objects, called at each batch and epoch; not saved.
        checkpoint: a file that holds the state of the training. Where it exists, the training goes on from it, with the
        numbers of one that was never interrupted; it is left there at the end (`unspool.training.Checkpoint`).
        checkpoint_every: how often it is written: steps (500), or seconds ("60s"); None: after each epoch.

        Raises `DataError` for data that cannot be used, `InvalidParameterError`, `DivergenceError` where the loss or
        a gradient becomes NaN or infinite, and `ModelFileError` for a checkpoint of another training. After any error
        the estimator is as it was before the call, also after one that a callback raised.
        """
        check_parameters(type(self).__name__, self.get_params(deep=False))
        check_callbacks(type(self).__name__, callbacks)
        device = self._device(self.verbose)
        again = self.warm_start and hasattr(self, "network_")
        raw = self._read(X, self.input_.kind if again else None)
        building.check_kind(self, raw.kind)
        fresh = (type(self.task_) if again else self.kind_of(y)).new(self.get_params(deep=False))
        self.task_ = copy.copy(self.task_) if again else fresh
        target = self.task_.read(y, len(raw), learn=not again)
        weights = read_weights(sample_weight, len(raw), self.task.per_step)
        if len(raw) < 2:
            raise DataError("At least two sequences are needed to fit. Got 1 sample.")
        random = same_random(self.random_state)
        given = validation_data is not None
        chosen = training_of(self, raw.kind, len(raw), self.task_.has_classes, given)
        fraction = self.validation_fraction if chosen.early_stopping and not given else 0.0
        rows, held_back = split_rows(len(raw), fraction, self.task_.strata(target), random)
        self.__dict__.pop("frozen_", None)
        if again:
            self.task_.renew(fresh, take(target, rows))
        else:
            self.__dict__.pop("feature_names_in_", None)
            self.input_ = new_input(raw.kind, self.get_params(deep=False)).fit(raw.take(rows))
            self.columns_ = self._new_columns(raw.take(rows))
            self.task_.fit(take(target, rows))
            if raw.names is not None:
                self.feature_names_in_ = np.array(raw.names, dtype=object)
        raw = self.input_.split(raw)
        training = self._data(raw, target, weights, rows)
        validation = None
        if validation_data is not None:
            held_X, held_y = parts_of(validation_data)
            held = self.input_.split(self._read(held_X, raw.kind))
            held_target = self.task_.read(held_y, len(held), learn=False)
            validation = self._data(held, held_target, None, np.arange(len(held)))
        elif len(held_back):
            held, held_target = raw.take(held_back), take(target, held_back)
            validation = self._data(raw, target, weights, held_back)
        blends = blending.wanted(self, raw.kind, len(training), 0 if validation is None else len(validation))
        seed = int(random.randint(2**31 - 1))
        calls = [*callbacks, *checkpoints(self, checkpoint, checkpoint_every)]
        with seeded(seed, device):
            if again:
                self.network_ = continuing.network_of(self)
            else:
                self.ensemble_ = self.ensemble
                self.network_ = self._build_network()
            score = score_of(self, validation, None if validation is None else held_target)
            self._train(training, validation, seed, calls, building.settings(self, chosen), device, score)
        self.linear_ = self.blend_ = None
        if blends and validation is not None and not self.interrupted_:
            everything = raw.take(np.concatenate([rows, held_back])).data if validation_data is None else None
            self.linear_, self.blend_, outputs = blending.fit_blend(
                self, raw.take(rows).data, training, held.data, validation, seed, everything
            )
        elif validation is not None:
            outputs = self._network_outputs(validation.inputs, validation.columns)
        if validation is not None:
            self.task_.tune(outputs, held_target)
        self._finish()
        return self

    @all_or_nothing
    @surroundings.training()
    def fit_stream(
        self,
        stream: TableStream,
        rows: Any = None,
        sample: int = streamed.SAMPLE,
        batches_per_epoch: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Any:
        """As `fit`, on the texts of a table that is read in pieces and need not fit into memory; returns self.

        stream: `unspool.tables.TableStream`, which names file and columns. rows: those to learn from, places among the
        rows that the stream keeps; None: all. sample: rows, drawn at random, from which the vocabulary, word vectors
        and columns beside the texts are learnt; the linear part too with blend=True, and otherwise only where the
        sample is all rows. The model is then that of `fit`. As many held-back rows serve for what these are for.
        batches_per_epoch: an epoch ends after so many, drawn at random; None: after all rows. cache: a folder on a disk
        with room for four bytes a token, where the encoded texts lie while the fit lasts; None: that of temporary
        files.

        In memory are about 50 bytes a row, the sample, and the network. Raises as `fit`.
        """
        place = None if cache is None else os.fspath(cache)
        streamed.fit_stream(self, stream, rows, sample, batches_per_epoch, place, callbacks)
        return self

    @all_or_nothing
    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Any:
        continuing.partial_fit(self, X, y, classes, sample_weight)
        return self

    def kind_of(self, y: Any) -> type[Task]:
        """The task that y is of."""
        return self.task

    def _new_columns(self, raw: Raw) -> Columns | None:
        """Fitted on the training part; None where X has no further columns."""
        if not raw.columns:
            return None
        if self.task.per_step:
            name = "numeric" if self.numeric else "categorical"
            bad_parameter(type(self).__name__, name, "(): there is a target a step", getattr(self, name))
        return Columns.fit(raw, self.numeric, self.categorical)

    def _device(self, verbose: int = 0) -> torch.device:
        device = choose(type(self).__name__, self.device, verbose)
        if device.type != "cpu" and self.embedding_update == "sparse":
            expected = "'dense' on another device than the CPU"
            bad_parameter(type(self).__name__, "embedding_update", expected, "sparse")
        return device

    def _train(
        self,
        training: SequenceData,
        validation: SequenceData | None,
        seed: int,
        calls: list[Callback],
        settings: Settings,
        device: torch.device = CPU,
        score: Callable[[nn.Module], float] | None = None,
    ) -> None:
        """Each member of the ensemble, with a seed of its own."""
        members = members_of(self.network_)
        self.history_, self.best_epoch_, self.interrupted_ = [], 0, False
        for number, member in enumerate(members):
            loss, own = self.task_.loss, (seed + number) % 2**31
            with on(member, device):
                told = None if score is None else partial(score, member)
                outcome = train(member, loss, training, validation, settings, own, calls, told)
            of = {"member": number + 1} if len(members) > 1 else {}
            self.history_ += [{**row, **of} for row in outcome.history]
            self.best_epoch_ = self.best_epoch_ or outcome.best_epoch
            self.interrupted_ = outcome.interrupted
            if outcome.interrupted:
                self.network_ = members[0] if number == 0 else Ensemble(members[: number + 1])
                self.ensemble_ = number + 1
                break

    def _data(
        self, raw: Raw, target: Target, weights: np.ndarray | Ragged | None, rows: np.ndarray
    ) -> SequenceData:
        """The encoded rows; weights brought to mean 1."""
        part = raw.take(rows)
        inputs = self.input_.encode(part)
        columns = None if self.columns_ is None else self.columns_.encode(part)
        targets = self.task_.encode(take(target, rows))
        if isinstance(targets, Ragged):
            check_lengths(targets, inputs, rows)
        scaled = None if weights is None else scale_weights(take(weights, rows), targets)
        return SequenceData(inputs, targets, scaled, torch.from_numpy(rows), columns)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


# Under `python -OO` there are no docstrings.
SequenceEstimator.__doc__ = (SequenceEstimator.__doc__ or "").replace("{parameters}", described())
