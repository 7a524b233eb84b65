"""A recurrent layer of Keras 3, jitted; backend: KERAS_BACKEND. A ragged batch has a mask, as its users write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from peers.layers import Unable, mask, padded

LAYERS = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


def build(case: dict[str, Any], threads: int) -> Callable[[], object]:
    """One forward, or one forward and the gradients of all weights; the backend chooses its threads."""
    if case["cell"] not in LAYERS:
        raise Unable(f"Keras has no {case['cell']}")
    layer = LAYERS[case["cell"]](case["hidden"], return_sequences=True)
    if case["directions"] == 2:
        layer = keras.layers.Bidirectional(layer)
    x, alive = padded(case), mask(case)
    layer.build(x.shape)
    backend = keras.backend.backend()
    if backend == "jax":
        return _jax(layer, x, alive, case["work"])
    if backend == "tensorflow":
        return _tensorflow(layer, x, alive, case["work"])
    raise Unable(f"no measurement is written for Keras on {backend}")


def _jax(layer: Any, x: np.ndarray, alive: np.ndarray | None, work: str) -> Callable[[], object]:
    import jax

    weights = [v.value for v in layer.trainable_variables]
    fixed = [v.value for v in layer.non_trainable_variables]
    x, alive = jax.numpy.asarray(x), None if alive is None else jax.numpy.asarray(alive)

    def output(weights: Any, x: Any, alive: Any) -> Any:
        return layer.stateless_call(weights, fixed, x, mask=alive)[0]

    run = jax.jit(output if work == "forward" else jax.value_and_grad(lambda w, x, m: output(w, x, m).sum()))
    return lambda: jax.block_until_ready(run(weights, x, alive))


def _tensorflow(layer: Any, x: np.ndarray, alive: np.ndarray | None, work: str) -> Callable[[], object]:
    import tensorflow as tf

    variables = [v.value for v in layer.trainable_variables]
    inputs, valid = tf.constant(x), None if alive is None else tf.constant(alive)

    @tf.function
    def forward() -> Any:
        return layer(inputs, mask=valid)

    @tf.function
    def training() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(inputs, mask=valid))
        return tape.gradient(total, variables)

    run = forward if work == "forward" else training

    def call() -> None:
        for result in tf.nest.flatten(run()):
            result.numpy()

    return call
