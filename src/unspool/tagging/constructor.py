"""The parameters of the tagger, kept as they were given: scikit-learn's contract of a constructor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from unspool.parameters.kept import Kept


class TaggerParameters(Kept):
    """The constructor of `SequenceTagger`; `unspool.tagging.parameters.TABLE` describes and checks its parameters."""

    def __init__(
        self,
        crf: bool = True,
        scheme: str | None = "auto",
        lower: bool = True,
        label_weight: float = 1.0,
        class_weight: str | dict[str, float] | None = None,
        cell: str | Callable[[int, int], nn.Module] = "lstm",
        hidden_size: int | Sequence[int] = 128,
        num_layers: int = 1,
        bidirectional: bool = True,
        merge: str = "concat",
        connection: str | None = None,
        embedding_dim: int = 100,
        characters: str | None = "cnn",
        vectors: Any = None,
        vector_words: int = 50000,
        vectors_rate: float | None = None,
        max_words: int = 50000,
        dropout: float = 0.5,
        input_dropout: float = 0.3,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        word_dropout: float = 0.05,
        pooling: str = "mean+max",
        dense: Sequence[int] = (),
        epochs: int = 40,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        warmup: int = 0,
        averaging: float = 0.99,
        weight_decay: float = 1e-4,
        gradient_clip: float | None = 1.0,
        gradient_clip_value: float | None = None,
        early_stopping: bool = True,
        patience: int = 6,
        monitor: str = "metric",
        validation_fraction: float = 0.1,
        precision: str = "float32",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 1,
    ) -> None:
        self.crf = crf
        self.scheme = scheme
        self.lower = lower
        self.label_weight = label_weight
        self.class_weight = class_weight
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.merge = merge
        self.connection = connection
        self.embedding_dim = embedding_dim
        self.characters = characters
        self.vectors = vectors
        self.vector_words = vector_words
        self.vectors_rate = vectors_rate
        self.max_words = max_words
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.weight_dropout = weight_dropout
        self.word_dropout = word_dropout
        self.pooling = pooling
        self.dense = dense
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
