"""The parameters of the sequence estimators, kept as they were given: scikit-learn's contract of a constructor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from unspool.parameters.kept import Kept


class SequenceParameters(Kept):
    """The constructor of `SequenceEstimator`; `unspool.parameters.TABLE` describes and checks its parameters."""

    def __init__(
        self,
        cell: str | Callable[[int, int], nn.Module] = "lstm",
        hidden_size: int | Sequence[int] = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        merge: str = "concat",
        connection: str | None = None,
        embedding_dim: int = 100,
        pooling: str = "mean+max",
        dense: Sequence[int] = (),
        dropout: float | None = None,
        input_dropout: float | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        word_dropout: float = 0.0,
        crop: float = 0.0,
        noise: float = 0.0,
        time_mask: float = 0.0,
        audio_features: str = "log-mel",
        mel_bands: int = 40,
        sample_rate: int | None = None,
        gain_invariant: bool = True,
        channel_invariant: bool = False,
        max_words: int = 10000,
        level: str = "word",
        characters: str | None = None,
        vectors: Any = "texts",
        vector_words: int = 50000,
        vectors_rate: float | None = None,
        blend: bool | None = None,
        text_column: str | None = None,
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        ensemble: int = 1,
        loss: str = "squared",
        quantile: float = 0.5,
        label_smoothing: float | None = None,
        class_weight: str | dict[Any, float] | None = None,
        multilabel: bool | None = None,
        order: str | Sequence[Any] | None = None,
        calibrate: bool | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float | None = None,
        schedule: str | None = None,
        warmup: int = 0,
        averaging: float = 0.99,
        weight_decay: float = 1e-4,
        gradient_clip: float | None = 1.0,
        gradient_clip_value: float | None = None,
        early_stopping: bool | None = None,
        patience: int | None = None,
        monitor: str = "loss",
        validation_fraction: float = 0.1,
        embedding_update: str = "dense",
        precision: str = "float32",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.merge = merge
        self.connection = connection
        self.embedding_dim = embedding_dim
        self.pooling = pooling
        self.dense = dense
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.weight_dropout = weight_dropout
        self.word_dropout = word_dropout
        self.crop = crop
        self.noise = noise
        self.time_mask = time_mask
        self.audio_features = audio_features
        self.mel_bands = mel_bands
        self.sample_rate = sample_rate
        self.gain_invariant = gain_invariant
        self.channel_invariant = channel_invariant
        self.max_words = max_words
        self.level = level
        self.characters = characters
        self.vectors = vectors
        self.vector_words = vector_words
        self.vectors_rate = vectors_rate
        self.blend = blend
        self.text_column = text_column
        self.numeric = numeric
        self.categorical = categorical
        self.ensemble = ensemble
        self.loss = loss
        self.quantile = quantile
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.multilabel = multilabel
        self.order = order
        self.calibrate = calibrate
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
        self.embedding_update = embedding_update
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
