"""Keras 3: mask_zero, every text pre-padded to the longest of the training part; backend: KERAS_BACKEND."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from peers.data import MAX_WORDS, Part, SeedData


def build(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.layers.Embedding(MAX_WORDS, 256, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(256)),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return model


def padded(part: Part, longest: int) -> np.ndarray:
    return keras.utils.pad_sequences(part.ids, maxlen=longest, padding="pre", truncating="pre")


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch's training, its validation left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.training = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.training, self.start = True, time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        self.stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.stop()

    def stop(self) -> None:
        if self.training:
            self.training = False
            self.seconds.append(time.perf_counter() - self.start)


def quality(data: SeedData, seed: int, max_epochs: int) -> dict[str, Any]:
    longest = max(map(len, data.train.ids))
    model, clock = build(seed), Clock()
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
    history = model.fit(
        padded(data.train, longest),
        data.scaled(data.train),
        batch_size=16,
        epochs=max_epochs,
        validation_data=(padded(data.dev, longest), data.scaled(data.dev)),
        callbacks=[clock, stopping],
        verbose=2,
    )
    prediction = data.unscaled(model.predict(padded(data.test, longest), verbose=0))
    validation = history.history["val_loss"]
    return {"prediction": prediction, "validation_loss": validation, "train_seconds": clock.seconds}


def speed(data: SeedData, part: Part, seed: int) -> Callable[[], float]:
    """Compile and warm up; the function returned trains one pass over `part` and returns its seconds."""
    longest = max(map(len, data.train.ids))
    model, x, y = build(seed), padded(part, longest), data.scaled(part)

    def one_pass() -> float:
        clock = Clock()
        model.fit(x, y, batch_size=16, epochs=1, shuffle=False, callbacks=[clock], verbose=0)
        return clock.seconds[0]

    model.fit(x[:64], y[:64], batch_size=16, epochs=1, verbose=0)
    return one_pass
