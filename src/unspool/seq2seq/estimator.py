"""`Seq2Seq`: texts to texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from unspool import saved
from unspool.errors import bad_parameter, check_fitted
from unspool.parameters import check_parameters, described
from unspool.parameters.kept import Kept
from unspool.program import surroundings
from unspool.ragged import Ragged
from unspool.seq2seq import saving
from unspool.seq2seq.decoding import exact
from unspool.seq2seq.forcing import Forced, ScheduledSampling, TokenLoss
from unspool.seq2seq.network import EncoderDecoder
from unspool.seq2seq.pairs import PairData, ragged
from unspool.seq2seq.reading import OWNER, held_back, read_pairs
from unspool.seq2seq.searching import best_targets
from unspool.seq2seq.settings import SETTINGS
from unspool.seq2seq.sides import Side
from unspool.summaries import cell_name
from unspool.tasks.reading import parts_of, read_weights, scale_weights
from unspool.training import Callback, Settings, train
from unspool.training.callbacks import check_callbacks
from unspool.training.checkpoint import checkpoints
from unspool.training.device import CPU, asking, choose, device_of, on, seeded
from unspool.training.parallel import same_random
from unspool.training.whole import all_or_nothing


class Seq2Seq(Kept):
    """Learns from pairs of texts, source and target, to write the target of a new source.

    Both vocabularies are those of the training part.

    {parameters}

    Attributes
    ----------
    source_, target_ : tokens and their numbers. longest_ : tokens of the longest training target, its end counted.
    history_ : a dict an epoch, as the other estimators'; losses are nats a target token.
    best_epoch_ : the epoch whose weights are kept. interrupted_ : whether Ctrl-C ended the fit.
    network_ : the trained torch module. n_parameters_ : its trainable numbers.
    """

    def __init__(
        self,
        source_level: str = "char",
        target_level: str = "char",
        max_words: int = 10000,
        cell: str | Callable[[int, int], nn.Module] = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_dim: int = 64,
        attention: str = "multiplicative",
        dropout: float = 0.2,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        teacher_forcing: float = 1.0,
        teacher_forcing_schedule: str = "linear",
        label_smoothing: float = 0.0,
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        warmup: int = 0,
        averaging: float = 0.0,
        weight_decay: float = 1e-4,
        gradient_clip: float | None = 1.0,
        gradient_clip_value: float | None = None,
        early_stopping: bool = True,
        patience: int = 4,
        monitor: str = "loss",
        validation_fraction: float = 0.1,
        precision: str = "float32",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 1,
    ) -> None:
        self.source_level = source_level
        self.target_level = target_level
        self.max_words = max_words
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_dim = embedding_dim
        self.attention = attention
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.weight_dropout = weight_dropout
        self.teacher_forcing = teacher_forcing
        self.teacher_forcing_schedule = teacher_forcing_schedule
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup = warmup
        self.averaging = averaging
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.gradient_clip_value = gradient_clip_value
        self.early_stopping = early_stopping
        self.patience = patience
        self.monitor = monitor
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    source_: Side
    target_: Side
    longest_: int

    # --- fitting

    @all_or_nothing
    @surroundings.training()
    def fit(
        self,
        X: Sequence[str],
        y: Sequence[str],
        validation_data: tuple[Sequence[str], Sequence[str]] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
        sample_weight: Any = None,
    ) -> Any:
        """Train on sources X (n texts) and targets y (n texts), in float32; returns self.

        validation_data: (X, y) to validate on; otherwise `validation_fraction` of the sources, with all their targets,
        is held back if `early_stopping`.
        callbacks, checkpoint, checkpoint_every: as of `SequenceRegressor.fit`.
        sample_weight: (n,), of each pair in the loss, 0 or more.

        Raises `DataError` for pairs that cannot be used, `InvalidParameterError`, `DivergenceError` where the loss or
        a gradient becomes NaN or infinite, and `ModelFileError` for a checkpoint of another training.
        """
        check_parameters(OWNER, self.get_params(deep=False), SETTINGS)
        check_callbacks(OWNER, callbacks)
        device = choose(OWNER, self.device, self.verbose)
        sources, targets = read_pairs(X, y)
        weights = read_weights(sample_weight, len(sources))
        random = same_random(self.random_state)
        held = np.zeros(len(sources), dtype=bool)
        if validation_data is None and self.early_stopping:
            held = held_back(sources, self.validation_fraction, random)
        rows = np.flatnonzero(~held)
        xs, ys = [sources[i] for i in rows], [targets[i] for i in rows]
        self.__dict__.pop("frozen_", None)
        self.source_ = Side.fit("source", xs, self.source_level, self.max_words)
        self.target_ = Side.fit("target", ys, self.target_level, self.max_words)
        training = self._data(xs, ys, rows)
        if weights is not None:
            training.weights = scale_weights(weights[rows], torch.empty(len(rows)))
        validation = None
        if validation_data is not None:
            validation = self._data(*read_pairs(*parts_of(validation_data)))
        elif held.any():
            kept = np.flatnonzero(held)
            validation = self._data([sources[i] for i in kept], [targets[i] for i in kept], kept)
        if validation is None and self.monitor == "metric":
            bad_parameter(OWNER, "monitor", "'loss' where no rows are held back", self.monitor)
        assert isinstance(training.targets, Ragged)
        self.longest_ = int(training.targets.lengths.max())
        seed = int(random.randint(2**31 - 1))
        calls = [ScheduledSampling(self.teacher_forcing_schedule, self.teacher_forcing), *callbacks]
        calls += checkpoints(self, checkpoint, checkpoint_every)
        with seeded(seed, device):
            self.network_ = self._build_network()
            forced = Forced(self.network_)
            loss = TokenLoss(forced, self.label_smoothing)
            score = None
            if validation is not None and self.monitor == "metric":
                score = partial(exact, self.network_, validation)
            with on(forced, device):
                outcome = train(forced, loss, training, validation, Settings.of(self), seed, calls, score)
        self.history_, self.best_epoch_ = outcome.history, outcome.best_epoch
        self.interrupted_ = outcome.interrupted
        self._finish()
        return self

    def _data(self, X: Sequence[str], y: Sequence[str], origin: np.ndarray | None = None) -> PairData:
        return PairData(
            ragged([self.source_.encode(text) for text in X]),
            ragged([self.target_.encode(text) for text in y], mark=True),
            origin=None if origin is None else torch.from_numpy(origin),
            vocabulary_size=len(self.target_),
        )

    def _build_network(self) -> EncoderDecoder:
        names = (
            "cell",
            "embedding_dim",
            "hidden_size",
            "num_layers",
            "attention",
            "dropout",
            "input_dropout",
        )
        others = ("recurrent_dropout", "zoneout", "weight_dropout", "precision")
        options = {name: getattr(self, name) for name in (*names, *others)}
        return EncoderDecoder(len(self.source_), len(self.target_), **options)

    def _finish(self) -> None:
        self.network_.eval()
        self.n_parameters_ = sum(p.numel() for p in self.network_.parameters() if p.requires_grad)

    # --- using

    def predict(
        self,
        X: Sequence[str],
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
        max_new_tokens: int | None = None,
    ) -> np.ndarray:
        """(n,) str: a target for each of the sources X. A row's does not depend on the other rows.

        num_beams: 1: the likeliest token at each step ("greedy"). More: beam search, for the target that is ranked
        best; length_penalty and early_stopping say how, see `unspool.seq2seq.Beams`.
        max_new_tokens: of a target, its end counted. None: twice the longest of the training part. A target that does
        not come to its end is cut there, with a warning.

        Raises `InvalidParameterError`, and `DataError` for what is no list of texts.
        """
        found = best_targets(self, X, num_beams, length_penalty, early_stopping, max_new_tokens)
        return np.array([self.target_.decode(row[0].ids) for row in found], dtype=object)

    def generate(
        self,
        X: Sequence[str],
        num_beams: int = 5,
        num_return_sequences: int = 5,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
        max_new_tokens: int | None = None,
    ) -> list[list[tuple[str, float]]]:
        """For each of the sources X its best targets, at most num_return_sequences of num_beams, and for each the score
        that it is ranked by: log p / tokens ** length_penalty. Otherwise as `predict`."""
        found = best_targets(
            self, X, num_beams, length_penalty, early_stopping, max_new_tokens, num_return_sequences
        )
        return [[(self.target_.decode(one.ids), one.score) for one in row] for row in found]

    def columns(self, X: Sequence[str], name: str = "prediction", **decoding: Any) -> dict[str, np.ndarray]:
        """The predictions for X as columns (n,) of a table, and the log-probability of each, in nats. decoding: as of
        `predict`."""
        options = {
            "num_beams": 1,
            "length_penalty": 1.0,
            "early_stopping": False,
            "max_new_tokens": None,
            **decoding,
        }
        found = [row[0] for row in best_targets(self, X, **options)]
        texts = np.array([self.target_.decode(one.ids) for one in found], dtype=object)
        return {name: texts, f"log_probability_{name}": np.array([one.log_probability for one in found])}

    @surroundings.defaults()
    def log_probability(self, X: Sequence[str], y: Sequence[str]) -> np.ndarray:
        """(n,) float64: log p of each target y, with its end, for its source X, in nats."""
        check_fitted(self)
        data = self._data(*read_pairs(X, y))
        total = torch.zeros(len(data), dtype=torch.float64)
        with asking(self) as network, torch.inference_mode():
            device = device_of(network)
            for batch in data.prediction_batches():
                assert isinstance(batch.targets, Ragged)
                scores = network(*batch.to(device).given).values.to(CPU).double()
                loss = F.cross_entropy(scores, batch.targets.values, reduction="none")
                total.index_add_(0, batch.rows[batch.targets.owners()], -loss)
        return total.numpy()

    def score(self, X: Sequence[str], y: Sequence[str]) -> float:
        """The share of the sources X whose greedy prediction is y, character by character."""
        sources, targets = read_pairs(X, y)
        return float(np.mean(self.predict(sources) == np.array(targets, dtype=object)))

    def evaluate(self, X: Sequence[str], y: Sequence[str | Sequence[str]], **decoding: Any) -> dict[str, Any]:
        """Exact matches, word and character error rates and BLEU of `predict(X, **decoding)`; see
        `unspool.evaluation.texts.text_metrics`. y: a right target for each source, or a list of several."""
        from unspool.evaluation.texts import error_packages, text_metrics

        error_packages()
        return text_metrics(self.predict(X, **decoding).tolist(), y)

    @surroundings.defaults()
    def align(self, source: str, target: str | None = None) -> tuple[list[str], list[str], np.ndarray]:
        """(source tokens, target tokens, weights): what each target token attended to: weights (target tokens + 1,
        source tokens), the last row that of the end; each sums to 1. target: None: the greedy prediction."""
        check_fitted(self)
        if target is None:
            target = str(self.predict([source])[0])
        (source,), (target,) = read_pairs([source], [target])
        (batch,) = self._data([source], [target]).prediction_batches()
        network = self.network_
        with torch.inference_mode():
            memory, state = network.encode(batch.inputs)
            output, _ = network.decoder.embedded(batch.tokens, network.embedding, state[:1])
            weights = network.attention.weights(output.values[None], memory)[0]
        tokens = self.source_.tokens(source)
        return tokens, self.target_.tokens(target), weights[:, : len(tokens)].numpy()

    # --- keeping

    @surroundings.defaults()
    def freeze(self, weights: str = "float32") -> Any:
        """Predict from now on with weights laid out once, until the next `fit`; returns self.

        weights: of the recurrent layers. "float32": the same numbers. "bfloat16", "int8": half and a quarter of the
        memory, less exact (`Recurrent.freeze`); `score` tells what that costs. Not saved. Raises `EngineError` for a
        cell that the native engine cannot run.
        """
        check_fitted(self)
        self.frozen_ = self.network_.freeze(weights)
        return self

    def summary(self) -> str:
        """The layers with their widths and trainable numbers, as a table."""
        check_fitted(self)
        return saving.summary(self)

    def describe(self) -> str:
        """Tokens and network, in a line."""
        check_fitted(self)
        names = {"char": "characters", "word": "words", "subword": "subwords"}
        source, target = (
            f"{len(side.vocabulary.tokens):,} {names[side.level]}" for side in (self.source_, self.target_)
        )
        cell = cell_name(self.cell)
        return f"{source} to {target}; {cell}, {self.attention} attention, {self.n_parameters_:,} parameters"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to `path`: a folder, or one file if it ends in ".zip". `unspool.load` reads it.

        Raises `InvalidParameterError` where `cell` is not a name, `ModelFileError` where it cannot write.
        """
        check_fitted(self)
        saved.save(path, saving.content(self), self.network_.state_dict())

    @classmethod
    @surroundings.defaults()
    def from_saved(cls, content: saved.Fields, weights: saved.Weights) -> Any:
        """The estimator of a saved model; used by `unspool.load`."""
        return saving.restore(cls, content, weights)


# Under `python -OO` there are no docstrings.
Seq2Seq.__doc__ = (Seq2Seq.__doc__ or "").replace("{parameters}", described(of=SETTINGS))
