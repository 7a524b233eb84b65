"""`SequenceTagger`: sentences to a tag for each token, and to a label of the whole where there is one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from unspool import saved
from unspool.encode.reading import Raw
from unspool.encode.tokens import TokenInput, read_sentences
from unspool.errors import DataError, bad_parameter, check_fitted
from unspool.estimators.network import count_parameters, layer_table
from unspool.estimators.splitting import split_rows
from unspool.evaluation.spans import Span, spans
from unspool.parameters import check_parameters, described
from unspool.program import surroundings
from unspool.streaming import LookAheadStream, Stream, StreamModel
from unspool.summaries import layers_text
from unspool.tagging import building, parameters, saving, streams
from unspool.tagging.answers import Answers, answers, none_at_all
from unspool.tagging.constructor import TaggerParameters
from unspool.tagging.measures import Measures, measure
from unspool.tagging.network import TaggerNetwork, TagLoss
from unspool.tagging.reading import Numbers, Tags, decide_scheme, in_scheme, read_labels, read_tags, rows_of
from unspool.tagging.weights import weights_of
from unspool.tasks.reading import parts_of, read_weights, scale_weights
from unspool.training import Callback, SequenceData, train
from unspool.training.callbacks import check_callbacks
from unspool.training.checkpoint import checkpoints
from unspool.training.device import asking, choose, on, seeded
from unspool.training.parallel import same_random
from unspool.training.whole import all_or_nothing


class SequenceTagger(TaggerParameters):
    """A tag for each token of a sentence, and with `labels` also one of the whole sentence, such as its intent.

    X is a list of sentences, each a list of tokens (str); y a list of lists of tags (str) of the same lengths, where
    None stands for a tag that is not known. Columns of lists (polars, pandas, Arrow) are read too. Vocabulary,
    characters and tags are learnt from the training part only.

    {parameters}

    Attributes
    ----------
    classes_ : (K,), the tags, sorted. labels_ : (C,), the labels, sorted; None where there were none.
    scheme_ : "BIO", "IOBES" or None: how the tags mark spans.
    history_ : a dict an epoch, as of `SequenceEstimator`; losses are -log p a token, and `validation_score` the F1 of
        spans (without a scheme: the share of right tags), with labels its mean with their accuracy; with
        monitor="metric".
    best_epoch_ : the epoch whose weights are kept: that of the best score, or of the least loss (`monitor`).
    interrupted_ : whether Ctrl-C ended the fit.
    network_ : the torch module. n_parameters_ : its trainable numbers. input_ : the encoder.
    """

    input_: TokenInput
    network_: TaggerNetwork
    numbers_: Numbers
    scheme_: str | None

    # --- fitting

    @all_or_nothing
    @surroundings.training()
    def fit(
        self,
        X: Any,
        y: Any,
        labels: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
        sample_weight: Any = None,
    ) -> SequenceTagger:
        """Train on n sentences X and their tags y; returns self.

        labels: (n,), of each sentence as a whole, str or int. validation_data: (X, y) or (X, y, labels) to validate
        on; otherwise `validation_fraction` of the rows is held back if `early_stopping`. callbacks, checkpoint,
        checkpoint_every: as of `SequenceEstimator.fit`. sample_weight: (n,), of each sentence in the loss, 0 or more.

        Raises `DataError` for data that cannot be used, with the row; `InvalidParameterError`; `DivergenceError`.
        Warns where tags break their scheme, and are learnt as the same spans in it.
        """
        name = type(self).__name__
        check_parameters(name, self.get_params(deep=False), parameters.TABLE)
        check_callbacks(name, callbacks)
        device = choose(name, self.device, self.verbose)
        if self.class_weight is not None and self.crf:
            expected = "None with crf=True, which scores whole sentences"
            bad_parameter(name, "class_weight", expected, self.class_weight, "Use crf=False.")
        sentences, tags, kinds = self._read(X, y, labels)
        if len(sentences) < 2:
            raise DataError(f"At least two sentences are needed to fit. Got {len(sentences)}.")
        weights = read_weights(sample_weight, len(sentences))
        random = same_random(self.random_state)
        fraction = self.validation_fraction if self.early_stopping and validation_data is None else 0.0
        rows, held_back = split_rows(len(sentences), fraction, kinds, random)
        train_part = rows_of(sentences, tags, kinds, rows)
        self.scheme_ = decide_scheme(self.scheme, train_part[1])
        learnt = in_scheme(train_part[1], self.scheme_, warn=True)
        self.numbers_ = Numbers.fit(learnt, train_part[2])
        raw = Raw(TokenInput.kind, train_part[0])
        self.input_ = TokenInput.new(self.get_params(deep=False))
        self.input_.fit(raw)
        self.__dict__.pop("frozen_", None)
        training = self._data(train_part[0], learnt, train_part[2], rows)
        if weights is not None:
            training.weights = scale_weights(weights[rows], torch.empty(len(rows)))
        held = None
        if validation_data is not None:
            expected = "(X, y)" if kinds is None else "(X, y, labels), since fit has labels"
            parts = parts_of(validation_data, 2 if kinds is None else 3, expected)
            held = self._read(*parts, *([None] if kinds is None else []))
        elif len(held_back):
            held = rows_of(sentences, tags, kinds, held_back)
        validation = score = None
        if held is not None:
            if not any(held[0]):
                raise DataError("No sentence of the validation part holds a token.")
            own = in_scheme(held[1], self.scheme_)
            places = held_back if validation_data is None else np.arange(len(held[0]))
            validation = self._data(held[0], own, held[2], places, warn=True)
            if self.monitor == "metric":
                score = partial(self._score, validation, held)
        seed = int(random.randint(2**31 - 1))
        calls = [*callbacks, *checkpoints(self, checkpoint, checkpoint_every)]
        with seeded(seed, device):
            self.network_ = self._build_network()
            loss = TagLoss(self.label_weight, weights_of(self.class_weight, self.classes_, learnt))
            with on(self.network_, device):
                outcome = train(
                    self.network_, loss, training, validation, building.settings(self), seed, calls, score
                )
        self.history_, self.best_epoch_ = outcome.history, outcome.best_epoch
        self.interrupted_ = outcome.interrupted
        self._finish()
        return self

    def _read(self, X: Any, y: Any, labels: Any) -> tuple[list[list[str]], Tags, np.ndarray | None]:
        sentences = read_sentences(X)
        return (
            sentences,
            read_tags(y, sentences),
            None if labels is None else read_labels(labels, len(sentences)),
        )

    def _data(
        self,
        sentences: list[list[str]],
        tags: Tags,
        labels: np.ndarray | None,
        rows: np.ndarray,
        warn: bool = False,
    ) -> SequenceData:
        inputs = self.input_.encode(Raw(TokenInput.kind, sentences))
        targets: Any = self.numbers_.encode(tags, labels, warn)
        return SequenceData(inputs, targets, origin=torch.from_numpy(rows))

    def _score(self, data: SequenceData, held: tuple[list[list[str]], Tags, np.ndarray | None]) -> float:
        """Of the validation part, on the network as it is; tokens without a known tag are left out."""
        found = answers(self.network_, data, self.numbers_)
        return measure(held[1], found.tags, self.scheme_, held[2], found.labels).score

    def _build_network(self) -> TaggerNetwork:
        return building.network(self)

    def _finish(self) -> None:
        self.n_parameters_ = count_parameters(self.network_)

    # --- using

    @property
    def classes_(self) -> np.ndarray:
        """(K,): the tags, sorted."""
        return self.numbers_.tags

    @property
    def labels_(self) -> np.ndarray | None:
        """(C,): the labels of sentences, sorted; None where there are none."""
        return self.numbers_.labels

    @surroundings.defaults()
    def freeze(self, weights: str = "float32") -> SequenceTagger:
        """Predict from now on with recurrent weights laid out once, until the next `fit`; returns self.

        weights: as of `SequenceEstimator.freeze`.
        """
        check_fitted(self)
        self.frozen_ = self.network_.freeze(weights)
        return self

    def stream(self, weights: str = "float32", look_ahead: int | None = None) -> Stream | LookAheadStream:
        """A `unspool.streaming.Stream` of this model: the tag of each token as it is pushed.

        weights: as of `freeze`. look_ahead: steps that the backward direction of a bidirectional model sees ahead, see
        `LookAheadStream`; without it such a model raises `DataError`, as do models that read a sentence as a whole:
        with a CRF, or with labels.
        """
        return Stream(self, weights) if look_ahead is None else LookAheadStream(self, look_ahead, weights)

    @surroundings.defaults()
    def stream_model(self, weights: str = "float32", look_ahead: int | None = None) -> StreamModel:
        """What `unspool.streaming.Stream` and `StreamPool` run for this model; raises as `stream`."""
        return streams.stream_model(self, weights, look_ahead)

    def predict(self, X: Any) -> list[list[str]]:
        """A list of tags for each sentence, as long as it."""
        return self._predicted(X).tags

    def predict_labels(self, X: Any) -> np.ndarray:
        """(n,): the label of each sentence; `DataError` where the model has none."""
        self._check_labels()
        found = self._predicted(X).labels
        assert found is not None
        return found

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """float64 (T, K) for each sentence: of each tag, in the order of `classes_`, at each token. Under a CRF the
        marginals, whose largest is not always the tag of the best path, which `predict` gives."""
        found = self._predicted(X, probabilities=True).probabilities
        assert found is not None
        return [row.numpy() for row in found]

    def predict_labels_proba(self, X: Any) -> np.ndarray:
        """float64 (n, C), in the order of `labels_`; `DataError` where the model has none."""
        self._check_labels()
        found = self._predicted(X).label_probabilities
        assert found is not None
        return found

    def spans(self, X: Any) -> list[list[Span]]:
        """The spans (label, start, end) of each sentence, `end` not in it; `DataError` where tags mark none."""
        check_fitted(self)
        if self.scheme_ is None:
            raise DataError("The tags of this model mark no spans: use predict.")
        return [spans(tags) for tags in self.predict(X)]

    def measure(self, X: Any, y: Any, labels: Any = None) -> Measures:
        """How good the predictions for X are. labels: (n,), where the model has them."""
        check_fitted(self)
        sentences, tags, kinds = self._read(X, y, labels)
        if kinds is not None:
            self._check_labels()
        found = self._predicted(sentences)
        return measure(tags, found.tags, self.scheme_, kinds, found.labels)

    def score(self, X: Any, y: Any) -> float:
        """F1 over spans as conlleval counts them; without a scheme the share of right tags."""
        return self.measure(X, y).score

    def _check_labels(self) -> None:
        check_fitted(self)
        if self.numbers_.labels is None:
            raise DataError("This model has no labels of sentences: give fit the argument labels.")

    @surroundings.defaults()
    def _predicted(self, X: Any, probabilities: bool = False) -> Answers:
        check_fitted(self)
        sentences = read_sentences(X)
        if not sentences:
            return none_at_all(self.numbers_)
        data = SequenceData(self.input_.encode(Raw(TokenInput.kind, sentences)))
        with asking(self) as network:
            return answers(network, data, self.numbers_, probabilities)

    def summary(self) -> str:
        """The layers with their widths and trainable numbers, as a table."""
        check_fitted(self)
        rows = layer_table(self.network_, self.cell)
        if self.network_.crf is not None:
            rows.append(("crf", len(self.classes_), count_parameters(self.network_.crf)))
        if self.network_.label_head is not None and self.labels_ is not None:
            parts = (self.network_.pooled, self.network_.label_head)
            count = sum(count_parameters(part) for part in parts if part is not None)
            rows.append(("labels", len(self.labels_), count))
        return layers_text(f"{type(self).__name__} on {self.describe()}", rows, self.n_parameters_)

    def describe(self) -> str:
        """Input, tags and labels, in a line."""
        check_fitted(self)
        found = f"{self.input_.describe()}; {len(self.classes_)} tags"
        found += f" ({self.scheme_})" if self.scheme_ else ""
        return found if self.labels_ is None else f"{found}, {len(self.labels_)} labels"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to `path`: a folder, or one file if it ends in ".zip". `unspool.load` reads it."""
        check_fitted(self)
        saved.save(path, saving.content(self), dict(self.network_.state_dict()))

    @classmethod
    @surroundings.defaults()
    def from_saved(cls, content: saved.Fields, weights: saved.Weights) -> SequenceTagger:
        """The tagger of a saved model; used by `unspool.load`."""
        return saving.restore(cls, content, weights)


# Under `python -OO` there are no docstrings.
SequenceTagger.__doc__ = (SequenceTagger.__doc__ or "").replace(
    "{parameters}", described(of=parameters.TABLE)
)
