"""`SequenceGenerator`: learns texts, token after token, and writes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import nn

from unspool import saved
from unspool.errors import DataError, check_fitted
from unspool.generation import measuring, prompting, pushed, saving
from unspool.generation.choosing import Choice
from unspool.generation.network import LanguageModel, next_token_loss
from unspool.generation.settings import SETTINGS
from unspool.generation.splitting import held_apart
from unspool.generation.streams import TextData, text_data
from unspool.generation.vocabulary import LEVELS, Vocabulary, read_texts
from unspool.parameters import check_parameters, described
from unspool.parameters.kept import Kept
from unspool.program import surroundings
from unspool.streaming import StreamModel
from unspool.summaries import cell_name
from unspool.tasks.reading import read_weights
from unspool.training import Callback, Settings, train
from unspool.training.callbacks import check_callbacks
from unspool.training.checkpoint import checkpoints
from unspool.training.device import choose, on, seeded
from unspool.training.parallel import same_random
from unspool.training.whole import all_or_nothing


class SequenceGenerator(Kept):
    """Learns to predict the next token of texts, and generates texts.

    X is one text, from which a model learns how any part of it goes on, or a list of texts, of which it also learns
    how they begin and end. The vocabulary is that of the training part.

    {parameters}

    Attributes
    ----------
    vocabulary_ : tokens and their numbers. ends_ : whether the ends of texts were learnt: X had several.
    history_ : a dict an epoch, as the other estimators'; losses are nats a token, of training with its penalties.
    best_epoch_ : the epoch whose weights are kept. interrupted_ : whether Ctrl-C ended the fit.
    network_ : the trained torch module. n_parameters_ : its trainable numbers.
    """

    def __init__(
        self,
        level: str = "char",
        max_words: int = 10000,
        cell: str | Callable[[int, int], nn.Module] = "lstm",
        hidden_size: int | Sequence[int] = 512,
        num_layers: int = 1,
        connection: str | None = None,
        embedding_dim: int = 128,
        tie_weights: bool | None = None,
        embedding_dropout: float = 0.0,
        input_dropout: float = 0.0,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        chunk_length: int = 64,
        random_lengths: bool = False,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        warmup: int = 0,
        averaging: float = 0.0,
        weight_decay: float = 0.0,
        gradient_clip: float | None = 1.0,
        gradient_clip_value: float | None = None,
        early_stopping: bool = True,
        patience: int = 4,
        validation_fraction: float = 0.05,
        precision: str = "float32",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 1,
    ) -> None:
        self.level = level
        self.max_words = max_words
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.connection = connection
        self.embedding_dim = embedding_dim
        self.tie_weights = tie_weights
        self.embedding_dropout = embedding_dropout
        self.input_dropout = input_dropout
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.weight_dropout = weight_dropout
        self.activation_penalty = activation_penalty
        self.temporal_penalty = temporal_penalty
        self.chunk_length = chunk_length
        self.random_lengths = random_lengths
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
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    vocabulary_: Vocabulary
    ends_: bool

    # --- fitting

    @all_or_nothing
    @surroundings.training()
    def fit(
        self,
        X: str | Sequence[str],
        y: None = None,
        validation_data: str | Sequence[str] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str | None = None,
        sample_weight: Any = None,
    ) -> Any:
        """Train on X, one text or a list of texts, in float32 whatever torch's defaults; returns self.

        y: None; texts are their own targets.
        validation_data: texts to validate on; otherwise `validation_fraction` of X is held back if `early_stopping`.
        callbacks, checkpoint, checkpoint_every: as of `SequenceRegressor.fit`.
        sample_weight: (n,), of each text's tokens in the loss, 0 or more; of a list of texts alone.

        Raises `DataError` for texts that cannot be used, `InvalidParameterError`, `DivergenceError` where the loss or
        a gradient becomes NaN or infinite, and `ModelFileError` for a checkpoint of another training.
        """
        owner = type(self).__name__
        check_parameters(owner, self.get_params(deep=False), SETTINGS)
        check_callbacks(owner, callbacks)
        device = choose(owner, self.device, self.verbose)
        if y is not None:
            raise DataError(f"{owner} learns from texts alone: y must be None. Got {type(y).__name__}.")
        texts = read_texts(owner, X)
        random = same_random(self.random_state)
        ends = len(texts) > 1
        if sample_weight is not None and not ends:
            raise DataError(
                "sample_weight weighs texts against each other, and X is one text. Give a list of texts."
            )
        weights: Any = read_weights(sample_weight, len(texts))
        fraction = self.validation_fraction if self.early_stopping and validation_data is None else 0.0
        training, held_back, of_training, of_held = held_apart(texts, weights, fraction, random)
        if validation_data is not None:
            held_back = read_texts(owner, validation_data, "validation_data")
        if not any(training):
            raise DataError(f"The texts to train {owner} on hold no token. Give a text, or a list of texts.")
        self.__dict__.pop("frozen_", None)
        self.__dict__.pop("_stepper", None)
        self.ends_ = ends
        self.vocabulary_ = LEVELS[self.level].fit(training, self.max_words)
        seed = int(random.randint(2**31 - 1))
        calls = [*callbacks, *checkpoints(self, checkpoint, checkpoint_every)]
        data = self._data(training, self.batch_size, of_training)
        held = self._data(held_back, self.batch_size, of_held) if held_back else None
        with seeded(seed, device):
            self.network_ = self._build_network()
            with on(self.network_, device):
                outcome = train(self.network_, next_token_loss, data, held, Settings.of(self), seed, calls)
        self.history_, self.best_epoch_ = outcome.history, outcome.best_epoch
        self.interrupted_ = outcome.interrupted
        self._finish()
        return self

    def _data(
        self, texts: Sequence[str], pieces: int | None = None, weights: np.ndarray | None = None
    ) -> TextData:
        ids = [self.vocabulary_.encode(text) for text in texts]
        return text_data(
            ids,
            self.ends_,
            pieces,
            weights,
            steps_a_chunk=self.chunk_length,
            random_lengths=self.random_lengths,
            vocabulary_size=len(self.vocabulary_),
        )

    def _build_network(self) -> LanguageModel:
        tied = self.level != "char" if self.tie_weights is None else bool(self.tie_weights)
        names = ("cell", "embedding_dim", "hidden_size", "num_layers", "embedding_dropout", "input_dropout")
        others = ("dropout", "connection", "recurrent_dropout", "zoneout", "weight_dropout", "precision")
        return LanguageModel(
            len(self.vocabulary_),
            tied=tied,
            activation=self.activation_penalty,
            temporal_activation=self.temporal_penalty,
            **{name: getattr(self, name) for name in (*names, *others)},
        )

    def _finish(self) -> None:
        self.n_parameters_ = sum(p.numel() for p in self.network_.parameters() if p.requires_grad)

    # --- measuring

    def score(self, X: str | Sequence[str], y: None = None) -> np.ndarray:
        """(n,) float64: log p of each text, in nats: the sum over its tokens and, where ends are learnt, its end.

        Each text is read from its beginning, whole and alone. Unknown tokens count as the unknown one.
        """
        if y is not None:
            raise DataError(f"{type(self).__name__}.score takes texts alone: y must be None.")
        return measuring.log_probabilities(self, X)[0]

    def perplexity(self, X: str | Sequence[str]) -> float:
        """exp(-log p / tokens) over all tokens of the texts, ends included where they are learnt."""
        scores, counts, _ = measuring.log_probabilities(self, X)
        return float(np.exp(-scores.sum() / counts.sum()))

    def evaluate(self, X: str | Sequence[str]) -> dict[str, float]:
        """What the texts' log-probability comes to.

        nats_per_token, perplexity (its exp); nats_per_character and bits_per_character, comparable between levels;
        tokens (with ends), characters, and unknown: the share of tokens that are not known.
        """
        return measuring.measures(self, X)

    # --- generating

    @surroundings.defaults()
    def generate(
        self,
        prompt: str | Sequence[str] = "",
        max_new_tokens: int = 200,
        do_sample: bool | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Texts that go on from `prompt`, without it: a str, or a list of `num_return_sequences`; for a list of
        prompts a list of these.

        max_new_tokens: tokens at most; a text also ends where the model says so, if it has learnt how texts end.
        do_sample: draw each token (default), or take the most likely one (False; the default with several beams).
        temperature, top_k, top_p, repetition_penalty: see `Choice`; the first three only where tokens are drawn.
        num_beams: more than 1: beam search for the most likely continuation, by its total log-probability.
        num_return_sequences: with beams at most num_beams: the best ones.
        stop: a text or several: a continuation ends before the first of them.
        random_state: int for the same texts at each call; None: others. A row's texts do not depend on other rows.

        The unknown token is never generated. A prompt's unknown tokens are read as it, with a warning.
        Raises `InvalidParameterError`, and `DataError` for a prompt that is no text.
        """
        choice = Choice(repetition_penalty, temperature, top_k, top_p)
        asked = prompting.Asked(max_new_tokens, do_sample, num_beams, num_return_sequences, stop)
        return prompting.texts(self, prompt, choice, asked, random_state)

    def stream(
        self,
        prompt: str = "",
        max_new_tokens: int = 200,
        do_sample: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Iterator[str]:
        """The text of `generate`, of one prompt, piece after piece as its tokens come.

        A piece is whole characters; what may be the beginning of a `stop` text waits until that is clear.
        """
        choice = Choice(repetition_penalty, temperature, top_k, top_p)
        asked = prompting.Asked(max_new_tokens, do_sample, stop=stop)
        return prompting.pieces(self, prompt, choice, asked, random_state)

    @surroundings.defaults()
    def stream_model(self, weights: str = "float32", look_ahead: int | None = None) -> StreamModel:
        """What `unspool.streaming.Stream` and `StreamPool` run for this model: what is pushed is text cut anywhere, and
        the answer the probability of each token to be the next one, float64 (V,). weights: as of `freeze`. `DataError`
        for a look-ahead: there is no backward direction.
        """
        return pushed.stream_model(self, weights, look_ahead)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_stepper"}

    # --- keeping

    @surroundings.defaults()
    def freeze(self, weights: str = "float32") -> Any:
        """Measure and generate from now on with weights laid out once, until the next `fit`; returns self.

        weights: "float32": the same numbers. "bfloat16", "int8": half and a quarter of the memory, and as much faster
        at one prompt, less exact (`Recurrent.freeze`); `evaluate` tells what that costs. Not saved. Raises
        `EngineError` for a cell that the native engine cannot run.
        """
        check_fitted(self)
        self.frozen_ = self.network_.freeze(weights)
        self._form = weights
        return self

    def summary(self) -> str:
        """The layers with their widths and trainable numbers, as a table."""
        check_fitted(self)
        return saving.summary(self)

    def describe(self) -> str:
        """Tokens and network, in a line."""
        check_fitted(self)
        names = {"char": "characters", "word": "words", "subword": "subwords"}
        cell = cell_name(self.cell)
        return f"{len(self.vocabulary_) - 2:,} {names[self.level]} known; {cell}, {self.n_parameters_:,} parameters"

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
SequenceGenerator.__doc__ = (SequenceGenerator.__doc__ or "").replace("{parameters}", described(of=SETTINGS))
