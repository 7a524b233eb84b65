"""What sequence estimators do once they are fitted: predict, stream, tell of themselves, save. Without scikit-learn.

Its import takes a second and 120 MB, so this is what commands load (`unspool.saved.load(path, to_fit=False)`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from unspool import saved
from unspool.encode import Columns, Raw, read_rows
from unspool.encode.reading import check_names
from unspool.errors import bad_parameter, check_fitted
from unspool.estimators import blending, building, saving, streams
from unspool.estimators.constructor import SequenceParameters
from unspool.estimators.monitoring import outputs_of
from unspool.estimators.network import Ensemble, SequenceNetwork, count_parameters, layer_table, members_of
from unspool.program import surroundings
from unspool.ragged import Ragged
from unspool.streaming import LookAheadStream, Stream, StreamModel
from unspool.summaries import layers_text
from unspool.tasks import Classification, Count, MultiLabel, Ordinal, Positive, Regression, Task
from unspool.training.device import asking


class FittedSequences(SequenceParameters):
    """An encoder, a network, a task, and where there are some further columns and a linear part.

    The attributes are those of `SequenceEstimator`, which sets them.
    """

    task: ClassVar[type[Task]]
    other_tasks: ClassVar[tuple[type[Task], ...]] = ()  # that y may also be of
    task_: Any
    input_: Any
    columns_: Columns | None = None

    network_: SequenceNetwork | Ensemble
    linear_: Any
    blend_: Any
    ensemble_: int
    feature_names_in_: np.ndarray

    @surroundings.defaults()
    def freeze(self, weights: str = "float32") -> Any:
        """Predict from now on with weights laid out once, until the next `fit`; returns self.

        weights: of the recurrent layers. "float32": the same numbers. "bfloat16", "int8": half and a quarter of the
        memory and faster, less exact (`Recurrent.freeze`); `score` tells what that costs. Changes that are made to
        `network_` are not seen. Not saved. Raises `EngineError` for a cell that the native engine cannot run.
        """
        check_fitted(self)
        self.frozen_ = self.network_.freeze(weights)
        return self

    def predict(self, X: Any, level: int | None = None) -> Any:
        """What the task answers for each sequence of X: numbers float64 (n,) or (n, K), or labels (n,); for a task
        with one target a step a Ragged. Warns of texts without any known word.

        level: whole per cent, 1 to 99: then of numbers (n, 3) or (n, K, 3), the prediction and the ends of an interval
        that holds the true number of so many new rows, of classes bool (n, C), a set that holds the true one
        (`unspool.tasks.conformal`). `DataError` where the fit held back too few rows, or none.
        """
        outputs = self._outputs(X)
        return self.task_.decode(outputs) if level is None else self.task_.covering(outputs, level)

    def columns(
        self, X: Any, names: Sequence[str] | None = None, level: int | None = None
    ) -> dict[str, np.ndarray]:
        """The predictions for X as columns (n,) of a table; of a classifier also the probability of each class.

        names: of the predictions, one a target; None: those of `Task.default_names`. level: as of `predict`; NAME_low
        and NAME_high, or NAME_set with classes joined by |, come behind.
        """
        outputs = self._outputs(X)
        own = self.task_.default_names()
        names = own if names is None else names
        if isinstance(names, str) or len(names) != len(own):
            bad_parameter(type(self).__name__, "names", f"a list of {len(own)}, one a target", names)
        found = self.task_.columns(outputs, names)
        return found if level is None else {**found, **self.task_.covering_columns(outputs, names, level)}

    @surroundings.defaults()
    def _outputs(self, X: Any, warn: bool = True) -> Any:
        """What the network, and the linear part if there is one, give for X, in its order.

        float64 (n, output size), or a Ragged of it for each step. warn: tell of sequences that say nothing.
        """
        check_fitted(self)
        raw = self.input_.split(self._read(X, self.input_.kind))
        columns = None if self.columns_ is None else self.columns_.encode(raw, warn=warn)
        outputs = self._network_outputs(self.input_.encode(raw, warn=warn), columns)
        if self.linear_ is None or self.blend_ is None:
            return outputs
        return self.blend_(outputs, self.linear_.outputs(raw.data, blending.matrix(columns)))

    def stream(self, weights: str = "float32", look_ahead: int | None = None) -> Stream | LookAheadStream:
        """A `unspool.streaming.Stream` of this model: a sequence pushed bit by bit, answered each time.

        weights: as of `freeze`. look_ahead: steps that the backward direction of a bidirectional model sees ahead, see
        `LookAheadStream`; without it such a model raises `DataError`, as do models that read a sequence as a whole:
        recordings, a linear part (stream `network_alone()`), further columns.
        """
        return Stream(self, weights) if look_ahead is None else LookAheadStream(self, look_ahead, weights)

    @surroundings.defaults()
    def stream_model(self, weights: str = "float32", look_ahead: int | None = None) -> StreamModel:
        """What `unspool.streaming.Stream` and `StreamPool` run for this model; raises as `stream`."""
        return streams.stream_model(self, weights, look_ahead)

    def network_alone(self) -> Any:
        """This model without its linear part, sharing its network: what the blend is measured against."""
        check_fitted(self)
        alone = copy.copy(self)
        alone.linear_ = alone.blend_ = None
        return alone

    def _network_outputs(self, inputs: Ragged, columns: Tensor | None = None) -> Any:
        """As `_outputs`, of the network alone, for encoded sequences and columns."""
        with asking(self) as network:
            return outputs_of(network, inputs, columns)

    def summary(self) -> str:
        """The layers with their widths and trainable numbers, as a table."""
        check_fitted(self)
        rows = layer_table(members_of(self.network_)[0], self.cell)
        return layers_text(f"{type(self).__name__} on {self.describe()}", rows, self.n_parameters_)

    def describe(self) -> str:
        """Input, further columns, ensemble and blend, in a line."""
        check_fitted(self)
        parts = [self.input_.describe()]
        if self.columns_ is not None:
            parts.append(self.columns_.describe())
        if self.ensemble_ > 1:
            parts.append(f"ensemble of {self.ensemble_}")
        if self.linear_ is not None and self.blend_ is not None:
            parts.append(blending.describe(self.linear_, self.blend_))
        return "; ".join(parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to `path`: a folder, or one file if it ends in ".zip". `unspool.load` reads it.

        Raises `InvalidParameterError` where `cell` is not a name, `ModelFileError` where it cannot write.
        """
        check_fitted(self)
        saved.save(path, saving.content(self), saving.tensors(self))

    @classmethod
    @surroundings.defaults()
    def from_saved(cls, content: saved.Fields, weights: saved.Weights) -> Any:
        """The estimator of a saved model; used by `unspool.load`."""
        return saving.restore(cls, content, weights)

    def _read(self, X: Any, kind: str | None = None) -> Raw:
        raw = read_rows(type(self).__name__, X, self.get_params(deep=False), kind)
        return raw if kind is None else check_names(raw, getattr(self, "feature_names_in_", None))

    def _finish(self) -> None:
        self.n_features_in_ = self.input_.n_given
        self.n_parameters_ = count_parameters(self.network_)

    def _build_network(self) -> SequenceNetwork | Ensemble:
        return building.network(self)


class SequenceRegressor(FittedSequences):
    """What the estimator of this name does once it is fitted."""

    task = Regression
    other_tasks = (Count, Positive)
    task_: Regression

    @property
    def target_mean_(self) -> np.ndarray:
        """(K,): the means of the training targets."""
        return self.task_.mean

    @property
    def target_scale_(self) -> np.ndarray:
        """(K,): their standard deviations, 1 for a constant one."""
        return self.task_.scale


class SequenceClassifier(FittedSequences):
    """What the estimator of this name does once it is fitted."""

    task = Classification
    other_tasks = (MultiLabel, Ordinal)
    task_: Any

    def predict_proba(self, X: Any) -> np.ndarray:
        """float64 (n, classes), columns in the order of `classes_`; of one label a row they add up to 1."""
        outputs = self._outputs(X)
        return self.task_.probabilities(outputs)

    def uncalibrated(self) -> Any:
        """This model at temperature 1, sharing its network: what `calibrate` is measured against."""
        check_fitted(self)
        alone = copy.copy(self)
        alone.task_ = copy.copy(self.task_)
        alone.task_.temperature = 1.0
        return alone

    @property
    def classes_(self) -> np.ndarray:
        """(C,): the labels, sorted, or in their order."""
        return self.task_.classes
